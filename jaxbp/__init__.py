"""jaxbp: back-propagation you can see, prove and train with."""

from jaxbp.backprop import backprop as backprop
from jaxbp.backprop import value_and_grad as value_and_grad
from jaxbp.backprop import with_hand_vjp as with_hand_vjp
from jaxbp.data import Dataset as Dataset
from jaxbp.data import load as load
from jaxbp.data import split as split
from jaxbp.layers import Layer as Layer
from jaxbp.layers import chain as chain
from jaxbp.layers import count_parameters as count_parameters
from jaxbp.layers import dense as dense
from jaxbp.layers import dropout as dropout
from jaxbp.layers import elementwise as elementwise
from jaxbp.layers import flatten as flatten
from jaxbp.layers import gelu as gelu
from jaxbp.layers import gelu_exact as gelu_exact
from jaxbp.layers import identity as identity
from jaxbp.layers import initializers as initializers
from jaxbp.layers import leaky_relu as leaky_relu
from jaxbp.layers import make_leaky_relu as make_leaky_relu
from jaxbp.layers import mlp as mlp
from jaxbp.layers import relu as relu
from jaxbp.layers import residual as residual
from jaxbp.layers import sigmoid as sigmoid
from jaxbp.layers import silu as silu
from jaxbp.layers import softmax as softmax
from jaxbp.layers import softplus as softplus
from jaxbp.layers import tanh as tanh
from jaxbp.losses import Loss as Loss
from jaxbp.losses import binary_cross_entropy as binary_cross_entropy
from jaxbp.losses import binary_cross_entropy_on_probabilities as binary_cross_entropy_on_probabilities
from jaxbp.losses import make_softmax_cross_entropy as make_softmax_cross_entropy
from jaxbp.losses import softmax_cross_entropy as softmax_cross_entropy
from jaxbp.losses import squared_error as squared_error
from jaxbp.train import DivergenceError as DivergenceError
from jaxbp.train import EarlyStopping as EarlyStopping
from jaxbp.train import fit as fit
from jaxbp.train import make_evaluate as make_evaluate
from jaxbp.units import fit_linear_unit as fit_linear_unit
from jaxbp.units import fit_perceptron as fit_perceptron
from jaxbp.verify import check_network as check_network

__version__ = "0.1.0"
