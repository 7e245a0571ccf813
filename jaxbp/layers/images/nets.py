"""Networks of images, written with the layers: LeNet-5 and a small residual network."""

from collections.abc import Sequence

from jaxbp import arguments, errors
from jaxbp.layers import initializers
from jaxbp.layers.activations import relu
from jaxbp.layers.composition.chain import chain
from jaxbp.layers.composition.residual import residual
from jaxbp.layers.dense import dense, flatten
from jaxbp.layers.images.convolution import conv2d
from jaxbp.layers.images.pooling import global_avg_pool, max_pool2d
from jaxbp.layers.layer import Layer
from jaxbp.layers.mlp import Suited
from jaxbp.layers.norms.batch import batch_norm


def lenet(classes: int = 10, *, activation: Layer = relu) -> Layer:
    """LeNet-5 for images (*n, 28, 28, 1): two convolutions with pooling, three dense layers, as a `chain`.

    Its 61,706 parameters are those of the paper, but for the second convolution, which here sees all
    channels.

    Args:
        classes: the size of the output, which is logits.
        activation: phi; W is initialized as suits it.

    Raises:
        TypeError: for classes that are no whole number, or an activation that is no Layer.
        ValueError: for classes below 1.

    Example:
        >>> import jax
        >>> from jaxbp.layers import count_parameters
        >>> net = lenet()
        >>> count_parameters(jax.eval_shape(net.init, jax.random.key(0)))
        61706

    Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition", figure 2.
    """
    classes = arguments.whole("lenet", "classes", classes, low=1)
    arguments.instance("lenet", "activation", activation, Layer, "e.g. jaxbp.relu")
    init = Suited(activation)
    return chain(
        conv2d(1, 6, 5, padding=2, init=init),
        activation,
        max_pool2d(2),
        conv2d(6, 16, 5, init=init),
        activation,
        max_pool2d(2),
        flatten(5, 5, 16),
        dense(400, 120, init=init),
        activation,
        dense(120, 84, init=init),
        activation,
        dense(84, classes, init=init),
    )


def resnet(
    classes: int = 10, *, channels: int = 3, widths: Sequence[int] = (16, 32, 64), blocks: int = 1
) -> Layer:
    """A small residual network for images (*n, H, W, channels): convolution, blocks, mean of all places,
    logits.

    A block is out = relu(f + branch(f)), the branch two 3 x 3 convolutions, each with `batch_norm`, relu
    between them. Each width after the first begins with a stride of 2, where the skip is a 1 x 1 convolution.

    Args:
        classes: the size of the output.
        channels: of the images.
        widths: the channels of each stage.
        blocks: how many blocks each stage has; 3 with the default widths is the paper's network of 20 layers.

    Raises:
        TypeError: for what are no whole numbers.
        ValueError: for numbers below 1, or no widths.

    Example:
        >>> import jax
        >>> net = resnet(widths=(4, 8))
        >>> params = net.init(jax.random.key(0))
        >>> net.apply(params, jax.numpy.ones((2, 8, 8, 3))).shape
        (2, 10)

    Source: He et al. 2016, arXiv 1512.03385, section 4.2.
    """
    where = "resnet"
    classes = arguments.whole(where, "classes", classes, low=1)
    channels = arguments.whole(where, "channels", channels, low=1)
    blocks = arguments.whole(where, "blocks", blocks, low=1)
    if not isinstance(widths, list | tuple) or not widths:
        raise ValueError(errors.message(where, "a width for each stage", arguments.described(widths)))
    widths = [arguments.whole(where, f"widths[{i}]", width, low=1) for i, width in enumerate(widths)]
    init = initializers.he_normal

    def conv(c_in: int, c_out: int, kernel: int = 3, stride: int = 1) -> Layer:
        return conv2d(c_in, c_out, kernel, stride=stride, padding=kernel // 2, bias=False, init=init)

    parts = [conv(channels, widths[0]), batch_norm(widths[0]), relu]
    c = widths[0]
    for stage, width in enumerate(widths):
        for i in range(blocks):
            stride = 2 if stage and i == 0 else 1
            branch = chain(
                conv(c, width, 3, stride), batch_norm(width), relu, conv(width, width), batch_norm(width)
            )
            same = stride == 1 and c == width
            parts += [residual(branch) if same else residual(branch, conv(c, width, 1, stride)), relu]
            c = width
    return chain(*parts, global_avg_pool(2), dense(c, classes))
