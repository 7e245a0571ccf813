"""Right numbers in the wrong places: transposed, exchanged, shifted, on the other side, summed or not."""

from collections.abc import Iterator
from functools import partial
from itertools import combinations

import jax.numpy as jnp
import numpy as np

from jaxbp.verify import tolerances
from jaxbp.verify.causes.changed import is_square
from jaxbp.verify.causes.evidence import Diagnosis, Evidence, largest
from jaxbp.verify.maps.pullback import wide

turn = partial(jnp.swapaxes, axis1=-1, axis2=-2)
_turned_back = partial(np.swapaxes, axis1=-1, axis2=-2)


def swapped(e: Evidence) -> Diagnosis | None:
    """The cotangent of another argument, or that of one output sent back the way of another."""
    for b in range(len(e.at.inputs)):
        if b == e.argument or np.shape(e.at.inputs[b]) != np.shape(e.at.inputs[e.argument]):
            continue
        other = np.stack([s.reference[b] for s in e.samples])
        if e.explained_by(other):
            return Diagnosis("swapped", f"this is the cotangent of argument {b}")
    if e.reference is None or len(e.at.outputs) > 8:
        return None
    for j, k in combinations(range(len(e.at.outputs)), 2):
        if e.at.outputs[j].shape == e.at.outputs[k].shape and e.at.outputs[j].dtype == e.at.outputs[k].dtype:
            ways: tuple[tuple[list[int], list[int], str], ...] = (
                ([k], [j], f"the cotangents of outputs {j} and {k} are exchanged"),
                ([], [j, k], f"the cotangent of output {j} goes back as one of output {k}"),
                ([j, k], [], f"the cotangent of output {k} goes back as one of output {j}"),
            )
            for first, second, words in ways:
                cts = [list(s.cotangent) for s in e.samples]
                for c in cts:
                    c[j], c[k] = (sum((c[i] for i in given), 0 * c[j]) for given in (first, second))
                rows = [wide(e.reference.call(e.at.inputs, c)[1][e.argument]) for c in cts]
                if e.explained_by(np.stack(rows)):
                    return Diagnosis("swapped", words)
    return None


def turned(e: Evidence) -> Diagnosis | None:
    """A transpose of the result, the cotangent or another argument, or a product from the other side."""
    want = e.want
    square = is_square(want.shape[1:])
    if square and e.explained_by(np.swapaxes(want, -1, -2)):
        return Diagnosis("transposed", "rule = the transpose of the reference")
    outs = bool(e.at.outputs) and all(is_square(s.shape) for s in e.at.outputs)
    if e.reference and outs:
        if e.gives(e.at.inputs, turn):
            return Diagnosis("cotangent_transposed", "the rule's result is that of the transposed cotangent")
        if square and e.gives(e.at.inputs, turn, _turned_back):
            return Diagnosis("transposed", "cotangent and result are transposed")
    if e.reference is None:
        return None
    for i, held in enumerate(e.at.inputs):
        if not is_square(held.shape):
            continue
        inputs = [turn(v) if k == i else v for k, v in enumerate(e.at.inputs)]
        if e.gives(inputs):
            return Diagnosis("transposed", f"the transpose of argument {i} is used in the place of it")
        if square and outs and e.gives(inputs, turn, _turned_back):
            return Diagnosis("transposed", f"argument {i} stands on the wrong side of the product")
    return None


def other_way(e: Evidence) -> Diagnosis | None:
    """Another argument with an axis run backwards, or shifted by one, or with two axes exchanged.

    A kernel that is not flipped, the gate of the wrong step.
    """
    if e.reference is None:
        return None
    for i, held in enumerate(e.at.inputs):
        if i == e.argument or held.ndim < 1 or held.size > 1_000_000:
            continue
        for words, cause, value in _rearranged(held):
            inputs = [value if k == i else v for k, v in enumerate(e.at.inputs)]
            if e.gives(inputs):
                return Diagnosis(cause, f"argument {i} is used with {words}")
    return None


