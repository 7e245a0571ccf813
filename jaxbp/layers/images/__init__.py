"""Layers of images and series: the channels come last, (*n, H, W, c) and (*n, T, c).

| row | place | what lives there |
|---|---|---|
| 0 | `windows` | windows that move over places: their pads, their parts, and the way back |
| 0 | `kernels` | how W and b are drawn and let in |
| 1 | `convolution`, `depthwise`, `pooling` | the layers that move windows |
| 2 | `squeeze` | channels scaled by their means |
| 3 | `nets` | LeNet-5, and a small residual network |
"""

from jaxbp.layers.images.convolution import conv1d as conv1d
from jaxbp.layers.images.convolution import conv2d as conv2d
from jaxbp.layers.images.depthwise import depthwise1d as depthwise1d
from jaxbp.layers.images.depthwise import depthwise2d as depthwise2d
from jaxbp.layers.images.nets import lenet as lenet
from jaxbp.layers.images.nets import resnet as resnet
from jaxbp.layers.images.pooling import avg_pool1d as avg_pool1d
from jaxbp.layers.images.pooling import avg_pool2d as avg_pool2d
from jaxbp.layers.images.pooling import global_avg_pool as global_avg_pool
from jaxbp.layers.images.pooling import max_pool1d as max_pool1d
from jaxbp.layers.images.pooling import max_pool2d as max_pool2d
from jaxbp.layers.images.squeeze import squeeze_scale as squeeze_scale
