"""The places in a jaxpr at which a value can be seen or moved, at any depth, and a run that does it.

A place is an equation: its number, behind those of the equations that hold it. jit, remat, scan, cond and
shard_map are entered; rules, while loops and whatever else holds a computation are one equation. What is
seen in a scan has an axis of its steps in front, in a shard_map one of the devices on which it differs.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core
from jax.extend.core import primitives
from jax.sharding import PartitionSpec

from jaxbp.jaxprs.internals import (
    CALLS,
    SHARD_MAP,
    body,
    branches_of,
    mapped_of,
    scan_of,
    scan_parts,
    varying,
)
from jaxbp.jaxprs.values.kept import out_specs_of, remat_options, varying_of
from jaxbp.jaxprs.walk import evaluate, single

Path = tuple[int, ...]
STEP, DEVICE = "step", "device"
OUT, IN, BRANCH = "out", "in", "branch"


class Key(NamedTuple):
    """A value: the equation that it belongs to, and which of its results or operands it is.

    The side BRANCH is the number of the branch that a cond takes.
    """

    path: Path
    side: str
    number: int


class Axis(NamedTuple):
    """An axis that a value seen in a loop or on a mesh has in front: its kind and size.

    ``depth`` is the length of the path of the equation that makes it.
    """

    kind: str
    size: int
    depth: int


class Place(NamedTuple):
    """An equation that is run as a whole.

    Args:
        path: numbers of equations and, in between, of the jaxprs that they hold.
        eqn: the equation.
        around: the equations that hold it, from the outside.
        axes: those in front of its values.
        branches: the conds around it, each with the number of the branch in which it lies.
        info: the debug_info of its jaxpr.
    """

    path: Path
    eqn: Any
    around: tuple[Any, ...] = ()
    axes: tuple[Axis, ...] = ()
    branches: tuple[tuple[Path, int], ...] = ()
    info: Any = None

    def axes_of(self, atom: Any) -> tuple[Axis, ...]:
        """The axes in front of one of its values: of a mesh, only those over which it differs."""
        axes = []
        for axis in self.axes:
            if axis.kind == DEVICE:
                held = mapped_of(self.around[axis.depth // 2])
                axis = axis._replace(size=math.prod(held.mesh.shape[a] for a in _over(held, atom)))
                if not _over(held, atom):
                    continue
            axes.append(axis)
        return tuple(axes)

    def shape_of(self, atom: Any) -> tuple[int, ...]:
        """The shape of one of its values as it is seen."""
        return (*(a.size for a in self.axes_of(atom)), *atom.aval.shape)


def inner_of(eqn: Any) -> tuple[Any, ...]:
    """The closed jaxprs that are entered; of most equations none."""
    if eqn.primitive in CALLS:
        return (body(eqn),)
    if eqn.primitive is primitives.scan_p:
        return (scan_of(eqn).body,)
    if eqn.primitive is primitives.cond_p:
        return branches_of(eqn)
    if eqn.primitive.name == SHARD_MAP:
        return (mapped_of(eqn).body,)
    return ()


def places_in(closed: Any) -> list[Place]:
    """Every place, in the order in which they run."""
    return _places(closed, Place((), None))


def _places(closed: Any, around: Place) -> list[Place]:
    found = []
    for number, eqn in enumerate(closed.jaxpr.eqns):
        path = (*around.path, number)
        held = inner_of(eqn)
        if not held:
            found.append(around._replace(path=path, eqn=eqn, info=closed.jaxpr.debug_info))
        for which, inner in enumerate(held):
            axes, branches = around.axes, around.branches
            if eqn.primitive is primitives.scan_p:
                axes = (*axes, Axis(STEP, scan_of(eqn).length, len(path)))
            elif eqn.primitive.name == SHARD_MAP:
                axes = (*axes, Axis(DEVICE, 0, len(path)))
            elif eqn.primitive is primitives.cond_p:
                branches = (*branches, (path, which))
            inside = Place((*path, which), None, (*around.around, eqn), axes, branches)
            found += _places(inner, inside)
    return found


class Run(NamedTuple):
    """What is done on the way: ``move(x, probe)`` at the keys that have a probe, and what is seen.

    Args:
        move: x as it goes on.
        seen: the keys whose values are given back; those of cond say which branch was taken.
        look: what is given back of a value.
    """

    move: Callable[[Any, Any], Any]
    seen: frozenset[Key]
    look: Callable[[Any], Any] = lambda x: x


def run(closed: Any, args: Any, probes: Mapping[Key, Any], how: Run) -> tuple[list[Any], dict[Key, Any]]:
    """The outputs of ``closed``, moved by the probes, and the values seen before they are moved.

    A probe has, before its own shape, the axes of `Place.axes_of`.

    Example:
        >>> closed = jax.make_jaxpr(lambda x: 2 * jnp.sin(x))(0.5)
        >>> first = Key((0,), OUT, 0)
        >>> outs, seen = run(closed, [0.5], {first: 1.0}, Run(jnp.add, frozenset({first})))
        >>> [round(float(y), 4) for y in (outs[0], seen[first])]
        [2.9589, 0.4794]
    """
    return _run(closed, args, (), dict(probes), how)


def _run(closed: Any, args: Any, prefix: Path, probes: Any, how: Run) -> tuple[list[Any], dict[Key, Any]]:
    values: dict[Key, Any] = {}
    depth = len(prefix)
    concerned = {key.path[depth] for key in (*probes, *how.seen) if key.path[:depth] == prefix}

    def each(number: int, eqn: Any, inputs: list[Any]) -> list[Any]:
        if number not in concerned:
            return list(single(eqn, closed.jaxpr.debug_info)(*inputs))
        path = (*prefix, number)

        def passed(side: str, i: int, x: Any) -> Any:
            key = Key(path, side, i)
            if key in how.seen:
                values[key] = how.look(x)
            return how.move(x, probes[key]) if key in probes else x

        inputs = [passed(IN, i, x) for i, x in enumerate(inputs)]
        if inner_of(eqn):
            inside = {key: p for key, p in probes.items() if key.path[: len(path)] == path}
            outs, more = _enter(eqn, inputs, path, inside, how)
            values.update(more)
        else:
            outs = list(single(eqn, closed.jaxpr.debug_info)(*inputs))
        return [passed(OUT, i, y) for i, y in enumerate(outs)]

    outs = evaluate(closed, args, each)
    return outs, values


def _enter(
    eqn: Any, inputs: list[Any], path: Path, probes: Any, how: Run
) -> tuple[list[Any], dict[Key, Any]]:
    inner = inner_of(eqn)

    def inside(probes: Any, *args: Any, which: int = 0) -> tuple[list[Any], dict[Key, Any]]:
        return _run(inner[which], args, (*path, which), probes, how)

    if eqn.primitive is primitives.scan_p:
        scan, (n, m) = scan_of(eqn), scan_parts(eqn)

        def step(carry: list[Any], slices: Any) -> tuple[list[Any], Any]:
            x, probes = slices
            outs, values = inside(probes, *inputs[:n], *carry, *x)
            return outs[: m - n], (outs[m - n :], values)

        carry, (ys, values) = jax.lax.scan(
            step, inputs[n:m], (inputs[m:], probes), length=scan.length, reverse=scan.backwards
        )
        return [*carry, *ys], values
    if eqn.primitive is primitives.cond_p:
        return _branch(inner, inputs, path, probes, inside, how)
    if eqn.primitive.name == SHARD_MAP:
        return _on_mesh(eqn, inputs, path, probes, inside, how)
    if eqn.primitive is primitives.remat_p:
        return jax.checkpoint(inside, **remat_options(eqn))(probes, *inputs)
    return inside(probes, *inputs)


def _branch(
    inner: Any, inputs: list[Any], path: Path, probes: Any, inside: Callable[..., Any], how: Run
) -> tuple[list[Any], dict[Key, Any]]:
    """A cond: what lies in the branches not taken is seen as 0."""

    def of(which: int) -> Callable[..., Any]:
        return lambda probes, *args: inside(probes, *args, which=which)

    shapes = [jax.eval_shape(of(k), probes, *inputs[1:])[1] for k in range(len(inner))]
    every = {key: s for shape in shapes for key, s in shape.items()}

    def whole(which: int) -> Callable[..., Any]:
        def run(probes: Any, *args: Any) -> tuple[list[Any], dict[Key, Any]]:
            outs, values = of(which)(probes, *args)
            return outs, {k: values[k] if k in values else _zero(s) for k, s in every.items()}

        return run

    outs, values = jax.lax.switch(inputs[0], [whole(k) for k in range(len(inner))], probes, *inputs[1:])
    key = Key(path, BRANCH, 0)
    return outs, values | ({key: inputs[0]} if key in how.seen else {})


def _zero(shape: Any) -> Any:
    zero, axes = jnp.zeros(shape.shape, shape.dtype), varying_of(shape)
    return jax.lax.pcast(zero, axes, to="varying") if axes else zero


def _on_mesh(
    eqn: Any, inputs: list[Any], path: Path, probes: Any, inside: Callable[..., Any], how: Run
) -> tuple[list[Any], dict[Key, Any]]:
    """A shard_map: what differs from device to device has a row for each."""
    held = mapped_of(eqn)
    atoms = {
        Key(p.path, side, i): atom
        for p in _places(held.body, Place((*path, 0), None))
        for side, group in ((OUT, p.eqn.outvars), (IN, p.eqn.invars))
        for i, atom in enumerate(group)
    }
    over = {key: _over(held, atom) for key, atom in atoms.items()}
    names = sorted(key for key in how.seen if key.path[: len(path)] == path and key in atoms)

    def spec(key: Key) -> PartitionSpec:
        return PartitionSpec(*((over[key],) if over[key] else ()))  # type: ignore[no-untyped-call]

    def local(probes: Any, *args: Any) -> tuple[list[Any], list[Any]]:
        rows = {key: p[0] if over[key] else p for key, p in probes.items()}
        outs, values = inside(rows, *args)
        return outs, [values[k][None] if over[k] else values[k] for k in names]

    mapped = jax.shard_map(
        local,
        mesh=held.mesh,
        in_specs=({key: spec(key) for key in probes}, *held.in_specs),
        out_specs=(list(out_specs_of(eqn)), [spec(key) for key in names]),
        axis_names=frozenset(held.axes),
        check_vma=held.tracked,
    )
    outs, rows = mapped(probes, *inputs)
    return outs, dict(zip(names, rows, strict=True))


def _over(held: Any, atom: Any) -> tuple[str, ...]:
    """The axes of the mesh along which a value differs (all of them where JAX does not keep track)."""
    if isinstance(atom, core.Literal):
        return ()
    return tuple(a for a in held.axes if not held.tracked or a in varying(atom))
