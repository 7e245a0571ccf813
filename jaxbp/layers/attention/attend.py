"""`attend`: queries, keys and values side by side in one array, in; what each place takes, out."""

from functools import partial

import jax
import jax.numpy as jnp

from jaxbp import arguments, errors, recipes
from jaxbp.layers.attention import rule
from jaxbp.layers.attention.rotary import turned
from jaxbp.layers.attention.rule import Blocks, Heads
from jaxbp.layers.layer import Layer, assert_given, delta_of, rows
from jaxbp.typing import Array, Given, Params, Random, Rows, Saved

WHOLE = 128  # places: with so many or fewer P is kept


@recipes.own("attend")
def attend(
    heads: int,
    *,
    causal: bool = False,
    kv_heads: int | None = None,
    rotary: float | None = None,
    dropout: float = 0.0,
    block: int | None = None,
) -> Layer:
    """o_t = sum_s P_ts v_s for each head, with P = softmax(q k^T / sqrt(e)) over the places s.

    f is (*n, T, (H + 2 G) e): at each place H queries, then G keys and G values of e numbers, as
    ``dense(d, d + 2 * G * e)`` makes them; the output is (*n, T, H e). Without parameters, so that attention
    is ``chain(dense(d, 3 * d), attend(heads), dense(d, d))`` and a residual of it a block of a transformer.

    Backward, with delta_o a row of the delta of o and D_t = delta_o,t . o_t:

        delta_v = P^T delta_o;  delta_S = P * (delta_o v^T - D)
        delta_q = delta_S k / sqrt(e);  delta_k = delta_S^T q / sqrt(e)

    Beyond 128 places, or where ``block`` is given, a loop takes a block of queries at a time, and saves q, k,
    v, o and the logarithm of what the softmax divides by, (*n, H, T): P, with T^2 numbers a head, is never
    whole. With ``causal`` four such loops look at the keys up to their own last place alone. Else P is saved
    beside q, k, v and o. Scores and P are of 32 bits at least, whatever f has.

    ``given={"mask": m}`` says what may be seen: booleans that broadcast to (*n, T, T), True where place t may
    look at place s; of padding that is ``m[:, None, :]``. A place that sees none takes 0, and its delta is 0.
    ``given={"positions": t}``, whole numbers (T,) or (*n, T), are the places that ``rotary`` turns by.

    Args:
        heads: H, the queries at each place.
        causal: whether a place sees itself and those before it alone.
        kv_heads: G, the keys and values at each place; H/G queries share one (grouped queries; with 1 all
            do). By default H.
        rotary: the base of rotary positions, 10,000 in the paper: q and k are turned by R_t. None for none.
        dropout: the probability that an entry of P is 0, the others divided by 1 - dropout; where a key is
            given.
        block: the queries in a block; T for all at once. By default all up to 128 places, else 64, or a
            sixteenth of them.

    Returns:
        A layer from (*n, T, (H + 2 G) e) to (*n, T, H e).

    Raises:
        TypeError: for numbers and flags of another type, a mask that is not of booleans.
        ValueError: for kv_heads that do not divide heads; when applied to an f whose last axis H + 2 G do not
            divide, an odd e with rotary, a mask that does not broadcast.

    Example: two places, one head of 1. The second place sees equal scores, and takes the mean.
        >>> f = jnp.array([[0.0, 5.0, 1.0], [0.0, 7.0, 3.0]])  # q, k, v of each place
        >>> attend(1, causal=True).apply({}, f)
        Array([[1.],
               [2.]], dtype=float32)
        >>> mask = jnp.array([[False, True], [False, False]])
        >>> attend(1).apply({}, f, given={"mask": mask})
        Array([[3.],
               [0.]], dtype=float32)

    Source: Vaswani et al. 2017, arXiv 1706.03762; in blocks Rabe and Staats 2021, arXiv 2112.05682, and Dao
    et al. 2022, arXiv 2205.14135, appendix B; grouped queries Ainslie et al. 2023, arXiv 2305.13245.
    """
    H = arguments.whole("attend", "heads", heads, low=1)
    G = H if kv_heads is None else arguments.whole("attend", "kv_heads", kv_heads, low=1)
    causal = arguments.flag("attend", "causal", causal)
    if H % G:
        raise ValueError(errors.message("attend", f"kv_heads that divide the {H} heads", f"{G}"))
    base = None if rotary is None else arguments.number("attend", "rotary", rotary, low=1, open_low=True)
    rate = arguments.number("attend", "dropout", dropout, low=0, high=1, open_high=True)
    block = None if block is None else arguments.whole("attend", "block", block, low=1)
    name, names = _name(H, causal, G, base, rate, block), ("mask", *["positions"] * (base is not None))

    def taken(f: Rows, given: Given | None) -> tuple[Heads, Array | None]:
        """The heads, turned, and the positions they were turned by."""
        assert_given(name, given, names)
        f = arguments.array(name, "f", f, floats=True)
        if f.ndim < 2 or f.shape[-1] % (H + 2 * G):
            hint = "dense(d, d + 2 * d * kv_heads // heads) before it makes the queries, keys and values"
            expected = (
                f"f of shape (*n, T, d), d a multiple of {H} heads + 2 x {G} keys and values = {H + 2 * G}"
            )
            raise ValueError(errors.message(name, expected, f"shape {f.shape}", hint))
        *n, T, d = f.shape
        e = d // (H + 2 * G)
        if base is not None and e % 2:
            raise ValueError(errors.message(name, "heads of even size for rotary", f"{e}"))
        q, k, v = jnp.split(f.reshape(*n, T, H + 2 * G, e), (H, H + G), axis=-2)
        at = None
        if base is not None:
            at = _positions(name, given, (*n, T))
            q, k = turned(q, at, base), turned(k, at, base)
        q = jnp.moveaxis(q.reshape(*n, T, G, H // G, e), -4, -2)
        return Heads(q, jnp.swapaxes(k, -3, -2), jnp.swapaxes(v, -3, -2)), at

    def together(o: Array) -> Rows:
        """(*n, G, R, T, e) as (*n, T, H e)."""
        *n, _, _, T, e = o.shape
        return jnp.moveaxis(o, -2, -4).reshape(*n, T, H * e)

    def apart(out: Rows) -> Array:
        """(*n, T, H e) as (*n, G, R, T, e)."""
        *n, T, d = out.shape
        return jnp.moveaxis(out.reshape(*n, T, G, H // G, d // H), -4, -2)

    def seen(mask: Array | None, q: Array, rows: Array) -> Array | None:
        """Whether each of these queries sees each key, with axes for the heads."""
        allowed = None
        if causal:
            before = jnp.arange(q.shape[-2])[None, :] <= rows[:, None]
            allowed = before.reshape((1,) * (q.ndim - 2) + before.shape)
        if mask is None:
            return allowed
        of_rows = mask if mask.shape[-2] == 1 else jnp.take(mask, rows, axis=-2, mode="clip")
        of_rows = of_rows[..., None, None, :, :]
        return of_rows if allowed is None else of_rows & allowed

    def apply(params: Params, f: Rows, *, key: Random | None = None, given: Given | None = None) -> Rows:
        (q, k, v), _ = taken(f, given)
        all_rows = jnp.arange(q.shape[-2])
        P, _ = rule.probabilities(rule.scores(q, k, seen(_mask(name, given, q), q, all_rows)))
        return together(rule.taken(P, v, _kept(name, key, rate, q, all_rows)))

    def forward(
        params: Params, f: Rows, *, key: Random | None = None, given: Given | None = None
    ) -> tuple[Rows, Saved]:
        q_k_v, at = taken(f, given)
        q, k, v = q_k_v
        T, mask = q.shape[-2], _mask(name, given, q)
        if (many := _block(block, T)) < T:
            kept = partial(_kept, name, key, rate, q)
            o, weights = rule.in_blocks(q_k_v, partial(seen, mask, q), kept, Blocks(many, causal))
        else:
            all_rows = jnp.arange(T)
            weights, _ = rule.probabilities(rule.scores(q, k, seen(mask, q, all_rows)))
            o = rule.taken(weights, v, _kept(name, key, rate, q, all_rows))
        return together(o), (q_k_v, o, weights, mask, at, key)

    def backward(params: Params, saved: Saved, delta_out: Rows) -> tuple[Params, Rows]:
        q_k_v, o, weights, mask, at, key = saved
        *n, _, _, T, e = q_k_v.q.shape
        delta_o = apart(delta_of(name, delta_out, (*n, T, H * e)))
        kept = partial(_kept, name, key, rate, q_k_v.q)
        if (many := _block(block, T)) < T:
            of_rows = partial(seen, mask, q_k_v.q)
            blocks = Blocks(many, causal)
            delta = rule.deltas_in_blocks(q_k_v, o, weights, of_rows, kept, blocks, delta_o)
        else:
            D = rule.inner(delta_o, o, weights.dtype)
            delta = rule.deltas(q_k_v, weights, D, kept(jnp.arange(T)), delta_o)
        delta_q = jnp.moveaxis(delta.q, -2, -4).reshape(*n, T, H, e)
        delta_k, delta_v = jnp.swapaxes(delta.k, -3, -2), jnp.swapaxes(delta.v, -3, -2)
        if base is not None:
            delta_q, delta_k = (turned(delta, at, base, back=True) for delta in (delta_q, delta_k))
        joined = jnp.concatenate([delta_q, delta_k, delta_v], -2).astype(q_k_v.q.dtype)
        return {}, joined.reshape(*n, T, -1)

    return Layer(name, apply, forward, backward, given=names)


def _name(H: int, causal: bool, G: int, base: float | None, rate: float, block: int | None) -> str:
    """The call, with what differs from its defaults."""
    options = [
        *(["causal=True"] if causal else []),
        *([f"kv_heads={G}"] if G != H else []),
        *([f"rotary={base:g}"] if base is not None else []),
        *([f"dropout={rate:g}"] if rate else []),
        *([f"block={block}"] if block is not None else []),
    ]
    return f"attend({', '.join([str(H), *options])})"


def _block(block: int | None, T: int) -> int:
    """The queries at a time."""
    if block is not None:
        return block
    return T if T <= WHOLE else max(64, T // 16)


def _mask(name: str, given: Given | None, q: Array) -> Array | None:
    """given["mask"], (1 or n, 1 or T, 1 or T), for queries (*n, G, R, T, e)."""
    if not given or given.get("mask") is None:
        return None
    mask, n, T = rows(name, given["mask"], "the mask"), q.shape[:-4], q.shape[-2]
    if mask.dtype != jnp.bool:
        hint = "True where place t may look at place s"
        raise TypeError(errors.message(name, "a mask of booleans", arguments.described(mask), hint))
    shape, whole = (1,) * (len(n) + 2 - mask.ndim) + mask.shape, (*n, T, T)
    if len(shape) != len(whole) or any(m not in (1, w) for m, w in zip(shape, whole, strict=True)):
        hint = "of padding, (n, T), it is mask[:, None, :]"
        raise ValueError(
            errors.message(name, f"a mask that broadcasts to {whole}", f"shape {mask.shape}", hint)
        )
    return mask.reshape(shape)


def _positions(name: str, given: Given | None, places: tuple[int, ...]) -> Array:
    """given["positions"], (T,) or (*n, T); by default 0 to T - 1."""
    if not given or given.get("positions") is None:
        return jnp.arange(places[-1])
    positions = rows(name, given["positions"], "the positions")
    if not jnp.issubdtype(positions.dtype, jnp.integer):
        expected = "positions that are whole numbers"
        raise TypeError(errors.message(name, expected, arguments.described(positions)))
    if positions.shape not in (places, places[-1:]):
        expected = f"positions of shape {places[-1:]} or {places}"
        raise ValueError(errors.message(name, expected, f"{positions.shape}"))
    return positions


def _kept(name: str, key: Random | None, rate: float, q: Array, rows: Array) -> Array | None:
    """M of these queries, (*n, G, R, rows, S): 0, or 1 / (1 - rate).

    Each row is drawn by its own key, so that M is the same in blocks of any size.
    """
    if key is None or not rate:
        return None
    key = arguments.key(name, key)
    *lead, S, _ = q.shape
    wide = jnp.promote_types(q.dtype, jnp.float32)

    def row(t: Array) -> Array:
        return jax.random.bernoulli(jax.random.fold_in(key, t), 1 - rate, (*lead, S)).astype(wide)

    return jnp.moveaxis(jax.vmap(row)(rows), 0, -2) / (1 - rate)
