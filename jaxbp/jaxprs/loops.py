"""Loops that stop by a test of their values: how far the result still moves when they run on."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core
from jax.extend.core import primitives

from jaxbp.jaxprs.compile_once import jitted
from jaxbp.jaxprs.inline import flattened
from jaxbp.jaxprs.internals import as_closed, scan_of, scan_parts, while_of
from jaxbp.jaxprs.walk import evaluate, single, subjaxprs

# A loop that met its test at once says nothing of how far it is; so many steps are made in any case.
AT_LEAST = 16
# Off the points that its author had in mind a loop may never meet its test.
AT_MOST = 10_000

Run = Callable[[Any, list[Any]], list[Any]]


def stops_by_test(jaxpr: Any) -> bool:
    """Whether a while loop in it, at any depth, stops when floating values pass a test."""
    return _holds(jaxpr, _tested)


def run_on(closed: Any) -> Callable[..., list[Any]]:
    """``closed`` with every such loop run for as many steps again after it has stopped.

    What converges linearly then has the square of its relative error left: the change is the error.
    """
    return _with_loops(closed, _twice)


def repeats(jaxpr: Any) -> bool:
    """Whether a loop in it, at any depth, makes equal steps a fixed number of times: perhaps an iteration."""
    return _holds(jaxpr, _same_steps)


def longer(closed: Any, times: int) -> Callable[..., list[Any]]:
    """``closed`` with such loops run for ``times`` as many steps."""

    def run(eqn: Any, inputs: list[Any]) -> list[Any]:
        scan, (n, m) = scan_of(eqn), scan_parts(eqn)
        step = _with_loops(scan.body, run, _same_steps)

        def on(state: list[Any], _: None) -> tuple[list[Any], None]:
            return step(*inputs[:n], *state), None

        return list(jax.lax.scan(on, list(inputs[n:m]), None, length=times * scan.length)[0])

    return _with_loops(closed, run, _same_steps)


def _same_steps(eqn: Any) -> bool:
    if eqn.primitive is not primitives.scan_p or scan_of(eqn).length < 2:
        return False
    n, m = scan_parts(eqn)
    return m == len(eqn.invars) and m - n == len(eqn.outvars) and any(_inexact(v.aval) for v in eqn.outvars)


def capped(closed: Any) -> Any:
    """``closed`` with every such loop left after 10,000 steps, without a number as its result."""
    if not stops_by_test(closed.jaxpr):
        return closed
    return jax.make_jaxpr(_with_loops(closed, _limited))(*closed.in_avals)


def _with_loops(
    closed: Any, run: Run, meant: Callable[[Any], bool] | None = None
) -> Callable[..., list[Any]]:
    """``closed`` with ``run`` in the place of its loops that are ``meant``: those that stop by a test."""
    flat, meant = flattened(closed), meant or _tested

    def each(_: int, eqn: Any, inputs: list[Any]) -> Sequence[Any]:
        if meant(eqn):
            return run(eqn, inputs)
        if any(_holds(inner, meant) for inner in subjaxprs(eqn)):
            eqn = eqn.replace(params={k: _mapped(v, run, meant) for k, v in eqn.params.items()})
        return single(eqn, flat.jaxpr.debug_info)(*inputs)

    return lambda *args: evaluate(flat, args, each)


def _holds(jaxpr: Any, meant: Callable[[Any], bool]) -> bool:
    return any(meant(e) or any(_holds(inner, meant) for inner in subjaxprs(e)) for e in jaxpr.eqns)


def _mapped(param: Any, run: Run, meant: Callable[[Any], bool]) -> Any:
    """The same parameter with ``run`` in the place of the loops in its jaxprs."""
    if isinstance(param, tuple):
        return jax.tree.map(lambda p: _mapped(p, run, meant), param)
    if not isinstance(param, core.ClosedJaxpr) or not _holds(param.jaxpr, meant):
        return param
    return jax.make_jaxpr(_with_loops(param, run, meant))(*param.in_avals)


def _twice(eqn: Any, inputs: list[Any]) -> list[Any]:
    loop = while_of(eqn)
    body = _with_loops(loop.body, _twice)
    count, state = _counted(eqn, inputs, body)
    held = inputs[loop.asked : loop.asked + loop.held]

    def step(_: Any, s: list[Any]) -> list[Any]:
        there = body(*held, *s)
        # An iteration that has arrived may divide zero by zero: then no further step is made.
        good = jnp.all(jnp.stack([jnp.all(jnp.isfinite(y)) for y in there if _inexact(y)]))
        return [jnp.where(good, y, x) for x, y in zip(s, there, strict=True)]

    return list(jax.lax.fori_loop(0, count + AT_LEAST, step, state))


def _limited(eqn: Any, inputs: list[Any]) -> list[Any]:
    count, state = _counted(eqn, inputs, _with_loops(while_of(eqn).body, _limited))
    return [jnp.where(count < AT_MOST, y, jnp.nan).astype(y.dtype) if _inexact(y) else y for y in state]


def _counted(eqn: Any, inputs: list[Any], body: Callable[..., list[Any]]) -> tuple[Any, list[Any]]:
    """How many steps the loop makes until its test (or the limit), and its state then."""
    going, step, state = taken_apart(eqn, inputs, core.jaxpr_as_fun(while_of(eqn).test), body)
    counted: tuple[Any, list[Any]] = jax.lax.while_loop(
        lambda s: (s[0] < AT_MOST) & going(s[1]), lambda s: (s[0] + 1, step(s[1])), (0, state)
    )
    return counted


def taken_apart(
    eqn: Any, inputs: list[Any], test: Callable[..., list[Any]], body: Callable[..., list[Any]]
) -> tuple[Callable[[list[Any]], Any], Callable[[list[Any]], list[Any]], list[Any]]:
    """A while loop as whether it goes on, its step, and its first state.

    Under vmap the test has an entry for each example: the loop goes on while any of them does, and examples
    whose test has failed stay as they are.
    """
    loop = while_of(eqn)
    n, m = loop.asked, loop.asked + loop.held
    asked, held, state = inputs[:n], inputs[n:m], inputs[m:]

    def step(s: list[Any]) -> list[Any]:
        there = body(*held, *s)
        if not loop.test.out_avals[0].shape:
            return there
        on = test(*asked, *s)[0]
        return [jnp.where(jnp.expand_dims(on, range(on.ndim, y.ndim)), y, x)
                for x, y in zip(s, there, strict=True)]  # fmt: skip

    return lambda s: jnp.any(test(*asked, *s)[0]), step, list(state)


def scanned(eqn: Any, inputs: list[Any], body: Callable[..., list[Any]]) -> list[Any]:
    """The outputs of a scan with ``body`` in the place of its own."""
    scan, (n, m) = scan_of(eqn), scan_parts(eqn)

    def step(carry: list[Any], x: list[Any]) -> tuple[list[Any], list[Any]]:
        outs = body(*inputs[:n], *carry, *x)
        return outs[: m - n], outs[m - n :]

    carry, ys = jax.lax.scan(step, inputs[n:m], inputs[m:], length=scan.length, reverse=scan.backwards)
    return [*carry, *ys]


def goes_through_while(closed: Any) -> bool:
    """Whether floating results of a while loop among its own equations are needed for its outputs."""
    needed = {a for a in closed.jaxpr.outvars if isinstance(a, core.Var)}
    for eqn in reversed(closed.jaxpr.eqns):
        outs = needed & set(eqn.outvars)
        if outs and eqn.primitive is primitives.while_p and any(_inexact(v.aval) for v in outs):
            return True
        if outs:
            needed |= {a for a in eqn.invars if isinstance(a, core.Var)}
    return False


def unrolled(closed: Any, args: Sequence[Any]) -> Any:
    """``closed`` with while loops as scans of the steps they make at ``args``: reverse mode enters those."""
    if not any(e.primitive is primitives.while_p for e in closed.jaxpr.eqns):
        return closed

    def run(*args: Any, steps: Sequence[int] = ()) -> list[Any]:
        """The outputs by loops of so many steps; without them, how many steps each loop makes."""
        counts: list[Any] = []
        left = iter(steps)

        def each(_: int, eqn: Any, inputs: list[Any]) -> Sequence[Any]:
            if eqn.primitive is not primitives.while_p:
                return single(eqn, closed.jaxpr.debug_info)(*inputs)
            loop = while_of(eqn)
            test, body = core.jaxpr_as_fun(loop.test), core.jaxpr_as_fun(loop.body)
            if not steps:
                count, state = _counted(eqn, inputs, body)
                counts.append(count)
                return state
            step, state = taken_apart(eqn, inputs, test, body)[1:]
            return jax.lax.scan(lambda s, _: (step(s), None), state, None, length=next(left))[0]

        outs = evaluate(closed, args, each)
        return outs if steps else counts

    steps = [int(n) for n in jitted(run, args)(*args)]
    return jax.make_jaxpr(partial(run, steps=steps))(*args)


def _tested(eqn: Any) -> bool:
    """Whether the equation is a while loop whose test depends on floating values, at once or over steps."""
    if eqn.primitive is not primitives.while_p:
        return False
    loop = while_of(eqn)
    floating, places = _depends(loop.test, {0})
    carried = {i - loop.asked for i in places if i >= loop.asked}
    while not floating:
        floating, places = _depends(loop.body, carried)
        more = carried | {i - loop.held for i in places if i >= loop.held}
        if more == carried:
            break
        carried = more
    return floating


def _depends(closed: Any, outputs: set[int]) -> tuple[bool, set[int]]:
    """Whether some outputs depend on a floating value, and on which inputs they depend."""
    jaxpr = flattened(as_closed(closed)).jaxpr
    needed = {jaxpr.outvars[i] for i in outputs if isinstance(jaxpr.outvars[i], core.Var)}
    for eqn in reversed(jaxpr.eqns):
        if needed & set(eqn.outvars):
            needed |= {a for a in eqn.invars if isinstance(a, core.Var)}
    floating = any(_inexact(v.aval) for v in needed)
    return floating, {i for i, v in enumerate(jaxpr.invars) if v in needed}


def _inexact(x: Any) -> bool:
    return bool(jnp.issubdtype(x.dtype, jnp.inexact))
