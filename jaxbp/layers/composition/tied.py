"""`tied`: one array in two places of a network."""

from collections.abc import Hashable, Sequence
from typing import Any

import jax

from jaxbp import arguments, errors, recipes
from jaxbp.layers.blocks import together
from jaxbp.layers.layer import Layer, handed
from jaxbp.operators import Operator
from jaxbp.typing import Array, Given, Params, Random, Saved

Path = tuple[Hashable, ...]


@recipes.own("tied")
def tied(net: Layer, leaf: Sequence[Any], to: Sequence[Any]) -> Layer:
    """The network with one array in two places: ``params[leaf]`` is ``params[to]``, and no parameter of its
    own.

    What goes forward is theta -> A theta, a copy; backward it is delta A, the two deltas added:
    delta_E = delta_E by the embedding + delta_W by the head, for ``tied(net, (L, "W"), (1, "E"))``.
    Everything else is the network's: `backprop` shows its trace by its l, with the added delta at ``to``.

    Args:
        net: a network, mostly a `chain`.
        leaf: the way to the array that is left out, ``(L, "W")`` for W_L; in a residual ``(2, "branch", 1,
            "W")``.
        to: the way to the array that takes its place, of the same shape.

    Raises:
        TypeError: for what is no layer, or a way that is none.
        ValueError: for a way that leads to no array, one array tied to itself, or two of different shapes.

    Example: f_2 = w * (w * x), whose derivative by w is 2 w x.
        >>> import jax.numpy as jnp
        >>> from jaxbp.layers import chain, dense
        >>> net = tied(chain(dense(1, 1, bias=False), dense(1, 1, bias=False)), (2, "W"), (1, "W"))
        >>> params = {1: {"W": jnp.array([[3.0]])}}
        >>> out, saved = net.forward(params, jnp.array([5.0]))
        >>> out, net.backward(params, saved, jnp.ones(1))[0]
        (Array([45.], dtype=float32), {1: {'W': Array([[30.]], dtype=float32)}})

    Source: Press and Wolf 2016, arXiv 1608.05859.
    """
    arguments.instance("tied", "net", net, Layer, "tied(net, (L, 'W'), (1, 'E'))")
    tie = _way("leaf", leaf), _way("to", to)
    name = f"tied({net.name}, {tie[0]}, {tie[1]})"
    shapes = jax.eval_shape(net.init, jax.random.key(0))
    ends = [_at(shapes, way, role) for way, role in zip(tie, ("leaf", "to"), strict=True)]
    if tie[0] == tie[1]:
        raise ValueError(errors.message("tied", "two different arrays", f"{tie[0]} twice"))
    if ends[0].shape != ends[1].shape:
        got = f"{ends[0].shape} at {tie[0]} and {ends[1].shape} at {tie[1]}"
        raise ValueError(errors.message("tied", "two arrays of one shape", got))

    def init(key: Random) -> Params:
        return without(net.init(key), tie[0])

    def apply(params: Params, f: Array, *, key: Random | None = None, given: Given | None = None) -> Array:
        return net.apply(opened(params, tie), f, key=key, **handed(net, given))

    def forward(
        params: Params, f: Array, *, key: Random | None = None, given: Given | None = None
    ) -> tuple[Array, Saved]:
        return net.forward(opened(params, tie), f, key=key, **handed(net, given))

    def backward(params: Params, saved: Saved, delta_out: Array) -> tuple[Params, Array]:
        delta_params, delta_f = net.backward(opened(params, tie), saved, delta_out)
        return added(delta_params, tie), delta_f

    def factors(params: Params, saved: Saved, delta_out: Array) -> tuple[Any, Any]:
        assert net.factors is not None
        blocks, delta_f = net.factors(opened(params, tie), saved, delta_out)
        where, at = tie
        both = together(_at(blocks, at, "to"), _at(blocks, where, "leaf"))
        return without(put(blocks, at, both), where), delta_f

    def jacobian(params: Params, f: Array, *, given: Given | None = None) -> Operator:
        return net.jacobian(opened(params, tie), f, **handed(net, given))

    return Layer(
        name,
        apply,
        forward,
        backward,
        init,
        jacobian,
        parts=(net,),
        tie=tie,
        given=net.given,
        state=net.state,
        factors=factors if net.factors else None,
    )


def opened(params: Params, tie: tuple[Path, Path]) -> Params:
    """A theta: the parameters with the array in both places."""
    where, at = tie
    if _leads(params, where):
        hint = f"{at} takes its place: leave it out"
        raise ValueError(errors.message("tied", f"parameters without {where}", f"an array at {where}", hint))
    shared: Any = params
    for step in at:
        if not isinstance(shared, dict) or step not in shared:
            got = f"{{{', '.join(map(str, shared))}}}" if isinstance(shared, dict) else "an array"
            hint = "were they made by another network's init?"
            raise ValueError(errors.message("tied", f"parameters with {at}", f"{got} before {step!r}", hint))
        shared = shared[step]
    return put(params, where, shared)


def added(delta_params: Params, tie: tuple[Path, Path]) -> Params:
    """Delta A: the delta of the one place added to the other's."""
    where, at = tie
    to, leaf = _at(delta_params, at, "to"), _at(delta_params, where, "leaf")
    return without(put(delta_params, at, to + leaf.astype(to.dtype)), where)


def without(params: Params, way: Path) -> Params:
    """The tree without one leaf, and without what is empty then."""
    step, *rest = way
    below = without(params[step], tuple(rest)) if rest else {}
    others = {key: value for key, value in params.items() if key != step}
    return {key: below if key == step else params[key] for key in params} if below else others


def put(params: Params, way: Path, value: Any) -> Any:
    """The tree with a value at the end of the way."""
    if not way:
        return value
    step, *rest = way
    params = params if isinstance(params, dict) else {}
    return params | {step: put(params.get(step, {}), tuple(rest), value)}


def _way(role: str, way: Any) -> Path:
    if not isinstance(way, tuple | list) or not way:
        hint = "e.g. (1, 'E') for params[1]['E']"
        raise TypeError(errors.message("tied", f"{role}, a tuple of keys", arguments.described(way), hint))
    return tuple(way)


def _leads(tree: Any, way: Path) -> bool:
    """Whether there is something at the end of the way."""
    for step in way:
        if not isinstance(tree, dict) or step not in tree:
            return False
        tree = tree[step]
    return True


def _at(tree: Any, way: Path, role: str) -> Any:
    for i, step in enumerate(way):
        if not isinstance(tree, dict) or step not in tree:
            there = (
                f"there are {', '.join(map(repr, tree))}" if isinstance(tree, dict) else "that is an array"
            )
            got = f"{way}, where {step!r} leads nowhere after {way[:i]}"
            raise ValueError(errors.message("tied", f"{role}, the way to an array", got, there))
        tree = tree[step]
    if isinstance(tree, dict):
        keys = ", ".join(map(repr, tree))
        raise ValueError(
            errors.message("tied", f"{role}, the way to an array", f"{way}", f"it goes on to {keys}")
        )
    return tree
