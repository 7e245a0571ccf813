"""What a sweep is made of: its points, what changes from epoch to epoch, what it returns."""
