"""Batch normalization: by the statistics of the batch in training, by running ones in evaluation."""

import jax
import jax.numpy as jnp

from jaxbp import arguments, errors, recipes
from jaxbp.layers.blocks import Block, Entrywise
from jaxbp.layers.dense import assert_size
from jaxbp.layers.layer import Layer, arrays_of, assert_given, delta_of
from jaxbp.operators import Diagonal, Operator
from jaxbp.typing import Array, Given, Params, Random, Saved, Tensor

State = dict[str, Array]


@recipes.own("batch_norm")
def batch_norm(d: int, *, momentum: float = 0.9, eps: float = 1e-5) -> Layer:
    """out = g h + b with h = (f - mean) r, r = 1 / sqrt(variance + eps), over all rows of the batch.

    A row is an example, of images each place of each: mean and variance are taken for each of d channels over
    all axes before. Its parameters are ``{"g": (d,), "b": (d,)}``, 1 and 0 at first. Backward, with N rows,

        delta_b = sum_n delta_out        delta_g = sum_n delta_out h
        delta_f = g r (delta_out - delta_b / N - h delta_g / N)

    The variance that divides f is sum (f - mean)^2 / N. Saves h and r; both are computed in float32 at least.

    Its state is ``{"mean": (d,), "var": (d,), "weight": ()}``: running averages of the batches' means and
    variances, the latter divided by N - 1, in which the newest has the share 1 - momentum. ``weight`` is what
    all have together, 1 - momentum^t after t batches, and the averages are divided by it: they are not drawn
    towards where they began. What happens depends on what is ``given``:

    | given                       | h by                   | the state that is left |
    |-----------------------------|------------------------|------------------------|
    | nothing                     | the batch's statistics | after a first batch    |
    | state and ``training=True`` | the batch's statistics | after one batch more   |
    | state                       | the running statistics | the same               |

    With state alone it is an affine map of each row, delta_f = g r delta_out; before the first batch, where
    the weight is 0, mean 0 and variance 1 stand for the averages. `fit` carries the state by itself, `fixed`
    makes the network of evaluation. Over a mesh the statistics are those of the whole batch.

    Args:
        d: the channels, which come last.
        momentum: the share that the older averages keep, 0 to 1.
        eps: added to the variance.

    Returns:
        A layer from (*n, d) to (*n, d).

    Raises:
        TypeError: for what are no numbers; when applied to integers, or given a training that is no bool.
        ValueError: for d below 1, a momentum outside [0, 1), eps below 0; when applied to f, g, b or a state
        of
            another shape, or to a single row without state; for the Jacobian of one example without state.

    Example:
        >>> layer = batch_norm(1, momentum=0.5, eps=0.0)
        >>> params, f = layer.init(jax.random.key(0)), jnp.array([[1.0], [3.0]])
        >>> out, saved = layer.forward(params, f)
        >>> out[:, 0], layer.state(saved)["mean"], layer.state(saved)["var"]
        (Array([-1.,  1.], dtype=float32), Array([2.], dtype=float32), Array([2.], dtype=float32))
        >>> layer.apply(params, f, given={"state": layer.state(saved)})[:, 0]
        Array([-0.70710677,  0.70710677], dtype=float32)

    Source: Ioffe and Szegedy 2015, arXiv 1502.03167, section 3.
    """
    name = f"batch_norm({d})"
    d = arguments.whole(name, "d", d, low=1)
    assert_size(name, "g", (d,))
    momentum = arguments.number(name, "momentum", momentum, low=0, high=1, open_high=True)
    eps = arguments.number(name, "eps", eps, low=0)
    shapes = {"g": (d,), "b": (d,)}

    def initialize(key: Random) -> Params:
        arguments.key(f"{name}.init", key)
        return {"g": jnp.ones(d), "b": jnp.zeros(d)}

    def taken(f: Tensor) -> Tensor:
        f = arguments.array(name, "f", f, floats=True)
        if f.shape[-1:] != (d,):
            hint = "the channels come last"
            raise ValueError(errors.message(name, f"f with last axis {d}", f"shape {f.shape}", hint))
        return f

    def told(given: Given | None) -> tuple[State | None, bool]:
        """The state, and whether the pass learns from the batch."""
        assert_given(name, given, ("state", "training"))
        state, training = (given or {}).get("state"), (given or {}).get("training", False)
        training = arguments.flag(name, "training", training)
        wanted = {"mean": (d,), "var": (d,), "weight": ()}
        if state is not None:
            got = {k: jnp.shape(leaf) for k, leaf in state.items()} if isinstance(state, dict) else state
            if got != wanted:
                shown = got if isinstance(state, dict) else arguments.described(state)
                hint = "was it left by another network?"
                raise ValueError(errors.message(name, f"a state of shapes {wanted}", f"{shown}", hint))
        return state, training or state is None

    def on(f: Tensor, row: Array) -> Tensor:
        return jnp.broadcast_to(row, f.shape)

    def after(before: State | None, mean: Array, var: Array) -> State:
        """The averages with one batch more."""
        if before is None:
            return {"mean": mean, "var": var, "weight": jnp.asarray(1 - momentum, mean.dtype)}
        weight = momentum * before["weight"] + (1 - momentum)
        share = (1 - momentum) / weight
        both = {"mean": mean, "var": var}
        state = {name: before[name] + share * (new - before[name]) for name, new in both.items()}
        return {name: state[name].astype(before[name].dtype) for name in state} | {"weight": weight}

    def forward(
        params: Params, f: Tensor, *, key: Random | None = None, given: Given | None = None
    ) -> tuple[Tensor, Saved]:
        (state, of_batch), params, f = told(given), arrays_of(name, params, shapes), taken(f)
        wide, N, every = f.astype(jnp.promote_types(f.dtype, jnp.float32)), f.size // d, range(f.ndim - 1)
        if of_batch:
            if N < 2:
                hint = "give its state, see jaxbp.fixed: then it is a map of one example"
                expected = "at least two rows, whose mean and variance it takes"
                raise ValueError(errors.message(name, expected, f"shape {f.shape}", hint))
            mean = wide.mean(every)
            off = wide - on(wide, mean)
            var = (off**2).mean(every)
            state, share = after(state, mean, var * (N / (N - 1))), jnp.asarray(1 / N, f.dtype)
        else:
            assert state is not None
            off, share = wide - on(wide, state["mean"].astype(wide.dtype)), None
            var = jnp.where(state["weight"] > 0, state["var"], 1).astype(wide.dtype)
        r = jax.lax.rsqrt(var + eps)
        h = (off * on(wide, r)).astype(f.dtype)
        g, b = (on(f, params[symbol].astype(f.dtype)) for symbol in "gb")
        return h * g + b, (h, r, share, jax.lax.stop_gradient(state))

    def apply(params: Params, f: Tensor, *, key: Random | None = None, given: Given | None = None) -> Tensor:
        return forward(params, f, given=given)[0]

    def backward(params: Params, saved: Saved, delta_out: Tensor) -> tuple[Params, Tensor]:
        params, (h, r, share, _) = arrays_of(name, params, shapes), saved
        delta_out = delta_of(name, delta_out, h.shape)
        g, every = params["g"], range(h.ndim - 1)
        delta_params = {
            "g": (delta_out * h).sum(every, dtype=g.dtype),
            "b": delta_out.sum(every, dtype=g.dtype),
        }
        rest = delta_out
        if share is not None:  # what f has moved the mean and the variance by
            of_h, of_1 = (on(h, (delta_params[symbol] * share).astype(h.dtype)) for symbol in "gb")
            rest = delta_out - of_1 - h * of_h
        return delta_params, (rest * on(h, g * r)).astype(delta_out.dtype)

    def factors(params: Params, saved: Saved, delta_out: Tensor) -> tuple[dict[str, Block], Tensor]:
        if saved[2] is not None:
            raise ValueError(_coupled(name, "the gradient"))
        delta_params, delta_f = backward(params, saved, delta_out)
        return {symbol: Entrywise(J) for symbol, J in delta_params.items()}, delta_f

    def jacobian(params: Params, f: Tensor, *, given: Given | None = None) -> Operator:
        if told(given)[1]:
            raise ValueError(_coupled(name, "the Jacobian"))
        h = forward(params, f, given=given)[1]
        ones = jnp.ones_like(h[0])
        return Diagonal(backward(params, h, ones)[1].reshape(-1))

    return Layer(
        name,
        apply,
        forward,
        backward,
        initialize,
        jacobian,
        means="diag(g r)",
        given=("state", "training"),
        state=lambda saved: saved[3],
        factors=factors,
    )


def _coupled(name: str, what: str) -> str:
    expected = (
        f"a state for {what} of one example: without it all examples of a batch are normalized together"
    )
    return errors.message(name, expected, "none", 'jaxbp.fixed(net, {"state": state}) has it')
