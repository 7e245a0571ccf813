"""What is compiled: an iteration, whole epochs, and the look at what stopped being finite."""
