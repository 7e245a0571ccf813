"""`repeat`: n equal blocks as one loop."""

from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxbp import arguments, errors, recipes
from jaxbp.layers.blocks import Stacked
from jaxbp.layers.composition.chain import factors_of
from jaxbp.layers.layer import Layer, handed, no_params
from jaxbp.operators import Operator, Product
from jaxbp.typing import Array, Given, Params, Random, Saved

MOST = 10**6  # blocks; the key of each is drawn at once


@recipes.own("repeat")
def repeat(block: Layer, n: int, *, saves: Literal["saved", "input"] = "saved") -> Layer:
    """block(... block(block(f))), n blocks with parameters of their own, as one loop.

    The parameters are those of a block with a leading axis n, so that a network of any depth is compiled as
    one block is. Forward is a loop that stacks what the blocks save; backward is the loop in reverse.

    Args:
        block: a layer whose output has the shape and dtype of its input.
        n: how many of them.
        saves: ``"saved"`` keeps what each block saves; ``"input"`` keeps each block's input alone, and runs
            the block forward again in the backward pass: a fraction of the memory, for one more forward pass.

    Raises:
        TypeError: for what is no layer.
        ValueError: for n below 1, a block with state, another word as ``saves``; when applied, for a block
            whose output is not as its input, or parameters of another number of blocks.

    Example: three blocks f -> w f.
        >>> from jaxbp.layers import dense
        >>> layer = repeat(dense(1, 1, bias=False), 3)
        >>> params = {"W": jnp.array([2.0, 3.0, 5.0]).reshape(3, 1, 1)}
        >>> out, saved = layer.forward(params, jnp.array([1.0]))
        >>> out, layer.backward(params, saved, jnp.ones(1))[0]["W"].ravel()
        (Array([30.], dtype=float32), Array([15., 10.,  6.], dtype=float32))

    Source: Chen et al. 2016, arXiv 1604.06174, for ``saves="input"``.
    """
    arguments.instance("repeat", "block", block, Layer, "e.g. jaxbp.residual(...)")
    n = arguments.whole("repeat", "n", n, low=1, high=MOST)
    again = arguments.option("repeat", "saves", saves, ("saved", "input")) == "input"
    name = f"repeat({block.name}, {n}{', saves=' + repr(saves) if again else ''})"
    if block.state is not None:
        raise ValueError(errors.message("repeat", "a block without state", block.name, "use chain"))

    def init(key: Random) -> Params:
        return jax.vmap(block.init)(jax.random.split(arguments.key("init", key), n))

    def entered(params: Params, f: Any, key: Any) -> tuple[Array, Array | None]:
        """F, and a key for each block, once the parameters are seen to be of n blocks."""
        for path, leaf in jax.tree_util.tree_leaves_with_path(params):
            if jnp.shape(leaf)[:1] != (n,):
                at, hint = jax.tree_util.keystr(path), "were they made by another network's init?"
                got = f"{at} of shape {jnp.shape(leaf)}"
                raise ValueError(errors.message(name, f"parameters with a leading axis {n}", got, hint))
        f = arguments.array(name, "f", f, floats=True)
        return f, None if key is None else jax.random.split(arguments.key(name, key), n)

    def kept(f: Array, out: Array) -> Array:
        if out.shape != f.shape or out.dtype != f.dtype:
            expected = f"a block whose output is as its input, {f.dtype} of shape {f.shape}"
            raise ValueError(errors.message(name, expected, f"{out.dtype} of shape {out.shape}"))
        return out

    def apply(params: Params, f: Array, *, key: Random | None = None, given: Given | None = None) -> Array:
        def one(f: Array, at: tuple[Params, Any]) -> tuple[Array, None]:
            p, k = at
            return kept(f, block.apply(p, f, key=k, **handed(block, given))), None

        f, keys = entered(params, f, key)
        return jax.lax.scan(one, f, (params, keys), n)[0]

    def forward(
        params: Params, f: Array, *, key: Random | None = None, given: Given | None = None
    ) -> tuple[Array, Saved]:
        def one(f: Array, at: tuple[Params, Any]) -> tuple[Array, Saved]:
            p, k = at
            out, saved = block.forward(p, f, key=k, **handed(block, given))
            return kept(f, out), f if again else saved

        f, keys = entered(params, f, key)
        out, saved = jax.lax.scan(one, f, (params, keys), n)
        return out, (saved, keys, given) if again else saved

    def reverse(way: Any, params: Params, saved: Saved, delta_out: Array) -> tuple[Any, Array]:
        """The loop in reverse: each block's rule in turn."""
        stacked, keys, given = saved if again else (saved, None, None)

        def one(delta: Array, at: tuple[Params, Saved, Any]) -> tuple[Array, Params]:
            p, s, k = at
            if again:
                _, s = block.forward(p, s, key=k, **handed(block, given))
            of_params, delta = way(p, s, delta)
            return delta, of_params

        delta_out = arguments.array(name, "delta_out", delta_out, floats=True)
        delta_f, of_params = jax.lax.scan(one, delta_out, (params, stacked, keys), n, reverse=True)
        return of_params, delta_f

    def backward(params: Params, saved: Saved, delta_out: Array) -> tuple[Params, Array]:
        return reverse(block.backward, params, saved, delta_out)

    way = factors_of(block)

    def factors(params: Params, saved: Saved, delta_out: Array) -> tuple[Any, Array]:
        blocks, delta_f = reverse(way, params, saved, delta_out)
        tree: Any = jax.tree.structure(params)
        return tree.unflatten([Stacked(leaf) for leaf in tree.flatten_up_to(blocks)]), delta_f

    def jacobian(params: Params, f: Array, *, given: Given | None = None) -> Operator:
        f, _ = entered(params, f, None)
        factors: list[Operator] = []
        for i in range(n):
            p = jax.tree.map(lambda leaf, i=i: leaf[i], params)
            factors.insert(0, block.jacobian(p, f, **handed(block, given)))
            f = block.apply(p, f, **handed(block, given))
        return Product(tuple(factors))

    return Layer(
        name,
        apply,
        forward,
        backward,
        init if block.has_params else no_params,
        jacobian,
        given=block.given,
        factors=factors if way else None,
    )
