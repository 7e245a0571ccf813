"""Find the derivative rules in a jaxpr, say what and where they are, set one alone, take them out."""

import inspect
from collections.abc import Callable, Sequence, Set
from typing import Any, NamedTuple

import jax
from jax.extend import core
from jax.extend.core import primitives

from jaxbp.verify.blame import HERE, LIBRARY
from jaxbp.verify.interpret import single

KINDS = {primitives.custom_vjp_call_p: "custom_vjp", primitives.custom_jvp_call_p: "custom_jvp"}
LINEAR = ("linear_call", "custom_linear_solve")
# A primitive that is a Python object with its derivative as methods (`jax.experimental.hijax`).
OBJECT = "call_hi_primitive"
CALLS = (primitives.jit_p, primitives.closed_call_p, primitives.remat_p)


class Rule(NamedTuple):
    """One use of a derivative rule in a traced function.

    ``where`` is file:line of the definition, ``called`` of the use, ``path`` the stack of module
    and transformation names around it, ``arguments`` the names of its arguments, if JAX kept them;
    ``builtin`` says that the derivative is one of JAX's own.
    """

    kind: str
    name: str
    where: str
    called: str
    path: str
    arguments: tuple[str, ...]
    builtin: bool
    eqn: Any

    @property
    def consts(self) -> int:
        """How many of the first inputs are values that the rule closes over."""
        return consts_of(self.eqn)

    @property
    def symbolic_zeros(self) -> bool:
        """Whether the rule asked to be told which inputs are perturbed."""
        return bool(self.eqn.params.get("symbolic_zeros", False))

    @property
    def body(self) -> Any:
        """The primal, whose derivative the rule replaces, as a closed jaxpr."""
        return body(self.eqn)


def is_rule(eqn: Any) -> bool:
    """Whether the equation calls a custom_vjp, a custom_jvp, or a primitive of the user's with a rule.

    Of JAX's own primitives that are objects only the implicit function has a rule to judge; the others
    (einsum, checkpoint) are operations like any other.
    """
    if eqn.primitive.name != OBJECT:
        return eqn.primitive in KINDS
    return _is_root(eqn) or not _method_at(eqn.params["_prim"]).startswith(LIBRARY)


def _is_root(eqn: Any) -> bool:
    return type(eqn.params["_prim"]).__name__ == "CustomRoot"


def consts_of(eqn: Any) -> int:
    """How many of the first inputs of a rule are values that it closes over."""
    return int(eqn.params.get("num_consts", 0))


def body(eqn: Any) -> Any:
    """The computation that a rule or a call holds, as a closed jaxpr."""
    if eqn.primitive.name != OBJECT:
        return as_closed(eqn.params["call_jaxpr"] if "call_jaxpr" in eqn.params else eqn.params["jaxpr"])
    held = eqn.params["_prim"]

    def expanded(*leaves: Any) -> list[Any]:
        return jax.tree.leaves(held.expand(*jax.tree.unflatten(held.in_tree, leaves)))

    return jax.make_jaxpr(expanded)(*(v.aval for v in eqn.invars))


def _method_at(held: Any) -> str:
    """file:line of the method that computes the primal of a primitive that is an object."""
    code = inspect.unwrap(type(held).expand).__code__
    return f"{code.co_filename}:{code.co_firstlineno}"


def describe(eqn: Any) -> Rule:
    """Name, place and module path of the rule that ``eqn`` calls."""
    if eqn.primitive.name == OBJECT:
        return _described_object(eqn)
    info = eqn.params["call_jaxpr"].jaxpr.debug_info
    name, _, where = info.func_src_info.partition(" at ")
    caller, called = _caller(eqn.source_info.traceback)
    derivative = _derivative_at(eqn)
    if where.startswith(LIBRARY) and not derivative.startswith(LIBRARY):
        where = derivative  # a rule of the user's for one of JAX's functions
    if name == "wrapped_fun":  # what custom_gradient wraps around the user's function
        name, where = f"custom_gradient in {caller}" if caller else "custom_gradient", called
    kind = KINDS[eqn.primitive]
    builtin = derivative.startswith(LIBRARY) and not name.startswith("custom_gradient")
    return Rule(kind, name, where, called, str(eqn.source_info.name_stack), _names(eqn, info), builtin, eqn)


