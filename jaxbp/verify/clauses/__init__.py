"""What every right rule keeps besides its values, and what a rule is that is declared to be no derivative."""
