"""Evaluate a jaxpr equation by equation and hand over the real inputs that reach each rule in it."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core
from jax.extend.core import primitives

from jaxbp.jaxprs.internals import CALLS, SHARD_MAP, branches_of, only_body, scan_of, scan_parts, while_of
from jaxbp.jaxprs.loops import taken_apart
from jaxbp.jaxprs.rules import Rule, describe, has_rules, is_rule, rules_in
from jaxbp.jaxprs.shard_map import Mesh
from jaxbp.jaxprs.walk import single, subjaxprs
from jaxbp.verify.sites.site import Site


class Passed(NamedTuple):
    """A rule that no input reached, and why."""

    rule: Rule
    reason: str


def trace(fn: Callable[..., list[Any]], args: Sequence[Any]) -> Any:
    """The closed jaxpr of ``fn``, repaired where a host constant has another dtype than its user expects.

    JAX remembers the dtype that it gave to a host array, also when float64 is switched on in between:
    an array of int64 indices is then int32 outside a jit and int64 inside.
    """
    closed = jax.make_jaxpr(fn)(*args)
    old = closed.jaxpr
    eqns: list[Any] = []
    for eqn in old.eqns:
        inputs = list(eqn.invars)
        if eqn.primitive in CALLS:
            for k, (given, expected) in enumerate(zip(eqn.invars, subjaxprs(eqn)[0].invars, strict=True)):
                if given.aval.dtype != expected.aval.dtype:
                    inputs[k] = core.Var(expected.aval)
                    params = {"new_dtype": expected.aval.dtype, "weak_type": False, "sharding": None}
                    convert = primitives.convert_element_type_p
                    eqns.append(core.new_jaxpr_eqn([given], [inputs[k]], convert, params, core.no_effects))
        eqns.append(eqn.replace(invars=inputs))
    info = old.debug_info.with_unknown_names()
    return core.ClosedJaxpr(
        core.Jaxpr(old.constvars, old.invars, old.outvars, eqns, old.effects, info), closed.consts
    )


def capture(closed: Any, args: Sequence[Any], visit: Callable[[Site], None]) -> list[Passed]:
    """Evaluate ``closed`` at ``args`` and call ``visit`` at each rule as its inputs become known.

    Nothing is stored: a rule is judged while the inputs are at hand, so memory stays that of one
    evaluation. Scan is entered at its first, middle and last step, while at its first and last iteration,
    cond in the branch taken. Returns the rules that were not reached.
    """
    passed: list[Passed] = []
    if rules_in(closed.jaxpr):
        _walk(closed.jaxpr, closed.consts, list(args), (), visit, passed, wanted=False)
    return passed


def _walk(
    jaxpr: Any,
    consts: Sequence[Any],
    args: list[Any],
    context: tuple[str, ...],
    visit: Callable,
    passed: list[Passed],
    wanted: bool = True,
) -> list[Any]:
    """Evaluate one jaxpr; equations without rules run together between those that hold some.

    Where the outputs are not ``wanted``, nothing after the last rule is evaluated.
    """
    env: dict[Any, Any] = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))

    def read(atom: Any) -> Any:
        return jnp.asarray(atom.val, atom.aval.dtype) if not isinstance(atom, core.Var) else env[atom]

    info = jaxpr.debug_info.with_unknown_names()
    remaining = sum(map(has_rules, jaxpr.eqns))
    plain: list[Any] = []
    for position, eqn in enumerate(jaxpr.eqns):
        if not has_rules(eqn):
            plain.append(eqn)
            continue
        _run(plain, jaxpr.eqns[position:], jaxpr.outvars, env, info)
        plain = []
        remaining -= 1
        outs = _enter(eqn, [read(a) for a in eqn.invars], context, visit, passed, wanted or remaining > 0)
        if not (wanted or remaining):
            return []
        env.update(zip(eqn.outvars, outs, strict=True))
    _run(plain, (), jaxpr.outvars, env, info)
    return [read(a) for a in jaxpr.outvars]


def _run(
    eqns: list[Any], later: Iterable[Any], outvars: Sequence[Any], env: dict[Any, Any], info: Any
) -> None:
    """Evaluate equations without rules, keeping only what is read later."""
    if not eqns:
        return
    made = {v for e in eqns for v in e.outvars}
    wanted = {a for e in later for a in e.invars if isinstance(a, core.Var)}
    wanted |= {a for a in outvars if isinstance(a, core.Var)}
    needed = {a: None for e in eqns for a in e.invars if isinstance(a, core.Var) and a not in made}
    kept = [v for v in made if v in wanted]
    effects = frozenset().union(*(e.effects for e in eqns))
    segment = core.Jaxpr((), list(needed), kept, eqns, effects, info)
    outs = core.jaxpr_as_fun(core.ClosedJaxpr(segment, ()))(*(env[a] for a in needed))
    env.update(zip(kept, outs, strict=True))


def _enter(
    eqn: Any, inputs: list[Any], context: tuple[str, ...], visit: Callable, passed: list[Passed], wanted: bool
) -> list[Any]:
    """The outputs (if wanted) of an equation that is a rule or holds rules, which are visited on the way."""
    if is_rule(eqn):
        rule = describe(eqn)
        visit(Site(rule, inputs, context))
        for inner in rules_in(rule.body.jaxpr):
            passed.append(
                Passed(
                    describe(inner), f"runs only inside {rule.name}, whose own rule replaces it under grad"
                )
            )
        return core.jaxpr_as_fun(rule.body)(*inputs) if wanted else []
    if eqn.primitive is primitives.scan_p:
        return _scan(eqn, inputs, context, visit, passed, wanted)
    if eqn.primitive is primitives.while_p:
        return _while(eqn, inputs, context, visit, passed, wanted)
    if eqn.primitive is primitives.cond_p:
        return _cond(eqn, inputs, context, visit, passed, wanted)
    if eqn.primitive.name == SHARD_MAP:
        return _on_mesh(eqn, inputs, context, visit, passed, wanted)
    if eqn.primitive in CALLS or _is_plain_call(eqn):
        called = only_body(eqn)
        return _walk(called.jaxpr, called.consts, inputs, context, visit, passed, wanted)
    for inner in subjaxprs(eqn):
        for found in rules_in(inner):
            passed.append(Passed(describe(found), f"is inside {eqn.primitive.name}, which is not entered"))
    return single(eqn, subjaxprs(eqn)[0].debug_info)(*inputs) if wanted else []


def _on_mesh(
    eqn: Any, inputs: list[Any], context: tuple[str, ...], visit: Callable, passed: list[Passed], wanted: bool
) -> list[Any]:
    mesh = Mesh(eqn)
    for number, inner in mesh.rules:
        where = (*context, f"shard_map over {', '.join(mesh.axes)}")
        visit(Site(describe(inner), mesh.inputs_of(number, inputs), where, mesh.around(inner)))
    for other in mesh.body.jaxpr.eqns:
        if not is_rule(other):
            reason = f"is inside {other.primitive.name} in shard_map, which is not entered"
            passed.extend(Passed(describe(e), reason) for j in subjaxprs(other) for e in rules_in(j))
    return single(eqn, subjaxprs(eqn)[0].debug_info)(*inputs) if wanted else []


def _is_plain_call(eqn: Any) -> bool:
    """Whether the equation's single jaxpr takes exactly its inputs to its outputs."""
    inner = subjaxprs(eqn)
    if len(inner) != 1:
        return False
    pairs = [(inner[0].invars, eqn.invars), (inner[0].outvars, eqn.outvars)]
    return all(len(a) == len(b) and all(_same(v, w) for v, w in zip(a, b, strict=True)) for a, b in pairs)


