"""The sites of a traced function: each rule in it, with the real inputs that reach it."""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
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
from jaxbp.verify.sites.call import Call
from jaxbp.verify.sites.named_axes import bound
from jaxbp.verify.sites.site import Around, Site

# Equations that are entered in a way of their own.
ENTERED = (primitives.scan_p, primitives.while_p, primitives.cond_p)


class Traced(NamedTuple):
    """A call, traced: its jaxpr, the arrays that it is given, and the axes of vmap that its rules ask for.

    ``wide`` when it was traced in float64 though the caller's arrays are coarser.
    """

    call: Call
    closed: Any
    arrays: list[Any]
    axes: Mapping[str, int]
    wide: bool = False

    def sites(self) -> Generator["Site | Skipped", None, None]:
        """Its rules, each with its axes bound and the names that its inputs have in f."""
        # An argument that reaches a rule untouched is the same array.
        names = {id(x): path for path, x in zip(self.call.paths, self.arrays, strict=True)}
        for site in sites(self.closed, self.arrays):
            if isinstance(site, Site):
                origins = tuple(names.get(id(x), "") for x in site.inputs)
                site = site._replace(origins=origins, around=self._bound(site.around))
            yield site

    def _bound(self, around: Around) -> Around:
        return lambda fn: around(bound(fn, self.axes))


class Skipped(NamedTuple):
    """A rule that no input reached, and why; ``hidden`` when it may run all the same."""

    rule: Rule
    reason: str
    hidden: bool = False


class Place(NamedTuple):
    """Where an equation stands: in words, and as a key that is the same in every trace of a function."""

    context: tuple[str, ...] = ()
    key: tuple[int | str, ...] = ()

    def at(self, number: int) -> "Place":
        """The place of the equation of that number among those with rules."""
        return self._replace(key=(*self.key, number))

    def inside(self, words: str, role: str) -> "Place":
        """A place within the equation here: in words, and which of its places that is."""
        return Place((*self.context, words), (*self.key, role))


Found = Generator[Site | Skipped, None, list[Any]]


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


def sites(closed: Any, args: Sequence[Any]) -> Generator[Site | Skipped, None, None]:
    """Evaluate ``closed`` at ``args`` and yield each rule as its inputs become known.

    Nothing is stored: a rule is judged while the inputs are at hand, so memory stays that of one
    evaluation. Scan is entered at its first, middle and last step, while at its first and last iteration,
    cond in the branch taken. Rules that are not reached are yielded too, with the reason.
    """
    if rules_in(closed.jaxpr):
        yield from _walk(closed.jaxpr, closed.consts, list(args), Place(), wanted=False)


def _walk(jaxpr: Any, consts: Sequence[Any], args: list[Any], place: Place, wanted: bool = True) -> Found:
    """Evaluate one jaxpr; equations without rules run together between those that hold some.

    Where the outputs are not ``wanted``, nothing after the last rule is evaluated.
    """
    env: dict[Any, Any] = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))

    def read(atom: Any) -> Any:
        return jnp.asarray(atom.val, atom.aval.dtype) if not isinstance(atom, core.Var) else env[atom]

    info = jaxpr.debug_info.with_unknown_names()
    holding = [number for number, eqn in enumerate(jaxpr.eqns) if has_rules(eqn)]
    done = 0
    for count, number in enumerate(holding):
        eqn = jaxpr.eqns[number]
        _run(jaxpr.eqns[done:number], jaxpr.eqns[number:], jaxpr.outvars, env, info)
        last = count == len(holding) - 1
        outs = yield from _enter(eqn, [read(a) for a in eqn.invars], place.at(count), wanted or not last)
        if last and not wanted:
            return []
        env.update(zip(eqn.outvars, outs, strict=True))
        done = number + 1
    _run(jaxpr.eqns[done:], (), jaxpr.outvars, env, info)
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


def _enter(eqn: Any, inputs: list[Any], place: Place, wanted: bool) -> Found:
    """The outputs (if wanted) of an equation that is a rule or holds rules, which are yielded on the way."""
    if is_rule(eqn):
        rule = describe(eqn)
        yield Site(rule, inputs, place.context, place.key)
        reason = f"runs only inside {rule.name}, whose own rule replaces it under grad"
        for inner in rules_in(rule.body.jaxpr):
            yield Skipped(describe(inner), reason)
        return core.jaxpr_as_fun(rule.body)(*inputs) if wanted else []
    entered = eqn.primitive in ENTERED or eqn.primitive.name == SHARD_MAP
    if eqn.primitive in CALLS or (not entered and _is_plain_call(eqn)):
        called = only_body(eqn)
        return (yield from _walk(called.jaxpr, called.consts, inputs, place, wanted))
    if eqn.primitive is primitives.cond_p:
        return (yield from _cond(eqn, inputs, place, wanted))
    if eqn.primitive is primitives.scan_p:
        yield from _scan(eqn, inputs, place)
    elif eqn.primitive is primitives.while_p:
        yield from _while(eqn, inputs, place)
    elif eqn.primitive.name == SHARD_MAP:
        yield from _on_mesh(eqn, inputs, place)
    else:
        for inner in subjaxprs(eqn):
            yield from _skipped(inner, f"is inside {eqn.primitive.name}, which is not entered", hidden=True)
    return single(eqn, subjaxprs(eqn)[0].debug_info)(*inputs) if wanted else []


