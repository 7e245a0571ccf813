"""The kinds of wrong or unusual values, by the role of the argument that they are given for."""
