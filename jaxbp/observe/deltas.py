"""What `cotangents` gives back, and `name`."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from jaxbp import arguments, tables
from jaxbp.errors import message
from jaxbp.typing import Array, Scalar


class Reduction(NamedTuple):
    """What is kept of a delta: a number, and how those of several devices make one.

    Args:
        of: what is taken of each entry.
        joined: two of them made one; 0 changes nothing.
        number: what was made of all, and how many there are, as a floating number.
        over: the numbers of the devices, made one along axis 0.
        last: what is done at the end.
    """

    of: Callable[[Array], Array]
    joined: Callable[[Array, Array], Array]
    number: Callable[[Array, int], Array]
    over: Callable[..., Array]
    last: Callable[[Array], Array] = lambda r: r


def _bits(d: Array) -> Array:
    """Absolute values as whole numbers in the same order, NaN above infinity: those reduce many at a time."""
    return jax.lax.bitcast_convert_type(jnp.abs(d), jnp.int64 if d.dtype == jnp.float64 else jnp.int32)


def _from_bits(r: Array, size: int) -> Array:
    return jax.lax.bitcast_convert_type(r, jnp.float64 if r.dtype == jnp.int64 else jnp.float32)


REDUCTIONS = {
    "norm": Reduction(lambda d: d * d, jnp.add, lambda r, size: r, jnp.sum, jnp.sqrt),
    "max": Reduction(_bits, jnp.maximum, _from_bits, jnp.max),
    # Counted from the other end: a delta that JAX never forms, because it is 0, leaves 0 here.
    "zeros": Reduction(lambda d: (d != 0).astype(jnp.int32), jnp.add, lambda r, size: r / max(size, 1),
                       jnp.mean, lambda r: 1 - r),
}  # fmt: skip


def reduced(kept: tuple[str, ...], delta: Array) -> Array:
    """The numbers of these reductions, in one pass over a delta of float32 or float64, before `last`.

    Example:
        >>> reduced(("norm", "max", "zeros"), jnp.array([3.0, -4.0, 0.0, 0.0]))
        Array([25. ,  4. ,  0.5], dtype=float32)
    """
    if kept == ("norm",):
        return jnp.vdot(delta, delta)[None]
    chosen = [REDUCTIONS[word] for word in kept]
    entries = [r.of(delta) for r in chosen]
    # One reduction of several values is one loop, in a step of a scan too; several would be one each.
    made = jax.lax.reduce(
        entries,
        [jnp.zeros((), x.dtype) for x in entries],
        lambda a, b: [r.joined(x, y) for r, x, y in zip(chosen, a, b, strict=True)],
        range(delta.ndim),
    )
    return jnp.stack([
        r.number(x, delta.size).astype(delta.dtype) for r, x in zip(chosen, made, strict=True)
    ])  # fmt: skip


class Tap(NamedTuple):
    """What is known of an intermediate value beside its numbers.

    Args:
        label: its name.
        kind: "a" for a product with its bias, "f" for an activation, "state" of a loop, "named" by
            `jaxbp.name`, "" for anything else.
        operation: what made it.
        where: file:line of the user's, empty where JAX kept none.
        shape: with the axes in front.
        axes: "step" for each loop around it and "device" for a mesh, from the outside.
    """

    label: str
    kind: str
    operation: str
    where: str
    shape: tuple[int, ...]
    axes: tuple[str, ...]


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("loss", "gradients", "deltas", "values", "taken"),
    meta_fields=("taps", "notes"),
)
@dataclass(frozen=True, repr=False)
class Cotangents:
    """The deltas of one pass, by label, in the order in which the values are computed.

    Args:
        loss: f at the arguments.
        gradients: as `jax.grad` gives them.
        deltas: d loss / d value for each label: the whole delta, of the value's shape, or with ``reduce``
            a dictionary of numbers.
        values: the values themselves; none with ``reduce``.
        taken: for values within a branch of a cond, whether that branch was taken; where not, delta and
            value are 0.
        taps: what is known of each value.
        notes: what was not entered, and why.
    """

    loss: Scalar
    gradients: Any
    deltas: dict[str, Any]
    values: dict[str, Array]
    taken: dict[str, Array]
    taps: tuple[Tap, ...]
    notes: tuple[str, ...] = ()

    def __getitem__(self, label: str) -> Any:
        """The delta with this label."""
        return self.deltas[label]

    def _rows(self) -> list[tuple[str, str, str, str]]:
        rows = []
        for tap in self.taps:
            delta = self.deltas[tap.label]
            words = (
                ", ".join(f"{k} {tables.in_words(v)}" for k, v in delta.items())
                if isinstance(delta, dict) else tables.in_words(delta)
            )  # fmt: skip
            place = tap.where.rpartition("/")[2]
            rows.append((tap.label, str(tap.shape), words, place))
        return rows

    def __repr__(self) -> str:
        """A table of labels, shapes, deltas and places."""
        text = tables.as_text(("delta of", "shape", "value", "where"), self._rows())
        return "\n".join([text, *(f"note: {note}" for note in self.notes)])

    def _repr_html_(self) -> str:
        return tables.as_html(("delta of", "shape", "value", "where"), self._rows())


def name(value: Array, label: str) -> Array:
    """``value``, which `cotangents` and `diagnose` then call ``label``; nothing else.

    Args:
        value: an array.
        label: its name, text without ``[`` and ``*``.

    Returns:
        The same value.

    Raises:
        TypeError: where label is no text, or value no array.
        ValueError: where it is empty or has a character that patterns or axes use.

    Example:
        >>> import jaxbp
        >>> jaxbp.cotangents(lambda w: name(3.0 * w, "scaled") ** 2)(2.0).deltas
        {'scaled': Array(12., dtype=float32)}
    """
    arguments.instance("name", "label", label, str)
    if not label or set(label) & set("[]*?"):
        raise ValueError(message("name", "a label without any of []*?", repr(label), "such as 'h1'"))
    value = arguments.array("name", "value", value)
    named: Array = checkpoint_name(value, label)  # type: ignore[no-untyped-call]
    return named
