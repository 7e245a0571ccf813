"""The frameworks that train the same network on the same data, each in a process of its own."""
