"""The Jacobian by each parameter of N examples, as blocks, from one forward and one backward pass."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxbp import errors
from jaxbp.jacobians import outer
from jaxbp.jacobians.given import Network, network, of_one_length
from jaxbp.jacobians.taps import find_taps, run_tapped
from jaxbp.layers.blocks import Added, Block, Entrywise, Outer, Rows, Stacked, Summed
from jaxbp.layers.layer import Layer
from jaxbp.typing import Array, Params

Backward = Callable[[Array, Any], tuple[Array, Array]]


class Form(NamedTuple):
    """How the arrays that are held make the blocks.

    Args:
        tree: of the blocks.
        places: for each of its leaves, which array it is; a bias has the delta of its weight.
        how: how each block is held, in words.
    """

    tree: Any
    places: tuple[int, ...]
    how: tuple[str, ...]

    def blocks(self, arrays: tuple[Array, ...]) -> list[outer.Block]:
        """The block of each leaf of the parameters."""
        held = jax.tree.unflatten(self.tree, [arrays[i] for i in self.places])
        return [_summed(block) for block in held]


Found = tuple[Array, tuple[Array, ...], Form]


def one_pass(where: str, net: Network, params: Params, x: Any, y: Any, backward: Backward) -> Found:
    """What ``backward`` is of each example, and its Jacobian by each leaf of the parameters.

    Args:
        where: the function that was called.
        net: a layer, whose factors are taken if it has them, or any function, whose products are tapped.
        params: its parameters.
        x: N examples.
        y: N targets.
        backward: ``(f, y) -> (out, delta_f)``, whose second result are the rows (C, *f) to pull back.

    Returns:
        out, (N, ...), the arrays, and the form in which they are the block of each leaf.

    Raises:
        ValueError: when x and y are not of one length N, or for a layer that couples examples.
    """
    apply = network(where, net)
    if not of_one_length(x, y):
        shapes = [jax.tree.map(jnp.shape, tree) for tree in (x, y)]
        got = f"x of shape {shapes[0]} and y of shape {shapes[1]}"
        raise ValueError(errors.message(where, "N examples and N targets", got))
    with errors.within(where):
        if isinstance(net, Layer) and net.factors is not None:
            return _by_factors(net, params, x, y, backward)
        return _by_taps(apply, params, x, y, backward)


def _by_factors(net: Layer, params: Params, x: Any, y: Any, backward: Backward) -> Found:
    """By the layers' own factors."""
    factors = net.factors
    assert factors is not None

    inner: list[Any] = []

    def rows(x: Any, y: Any) -> tuple[Array, tuple[Array, ...]]:
        f, saved = net.forward(params, x)
        out, delta_f = backward(f, y)

        def row(delta: Array) -> tuple[Array, ...]:
            arrays, *inner[:] = _shared(factors(params, saved, delta)[0])
            return arrays

        return out, _of_rows(row, delta_f)

    out, arrays = jax.vmap(rows)(x, y)
    tree, places = inner
    made = jax.tree.unflatten(tree, [arrays[i] for i in places])
    return out, *_formed([_once(block) for block in jax.tree.leaves(made, is_leaf=_is_block)])


def _of_rows(row: Callable[[Array], Any], delta: Array) -> Any:
    """What ``row`` makes of each of the C rows of delta: XLA pays for a mapped axis of size 1 with copies."""
    if len(delta) > 1:
        return jax.vmap(row)(delta)
    return jax.tree.map(lambda leaf: leaf[None], row(delta[0]))


def _formed(blocks: list[Block], how: list[str] | None = None) -> tuple[tuple[Array, ...], Form]:
    arrays, tree, index = _shared(blocks)
    return arrays, Form(tree, index, tuple(how or map(_how, blocks)))


