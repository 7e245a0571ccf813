"""Everything of JAX's own that the rest relies on and no documentation promises, an accessor each.

tests/jaxprs/test_internals.py has a test for each of them, so that a new release of JAX says which one fell.
"""

import inspect
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import jax
from jax.extend import core
from jax.extend.core import primitives

# Where JAX's own files lie.
LIBRARY = str(Path(jax.__file__).parent) + os.sep

KINDS = {primitives.custom_vjp_call_p: "custom_vjp", primitives.custom_jvp_call_p: "custom_jvp"}
CALLS = (primitives.jit_p, primitives.closed_call_p, primitives.remat_p)
# Operations whose transpose is given by the user.
LINEAR = ("linear_call", "custom_linear_solve")
# A primitive that is a Python object with its derivative as methods (`jax.experimental.hijax`).
OBJECT = "call_hi_primitive"
SHARD_MAP = "shard_map"
BARRIER = "optimization_barrier"
# Operations that call back to the host, and those whose batching rule may be the user's.
HOST = {"pure_callback", "io_callback", "debug_callback", "ffi_call"}
BATCHED = {"custom_vmap_call", "pure_callback", "io_callback", "ffi_call", "pallas_call"}
COMPARISONS = {"lt", "le", "gt", "ge", "eq", "ne"}

# The file in which `jax.custom_gradient` makes a rule of the user's function.
CUSTOM_GRADIENT = inspect.unwrap(jax.custom_gradient).__code__.co_filename


T = TypeVar("T")

# Equations that hold a computation.


def as_closed(jaxpr: Any) -> Any:
    """A closed jaxpr of either sort (newer releases of JAX have only one)."""
    return jaxpr if isinstance(jaxpr, core.ClosedJaxpr) else core.ClosedJaxpr(jaxpr, ())


def is_object(eqn: Any) -> bool:
    """Whether the equation calls a primitive that is a Python object."""
    return bool(eqn.primitive.name == OBJECT)


def object_of(eqn: Any) -> Any:
    """That object."""
    return eqn.params["_prim"]


def is_implicit(eqn: Any) -> bool:
    """Whether the object is JAX's implicit function, `jax.lax.custom_root`, which was a custom_jvp before."""
    return type(object_of(eqn)).__name__ == "CustomRoot"


def body(eqn: Any) -> Any:
    """The computation that a rule or a call holds, as a closed jaxpr."""
    if not is_object(eqn):
        return as_closed(eqn.params["call_jaxpr"] if "call_jaxpr" in eqn.params else eqn.params["jaxpr"])
    held = object_of(eqn)

    def expanded(*leaves: Any) -> list[Any]:
        return jax.tree.leaves(held.expand(*jax.tree.unflatten(held.in_tree, leaves)))

    return jax.make_jaxpr(expanded)(*(v.aval for v in eqn.invars))


def only_body(eqn: Any) -> Any:
    """The computation of an equation that holds one, by whatever name its parameter goes."""
    if is_object(eqn):
        return body(eqn)
    held = (p for p in eqn.params.values() if isinstance(p, core.Jaxpr | core.ClosedJaxpr))
    return as_closed(next(held))


def consts_of(eqn: Any) -> int:
    """How many of the first inputs of a rule are values that it closes over."""
    return int(eqn.params.get("num_consts", 0))


def wants_zeros(eqn: Any) -> bool:
    """Whether the rule asked to be told which inputs are perturbed (``symbolic_zeros=True``)."""
    return bool(eqn.params.get("symbolic_zeros", False))


# Loops and branches.


def scan_parts(eqn: Any) -> tuple[int, int]:
    """The numbers of the first carried and of the first sliced input of a scan; its constants come first.

    Read from the shapes, because releases of JAX say it in different parameters: what a scan slices or
    stacks has one axis more outside of the body than inside.
    """
    inside = eqn.params["jaxpr"]

    def carried(outer: Sequence[Any], inner: Sequence[Any]) -> int:
        return sum(len(v.aval.shape) == len(a.shape) for v, a in zip(outer, inner, strict=True))

    first_sliced = carried(eqn.invars, inside.in_avals)
    return first_sliced - carried(eqn.outvars, inside.out_avals), first_sliced


class Scan(NamedTuple):
    """The step of a scan, a closed jaxpr; how often it is made, and whether from the last slice on."""

    body: Any
    length: int
    backwards: bool


def scan_of(eqn: Any) -> Scan:
    """What a scan equation does."""
    return Scan(eqn.params["jaxpr"], eqn.params["length"], eqn.params["reverse"])


class While(NamedTuple):
    """Test and step of a while loop, closed jaxprs, and how many constants of theirs precede the state."""

    test: Any
    body: Any
    asked: int
    held: int


def while_of(eqn: Any) -> While:
    """What a while equation does."""
    p = eqn.params
    return While(p["cond_jaxpr"], p["body_jaxpr"], p["cond_nconsts"], p["body_nconsts"])