def _described_object(eqn: Any) -> Rule:
    """The same for a primitive that is an object: its class is its name."""
    held = eqn.params["_prim"]
    where, kind = _method_at(held), "custom_jvp" if _is_root(eqn) else "hi_primitive"
    names: list[str] = []
    for name, tree in zip(inspect.signature(held.expand).parameters, held.in_tree.children(), strict=False):
        count = tree.num_leaves
        names += [name] if count == 1 else [f"{name}[{i}]" for i in range(count)]
    names += [f"argument {i}" for i in range(len(names), len(eqn.invars))]
    called, path = _caller(eqn.source_info.traceback)[1], str(eqn.source_info.name_stack)
    return Rule(kind, type(held).__name__, where, called, path, tuple(names), where.startswith(LIBRARY), eqn)


def _derivative_at(eqn: Any) -> str:
    """file:line of the function that computes the derivative (the JVP, or the backward rule)."""
    held = eqn.params.get("bwd") or eqn.params.get("jvp_jaxpr_fun")
    info = getattr(held, "debug_info", None)
    return info.func_src_info.partition(" at ")[2] if info is not None else ""


def _caller(traceback: Any) -> tuple[str, str]:
    """Function and file:line of the innermost frame that is not JAX's own."""
    for frame in traceback.frames if traceback is not None else ():
        if not frame.file_name.startswith((LIBRARY, HERE)):
            return frame.function_name, f"{frame.file_name}:{frame.line_num}"
    return "", ""


def _names(eqn: Any, info: Any) -> tuple[str, ...]:
    """The names of the arguments; a custom_vjp keeps them only with its forward rule."""
    count = len(eqn.invars) - consts_of(eqn)
    forward = getattr(eqn.params.get("fwd_jaxpr_thunk"), "debug_info", None)
    for source in (info, forward):
        names = tuple(getattr(source, "arg_names", None) or ())
        if len(names) > count:  # JAX lists what was given by keyword twice
            names = tuple(n for n in names if not n.startswith("kwargs["))
        if len(names[-count:]) == count and all(names[-count:]):
            return names[-count:]
    return tuple(f"argument {i}" for i in range(count))


def subjaxprs(eqn: Any) -> list[Any]:
    """Every jaxpr among the parameters of one equation, and the primal of a rule that is an object."""
    if eqn.primitive.name == OBJECT and is_rule(eqn):
        return [body(eqn).jaxpr]
    return list(core.jaxprs_in_params(eqn.params))


def rules_in(jaxpr: Any) -> list[Any]:
    """All rule-calling equations in a jaxpr, at any depth, outer before inner."""
    found = []
    for eqn in jaxpr.eqns:
        if is_rule(eqn):
            found.append(eqn)
        for inner in subjaxprs(eqn):
            found += rules_in(inner)
    return found


def has_rules(eqn: Any) -> bool:
    """Whether the equation is a rule or holds one."""
    return is_rule(eqn) or any(has_rules(e) for inner in subjaxprs(eqn) for e in inner.eqns)


def transposes_in(jaxpr: Any) -> list[str]:
    """Linear operations whose transposes a user has given (linear_call), each by its name and place."""
    found = []
    for eqn in jaxpr.eqns:
        if eqn.primitive.name in LINEAR:
            info = next(iter(subjaxprs(eqn))).debug_info.func_src_info
            if not info.partition(" at ")[2].startswith(LIBRARY):
                found.append(f"{eqn.primitive.name} of {info}")
        for inner in subjaxprs(eqn):
            found += transposes_in(inner)
    return found


def alone(eqn: Any) -> Callable[..., list[Any]]:
    """A function of the equation's inputs that calls its rule and nothing else."""
    return single(eqn, body(eqn).jaxpr.debug_info)


def without_rules(closed: Any, kept: Set[int] = frozenset()) -> Any:
    """The same computation with every rule replaced by its primal body, but for equations ``kept`` by id."""
    return _inlined(closed, lambda eqn: is_rule(eqn) and id(eqn) not in kept, has_rules)


def flattened(closed: Any) -> Any:
    """The computation as one list of equations: rules, jit and remat are written out."""
    return _inlined(closed, lambda eqn: is_rule(eqn) or eqn.primitive in CALLS, lambda eqn: True)


def opened(closed: Any) -> Any:
    """The same computation with jit and remat written out, and its rules as they were."""
    return _inlined(closed, lambda eqn: eqn.primitive in CALLS, lambda eqn: True)


