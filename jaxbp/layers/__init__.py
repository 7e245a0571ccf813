"""Layers: pure maps with their derivative by hand, closed under composition."""

from jaxbp.layers import initializers as initializers
from jaxbp.layers.activations import gelu as gelu
from jaxbp.layers.activations import gelu_exact as gelu_exact
from jaxbp.layers.activations import identity as identity
from jaxbp.layers.activations import leaky_relu as leaky_relu
from jaxbp.layers.activations import make_leaky_relu as make_leaky_relu
from jaxbp.layers.activations import relu as relu
from jaxbp.layers.activations import sigmoid as sigmoid
from jaxbp.layers.activations import silu as silu
from jaxbp.layers.activations import softmax as softmax
from jaxbp.layers.activations import softplus as softplus
from jaxbp.layers.activations import tanh as tanh
from jaxbp.layers.composition import chain as chain
from jaxbp.layers.composition import residual as residual
from jaxbp.layers.dense import dense as dense
from jaxbp.layers.dense import flatten as flatten
from jaxbp.layers.dropout import dropout as dropout
from jaxbp.layers.elementwise import elementwise as elementwise
from jaxbp.layers.hand_vjp import with_hand_vjp as with_hand_vjp
from jaxbp.layers.layer import Layer as Layer
from jaxbp.layers.layer import count_parameters as count_parameters
from jaxbp.layers.mlp import mlp as mlp
from jaxbp.layers.precision import mixed_precision as mixed_precision
from jaxbp.layers.summary import summary as summary
