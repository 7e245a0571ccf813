"""Find out whether a derivative rule is right, where it is wrong, and why."""