def _shared(tree: Any) -> tuple[tuple[Array, ...], Any, tuple[int, ...]]:
    """The arrays of a tree, each once, its structure, and which array each leaf is."""
    leaves, structure = jax.tree.flatten(tree)
    once = list({id(leaf): leaf for leaf in leaves}.values())
    places = {id(leaf): i for i, leaf in enumerate(once)}
    return tuple(once), structure, tuple(places[id(leaf)] for leaf in leaves)


def _is_block(node: Any) -> bool:
    return isinstance(node, Block)


def _once(block: Block) -> Block:
    """The block without the axis C of what is the same for every row."""
    match block:
        case Outer(delta, f, axes, shape):
            return Outer(delta, f[:, 0], axes, shape)
        case Rows(delta, ids, shape):
            return Rows(delta, ids[:, 0], shape)
        case Added(parts):
            return Added(tuple(map(_once, parts)))
        case Stacked(inner):
            return Stacked(_once(inner))
    return block


def _summed(block: Block, axis: int = 2) -> outer.Block:
    """The block with what a bias has summed over the positions, which are this axis of its delta."""
    match block:
        case Summed(delta):
            return Entrywise(delta.sum(axis))
        case Added(parts):
            return Added(tuple(_summed(part, axis) for part in parts))
        case Stacked(inner):
            return Stacked(_summed(inner, axis + 1))
    return block


def _how(block: Block) -> str:
    if isinstance(block, Added):
        return " + ".join(map(_how, block.parts))
    if isinstance(block, Stacked):
        return f"{_how(block.block)}, in each layer"
    if isinstance(block, Entrywise | Summed):
        return "entry by entry" if isinstance(block, Entrywise) else "delta"
    return "delta x f" if isinstance(block, Outer) else "delta in rows"


def _by_taps(
    apply: Callable[[Params, Any], Array], params: Params, x: Any, y: Any, backward: Backward
) -> Found:
    """By the products that its jaxpr has."""
    leaves, tree = jax.tree.flatten(params)
    one = jax.eval_shape(lambda x: jax.tree.map(lambda leaf: leaf[0], x), x)
    taps = find_taps(apply, params, one)

    def rows(x: Any, y: Any) -> tuple[Array, dict[int, Array], dict[int, Array], dict[int, Array]]:
        def tapped(zeros: dict[int, Array], entries: dict[int, Array]) -> tuple[Array, dict[int, Array]]:
            own = [entries.get(i, leaf) for i, leaf in enumerate(leaves)]
            return run_tapped(apply, taps, jax.tree.unflatten(tree, own), x, zeros)

        zeros = {k: jnp.zeros(taps.uses[k].a_shape, leaves[taps.uses[k].leaf].dtype) for k in taps.kept}
        entries = {i: leaves[i] for i in taps.entrywise}
        f, pull, activations = jax.vjp(tapped, zeros, entries, has_aux=True)
        out, delta_f = backward(f, y)
        delta, entrywise = _of_rows(pull, delta_f)
        delta = {k: jax.vmap(taps.uses[k].rows_of_a)(delta[k]) for k in delta}
        return out, delta, activations, entrywise

    out, delta, f, entrywise = jax.vmap(rows)(x, y)
    blocks: dict[int, Block] = {i: Entrywise(J) for i, J in entrywise.items()}
    how = dict.fromkeys(entrywise, "entry by entry")
    for i, k in taps.biases:
        blocks[i], how[i] = Summed(delta[k]), "delta"
    for i, ks in taps.products:
        use = taps.uses[ks[0]]
        deltas = delta[ks[0]] if len(ks) == 1 else jnp.concatenate([delta[k] for k in ks], axis=2)
        rows_of_f = f[ks[0]] if len(ks) == 1 else jnp.concatenate([f[k] for k in ks], axis=1)
        blocks[i] = Outer(deltas, rows_of_f, use.out_axes + use.in_axes, leaves[i].shape)
        how[i] = "delta x f"
    order = range(len(leaves))
    return out, *_formed([blocks[i] for i in order], [how[i] for i in order])
