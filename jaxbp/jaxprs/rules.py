"""The derivative rules in a jaxpr: which, whose, where they are defined and used; one of them alone."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from jaxbp.jaxprs import internals
from jaxbp.jaxprs.exception_origin import is_here
from jaxbp.jaxprs.internals import KINDS, LIBRARY, LINEAR
from jaxbp.jaxprs.walk import single, subjaxprs


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
        return internals.consts_of(self.eqn)

    @property
    def symbolic_zeros(self) -> bool:
        """Whether the rule asked to be told which inputs are perturbed."""
        return internals.wants_zeros(self.eqn)

    @property
    def body(self) -> Any:
        """The primal, whose derivative the rule replaces, as a closed jaxpr."""
        return internals.body(self.eqn)


def is_rule(eqn: Any) -> bool:
    """Whether the equation calls a custom_vjp, a custom_jvp, or a primitive of the user's with a rule.

    Of JAX's own primitives that are objects only the implicit function has a rule to judge; the others
    (einsum, checkpoint) are operations like any other.
    """
    if not internals.is_object(eqn):
        return eqn.primitive in KINDS
    return internals.is_implicit(eqn) or not internals.method_place(eqn).startswith(LIBRARY)


def describe(eqn: Any) -> Rule:
    """Name, place and module path of the rule that ``eqn`` calls."""
    caller, called = called_at(eqn)
    if internals.is_object(eqn):
        name, where = type(internals.object_of(eqn)).__name__, internals.method_place(eqn)
        kind, derivative = "custom_jvp" if internals.is_implicit(eqn) else "hi_primitive", where
    else:
        name, where = internals.name_and_place(internals.body(eqn).jaxpr.debug_info)
        kind, derivative = KINDS[eqn.primitive], internals.derivative_place(eqn)
    if where.startswith(LIBRARY) and not derivative.startswith(LIBRARY):
        where = derivative  # a rule of the user's for one of JAX's functions
    # JAX's own, unless the user gave it the derivative of a function of theirs (defjvps).
    builtin = derivative.startswith(LIBRARY) and where.startswith(LIBRARY)
    if internals.is_custom_gradient(eqn):
        name, where = _inside_custom_gradient(eqn)
        builtin = False
        if not name:
            name, where = f"custom_gradient in {caller}" if caller else "custom_gradient", called
    return Rule(
        kind, name, where, called, internals.path_of(eqn), internals.argument_names(eqn), builtin, eqn
    )


def _inside_custom_gradient(eqn: Any) -> tuple[str, str]:
    """The function that `jax.custom_gradient` made a rule of, and file:line in it; empty if it left no trace.

    Operations of the primal were traced beneath it, just inside of JAX's wrapper.
    """
    for inner in internals.body(eqn).jaxpr.eqns:
        for frame, outer in pairwise(internals.frames_of(inner)):
            if outer.file == internals.CUSTOM_GRADIENT and not frame.file.startswith(LIBRARY):
                return frame.function.rpartition(".")[2], f"{frame.file}:{frame.line}"
    return "", ""


def called_at(eqn: Any) -> tuple[str, str]:
    """Function and file:line of the user's where an equation was traced: the innermost frame of theirs."""
    for frame in internals.frames_of(eqn):
        if not frame.file.startswith(LIBRARY) and not is_here(frame.file):
            return frame.function, f"{frame.file}:{frame.line}"
    return "", ""


def written_at(eqn: Any) -> str:
    """file:line where the user wrote an operation; empty where JAX or the checker made it."""
    for frame in internals.frames_of(eqn):
        if not frame.file.startswith(LIBRARY):
            return "" if is_here(frame.file) else f"{frame.file}:{frame.line}"
    return ""


def beneath(place: str) -> str:
    """``file:line`` as it is seen from the current folder, where the file lies beneath it."""
    file, colon, line = place.rpartition(":")
    path, here = Path(file), Path.cwd()
    return f"{path.relative_to(here)}{colon}{line}" if file and path.is_relative_to(here) else place


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
            name, place = internals.name_and_place(next(iter(subjaxprs(eqn))).debug_info)
            if not place.startswith(LIBRARY):
                found.append(f"{eqn.primitive.name} of {name}" + (f" at {place}" if place else ""))
        for inner in subjaxprs(eqn):
            found += transposes_in(inner)
    return found


def alone(eqn: Any) -> Callable[..., list[Any]]:
    """A function of the equation's inputs that calls its rule and nothing else."""
    return single(eqn, internals.body(eqn).jaxpr.debug_info)
