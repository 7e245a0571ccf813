"""jaxbp: back-propagation you can see, prove and train with."""

__version__ = "0.1.0"
