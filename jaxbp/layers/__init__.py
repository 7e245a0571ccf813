"""Layers: pure maps with their derivative by hand, closed under composition.

| row | place | what lives there |
|---|---|---|
| 0 | `promises` | what the rules of a layer return |
| 1 | `layer` | the contract of a layer |
| 2 | `entrance` | what a network is called with, as its layers take it |
| 1 | `initializers`, `blocks` | how W is drawn; one example's gradient in factors |
| 1 | `memory` | what the backward pass keeps |
| 2 | `dense`, `elementwise` | a = W f + b; functions of each entry alone |
| 3 | `activations` | those of the field, and softmax |
| 4 | `composition/`, `dropout` | layers of layers; entries left out by chance |
| 5 | `attention/`, `norms/` | places that look at each other; entries by their mean and spread |
| 5 | `mlp` | a chain of dense layers |
| 5 | `formulas`, `summary` | how each quantity is computed; a network as a table |
| 6 | `images/`, `sequences/` | convolutions, pools, LeNet; ids, gates, a small GPT |
| 7 | `recurrence/` | cells through time |
"""

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
from jaxbp.layers.attention import attend as attend
from jaxbp.layers.blocks import Added as Added
from jaxbp.layers.blocks import Entrywise as Entrywise
from jaxbp.layers.blocks import Outer as Outer
from jaxbp.layers.blocks import Rows as Rows
from jaxbp.layers.blocks import Stacked as Stacked
from jaxbp.layers.blocks import Summed as Summed
from jaxbp.layers.composition import chain as chain
from jaxbp.layers.composition import fixed as fixed
from jaxbp.layers.composition import mixed_precision as mixed_precision
from jaxbp.layers.composition import repeat as repeat
from jaxbp.layers.composition import residual as residual
from jaxbp.layers.composition import tied as tied
from jaxbp.layers.dense import dense as dense
from jaxbp.layers.dense import flatten as flatten
from jaxbp.layers.dropout import dropout as dropout
from jaxbp.layers.elementwise import elementwise as elementwise
from jaxbp.layers.images import avg_pool1d as avg_pool1d
from jaxbp.layers.images import avg_pool2d as avg_pool2d
from jaxbp.layers.images import conv1d as conv1d
from jaxbp.layers.images import conv2d as conv2d
from jaxbp.layers.images import depthwise1d as depthwise1d
from jaxbp.layers.images import depthwise2d as depthwise2d
from jaxbp.layers.images import global_avg_pool as global_avg_pool
from jaxbp.layers.images import lenet as lenet
from jaxbp.layers.images import max_pool1d as max_pool1d
from jaxbp.layers.images import max_pool2d as max_pool2d
from jaxbp.layers.images import resnet as resnet
from jaxbp.layers.images import squeeze_scale as squeeze_scale
from jaxbp.layers.layer import Layer as Layer
from jaxbp.layers.layer import count_parameters as count_parameters
from jaxbp.layers.mlp import mlp as mlp
from jaxbp.layers.norms import batch_norm as batch_norm
from jaxbp.layers.norms import group_norm as group_norm
from jaxbp.layers.norms import layer_norm as layer_norm
from jaxbp.layers.norms import rms_norm as rms_norm
from jaxbp.layers.recurrence import char_rnn as char_rnn
from jaxbp.layers.recurrence import elman as elman
from jaxbp.layers.recurrence import gru as gru
from jaxbp.layers.recurrence import lstm as lstm
from jaxbp.layers.sequences import embedding as embedding
from jaxbp.layers.sequences import gate as gate
from jaxbp.layers.sequences import gpt as gpt
from jaxbp.layers.summary import summary as summary