def branches_of(eqn: Any) -> tuple[Any, ...]:
    """The branches of a cond, closed jaxprs; the first input is the number of the branch."""
    return tuple(eqn.params["branches"])


# shard_map.


class Mapped(NamedTuple):
    """What a shard_map equation maps: its body, the mesh, the axes that it maps over, and the input specs.

    ``tracked`` says whether JAX keeps track of the axes that each value varies over.
    """

    body: Any
    mesh: Any
    axes: list[str]
    in_specs: Any
    tracked: bool


def mapped_of(eqn: Any) -> Mapped:
    """What a shard_map equation does."""
    p = eqn.params
    manual = p["newly_manual_axes"] if "newly_manual_axes" in p else p["manual_axes"]  # until JAX 0.10.0
    axes = [a for a in p["mesh"].axis_names if a in manual]
    return Mapped(as_closed(p["jaxpr"]), p["mesh"], axes, p["in_specs"], bool(p["check_vma"]))


def varying(atom: Any) -> frozenset[str]:
    """The axes of the mesh along which a value differs, where JAX keeps track of it."""
    return frozenset(atom.aval.mat.varying)


# JAX may take it away, as its name says; then a rule that asks for an axis is not judged alone.
axis_names: Callable[[], Iterable[str]] = getattr(core, "unsafe_get_axis_names_DO_NOT_USE", tuple)


# Where things come from.


def name_and_place(info: Any) -> tuple[str, str]:
    """The name of a traced function and its file:line, from its debug_info."""
    name, _, place = (info.func_src_info if info is not None else "").partition(" at ")
    return name, place


def derivative_place(eqn: Any) -> str:
    """file:line of the function that computes the derivative (the JVP, or the backward rule)."""
    held = eqn.params.get("bwd") or eqn.params.get("jvp_jaxpr_fun")
    return name_and_place(getattr(held, "debug_info", None))[1]


def is_custom_gradient(eqn: Any) -> bool:
    """Whether `jax.custom_gradient` made the rule: primal and derivative are then functions of its own."""
    if is_object(eqn):
        return False
    places = name_and_place(body(eqn).jaxpr.debug_info)[1], derivative_place(eqn)
    return all(place.startswith(f"{CUSTOM_GRADIENT}:") for place in places)


def method_place(eqn: Any) -> str:
    """file:line of the method that computes the primal of a primitive that is an object."""
    code = inspect.unwrap(type(object_of(eqn)).expand).__code__
    return f"{code.co_filename}:{code.co_firstlineno}"


def argument_names(eqn: Any) -> tuple[str, ...]:
    """The names of a rule's arguments; a custom_vjp keeps them only with its forward rule."""
    count = len(eqn.invars) - consts_of(eqn)
    names: tuple[str, ...] = _object_names(eqn) if is_object(eqn) else ()
    infos = [] if is_object(eqn) else [
        body(eqn).jaxpr.debug_info, getattr(eqn.params.get("fwd_jaxpr_thunk"), "debug_info", None)
    ]  # fmt: skip
    for source in infos:
        found = tuple(getattr(source, "arg_names", None) or ())
        if len(found) > count:  # JAX lists what was given by keyword twice
            found = tuple(n for n in found if not n.startswith("kwargs["))
        if not names and len(found[-count:]) == count and all(found[-count:]):
            names = found[-count:]
    return names if len(names) == count else tuple(f"argument {i}" for i in range(count))


def _object_names(eqn: Any) -> tuple[str, ...]:
    held = object_of(eqn)
    names: list[str] = []
    for name, tree in zip(inspect.signature(held.expand).parameters, held.in_tree.children(), strict=False):
        count = tree.num_leaves
        names += [name] if count == 1 else [f"{name}[{i}]" for i in range(count)]
    return tuple(names)


def path_of(eqn: Any) -> str:
    """The stack of module and transformation names around an equation: ``jvp(Dense_0)/...``."""
    return str(eqn.source_info.name_stack)


def is_differentiated(eqn: Any) -> bool:
    """Whether the equation comes from a derivative that was taken while it was traced."""
    return "jvp(" in path_of(eqn)


class Frame(NamedTuple):
    """A function on the stack, and file:line in it."""

    function: str
    file: str
    line: int


def frames_of(eqn: Any) -> list[Frame]:
    """The stack where an equation was traced, the innermost frame first; empty where JAX kept none."""
    found = eqn.source_info.traceback
    return [Frame(f.function_name, f.file_name, f.line_num) for f in (found.frames if found else ())]


# What JAX raises.


def beneath_boundary(run: Callable[[], T]) -> T:
    """``run()`` where exceptions keep the frames of JAX, in this thread alone.

    Only the outermost of JAX's calls takes its frames away; it knows by the name of a function on the stack
    that it is not the outermost. A function of that name calls ``run``.
    """
    code = jax.vjp.__code__
    made: dict[str, Any] = {}
    exec(compile(f"def {code.co_name}(run): return run()", code.co_filename, "exec"), made)
    return cast(T, made[code.co_name](run))
