"""What is measured for a diagnosis: every value and every delta of one pass, and where values come from."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from jaxbp.jaxprs.compile_once import jitted
from jaxbp.jaxprs.inline import opened
from jaxbp.jaxprs.loops import goes_through_while, unrolled
from jaxbp.jaxprs.values.axes import Axes, axes_in
from jaxbp.jaxprs.values.labels import LAYOUT, Label, Origin, survey
from jaxbp.jaxprs.values.places import BRANCH, IN, OUT, Key, Place, Run, places_in, run
from jaxbp.observe.call import Call, is_key, scalar


class Node(NamedTuple):
    """An operation of the traced function: its place, what it is called, and its operands' origins."""

    place: Place
    label: Label
    origins: tuple[Origin, ...]

    @property
    def name(self) -> str:
        """Of the primitive."""
        return str(self.place.eqn.primitive.name)

    @property
    def out(self) -> Key:
        """Its first result."""
        return Key(self.place.path, OUT, 0)

    @property
    def stepped(self) -> bool:
        """Whether it is in a loop or on a mesh."""
        return bool(self.place.axes)

    @property
    def learned(self) -> bool:
        """Whether a parameter has an influence on it."""
        return any(o.learned for o in self.origins)

    def literal(self, i: int) -> Any:
        """The constant that operand i is, else None."""
        atom = self.place.eqn.invars[i]
        return np.asarray(atom.val) if isinstance(atom, core.Literal) else None


