"""Where a function multiplies by its weights, and the deltas there.

A weight W that only ever multiplies, a = W f, has the gradient delta_a f^T: the two factors say all, and
take d_out + d_in numbers in place of d_out d_in; a bias added to such an a has the gradient delta_a. Here
the jaxpr of any function is searched for such products. Running it with a zero added to each a, a *tap*,
makes delta_a the derivative by that zero. Weights with any other use (within a loop, a convolution, a
custom rule) have their gradient formed entry by entry.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Literal, primitives

from jaxbp import errors
from jaxbp.jaxprs.internals import BARRIER, body
from jaxbp.jaxprs.walk import evaluate, single
from jaxbp.typing import Array


class Use(NamedTuple):
    """A product of f with a weight.

    Args:
        leaf: the weight, by its place among the leaves.
        out_axes: the weight's axes that are in a.
        in_axes: its axes that are summed over.
        w_operand: 0 or 1, the operand that is the weight.
        f_axes: the axes of f that are summed over, in the order of in_axes.
        a_shape: the shape of a.
    """

    leaf: int
    out_axes: tuple[int, ...]
    in_axes: tuple[int, ...]
    w_operand: int
    f_axes: tuple[int, ...]
    a_shape: tuple[int, ...]

    def rows_of_f(self, f: Array) -> Array:
        """F as (T, d_in), a row for each position at which the weight is used."""
        d_in = [f.shape[axis] for axis in self.f_axes]
        return jnp.moveaxis(f, self.f_axes, range(-len(self.f_axes), 0)).reshape(-1, math.prod(d_in))

    def rows_of_a(self, delta_a: Array) -> Array:
        """Delta_a as (T, d_out)."""
        k = len(self.out_axes)
        if self.w_operand == 0:
            delta_a = jnp.moveaxis(delta_a, range(k), range(-k, 0))
        return delta_a.reshape(-1, math.prod(delta_a.shape[delta_a.ndim - k :]))


class Taps(NamedTuple):
    """The structure of a function in its parameters, from `find_taps`.

    Args:
        uses: the products, in the order in which they run.
        kept: those whose delta is wanted.
        products: for each structured weight, its products.
        biases: for each structured bias, the product it is added to.
        entrywise: the leaves without structure.
    """

    uses: tuple[Use, ...]
    kept: tuple[int, ...]
    products: tuple[tuple[int, tuple[int, ...]], ...]
    biases: tuple[tuple[int, int], ...]
    entrywise: tuple[int, ...]


class _Weight(NamedTuple):
    """What a variable is: leaf with these axes, or (axes None) a bias repeated along leading axes."""

    leaf: int
    axes: tuple[int, ...] | None


@dataclass
class _Run:
    """One evaluation: what it is given, and what it finds."""

    zeros: dict[int, Array]  # by product, what is added to its result
    uses: list[Use] = field(default_factory=list)
    f: dict[int, Array] = field(default_factory=dict)
    biases: list[tuple[int, int]] = field(default_factory=list)
    entrywise: set[int] = field(default_factory=set)


def find_taps(fn: Callable[[Any, Any], Array], params: Any, x: Any) -> Taps:
    """The structure of ``fn(params, x)`` in the leaves of ``params``, for x one example."""
    run = _Run(zeros={})
    leaves = jax.tree.leaves(params)
    jax.eval_shape(lambda params, x: _evaluate(fn, params, x, run), params, x)
    products: dict[int, list[int]] = {}
    for k, use in enumerate(run.uses):
        products.setdefault(use.leaf, []).append(k)
    added = Counter(leaf for leaf, _ in run.biases)
    entrywise = set(run.entrywise)
    for leaf in range(len(leaves)):
        ways = {(run.uses[k].out_axes, run.uses[k].in_axes) for k in products.get(leaf, [])}
        if len(ways) + added[leaf] != 1:  # unused, used in two ways, or as a weight and a bias
            entrywise.add(leaf)
    kept_products = {leaf: tuple(ks) for leaf, ks in products.items() if leaf not in entrywise}
    biases = {leaf: k for leaf, k in run.biases if leaf not in entrywise}
    kept = {k for ks in kept_products.values() for k in ks} | set(biases.values())
    return Taps(
        tuple(run.uses),
        tuple(sorted(kept)),
        tuple(sorted(kept_products.items())),
        tuple(sorted(biases.items())),
        tuple(sorted(entrywise)),
    )


def run_tapped(
    fn: Callable[[Any, Any], Array], taps: Taps, params: Any, x: Any, zeros: dict[int, Array]
) -> tuple[Array, dict[int, Array]]:
    """``fn(params, x)`` with ``zeros[k]`` added to the k-th product, and each kept product's f as rows."""
    run = _Run(zeros)
    out = _evaluate(fn, params, x, run)
    return out, {k: taps.uses[k].rows_of_f(run.f[k]) for k in taps.kept}


