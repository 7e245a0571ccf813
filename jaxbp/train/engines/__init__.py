"""What runs epochs: on data that lie on the device, on a stream, for many networks at once."""