def _rearranged(x: jnp.ndarray) -> Iterator[tuple[str, str, jnp.ndarray]]:
    longer = [k for k, n in enumerate(x.shape) if n > 1]
    # The last axes, or the first (of images, whose channels may stand on either side), or any single one.
    groups = dict.fromkeys([(k,) for k in longer] + [tuple(longer[-2:]), tuple(longer[:2]), tuple(longer)])
    for axes in groups:
        if axes:
            words = f"axis {axes[0]}" if len(axes) == 1 else f"axes {', '.join(map(str, axes))}"
            yield f"{words} the other way round", "misplaced", jnp.flip(x, axes)
    for k in longer:
        for by, word in ((1, "earlier"), (-1, "later")) if x.shape[k] > 2 else ():
            yield f"the entry one {word} along axis {k}", "misplaced", jnp.roll(x, by, k)
    for j, k in combinations(range(x.ndim), 2):
        if x.shape[j] == x.shape[k] > 1:
            swapped = jnp.swapaxes(x, j, k)
            yield f"axes {j} and {k} exchanged", "transposed", swapped
            rest = [a for a in longer if a not in (j, k)]
            if rest:
                words = f"axes {j} and {k} exchanged, axes {', '.join(map(str, rest))} the other way round"
                yield words, "transposed", jnp.flip(swapped, rest)


def right_total(e: Evidence) -> Diagnosis | None:
    """The right total, given to entries that should get nothing: a mean for a maximum."""
    got, want = e.got, e.want
    if not e.finite or want.ndim < 2:
        return None
    nothing = (want == 0).all(0)
    given = nothing & (got != 0).any(0)
    totals, right = (m.reshape(len(m), -1).sum(1) for m in (got, want))
    if not given.any() or not e.same(totals, right) or (right == 0).all():
        return None
    who = f"{given.sum()} of {given.size} entries get a part of what belongs to others"
    return Diagnosis("misplaced", f"the total is right, but {who}", True)


def misplaced(e: Evidence) -> Diagnosis | None:
    """Shifted or turned along an axis, entries in another order, or given to other entries."""
    got, want = e.got, e.want
    if not e.finite or want[0].size < 2 or not want.any():
        return None
    # An order shows only in several numbers.
    for axis in range(1, want.ndim) if (want != 0).any(0).sum() > 2 else ():
        n = want.shape[axis]
        if n > 1 and e.explained_by(np.flip(want, axis)):
            return Diagnosis("misplaced", f"rule = the reference the other way round along axis {axis - 1}")
        for shift in (1, -1, 2, -2):
            # Of what is shifted, at least three entries and most of the axis must be seen.
            if n - abs(shift) < max(3, n / 2):
                continue
            here = (slice(None),) * axis + (slice(max(shift, 0), n + min(shift, 0)),)
            there = (slice(None),) * axis + (slice(max(-shift, 0), n + min(-shift, 0)),)
            if want[there].any() and e.same(got[here], want[there]):
                words = f"by {abs(shift)} along axis {axis - 1}"
                return Diagnosis("misplaced", f"the rule's result is that of the reference shifted {words}")
    least = tolerances.NOTHING * largest(want)
    on, wanted = (np.abs(m).max(0) > least for m in (got, want))
    if (on == wanted).all():
        order = _reordered(e)
        return Diagnosis("misplaced", order) if order else None
    both = on & wanted
    if e.same(got[:, both], want[:, both]) and (on & ~wanted).any() and (wanted & ~on).any():
        masks = (on & ~wanted, wanted & ~on)
        some, right = (", ".join(_index(i) for i in np.argwhere(m)[:3]) for m in masks)
        sentence = f"the rule gives to {some} and not to {right}, which the outputs depend on"
        return Diagnosis("misplaced", sentence)
    return None


def _index(i: np.ndarray) -> str:
    return f"[{', '.join(map(str, i))}]"