def _evaluate(fn: Callable[[Any, Any], Array], params: Any, x: Any, run: _Run) -> Array:
    closed = jax.make_jaxpr(fn)(params, x)
    leaves = jax.tree.leaves(params)
    weights = [_Weight(i, tuple(range(jnp.ndim(leaf)))) for i, leaf in enumerate(leaves)]
    inputs = [*leaves, *jax.tree.leaves(x)]
    labels = [*weights, *[None] * (len(inputs) - len(leaves))]
    outs, (label, *_) = _evaluate_jaxpr(closed, inputs, labels, run)
    if len(outs) != 1:
        raise ValueError(errors.message("the network", "one array as its output", f"{len(outs)} arrays"))
    if isinstance(label, _Weight):
        run.entrywise.add(label.leaf)
    result: Array = outs[0]
    return result


def _evaluate_jaxpr(
    closed: ClosedJaxpr, inputs: list[Any], labels: list[Any], run: _Run
) -> tuple[list[Any], list[Any]]:
    """The outputs of a jaxpr, and the label of each: a `_Weight`, the number of a product, or None."""
    jaxpr = closed.jaxpr
    label: dict[Any, Any] = dict(zip(jaxpr.invars, labels, strict=True))
    atoms = [atom for eqn in jaxpr.eqns for atom in eqn.invars] + list(jaxpr.outvars)
    reads = Counter(atom for atom in atoms if not isinstance(atom, Literal))

    def label_of(atom: Any) -> Any:
        name = None if isinstance(atom, Literal) else label.get(atom)
        # A product that is read twice is not only the a of a + b.
        return None if isinstance(name, int) and reads[atom] > 1 else name

    def run_labelled(eqn: Any, args: list[Any], named: list[Any]) -> tuple[list[Any], list[Any]]:
        weights = [name.leaf for name in named if isinstance(name, _Weight)]
        if weights and eqn.primitive is primitives.jit_p:
            return _evaluate_jaxpr(body(eqn), args, named, run)
        results = single(eqn, jaxpr.debug_info)(*args)
        if eqn.primitive.name == BARRIER:
            return results, named
        found = _label(eqn, named, args, results[0], run) if len(weights) == 1 else None
        if weights and found is None:
            run.entrywise.update(weights)
        if isinstance(found, int) and found in run.zeros:
            results = [results[0] + run.zeros[found]]
        return results, [found] * len(results)

    def each(_: int, eqn: Any, args: list[Any]) -> list[Any]:
        results, names = run_labelled(eqn, args, [label_of(atom) for atom in eqn.invars])
        label.update(zip(eqn.outvars, names, strict=True))
        return results

    outs = evaluate(closed, inputs, each)
    return outs, [label_of(atom) for atom in jaxpr.outvars]


def _label(eqn: Any, named: list[Any], args: list[Any], result: Any, run: _Run) -> Any:
    """The label of the result of an equation that reads one weight; None where it has no structure."""
    at = next(i for i, name in enumerate(named) if isinstance(name, _Weight))
    weight, params = named[at], eqn.params
    match eqn.primitive.name:
        case "transpose" if weight.axes is not None:
            return _Weight(weight.leaf, tuple(weight.axes[axis] for axis in params["permutation"]))
        case "convert_element_type":
            return weight
        case "broadcast_in_dim" | "reshape" if weight.axes in (None, (0,)):
            if result.shape[-1:] == args[at].shape[-1:] and _keeps_last_axis(eqn, result):
                return _Weight(weight.leaf, None)
        case "add" if weight.axes in (None, (0,)) and isinstance(named[1 - at], int):
            k = named[1 - at]
            use = run.uses[k]
            if use.a_shape == result.shape and len(use.out_axes) == 1 and (use.w_operand or result.ndim == 1):
                run.biases.append((weight.leaf, k))
                return "a + b"
        case "dot_general" if weight.axes is not None:
            contract, batch = params["dimension_numbers"]
            if batch == ((), ()):
                return _product(weight, at, contract, args, result, run)
    return None


def _keeps_last_axis(eqn: Any, result: Any) -> bool:
    if eqn.primitive.name == "reshape":
        return bool(result.size == result.shape[-1])
    return bool(eqn.params["broadcast_dimensions"][-1:] == (result.ndim - 1,))


def _product(weight: _Weight, at: int, contract: Any, args: list[Any], result: Any, run: _Run) -> int:
    """Note a = W f, and give its number."""
    assert weight.axes is not None
    w_axes, f_axes = contract[at], contract[1 - at]
    out_axes = tuple(axis for i, axis in enumerate(weight.axes) if i not in w_axes)
    in_axes = tuple(weight.axes[i] for i in w_axes)
    order = sorted(range(len(in_axes)), key=lambda i: in_axes[i])  # one order for every use
    use = Use(
        weight.leaf,
        out_axes,
        tuple(in_axes[i] for i in order),
        at,
        tuple(f_axes[i] for i in order),
        result.shape,
    )
    k = len(run.uses)
    run.uses.append(use)
    run.f[k] = args[1 - at]
    return k
