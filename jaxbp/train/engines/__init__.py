"""What runs epochs: on the device, on a stream, for many networks at once; and the programs they share."""