class Measured:
    """One forward and one backward pass over f(*args).

    Args of the public fields: ``loss``; ``parameters`` and ``gradients`` by name; ``batch``, the other
    arrays, by number of the input; ``nodes`` in the order in which they run; ``values`` and ``deltas``.
    """

    def __init__(self, where: str, f: Callable[..., Any], call: Call):
        self.call = call
        fn = scalar(where, f, call.static)
        arrays = [jnp.asarray(x) for x in call.arrays]
        self.arrays = arrays
        self.closed = jax.make_jaxpr(fn)(*arrays)
        if goes_through_while(opened(self.closed)):
            self.closed = unrolled(opened(self.closed), arrays)
        places = places_in(self.closed)
        self.survey = survey(self.closed, places, call.parts)
        self.by_path = {
            p.path: Node(p, self.survey.labels[Key(p.path, OUT, 0)], self.survey.operands[p.path])
            for p in places
            if Key(p.path, OUT, 0) in self.survey.labels
        }
        self._run(places, arrays)
        # In a branch that is not taken, or not at every step, values are 0 that never were.
        self.nodes = [node for node in self.by_path.values() if self._is_run(node.place)]

    def _run(self, places: Sequence[Place], arrays: Sequence[Any]) -> None:
        outs, ins = [], []
        for place in places:
            outs += [Key(place.path, OUT, i) for i, v in enumerate(place.eqn.outvars) if _is_array(v)]
            ins += [Key(place.path, IN, i) for i, v in enumerate(place.eqn.invars)
                    if isinstance(v, core.Var) and _is_array(v)]  # fmt: skip
        probes = {
            Key(place.path, OUT, i): jnp.zeros(place.shape_of(v), v.aval.dtype)
            for place in places
            for i, v in enumerate(place.eqn.outvars)
            if _is_array(v) and jnp.issubdtype(v.aval.dtype, jnp.floating)
        }
        branches = {Key(path, BRANCH, 0) for place in places for path, _ in place.branches}
        how = Run(jnp.add, frozenset([*outs, *ins, *branches]))
        moving = [k for k, x in enumerate(arrays) if jnp.issubdtype(x.dtype, jnp.floating)]

        def of(learned: Any, probes: Any, arrays: Any) -> Any:
            full = list(arrays)
            for k, value in zip(moving, learned, strict=True):
                full[k] = value
            found, seen = run(self.closed, full, probes, how)
            return found[0], seen

        both = jax.value_and_grad(of, argnums=(0, 1), has_aux=True)

        def whole(*arrays: Any) -> list[Any]:
            return list(both([arrays[k] for k in moving], probes, arrays))

        (loss, seen), (grads, deltas) = jitted(whole, arrays)(*arrays)
        self.loss = np.asarray(loss)
        self.values: dict[Key, np.ndarray] = {k: np.asarray(x) for k, x in seen.items()}
        self.deltas: dict[Key, np.ndarray] = {k: _wide(x) for k, x in deltas.items()}
        by_input = {k: _wide(g) for k, g in zip(moving, grads, strict=True)}
        learned = self.call.static.differentiated
        self.parameters = {self.call.names[k]: _wide(arrays[k]) for k in learned}
        self.gradients = {self.call.names[k]: by_input[k] for k in learned}
        given = [k for k, x in enumerate(arrays) if k not in learned and x.ndim and not is_key(x)]
        self.batch = {k: np.asarray(arrays[k]) for k in given}
        self.batch_deltas = {k: by_input[k] for k in self.batch if k in by_input}

    def _is_run(self, place: Place) -> bool:
        """Whether all branches around it are taken, at every step."""
        taken = [(self.values.get(Key(path, BRANCH, 0)), which) for path, which in place.branches]
        return all(chosen is None or bool((chosen == which).all()) for chosen, which in taken)

    @cached_property
    def finite(self) -> bool:
        """Whether loss and gradients are."""
        return bool(np.isfinite(self.loss) and all(np.isfinite(g).all() for g in self.gradients.values()))

    @cached_property
    def size(self) -> int:
        """How many examples the batch has: the commonest first axis of what is no parameter."""
        firsts = [x.shape[0] for x in self.batch.values()]
        return max(firsts, key=lambda n: (firsts.count(n), n)) if firsts else 0

    @cached_property
    def axes(self) -> dict[Key, Axes]:
        """Where the axes of each result come from."""
        return axes_in(self.closed)

    @cached_property
    def consumers(self) -> dict[Key, list[tuple[Node, int]]]:
        """Who reads a result, and as which operand."""
        found: dict[Key, list[tuple[Node, int]]] = {}
        for node in self.by_path.values():
            for i, origin in enumerate(node.origins):
                if origin.key is not None:
                    found.setdefault(origin.key, []).append((node, i))
        return found

    def operand(self, node: Node, i: int) -> np.ndarray | None:
        """An operand's value."""
        literal = node.literal(i)
        found = self.values.get(Key(node.place.path, IN, i)) if literal is None else literal
        return None if found is None else _wide(found)

    def value(self, node: Node) -> np.ndarray:
        """A result's value."""
        return _wide(self.values[node.out])

    def batch_axes(self, key: Key, merged: bool = False) -> list[int]:
        """The axes of a value that run over the examples, with those of its loops in front.

        With ``merged`` also those in which the examples are one axis with others, as ravel makes them.
        """
        n, shape = self.size, self.values[key].shape
        shift = len(shape) - len(self.axes.get(key, ()))
        return [
            a + shift
            for a, axis in enumerate(self.axes.get(key, ()))
            if any(k in self.batch and at == 0 and self.batch[k].shape[0] == n for k, at in axis)
            and (shape[a + shift] == n or (merged and shape[a + shift] % n == 0 < shape[a + shift]))
        ]

    def sources(self, origin: Origin) -> frozenset[int]:
        """The arrays of the batch that have an influence on a value."""
        return origin.inputs & self.batch.keys()

    def behind(self, key: Key | None) -> Node | None:
        """The operation that made a value, but for layout."""
        node = self.by_path.get(key.path) if key is not None else None
        while node is not None and node.name in LAYOUT:
            key = node.origins[0].key
            node = self.by_path.get(key.path) if key is not None else None
        return node

    def is_input(self, origin: Origin) -> int | None:
        """The number of the array of the batch that a value is, but for layout; else None."""
        while origin.key is not None:
            node = self.by_path.get(origin.key.path)
            if node is None or node.name not in LAYOUT:
                return None
            origin = node.origins[0]
        given = self.sources(origin)
        return next(iter(given)) if len(given) == len(origin.inputs) == 1 else None

    def before(self, key: Key | None) -> Iterator[Node]:
        """The operations that a value is made of, the last first."""
        seen, left = set(), [key]
        while left:
            at = left.pop()
            if at is None or at.path in seen or at.path not in self.by_path:
                continue
            seen.add(at.path)
            node = self.by_path[at.path]
            yield node
            left += [o.key for o in node.origins]

    def after(self, key: Key, through: Callable[[Node, int], bool] = lambda node, i: True) -> Iterator[Node]:
        """The operations that read a value, or what is made of it, as far as ``through`` lets."""
        seen, left = set(), [key]
        while left:
            at = left.pop()
            for node, i in self.consumers.get(at, ()):
                if node.place.path in seen:
                    continue
                seen.add(node.place.path)
                yield node
                if through(node, i):
                    left += [Key(node.place.path, OUT, k) for k in range(len(node.place.eqn.outvars))]


def _is_array(atom: Any) -> bool:
    dtype = getattr(atom.aval, "dtype", None)
    return dtype is not None and not jnp.issubdtype(dtype, jax.dtypes.extended) and dtype != jax.dtypes.float0


def _wide(x: Any) -> np.ndarray:
    """Numbers in float64, others as they are."""
    array = np.asarray(x)
    return array.astype(np.float64) if jnp.issubdtype(array.dtype, jnp.floating) else array
