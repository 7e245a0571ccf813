"""How far a right result may be off: by last digits of inputs and operations, by loops that stop early."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxbp.jaxprs.compile_once import is_small
from jaxbp.jaxprs.exception_origin import raise_own
from jaxbp.verify import tolerances
from jaxbp.verify.maps.pullback import Pullback, wide
from jaxbp.verify.numbers.arbiter import Sample

SHAKES = 3


def relative_tolerance(eps: float, iterative: bool = False) -> float:
    """Half the digits of the dtype: what two right ways to compute a derivative agree to.

    A loop that stops by a test has its answer to the tolerance of that test; where that cannot be measured,
    a quarter.
    """
    return float(eps ** (tolerances.ITERATED_DIGITS if iterative else tolerances.DIGITS))


def agree(a: np.ndarray, b: np.ndarray, rtol: float) -> bool:
    """Whether two arrays agree in every entry, to a part of it alone: most do, and need no closer look."""
    with np.errstate(all="ignore"):
        gap = np.abs(a - b)
        return bool((gap <= rtol * np.abs(b)).all() and np.isfinite(gap).all())


def jiggled(arrays: Sequence[Any], eps: float, rng: np.random.Generator) -> list[Any]:
    """Each entry times ``1 ± eps``: the change that rounding may make of it. Zeros stay zeros."""
    return [_jiggle(x, eps, rng) for x in arrays]


def _jiggle(x: Any, eps: float, rng: np.random.Generator) -> Any:
    signs = rng.integers(0, 2, np.shape(x), np.int8) * 2.0 - 1.0
    with np.errstate(all="ignore"):
        return jnp.asarray(wide(x) * (1 + eps * signs), dtype=x.dtype)


def unexplained(
    masks: Sequence[np.ndarray], sample: Sample, maps: Sequence[Pullback], inputs: Sequence[Any]
) -> list[np.ndarray]:
    """The suspects that are further apart than the rounding of their operations can put them.

    A right formula loses digits where it subtracts what is nearly equal; what it then differs by shows when
    the result of each operation is moved by its last digit.
    """
    pairs = list(zip(maps, (sample.rule, sample.reference), strict=False))
    gaps = _apart(sample.rule, sample.reference)
    left = list(masks)
    for k in range(SHAKES):
        reaches = [reach(m, inputs, sample.cotangent, plain, (k,)) for m, plain in pairs]
        far = [np.fmax.reduce(rs) for rs in zip(*reaches, strict=True)]
        left = [m & ~(gap <= tolerances.COVER * r) for m, gap, r in zip(left, gaps, far, strict=True)]
        if not any(m.any() for m in left):
            break
        if not is_small(inputs):
            # What is that far beyond the farthest of many entries no further change brings near.
            beyond = tolerances.BEYOND * tolerances.COVER
            sure = [m & ~(g <= beyond * _top(r)) for m, g, r in zip(left, gaps, far, strict=True)]
            if any(m.any() for m in sure):
                return sure
    return left


def _top(far: np.ndarray) -> float:
    return float(np.max(far, initial=0.0))


def reach(
    m: Pullback,
    inputs: Sequence[Any],
    ct: Sequence[Any],
    plain: Sequence[np.ndarray],
    changes: Sequence[int] = range(SHAKES),
) -> list[np.ndarray]:
    """How far a few changes of the last digit of every operation move a map's result from ``plain``."""
    far = [np.zeros(w.shape) for w in plain]
    for k in changes:
        try:
            there = m.shake(jnp.uint32(1_000_003 * k), inputs, ct)[1]
        except Exception as error:
            raise_own(error)
            break  # An operation of another kind (a callback, a kernel) has no last digit to move.
        far = [np.fmax(r, d) for r, d in zip(far, _apart(there, plain), strict=True)]
    return far


def unsettled(
    maps: Sequence[Pullback], inputs: Sequence[Any], ct: Sequence[Any], want: Sequence[np.ndarray]
) -> tuple[list[np.ndarray], float]:
    """What loops that stop by a test leave open: a part of each entry's scale, and a relative tolerance.

    Where running on moves the values by much, or to no number, the loop was no iteration to a limit, and
    what it leaves open is not known: then half of the digits of a tolerance are asked for.
    """
    if not any(m.iterative for m in maps):
        return [np.broadcast_to(0.0, w.shape) for w in want], 0.0
    size = [np.max(np.abs(w), initial=0.0, where=np.isfinite(w)) for w in want]
    loose = [0.0] * len(want)
    for m in maps:
        values, moved = settling(m, inputs, ct)
        sizes = [float(np.max(np.abs(wide(y)), initial=0.0)) for y in m.call(inputs, ct)[0]]
        arrived = all(v <= tolerances.STRAYED * s for v, s in zip(values, sizes, strict=True))
        if not (arrived and np.isfinite(moved).all()):
            open_ = [
                np.full(w.shape, relative_tolerance(m.epsilon) * s) for w, s in zip(want, size, strict=True)
            ]
            return open_, relative_tolerance(m.epsilon, True)
        loose = [n + g for n, g in zip(loose, moved, strict=True)]
    return [np.full(w.shape, n) for w, n in zip(want, loose, strict=True)], 0.0


def settling(m: Pullback, inputs: Sequence[Any], ct: Sequence[Any]) -> tuple[list[float], list[float]]:
    """How much each output and each cotangent still moves when the loops run on, of the largest entry.

    A loop's test knows small ones only to its own tolerance.
    """
    if m.settle is None:
        return [0.0] * m.outputs, [0.0] * len(m.dtypes)
    outs, cts = (
        [tolerances.UNSETTLED * float(np.max(d, initial=0.0)) for d in _apart(a, b)]
        for a, b in zip(m.call(inputs, ct), m.settle(inputs, ct), strict=True)
    )
    return outs, cts


def _apart(a: Sequence[Any], b: Sequence[Any]) -> list[np.ndarray]:
    with np.errstate(all="ignore"):
        return [np.abs(wide(x) - wide(y)) for x, y in zip(a, b, strict=True)]
