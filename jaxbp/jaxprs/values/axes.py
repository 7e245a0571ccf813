"""Where each axis of each value comes from: the axes of the inputs that it runs along."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.extend import core
from jax.extend.core import primitives

from jaxbp.jaxprs.internals import scan_parts
from jaxbp.jaxprs.values.places import OUT, Key, Path, inner_of

# An axis is the set of the axes of inputs, (number of the input, axis), that it runs along.
Axis = frozenset[tuple[int, int]]
Axes = tuple[Axis, ...]
NONE: Axis = frozenset()
SAME = {"rev", "sort", "cumsum", "cumprod", "cummax", "cummin", "slice", "dynamic_slice", "pad", "split",
        "concatenate", "convert_element_type", "reduce_precision", "copy", "stop_gradient"}  # fmt: skip


def axes_in(closed: Any) -> dict[Key, Axes]:
    """The axes of the result of every place, without those that a loop has in front.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> closed = jax.make_jaxpr(lambda x, w: (x @ w).sum(0))(jnp.ones((5, 3)), jnp.ones((3, 2)))
        >>> [[sorted(axis) for axis in axes] for axes in axes_in(closed).values()]
        [[[(0, 0)], [(1, 1)]], [[(1, 1)]]]
    """
    found: dict[Key, Axes] = {}
    inputs = [tuple(frozenset({(n, a)}) for a in range(len(s.shape))) for n, s in enumerate(closed.in_avals)]
    _walk(closed, inputs, (), found)
    return found


def _walk(closed: Any, inputs: Sequence[Axes], prefix: Path, found: dict[Key, Axes]) -> list[Axes]:
    jaxpr = closed.jaxpr
    env: dict[Any, Axes] = dict(zip(jaxpr.invars, inputs, strict=True))

    def read(atom: Any) -> Axes:
        known = () if isinstance(atom, core.Literal) else env.get(atom, ())
        return known or (NONE,) * len(getattr(atom.aval, "shape", ()))

    for number, eqn in enumerate(jaxpr.eqns):
        operands, path = [read(a) for a in eqn.invars], (*prefix, number)
        inner = inner_of(eqn)
        if not inner:
            outs = _leaf(eqn, operands)
            found.update({Key(path, OUT, i): axes for i, axes in enumerate(outs)})
        elif eqn.primitive is primitives.scan_p:
            n, m = scan_parts(eqn)
            steps = [axes[0] for axes in operands[m:] if axes]
            over = NONE.union(*steps)
            inside = [*operands[:m], *(axes[1:] for axes in operands[m:])]
            for _ in range(2):  # what the state has of the slices, it has from the second step on
                outs = _walk(inner[0], inside, (*path, 0), found)
                inside[n:m] = [_union(a, b) for a, b in zip(inside[n:m], outs, strict=False)]
            outs = [axes if k < m - n else (over, *axes) for k, axes in enumerate(outs)]
        elif eqn.primitive is primitives.cond_p:
            several = [_walk(b, operands[1:], (*path, k), found) for k, b in enumerate(inner)]
            outs = [_union(*same) for same in zip(*several, strict=True)]
        else:
            outs = _walk(inner[0], operands, (*path, 0), found)
        env.update(zip(eqn.outvars, outs, strict=True))
    return [read(a) for a in jaxpr.outvars]


def _union(*several: Axes) -> Axes:
    return tuple(NONE.union(*axis) for axis in zip(*several, strict=True))


def _leaf(eqn: Any, operands: Sequence[Axes]) -> list[Axes]:
    shapes = [tuple(getattr(a.aval, "shape", ())) for a in eqn.invars]
    return [_of(eqn, operands, shapes, tuple(getattr(v.aval, "shape", ()))) for v in eqn.outvars]


def _of(eqn: Any, operands: Sequence[Axes], shapes: Sequence[Any], shape: tuple[int, ...]) -> Axes:
    p, name = eqn.params, eqn.primitive.name
    first = operands[0] if operands else ()
    if name == "broadcast_in_dim":
        back = {d: i for i, d in enumerate(p["broadcast_dimensions"])}
        return tuple(
            first[back[d]] if d in back and shapes[0][back[d]] == size else NONE
            for d, size in enumerate(shape)
        )
    if name == "transpose":
        return tuple(first[i] for i in p["permutation"])
    if name == "squeeze":
        gone = {d % len(shapes[0]) for d in p["dimensions"]}
        return tuple(a for i, a in enumerate(first) if i not in gone)
    if name == "reshape":
        return _reshaped(first, shapes[0], shape)
    if name.startswith(("reduce_", "arg")) and "axes" in p:
        return tuple(a for i, a in enumerate(first) if i not in p["axes"])
    if name == "dot_general":
        ((left, right), (batch, other)) = p["dimension_numbers"]
        free = [a for i, a in enumerate(operands[0]) if i not in (*left, *batch)]
        rest = [a for i, a in enumerate(operands[1]) if i not in (*right, *other)]
        both = [operands[0][i] | operands[1][j] for i, j in zip(batch, other, strict=True)]
        return (*both, *free, *rest)
    if name == "conv_general_dilated":
        d, axes = p["dimension_numbers"], [NONE] * len(shape)
        axes[d.out_spec[0]], axes[d.out_spec[1]] = first[d.lhs_spec[0]], operands[1][d.rhs_spec[0]]
        for i, o in zip(d.lhs_spec[2:], d.out_spec[2:], strict=True):
            axes[o] = first[i]
        return tuple(axes)
    if name == "gather":
        return _gathered(p["dimension_numbers"], operands, len(shape))
    if name in SAME and len(first) == len(shape):
        several = [o for o in operands if len(o) == len(shape)] if name == "concatenate" else [first]
        return _union(*several)
    alike = [(o, s) for o, s in zip(operands, shapes, strict=True) if len(s) == len(shape) and shape]
    if alike and all(size in (1, whole) for _, s in alike for size, whole in zip(s, shape, strict=True)):
        stretched = [
            [a if n == whole else NONE for a, n, whole in zip(o, s, shape, strict=True)] for o, s in alike
        ]
        return _union(*map(tuple, stretched))
    return first if len(first) == len(shape) else (NONE,) * len(shape)


def _reshaped(axes: Axes, old: Sequence[int], new: Sequence[int]) -> Axes:
    """Axes that are merged give theirs to one, and one that is split to all."""
    out: list[Axis] = []
    i = j = 0
    while j < len(new):
        if new[j] == 1:
            out.append(NONE)
            j += 1
            continue
        while i < len(old) and old[i] == 1:
            i += 1
        a, b, start, begin = i, j, old[i] if i < len(old) else 1, new[j]
        while start != begin and (a + 1 < len(old) or b + 1 < len(new)):
            if start < begin and a + 1 < len(old):
                a += 1
                start *= old[a]
            else:
                b += 1
                begin *= new[b]
        merged = NONE.union(*axes[i : a + 1])
        out += [merged if new[k] > 1 else NONE for k in range(j, b + 1)]
        i, j = a + 1, b + 1
    return tuple(out[: len(new)])


def _gathered(numbers: Any, operands: Sequence[Axes], count: int) -> Axes:
    """Axes of the indices, and those of the operand of which a slice is taken whole."""
    gone = {*numbers.collapsed_slice_dims, *getattr(numbers, "operand_batching_dims", ())}
    whole = iter([a for i, a in enumerate(operands[0]) if i not in gone])
    positions = iter(operands[1][:-1])
    batching = dict(zip(getattr(numbers, "start_indices_batching_dims", ()),
                        getattr(numbers, "operand_batching_dims", ()), strict=True))  # fmt: skip
    out, place = [], 0
    for d in range(count):
        if d in numbers.offset_dims:
            out.append(next(whole, NONE))
        else:
            axis = next(positions, NONE)
            out.append(axis | operands[0][batching[place]] if place in batching else axis)
            place += 1
    return tuple(out)


def rows_along(x: np.ndarray, axis: int) -> np.ndarray:
    """The array as a matrix with a row for each entry of an axis."""
    return np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1)
