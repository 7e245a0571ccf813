"""Between processes: what they say to each other, who comes to the port, and whether all still live."""