def _reordered(e: Evidence) -> str:
    """Rows (or entries) of the reference in another order, the same for every cotangent."""
    got, want = (m.reshape(len(m), (*m.shape, 1)[1], -1) for m in (e.got, e.want))
    found = _order(e, got, want, " along axis 0")
    if found or got.shape[2] == 1:
        return found
    return _order(e, got.reshape(len(got), -1, 1), want.reshape(len(want), -1, 1), ", read as one row")


def _order(e: Evidence, got: np.ndarray, want: np.ndarray, of: str) -> str:
    n = want.shape[1]
    if not 2 < n <= 256:
        return ""
    order: list[int] = []
    for i in range(n):
        # Of rows that are the same (one output read twice) each is taken once.
        near = (j for j in range(n) if j not in order and e.same(got[:, i], want[:, j]))
        if (first := next(near, None)) is None:
            return ""
        order.append(first)
    if order == list(range(n)):
        return ""
    shown = ", ".join(map(str, order[:8])) + (", ..." if n > 8 else "")
    return f"the rule's result is the reference in another order{of}: {shown}"


def summed(e: Evidence) -> Diagnosis | None:
    """A sum over an axis too many or too few, over a mesh or within the argument."""
    got, want = e.got, e.want
    if not e.finite or want.ndim < 2:
        return None
    every = tuple(range(1, got.ndim))
    if e.same(got, np.broadcast_to(got.mean(every, keepdims=True), got.shape)):
        # A sum over some axes could not be told from others: only that of all entries can.
        for word, total in (("sum", np.sum(want, every)), ("mean", np.mean(want, every))):
            spread = np.broadcast_to(total.reshape(-1, *[1] * len(every)), want.shape)
            if want[0].size > 1 and not e.same(want, spread) and e.same(got, spread):
                sentence = f"the rule gives every entry the {word} of what each should keep"
                return Diagnosis("extra_sum", sentence)
        return None
    lengths = [n for _, n in e.devices]
    if lengths:
        rows = (len(want), *lengths, *want.shape[2:])
        got, want = got.reshape(rows), want.reshape(rows)
    for axis in range(1, want.ndim):
        n = want.shape[axis]
        if n < 2:
            continue
        device = e.devices[axis - 1][0] if axis <= len(lengths) else ""
        where = f"axis {device} of the mesh" if device else f"axis {axis - 1 - max(len(lengths) - 1, 0)}"
        given, wanted = (np.sum(m, axis, keepdims=True) for m in (got, want))
        for k, word in ((1.0, "sums"), (1 / n, "averages")):
            if e.same(got, np.broadcast_to(k * wanted, got.shape)):
                own = "what each device should return for itself" if device else "what each entry should keep"
                return Diagnosis("extra_sum", f"the rule {word} over {where} {own}")
            if e.same(want, np.broadcast_to(k * given, got.shape)):
                return Diagnosis("missing_sum", f"the rule should {word[:-1]} over {where}, and does not")
    return None


def summed_before(e: Evidence) -> Diagnosis | None:
    """The right rule of a cotangent that is summed or averaged over an axis first (a psum too many)."""
    if e.reference is None or len(e.at.outputs) != 1:
        return None
    for axis, n in enumerate(e.at.outputs[0].shape):
        for times, word in ((1, "summed"), (1 / n, "averaged")) if n > 1 else ():

            def summed(c: jnp.ndarray, axis: int = axis, times: float = times) -> jnp.ndarray:
                return jnp.asarray(times * jnp.sum(c, axis, keepdims=True) + 0 * c, c.dtype)

            if e.explained_by(e.pulled(e.at.inputs, summed)):
                device = e.devices[0][0] if axis == 0 and len(e.devices) == 1 else ""
                where = f"axis {device} of the mesh" if device else f"axis {axis} of the output"
                return Diagnosis("extra_sum", f"the cotangent is {word} over {where} before the rule")
    return None
