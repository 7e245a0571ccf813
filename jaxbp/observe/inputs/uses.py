"""What delta_x is for: what an input's entries matter, inputs that mislead a network, inputs that it likes.

Each is a pure function of N examples for any model, compiled once for each model, loss and shape.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxbp import arguments
from jaxbp.errors import message
from jaxbp.jacobians.given import ExampleLoss, Network, loss_value
from jaxbp.observe.inputs.constraints import Ball, Box, nearest, norms, total_variation
from jaxbp.observe.inputs.given import (
    assert_held_inside,
    taken,
    taken_box,
    taken_image,
    taken_mask,
    taken_optimizer,
    too_far,
)
from jaxbp.typing import Array, Params, Random, Scalar, Targets

DESCENT = optax.sgd(0.1, momentum=0.9)
"""How `generate` descends unless told otherwise; one object, so that one program serves all calls.

Adam would end elsewhere: it scales each entry by itself, and a step back into a ball by all of them together.
"""

Value = Callable[[Array, Any], Scalar]


def saliency(net: Network, loss: ExampleLoss | None, params: Params, x: Array, y: Targets) -> Array:
    """delta_x of each example: d loss_n / d x_n; without a loss d f_y / d x_n, the slope of output y.

    A large entry of |delta_x| says that a small change of this pixel changes the loss, or the score of the
    class y, most. Of the loss of a single example there is no 1/N.

    Args:
        net: any layer, or any function ``(params, x) -> f`` of one example.
        loss: a `Loss`, ``(f, y) -> number`` of one example, or None.
        params: any pytree of arrays.
        x: N examples, (N, ...), floating.
        y: N targets; without a loss the numbers of outputs.

    Returns:
        (N, ...), as x.

    Raises:
        TypeError: for x that is not floating, and what is no network or loss.
        ValueError: when x and y are not of one length N, or for a class that the output does not have.

    Example: f = W x, so that d f_y / d x is row y of W.
        >>> import jaxbp
        >>> net, params = jaxbp.dense(2, 2, bias=False), {"W": jnp.array([[1.0, 2.0], [3.0, 4.0]])}
        >>> saliency(net, None, params, jnp.ones((2, 2)), jnp.array([0, 1]))
        Array([[1., 2.],
               [3., 4.]], dtype=float32)
        >>> saliency(net, jaxbp.squared_error, params, jnp.ones((1, 2)), jnp.array([[2.0, 7.0]]))
        Array([[1., 2.]], dtype=float32)

    Source: Simonyan et al. 2013, arXiv 1312.6034; the lecture, "delta_x".
    """
    apply, params, x, y = taken("saliency", net, loss, params, x, y)
    deltas = _deltas(apply, loss, params, x, y)
    return -deltas if loss is None else deltas


def adversarial(
    net: Network,
    loss: ExampleLoss | None,
    params: Params,
    x: Array,
    y: Targets,
    *,
    eps: float,
    norm: str = "linf",
    steps: int = 1,
    step: float | None = None,
    box: tuple[Any, Any] | None = None,
    targeted: bool = False,
    key: Random | None = None,
) -> Array:
    """Inputs within eps of x whose loss is high: x + eps sign(delta_x), or several smaller such steps.

    One step is the fast gradient sign method, more are projected gradient ascent: each goes ``step`` along
    sign(delta_x), in the ball of "l2" along delta_x / |delta_x|, and back to the nearest point of ball and
    box. An example of delta_x = 0 stays where it is.

    Args:
        net: any layer, or any function ``(params, x) -> f`` of one example.
        loss: a `Loss`, ``(f, y) -> number`` of one example, or None: then the output y falls.
        params: any pytree of arrays.
        x: N examples, (N, ...), floating.
        y: N targets: the true ones, or with ``targeted`` those that the network shall be led to.
        eps: the radius of the ball about each example, in units of x.
        norm: the ball's: "linf", every entry changes by eps at most, or "l2", |x' - x|_2 <= eps.
        steps: how many.
        step: the length of each; by default eps for one step, else 2.5 eps / steps.
        box: (low, high), within which inputs are, (0, 1) of pixels say: numbers, or arrays like x.
        targeted: descend on the loss of y instead.
        key: start from a random point of the ball, uniform in "linf"; by default from x.

    Returns:
        (N, ...), as x.

    Raises:
        TypeError: for x that is not floating, and what is no network, loss, pair or number.
        ValueError: as `saliency`; for eps below 0, and where no input is both in the box and within eps of x.

    Example: the loss of f = 2 x_1 - x_2 and y = 0 grows with |f|.
        >>> import jaxbp
        >>> net, params = jaxbp.dense(2, 1, bias=False), {"W": jnp.array([[2.0, -1.0]])}
        >>> x, y = jnp.array([[1.0, 0.5]]), jnp.zeros((1, 1))
        >>> adversarial(net, jaxbp.squared_error, params, x, y, eps=0.25)
        Array([[1.25, 0.25]], dtype=float32)
        >>> adversarial(net, jaxbp.squared_error, params, x, y, eps=0.25, box=(0, 1))
        Array([[1.  , 0.25]], dtype=float32)
        >>> adversarial(net, jaxbp.squared_error, params, x, y, eps=1, norm="l2", steps=20).round(3)
        Array([[1.894, 0.053]], dtype=float32)

    Source: Goodfellow et al. 2014, arXiv 1412.6572; Madry et al. 2017, arXiv 1706.06083.
    """
    where = "adversarial"
    apply, params, x, y = taken(where, net, loss, params, x, y)
    eps = arguments.number(where, "eps", eps, low=0)
    norm = arguments.option(where, "norm", norm, ("linf", "l2"))
    steps = arguments.whole(where, "steps", steps, low=1)
    default = eps if steps == 1 else 2.5 * eps / steps
    step = default if step is None else arguments.number(where, "step", step, low=0)
    sign = -1.0 if arguments.flag(where, "targeted", targeted) else 1.0
    allowed, ball = taken_box(where, box, x), Ball(x, eps)
    key = None if key is None else arguments.key(where, key)
    if bad := too_far(x, allowed, eps, norm):
        expected = f"an input in the box within eps = {eps:g} of each example"
        got = f"x[{bad[0]}], {bad[1]:.4g} from it"
        raise ValueError(message(where, expected, got, "scale x into the box, or raise eps"))
    if norm == "linf":
        allowed = Box(jnp.maximum(allowed.low, x - eps), jnp.minimum(allowed.high, x + eps))
    return _attacked(apply, loss, norm, steps, params, x, y, allowed, ball, sign * step, key)


def generate(
    net: Network,
    loss: ExampleLoss | None,
    params: Params,
    x: Array,
    y: Targets,
    *,
    steps: int = 200,
    optimizer: optax.GradientTransformation = DESCENT,
    box: tuple[Any, Any] | None = None,
    norm: float | None = None,
    mask: Any = None,
    smooth: float = 0.0,
    image: tuple[int, ...] | None = None,
) -> Array:
    """Inputs that a network answers y to, by descent on x: x - eta delta_x, back into what is allowed.

    Without a loss the output y itself rises. That makes an input for a hidden unit too, with a ``net`` that
    ends at it: ``lambda params, x: jaxbp.forward(net, params, x).f[1]`` for those of level 1.

    Args:
        net: any layer, or any function ``(params, x) -> f`` of one example.
        loss: a `Loss`, ``(f, y) -> number`` of one example, or None.
        params: any pytree of arrays.
        x: N inputs to begin with, (N, ...), floating.
        y: N targets; without a loss the numbers of outputs.
        steps: how many.
        optimizer: of optax, for x; by default gradient descent at 0.1, momentum 0.9. Keep the object: each
            one has its own compiled program.
        box: (low, high), within which inputs are: numbers, or arrays like x.
        norm: the largest |x_n|_2 of an input.
        mask: True where x may change; False entries keep their number.
        smooth: the weight of the total variation of each image that is added to its loss.
        image: the shape of an example as an image, (H, W) or (H, W, channels); by default its own.

    Returns:
        (N, ...), as x.

    Raises:
        TypeError: for x that is not floating, and what is no network, loss, optimizer, pair or mask.
        ValueError: as `saliency`; for constraints that exclude each other: held entries outside of the box,
            or a norm that no input of the box has; and for an image of another size than an example.

    Example: f = 3 x_1 + 4 x_2 becomes 11, with x_1 held; then as large as it can be within a ball.
        >>> import jaxbp
        >>> net, params = jaxbp.dense(2, 1, bias=False), {"W": jnp.array([[3.0, 4.0]])}
        >>> x, y, sgd = jnp.array([[1.0, 0.0]]), jnp.array([[11.0]]), optax.sgd(0.1)
        >>> generate(net, jaxbp.squared_error, params, x, y, optimizer=sgd, mask=[False, True]).round(3)
        Array([[1., 2.]], dtype=float32)
        >>> most = generate(net, None, params, x, jnp.array([0]), optimizer=sgd, norm=5)
        >>> [round(v, 3) for v in most[0].tolist()]
        [3.0, 4.0]

    Source: Erhan et al. 2009; Simonyan et al. 2013; Mahendran and Vedaldi 2014, arXiv 1412.0035.
    """
    where = "generate"
    apply, params, x, y = taken(where, net, loss, params, x, y)
    steps = arguments.whole(where, "steps", steps, low=1)
    optimizer = taken_optimizer(where, optimizer, x)
    smooth = arguments.number(where, "smooth", smooth, low=0)
    shape = taken_image(where, image, x, smooth)
    allowed = taken_box(where, box, x)
    if mask is not None:
        free = taken_mask(where, mask, x)
        assert_held_inside(where, x, free, allowed)
        allowed = Box(jnp.where(free, allowed.low, x), jnp.where(free, allowed.high, x))
    ball = None
    if norm is not None:
        ball = Ball(jnp.zeros_like(x), arguments.number(where, "norm", norm, low=0, open_low=True))
        if bad := too_far(ball.center, allowed, ball.radius, "l2"):
            got = f"box and mask in which input {bad[0]} has a norm of {bad[1]:.4g} at least"
            expected = f"constraints that an input of norm {ball.radius:g} meets"
            raise ValueError(message(where, expected, got, "raise norm, or widen the box"))
    return _generated(
        apply, loss, optimizer, steps, shape if smooth else None, params, x, y, allowed, ball, smooth
    )


def _minus_output(f: Array, y: Array) -> Array:
    """A loss that falls as output y rises."""
    return -f[y]


@partial(jax.jit, static_argnums=(0, 1))
def _deltas(apply: Callable[..., Array], loss: ExampleLoss | None, params: Params, x: Array, y: Any) -> Array:
    """delta_x of each example's own loss."""
    value: Value = _minus_output if loss is None else loss_value("loss", loss)
    return jax.vmap(jax.grad(lambda x, y: value(apply(params, x), y)))(x, y)


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _attacked(
    apply: Callable[..., Array],
    loss: ExampleLoss | None,
    norm: str,
    steps: int,
    params: Params,
    x: Array,
    y: Any,
    box: Box,
    ball: Ball,
    step: Scalar,
    key: Random | None,
) -> Array:
    """Projected ascent of ``step`` in the ball of this norm; of "linf" the box is the ball already."""
    within_ball = None if norm == "linf" else ball

    def moved(_: Any, at: Array) -> Array:
        delta = _deltas(apply, loss, params, at, y)
        length = norms(delta)
        way = jnp.sign(delta) if norm == "linf" else delta / jnp.where(length == 0, 1, length)
        return nearest(at + (step * way).astype(x.dtype), box, within_ball)

    start = x
    if key is not None:
        radius = jnp.asarray(ball.radius, x.dtype)
        offset = jax.random.uniform(key, x.shape, x.dtype, -1, 1)
        start = nearest(x + radius * offset, box, within_ball)
    return jax.lax.fori_loop(0, steps, moved, nearest(start, box, within_ball))


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def _generated(
    apply: Callable[..., Array],
    loss: ExampleLoss | None,
    optimizer: optax.GradientTransformation,
    steps: int,
    image: tuple[int, ...] | None,
    params: Params,
    x: Array,
    y: Any,
    box: Box,
    ball: Ball | None,
    smooth: Scalar,
) -> Array:
    """Projected descent by the optimizer."""

    def moved(_: Any, state: tuple[Array, Any]) -> tuple[Array, Any]:
        at, opt_state = state
        delta = _deltas(apply, loss, params, at, y)
        if image is not None:
            rough = jax.grad(lambda x: total_variation(x, image).sum())(at)
            delta = delta + (smooth * rough).astype(delta.dtype)
        updates, opt_state = optimizer.update(delta, opt_state, at)
        return nearest(optax.apply_updates(at, updates), box, ball), opt_state

    start = nearest(x, box, ball)
    return jax.lax.fori_loop(0, steps, moved, (start, optimizer.init(start)))[0]
