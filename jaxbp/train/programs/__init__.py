"""What is compiled: an iteration, whole epochs, metrics, and the look at what stopped being finite."""
