"""A cell run over the places of a sequence, and followed backwards through time."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from jaxbp import arguments, errors
from jaxbp.layers.blocks import Block, Entrywise, Outer
from jaxbp.layers.dense import assert_size
from jaxbp.layers.initializers import Initializer
from jaxbp.layers.layer import Layer, arrays_of, assert_given, delta_of
from jaxbp.operators import Linear, Operator, Recurrent
from jaxbp.typing import Array, Given, Params, Random, Rows, Saved

Carry = dict[str, Array]  # h, and c of an LSTM, (N, h)


class Back(NamedTuple):
    """The deltas of one place.

    Args:
        u: of u = W x + b, (N, k h).
        q: of q = R h, (N, k h); u's own where they are only ever added.
        carry: of what was carried there, but for what goes through q.
    """

    u: Array
    q: Array
    carry: Carry


class Cell(NamedTuple):
    """What one place does, with u = W x_t + b and q = R h_{t-1}, each (N, k h).

    Args:
        gates: k, the rows of h in W, R and b.
        carries: the names of what goes from place to place; h, which is the output, first.
        step: ``(u, q, carry) -> (carry, kept)``, kept being the least that back needs beside the carries.
        back: ``(delta_carry, kept, carry before, carry after) -> Back``.
        inner_bias: whether q of the last gate has a bias c, (h,).
        biases: what b begins with, one number for each gate.
    """

    gates: int
    carries: tuple[str, ...]
    step: Callable[[Array, Array, Carry], tuple[Carry, Any]]
    back: Callable[[Carry, Any, Carry, Carry], Back]
    inner_bias: bool = False
    biases: tuple[float, ...] = ()


def recurrence(
    maker: str,
    cell: Cell,
    d_in: int,
    d_h: int,
    carries: bool,
    init: Initializer,
    recurrent_init: Initializer,
) -> Layer:
    """The layer of a cell, from (*n, T, d_in) to (*n, T, d_h).

    Forward and backward are one loop each. The deltas of all places are kept, and the three sums over time
    are products after the loop; to sum them within it, as `jax.grad` of a loop does, takes T small products.
    """
    carries = arguments.flag(maker, "carries", carries)
    name = f"{maker}({d_in}, {d_h}{', carries=True' if carries else ''})"
    d_in, h = (arguments.whole(name, n, d, low=1) for n, d in (("d_in", d_in), ("d_h", d_h)))
    for role, initializer in (("init", init), ("recurrent_init", recurrent_init)):
        arguments.function(name, role, initializer, positional=2)
    rows, names = cell.gates * h, ("state",) if carries else ()
    shapes = {"W": (rows, d_in), "R": (rows, h), "b": (rows,)} | ({"c": (h,)} if cell.inner_bias else {})
    for symbol, shape in shapes.items():
        assert_size(name, symbol, shape)

    def initialize(key: Random) -> Params:
        of_W, of_R = jax.random.split(arguments.key(f"{name}.init", key))

        def drawn(symbol: str, init: Initializer, key: Random, shape: tuple[int, int]) -> Array:
            gates = [
                arguments.array(name, symbol, init(k, shape), floats=True)
                for k in jax.random.split(key, cell.gates)
            ]
            if any(gate.shape != shape for gate in gates):
                expected = f"an initializer to draw {symbol} of a gate, {shape}"
                raise ValueError(errors.message(name, expected, f"{gates[0].shape}"))
            return jnp.concatenate(gates)

        b = jnp.repeat(jnp.array(cell.biases or (0.0,) * cell.gates), h)
        inner = {"c": jnp.zeros(h)} if cell.inner_bias else {}
        W, R = drawn("W", init, of_W, (h, d_in)), drawn("R", recurrent_init, of_R, (h, h))
        return {"W": W, "R": R, "b": b} | inner

    def taken(params: Params) -> dict[str, Array]:
        return arrays_of(name, params, shapes)

    def started(f: Rows, given: Given | None) -> Carry:
        """What is carried to the first place: zeros, or the state that is given."""
        *n, _, _ = f.shape
        assert_given(name, given, names)
        state = (given or {}).get("state")
        if state is None:
            return {c: jnp.zeros((math.prod(n), h), f.dtype) for c in cell.carries}
        hint = "it is layer.state(saved) of the sequences before, made by this network with as many of them"
        expected = f"a state of {', '.join(f'{c} {(*n, h)}' for c in cell.carries)}"
        if not isinstance(state, dict) or state.keys() != set(cell.carries):
            got = ", ".join(map(str, state)) if isinstance(state, dict) else arguments.described(state)
            raise ValueError(errors.message(name, expected, got or "{}", hint))
        arrays = {c: arguments.array(name, f"the state {c}", state[c], floats=True) for c in cell.carries}
        if any(a.shape != (*n, h) for a in arrays.values()):
            got = ", ".join(f"{c} {a.shape}" for c, a in arrays.items())
            raise ValueError(errors.message(name, expected, got, hint))
        return {c: a.reshape(-1, h).astype(f.dtype) for c, a in arrays.items()}

    def forward(
        params: Params, f: Rows, *, key: Random | None = None, given: Given | None = None
    ) -> tuple[Rows, Saved]:
        params, f = taken(params), arguments.array(name, "f", f, floats=True)
        if f.ndim < 2 or f.shape[-1] != d_in:
            hint = "a sequence is an axis before the last" if f.ndim < 2 else ""
            raise ValueError(errors.message(name, f"f of shape (*n, T, {d_in})", f"shape {f.shape}", hint))
        W, R, b, c = _weights(cell, params, f.dtype)
        start = started(f, given)

        def one(carry: Carry, x: Array) -> tuple[Carry, tuple[Carry, Any]]:
            u, q = _plus(x @ W.T, b), carry["h"] @ R.T
            now, kept = cell.step(u, q if c is None else _plus(q, c), carry)
            return now, (now, kept)

        _, (after, kept) = jax.lax.scan(one, start, _by_time(f))
        return _by_example(after["h"], f.shape[:-1]), (f, start, after, kept)

    def apply(params: Params, f: Rows, *, key: Random | None = None, given: Given | None = None) -> Rows:
        return forward(params, f, given=given)[0]

    def deltas(params: Params, saved: Saved, delta_out: Rows) -> tuple[Back, Carry]:
        """The deltas of every place, (T, N, ...), and what was carried to it."""
        f, start, after, kept = saved
        _, R, _, _ = _weights(cell, params, f.dtype)
        delta_out = _by_time(delta_of(name, delta_out, (*f.shape[:-1], h)))
        before = _before(start, after)

        def one(delta: Carry, at: Any) -> tuple[Carry, tuple[Array, Array | None]]:
            delta_h, before, after, kept = at
            back = cell.back(delta | {"h": delta["h"] + delta_h}, kept, before, after)
            through = back.q @ R
            carried = back.carry.get("h")
            delta_h = through if carried is None else carried + through
            return back.carry | {"h": delta_h}, (back.u, None if back.q is back.u else back.q)

        none = {c: jnp.zeros_like(start[c]) for c in cell.carries}  # a carry's delta does not cross the end
        _, (u, q) = jax.lax.scan(one, none, (delta_out, before, after, kept), reverse=True)
        return Back(u, u if q is None else q, {}), before

    def backward(params: Params, saved: Saved, delta_out: Rows) -> tuple[Params, Rows]:
        params = taken(params)
        back, before = deltas(params, saved, delta_out)
        x = _by_time(saved[0])
        delta_params = {
            "W": _summed(back.u, x, params["W"]),
            "R": _summed(back.q, before["h"], params["R"]),
            "b": back.u.sum((0, 1), dtype=params["b"].dtype),
        }
        if cell.inner_bias:
            delta_params["c"] = back.q[..., -h:].sum((0, 1), dtype=params["c"].dtype)
        return delta_params, _by_example(back.u @ params["W"].astype(x.dtype), saved[0].shape[:-1])

    def factors(params: Params, saved: Saved, delta_out: Rows) -> tuple[dict[str, Block], Rows]:
        params = taken(params)
        back, before = deltas(params, saved, delta_out)
        x, u, q = _by_time(saved[0]), back.u.reshape(-1, rows), back.q.reshape(-1, rows)
        blocks: dict[str, Block] = {
            "W": Outer(u, x.reshape(-1, d_in), (0, 1), shapes["W"]),
            "R": Outer(q, before["h"].reshape(-1, h), (0, 1), shapes["R"]),
            "b": Entrywise(u.sum(0)),
        }
        if cell.inner_bias:
            blocks["c"] = Entrywise(q[:, -h:].sum(0))
        return blocks, _by_example(back.u @ params["W"].astype(x.dtype), saved[0].shape[:-1])

    def jacobian(params: Params, f: Rows, *, given: Given | None = None) -> Operator:
        _, (f, start, after, kept) = forward(params, f, given=given)
        if math.prod(f.shape[:-2]) != 1:  # sequences beside each other
            return Linear(Partial(apply, params, given=given), f)  # type: ignore[no-untyped-call]
        W, R, _, _ = _weights(cell, params, f.dtype)
        before = _before(start, after)
        slopes: list[list[Array]] = []  # of each part of the state: a delta of ones finds a row of diagonals
        for c in cell.carries:
            delta = {name: jnp.full_like(after[name], name == c) for name in cell.carries}
            u, q, carry = cell.back(delta, kept, before, after)
            s = jnp.concatenate([carry.get(name, jnp.zeros_like(after[c])) for name in cell.carries], -1)
            slopes.append([part.reshape(len(u), part.shape[-1] // h, h) for part in (u, q, s)])
        by_u, by_q, by_s = (jnp.stack(by, 1) for by in zip(*slopes, strict=True))
        return Recurrent(W, R, by_u, by_q, by_s)

    def state(saved: Saved) -> dict[str, Array]:
        f, start, after, _ = saved
        last = {c: after[c][-1] if f.shape[-2] else start[c] for c in cell.carries}
        return {c: a.reshape(*f.shape[:-2], h) for c, a in last.items()}

    return Layer(
        name,
        apply,
        forward,
        backward,
        initialize,
        jacobian,
        given=names,
        state=state if carries else None,
        factors=factors,
    )


def _weights(cell: Cell, params: Params, dtype: Any) -> tuple[Array, Array, Array, Array | None]:
    """W, R, b, and c with zeros for the gates before the last, in the dtype they are computed in."""
    W, R, b = (params[symbol].astype(dtype) for symbol in ("W", "R", "b"))
    if not cell.inner_bias:
        return W, R, b, None
    c = params["c"].astype(dtype)
    return W, R, b, jnp.concatenate([jnp.zeros((cell.gates - 1) * len(c), dtype), c])


def _plus(a: Array, b: Array) -> Array:
    return a + jnp.broadcast_to(b, a.shape)


def _before(start: Carry, after: Carry) -> Carry:
    """What was carried to each place, (T, N, h)."""
    return {c: jnp.concatenate([start[c][None][: len(after[c])], after[c][:-1]]) for c in after}


def _by_time(f: Rows) -> Array:
    """(*n, T, d) as (T, N, d)."""
    return jnp.moveaxis(f.reshape(math.prod(f.shape[:-2]), *f.shape[-2:]), 1, 0)


def _by_example(f: Array, shape: tuple[int, ...]) -> Rows:
    """(T, N, d) as (*n, T, d)."""
    return jnp.moveaxis(f, 0, 1).reshape(*shape, f.shape[-1])


def _summed(delta: Array, f: Array, weight: Array) -> Array:
    """sum_t delta_t^T f_t, one product for all places, in the dtype of the weight."""
    return jnp.einsum("tno,tni->oi", delta, f, preferred_element_type=weight.dtype)
