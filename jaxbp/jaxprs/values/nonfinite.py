"""The record of the first operation that makes a NaN or an infinity, and what it says of a place."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxbp.jaxprs.compile_once import jitted
from jaxbp.jaxprs.internals import KINDS, is_differentiated, path_of
from jaxbp.jaxprs.rules import beneath
from jaxbp.jaxprs.values.labels import Survey
from jaxbp.jaxprs.values.places import IN, OUT, STEP, Key, Place, Run, places_in, run
from jaxbp.jaxprs.values.traps import BACKWARD, FORWARD, NO_NUMBER, OVERFLOW, RULE, Sort, Trap, trap_of


class Operand(NamedTuple):
    """What an operand was.

    Args:
        shape: of it.
        low: its least finite entry, None where no entry is finite.
        high: its greatest.
        zeros: the share of its entries that are 0.
        nonfinite: the number of its entries that are NaN or infinite.
    """

    shape: tuple[int, ...]
    low: float | None
    high: float | None
    zeros: float
    nonfinite: int


class Nonfinite(NamedTuple):
    """The first operation that makes a NaN or an infinity.

    Args:
        direction: "forward", or "backward" where its pullback makes it.
        kind: "nan" or "inf".
        trap: the way in which it does, in words; "given" where it came with an argument.
        sort: of trap, the word by which programs tell them apart: "number" (an operation that has none
            there), "infinite", "overflow", "index", "rule" or "given".
        operation: the library function or the primitive; the argument's name where it was given.
        label: what `jaxbp.cotangents` calls its result.
        where: file:line of the user's, empty where JAX kept none.
        step: of each loop around it, from the outside.
        entries: how many.
        size: of how many.
        operands: what its floating operands were there.
        reaches: the parameters whose gradient is not finite.
        parameters: how many parameters there are.
        later: what it becomes, where an infinity turns into a NaN: the operation and its place.
        hint: what to try.
    """

    direction: str
    kind: str
    trap: str
    sort: Sort
    operation: str
    label: str
    where: str
    step: tuple[int, ...]
    entries: int
    size: int
    operands: tuple[Operand, ...]
    reaches: tuple[str, ...]
    parameters: int
    later: str
    hint: str

    @property
    def sentence(self) -> str:
        """All of it in words."""
        return f"{self.said}. Try: {self.hint}." if self.hint else f"{self.said}."

    @property
    def said(self) -> str:
        """All of it in words, but for what to try."""
        words = {"nan": "NaN", "inf": "infinite"}[self.kind]
        place = ", ".join(x for x in (self.label, beneath(self.where)) if x)
        at = f" ({place})" if place else ""
        step = f" at step {', '.join(map(str, self.step))}" if self.step else ""
        if self.sort == "given":
            text = f"{self.operation} holds {self.entries} entries of {self.size} that are not finite"
        elif self.direction == "forward":
            text = (
                f"{self.operation}{at}{step} makes {self.entries} {words} entries of {self.size}: {self.trap}"
            )
        else:
            makes = f"makes {self.entries} {words} deltas of {self.size} from finite ones"
            text = f"the pullback of {self.operation}{at}{step} {makes}: {self.trap}"
        for i, o in enumerate(self.operands):
            shown = f"{o.low:.3g} to {o.high:.3g}" if o.low is not None else "without a finite entry"
            zeros = f", {o.zeros:.0%} zeros" if o.zeros else ""
            broken = f", {o.nonfinite} not finite" if o.nonfinite and o.low is not None else ""
            text += f"; operand {i + 1} is {shown}{zeros}{broken}"
        text += f"; {self.later}" if self.later else ""
        if self.reaches:
            text += f"; reaches {len(self.reaches)} of {self.parameters} parameters"
        return f"{self.direction}: {text}"


class Traced(NamedTuple):
    """A traced function and its arguments.

    Args:
        closed: its jaxpr.
        arrays: for each input.
        names: of the inputs.
        parts: the parts of the path of each input as a parameter, None for others.
    """

    closed: Any
    arrays: Sequence[Any]
    names: Sequence[str]
    parts: Sequence[Any]


class Found(NamedTuple):
    """A place, and at which entry of the axes in front."""

    place: Place
    spot: tuple[int, ...]


def floating(place: Place) -> list[Key]:
    """Every floating operand and result of a place."""
    return [
        Key(place.path, side, i)
        for side, atoms in ((IN, place.eqn.invars), (OUT, place.eqn.outvars))
        for i, atom in enumerate(atoms)
        if jnp.issubdtype(getattr(atom.aval, "dtype", np.int32), jnp.floating)
    ]


def values_of(
    traced: Traced, keys: Sequence[Key], whole: bool = False
) -> tuple[dict[Key, np.ndarray], list[Any]]:
    """For each value whether it holds a NaN and an infinity, or all of it; and the outputs."""

    def flags(x: Any) -> Any:
        return jnp.stack([jnp.isnan(x).any(), jnp.isinf(x).any()])

    how = Run(lambda x, _: x, frozenset(keys), (lambda x: x) if whole else flags)
    arrays = [jnp.asarray(x) for x in traced.arrays]
    outs, seen = jitted(lambda *arrays: run(traced.closed, arrays, {}, how), arrays)(*arrays)  # type: ignore[arg-type]
    return {key: np.asarray(x) for key, x in seen.items()}, outs


def given(traced: Traced, reaches: Sequence[str]) -> Nonfinite | None:
    """An argument that holds a NaN; an infinity in one may be meant."""
    for name, x in zip(traced.names, traced.arrays, strict=True):
        if jnp.issubdtype(jnp.result_type(x), jnp.floating) and bool(jnp.isnan(x).any()):
            count, size = int((~jnp.isfinite(x)).sum()), int(jnp.size(x))
            hint = "look at where it comes from"
            learned = sum(p is not None for p in traced.parts)
            return Nonfinite(
                "forward",
                "nan",
                "given",
                "given",
                name,
                "",
                "",
                (),
                count,
                size,
                (),
                tuple(reaches),
                learned,
                "",
                hint,
            )
    return None


def described(
    traced: Traced,
    found: Found,
    named: Survey,
    reaches: Sequence[str],
    later: Found | None,
    deltas: Mapping[Key, np.ndarray] | None = None,
) -> Nonfinite:
    """Everything about a place, from its operands (and deltas) as they were there."""
    place, index = found
    at = floating(place)
    values = {key: x[index].astype(np.float64) for key, x in values_of(traced, at, whole=True)[0].items()}
    operands = [values[key] for key in at if key.side == IN]
    source, side = (values, OUT) if deltas is None else (deltas, IN)
    made = [source[key].astype(np.float64) for key in at if key.side == side]
    label = named.labels.get(Key(place.path, OUT, 0))
    operation = label.operation if label else place.eqn.primitive.name
    broken = next((m for m in made if not np.isfinite(m).all()), made[0])
    trap = _trap(place, operation, operands, deltas, at, broken, _is_guarded(place, traced, named))
    count = int((~np.isfinite(broken)).sum())
    kind = "nan" if np.isnan(broken).any() else "inf"
    backwards = deltas is not None or "transpose(" in path_of(place.eqn)
    becomes = ""
    if later is not None:
        known = named.labels.get(Key(later.place.path, OUT, 0))
        there = f" ({beneath(known.where)})" if known and known.where else ""
        becomes = f"{known.operation} makes a NaN of it{there}" if known else ""
    dtype = next(v.aval.dtype.name for v in place.eqn.outvars if jnp.issubdtype(v.aval.dtype, jnp.floating))
    return Nonfinite(
        "backward" if backwards else "forward",
        kind,
        trap.name.format(dtype),
        trap.sort,
        operation,
        label.text if label else "",
        label.where if label else "",
        tuple(int(i) for a, i in zip(place.axes, index, strict=False) if a.kind == STEP),
        count,
        int(broken.size),
        tuple(_operand(x) for x in operands),
        tuple(reaches),
        sum(p is not None for p in traced.parts),
        becomes,
        trap.hint.format(operation),
    )


def _is_guarded(place: Place, traced: Traced, named: Survey) -> bool:
    """Whether a where reads a result, or what is made of it entry by entry."""
    made, size = {place.path}, place.eqn.outvars[0].aval.size
    for reader in places_in(traced.closed):
        reads = [o.key is not None and o.key.path in made for o in named.operands.get(reader.path, ())]
        if reader.eqn.primitive.name == "select_n" and any(reads[1:]):
            return True
        if any(reads) and getattr(reader.eqn.outvars[0].aval, "size", 0) == size:
            made.add(reader.path)
    return False


def _trap(
    place: Place,
    operation: str,
    operands: list[np.ndarray],
    deltas: Any,
    at: Sequence[Key],
    broken: np.ndarray,
    guarded: bool,
) -> Trap:
    """The trap's name; backward also whether a where guards the value alone."""
    table = FORWARD if deltas is None else BACKWARD
    where = _at_broken(operands, broken)
    found = trap_of(table, place.eqn.primitive.name, where) or trap_of(table, operation, where)
    if deltas is None:
        lost = not np.isnan(broken).any()
        if found is None or (lost and found.sort == "infinite"):
            rule = place.eqn.primitive in KINDS and not is_differentiated(place.eqn)
            return RULE._replace(name="inside of it") if rule else OVERFLOW
        return found
    outside = [deltas[key] for key in at if key.side == OUT]
    same = outside and outside[0].shape == broken.shape
    if same and (outside[0][~np.isfinite(broken)] == 0).any():
        slope = found.name if found else "an infinite slope"
        name = f"{slope}: 0 * inf" + (", a where guards the value and not the slope" if guarded else "")
        hint = found.hint if found else "put a where inside as well" if guarded else "keep the slope finite"
        return Trap(name, frozenset(), lambda x: True, hint, found.sort if found else "number")
    if found is None:
        unknown = OVERFLOW if np.isinf(broken).any() else NO_NUMBER
        return RULE._replace(name="its rule") if place.eqn.primitive in KINDS else unknown
    return found


def _at_broken(operands: list[np.ndarray], broken: np.ndarray) -> list[np.ndarray]:
    """The operands of the entries that are not finite, where the operation takes entry by entry."""
    if any(x.shape not in ((), broken.shape) for x in operands):
        return operands
    return [x[~np.isfinite(broken)] if x.shape else x for x in operands]


def _operand(x: np.ndarray) -> Operand:
    finite = x[np.isfinite(x)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (None, None)
    return Operand(x.shape, low, high, float((x == 0).mean()) if x.size else 0.0, int(x.size - finite.size))