def _same(a: Any, b: Any) -> bool:
    return (a.aval.shape, a.aval.dtype) == (b.aval.shape, b.aval.dtype)


def _scan(
    eqn: Any, inputs: list[Any], context: tuple[str, ...], visit: Callable, passed: list[Passed], wanted: bool
) -> list[Any]:
    body, length, backwards = scan_of(eqn)
    n, m = scan_parts(eqn)
    consts, carry, xs = inputs[:n], inputs[n:m], inputs[m:]
    run = core.jaxpr_as_fun(body)
    order = range(length - 1, -1, -1) if backwards else range(length)

    def step(state: list[Any], x: Any) -> tuple[list[Any], None]:
        return run(*consts, *state, *x)[: len(carry)], None

    reached = 0
    for k in sorted({0, length // 2, length - 1} & set(range(length))):
        taken = jnp.asarray([order[i] for i in range(reached, k)], int)
        carry = (
            jax.lax.scan(step, carry, [x[taken] for x in xs], length=k - reached)[0] if k > reached else carry
        )
        here = [*consts, *carry, *(x[order[k]] for x in xs)]
        # What a step passes over is the same at each step: it is told once.
        told: list[Passed] = passed if k == 0 else []
        carry = _walk(body.jaxpr, body.consts, here, (*context, f"scan step {k}"), visit, told)[: len(carry)]
        reached = k + 1
    if length == 0:
        passed.extend(Passed(describe(e), "is in a scan of no steps") for e in rules_in(body.jaxpr))
    return single(eqn, subjaxprs(eqn)[0].debug_info)(*inputs) if wanted else []


def _while(
    eqn: Any, inputs: list[Any], context: tuple[str, ...], visit: Callable, passed: list[Passed], wanted: bool
) -> list[Any]:
    loop = while_of(eqn)
    asked, held = inputs[: loop.asked], inputs[loop.asked : loop.asked + loop.held]
    test, body = core.jaxpr_as_fun(loop.test), core.jaxpr_as_fun(loop.body)
    going, step, state = taken_apart(eqn, inputs, test, body)
    count = jax.lax.while_loop(lambda s: going(s[1]), lambda s: (s[0] + 1, step(s[1])), (0, state))[0]
    _walk(
        loop.test.jaxpr,
        loop.test.consts,
        [*asked, *state],
        (*context, "while test"),
        visit,
        passed,
    )
    inner = loop.body
    if count == 0:
        passed.extend(
            Passed(describe(e), "is in a while loop that made no step") for e in rules_in(inner.jaxpr)
        )
    for k in sorted({0, int(count) - 1} & set(range(int(count)))):
        here = jax.lax.fori_loop(0, k, lambda i, s: step(s), state)
        told: list[Passed] = passed if k == 0 else []
        _walk(inner.jaxpr, inner.consts, [*held, *here], (*context, f"while step {k}"), visit, told)
    return single(eqn, subjaxprs(eqn)[0].debug_info)(*inputs) if wanted else []


def _cond(
    eqn: Any, inputs: list[Any], context: tuple[str, ...], visit: Callable, passed: list[Passed], wanted: bool
) -> list[Any]:
    branches = branches_of(eqn)
    taken = min(max(int(inputs[0]), 0), len(branches) - 1)
    for k, branch in enumerate(branches):
        if k != taken:
            reason = f"is in branch {k} of a cond that took branch {taken}"
            passed.extend(Passed(describe(e), reason) for e in rules_in(branch.jaxpr))
    chosen = branches[taken]
    return _walk(
        chosen.jaxpr, chosen.consts, inputs[1:], (*context, f"branch {taken}"), visit, passed, wanted
    )