def _inlined(closed: Any, dissolve: Callable[[Any], bool], touch: Callable[[Any], bool]) -> Any:
    """Write the bodies of the equations that ``dissolve`` names in their place."""
    if not any(touch(eqn) for eqn in closed.jaxpr.eqns):
        return closed
    eqns: list[Any] = []
    constants: list[Any] = list(closed.consts)
    constvars = [core.Var(v.aval) for v in closed.jaxpr.constvars]

    def write(jaxpr: Any, env: dict[Any, Any]) -> list[Any]:
        def read(atom: Any) -> Any:
            return atom if isinstance(atom, core.Literal) else env[atom]

        for eqn in jaxpr.eqns:
            inputs = [read(a) for a in eqn.invars]
            if dissolve(eqn):
                made = body(eqn)
                held = [core.Var(v.aval) for v in made.jaxpr.constvars]
                constvars.extend(held)
                constants.extend(made.consts)
                inner = dict(zip([*made.jaxpr.constvars, *made.jaxpr.invars], [*held, *inputs], strict=True))
                env.update(zip(eqn.outvars, write(made.jaxpr, inner), strict=True))
            else:
                outputs = [core.Var(v.aval) for v in eqn.outvars]
                env.update(zip(eqn.outvars, outputs, strict=True))
                params = (
                    {k: _mapped(v, dissolve, touch) for k, v in eqn.params.items()}
                    if touch(eqn)
                    else eqn.params
                )
                eqns.append(eqn.replace(invars=inputs, outvars=outputs, params=params))
        return [read(a) for a in jaxpr.outvars]

    invars = [core.Var(v.aval) for v in closed.jaxpr.invars]
    env = dict(zip([*closed.jaxpr.constvars, *closed.jaxpr.invars], [*constvars, *invars], strict=True))
    outvars = write(closed.jaxpr, env)
    old = closed.jaxpr
    return core.ClosedJaxpr(
        core.Jaxpr(constvars, invars, outvars, eqns, old.effects, old.debug_info.with_unknown_names()),
        constants,
    )


def _mapped(param: Any, dissolve: Callable[[Any], bool], touch: Callable[[Any], bool]) -> Any:
    """The same parameter of an equation with the jaxprs in it inlined."""
    if isinstance(param, core.ClosedJaxpr):
        return _inlined(param, dissolve, touch)
    if isinstance(param, core.Jaxpr):
        inner = _inlined(as_closed(param), dissolve, touch)
        # An open jaxpr cannot carry new constants; bodies that hold some stay as they were.
        return param if inner.consts else inner.jaxpr
    if isinstance(param, tuple) and any(isinstance(p, (core.Jaxpr, core.ClosedJaxpr)) for p in param):
        return jax.tree.map(lambda p: _mapped(p, dissolve, touch), param)
    return param


def as_closed(jaxpr: Any) -> Any:
    """A closed jaxpr of either sort."""
    return jaxpr if isinstance(jaxpr, core.ClosedJaxpr) else core.ClosedJaxpr(jaxpr, ())


def body_of(eqn: Any) -> Callable[..., list[Any]]:
    """The primal of a rule as plain JAX: a function of the equation's inputs, with nested rules removed."""
    return core.jaxpr_as_fun(without_rules(body(eqn)))


def dtypes_in(jaxpr: Any) -> set[Any]:
    """The inexact dtypes of every value that the jaxpr computes or reads, at any depth."""
    found = set()
    atoms: Sequence[Any] = [*jaxpr.invars, *jaxpr.constvars, *jaxpr.outvars]
    for eqn in jaxpr.eqns:
        atoms = [*atoms, *eqn.invars, *eqn.outvars]
        for inner in subjaxprs(eqn):
            found |= dtypes_in(inner)
    for atom in atoms:
        dtype = getattr(atom.aval, "dtype", None)
        if dtype is not None and jax.numpy.issubdtype(dtype, jax.numpy.inexact):
            found.add(jax.numpy.dtype(dtype))
    return found


def primitives_in(jaxpr: Any) -> set[str]:
    """The names of every primitive in the jaxpr, at any depth."""
    found = {eqn.primitive.name for eqn in jaxpr.eqns}
    for eqn in jaxpr.eqns:
        for inner in subjaxprs(eqn):
            found |= primitives_in(inner)
    return found
