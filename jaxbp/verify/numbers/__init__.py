"""How far a right result may be off, difference quotients, and the comparison entry by entry."""
