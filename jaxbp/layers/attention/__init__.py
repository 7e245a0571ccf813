"""Attention: every place of a sequence takes from the others what it looks for."""

from jaxbp.layers.attention.attend import attend as attend