def _skipped(jaxpr: Any, reason: str, hidden: bool = False) -> Iterable[Skipped]:
    return [Skipped(describe(e), reason, hidden) for e in rules_in(jaxpr)]


def _on_mesh(eqn: Any, inputs: list[Any], place: Place) -> Found:
    mesh = Mesh(eqn)
    for number, inner in mesh.rules:
        there = place.at(number).inside(f"shard_map over {', '.join(mesh.axes)}", "mesh")
        rows = tuple(mesh.devices(a) for a in inner.invars)
        site = Site(describe(inner), mesh.inputs_of(number, inputs), *there, mesh.around(inner))
        yield site._replace(devices=rows)
    for other in mesh.body.jaxpr.eqns:
        if not is_rule(other):
            reason = f"is inside {other.primitive.name} in shard_map, which is not entered"
            for inside in subjaxprs(other):
                yield from _skipped(inside, reason, hidden=True)
    return []


def _is_plain_call(eqn: Any) -> bool:
    """Whether the equation's single jaxpr takes exactly its inputs to its outputs."""
    inner = subjaxprs(eqn)
    if len(inner) != 1:
        return False
    pairs = [(inner[0].invars, eqn.invars), (inner[0].outvars, eqn.outvars)]
    return all(len(a) == len(b) and all(_same(v, w) for v, w in zip(a, b, strict=True)) for a, b in pairs)


def _same(a: Any, b: Any) -> bool:
    return (a.aval.shape, a.aval.dtype) == (b.aval.shape, b.aval.dtype)


def _scan(eqn: Any, inputs: list[Any], place: Place) -> Found:
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
        outs = yield from _step(body, here, place.inside(f"scan step {k}", str(k)), first=k == 0)
        carry, reached = outs[: len(carry)], k + 1
    if length == 0:
        yield from _skipped(body.jaxpr, "is in a scan of no steps")
    return []


def _step(body: Any, inputs: list[Any], place: Place, first: bool) -> Found:
    """A step of a loop. What it passes over is the same at each step, so the first one tells it."""
    walk = _walk(body.jaxpr, body.consts, inputs, place)
    try:
        while True:
            found = next(walk)
            if first or isinstance(found, Site):
                yield found
    except StopIteration as end:
        outs: list[Any] = end.value
        return outs


def _while(eqn: Any, inputs: list[Any], place: Place) -> Found:
    loop = while_of(eqn)
    asked, held = inputs[: loop.asked], inputs[loop.asked : loop.asked + loop.held]
    test, body = core.jaxpr_as_fun(loop.test), core.jaxpr_as_fun(loop.body)
    going, step, state = taken_apart(eqn, inputs, test, body)
    count = int(jax.lax.while_loop(lambda s: going(s[1]), lambda s: (s[0] + 1, step(s[1])), (0, state))[0])
    there = place.inside("while test", "test")
    yield from _walk(loop.test.jaxpr, loop.test.consts, [*asked, *state], there)
    if count == 0:
        yield from _skipped(loop.body.jaxpr, "is in a while loop that made no step")
    # The last step has another number where rounding lets the loop run longer.
    steps = {count - 1: "last", 0: "first"} if count else {}
    for k, role in sorted(steps.items()):
        here = jax.lax.fori_loop(0, k, lambda i, s: step(s), state)
        there = place.inside(f"while step {k}", role)
        yield from _step(loop.body, [*held, *here], there, first=k == 0)
    return []


def _cond(eqn: Any, inputs: list[Any], place: Place, wanted: bool) -> Found:
    branches = branches_of(eqn)
    taken = min(max(int(inputs[0]), 0), len(branches) - 1)
    for k, branch in enumerate(branches):
        if k != taken:
            yield from _skipped(branch.jaxpr, f"is in branch {k} of a cond that took branch {taken}")
    chosen, there = branches[taken], place.inside(f"branch {taken}", str(taken))
    return (yield from _walk(chosen.jaxpr, chosen.consts, inputs[1:], there, wanted))
