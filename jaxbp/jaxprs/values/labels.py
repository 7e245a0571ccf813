"""Names for the places of a jaxpr: from the parameter that a product multiplies by, and whose line it is."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path as File
from typing import Any, NamedTuple

import numpy as np
from jax.extend import core
from jax.extend.core import primitives

from jaxbp.jaxprs.internals import (
    BARRIER,
    CALLS,
    KINDS,
    body,
    is_object,
    name_and_place,
    path_of,
    scan_parts,
)
from jaxbp.jaxprs.values.places import OUT, Key, Path, Place, inner_of
from jaxbp.jaxprs.values.user_lines import FUNCTIONS, LIBRARIES, PRODUCTS, called, operation_of

# What leaves the numbers of a value as they are, so that a parameter stays that parameter.
LAYOUT = {"transpose", "reshape", "broadcast_in_dim", "squeeze", "convert_element_type", "copy", "rev",
          "stop_gradient", "reduce_precision", "sharding_constraint", "pvary", "pcast", BARRIER}  # fmt: skip
SQUASHING = {"tanh", "logistic", "erf"}
A, F, STATE, NAMED, OTHER = "a", "f", "state", "named", ""
# The name that `jaxbp.name` gives.
NAME = "name"


class Label(NamedTuple):
    """What a value is called, and what is known of it.

    Args:
        text: unique in its function.
        kind: "a" (a product with a parameter, with its bias), "f" (an activation), "state" (of a loop),
            "named" (by the user), or "".
        module: path of the parameter that it follows from, empty where there is none.
        operation: the library function that the user's line called, or the primitive.
        where: file:line in the user's file, empty where JAX kept none.
    """

    text: str
    kind: str
    module: str
    operation: str
    where: str


class Origin(NamedTuple):
    """Where a value comes from.

    Args:
        parameter: it is this parameter but for layout.
        module: of the last product on the way.
        key: the place that makes it.
        product: the product that it is but for layout.
        inputs: the numbers of the inputs that have an influence on it.
    """

    parameter: str = ""
    module: str = ""
    key: Key | None = None
    product: Key | None = None
    inputs: frozenset[int] = frozenset()

    @property
    def learned(self) -> bool:
        """Whether it depends on a parameter."""
        return bool(self.parameter or self.module)


class Survey(NamedTuple):
    """Labels of the results of every place, and the origins of operands and results."""

    labels: dict[Key, Label]
    operands: dict[Path, tuple[Origin, ...]]


def joined(parts: Sequence[Any]) -> str:
    """The path of a parameter in words: names are joined by ``/``, a number to its name by a dot.

    Example:
        >>> joined(["layers", 0, "weight"]), joined([1, "W"]), joined(["Blk_0", "query", "kernel"])
        ('layers.0/weight', '1/W', 'Blk_0/query/kernel')
    """
    text = ""
    for part in parts:
        text += f".{part}" if isinstance(part, int) and text else f"/{part}" if text else str(part)
    return text


def parts_of(path: Any) -> list[Any]:
    """The parts of a leaf's path in a pytree, without what frameworks add (``params``, ``value``)."""
    parts = [getattr(k, "key", getattr(k, "idx", getattr(k, "name", None))) for k in path]
    if len(parts) > 1 and parts[0] == "params":
        parts = parts[1:]
    if len(parts) > 1 and parts[-1] in ("value", "raw_value"):
        parts = parts[:-1]
    return parts


def modules_of(weights: Mapping[str, Sequence[Any]]) -> dict[str, str]:
    """The module of each parameter that multiplies, given the parts of its path.

    That is the path without its last part, or the whole path where the module holds several of them.

    Example:
        >>> modules_of({"0/W": (0, "W"), "cell/U": ("cell", "U"), "cell/W": ("cell", "W"), "w": ("w",)})
        {'0/W': '0', 'cell/U': 'cell/U', 'cell/W': 'cell/W', 'w': 'w'}
    """
    several = Counter(joined(parts[:-1]) for parts in weights.values())
    above = {path: joined(parts[:-1]) for path, parts in weights.items()}
    return {path: above[path] if above[path] and several[above[path]] == 1 else path for path in weights}


class _Scope(NamedTuple):
    """What is known of a jaxpr from outside: the user's line and the function that holds it."""

    where: str = ""
    operation: str = ""


class _Walk:
    def __init__(self, modules: Mapping[str, str]):
        self.modules = modules
        self.weights: set[str] = set()
        self.found: dict[Key, tuple[str, str, str, str]] = {}  # kind, module, operation, where
        self.operands: dict[Path, tuple[Origin, ...]] = {}
        self.names: dict[Key, str] = {}
        self.stacks: dict[Key, str] = {}

    def jaxpr(self, closed: Any, origins: Sequence[Origin], prefix: Path, scope: _Scope) -> list[Origin]:
        jaxpr = closed.jaxpr
        env: dict[Any, Origin] = dict(zip(jaxpr.invars, origins, strict=True))
        reads = Counter(a for e in jaxpr.eqns for a in e.invars if isinstance(a, core.Var))

        def read(atom: Any) -> Origin:
            return Origin() if isinstance(atom, core.Literal) else env.get(atom, Origin())

        for number, eqn in enumerate(jaxpr.eqns):
            operands = [read(a) for a in eqn.invars]
            path = (*prefix, number)
            if inner_of(eqn):
                outs = self.entered(eqn, operands, path, self.scope(eqn, scope))
            else:
                single = [isinstance(a, core.Var) and reads[a] == 1 for a in eqn.invars]
                outs = self.place(eqn, operands, single, path, scope)
            env.update(zip(eqn.outvars, outs, strict=True))
        if not scope.operation:
            self.functions(jaxpr, prefix, read)
        return [read(a) for a in jaxpr.outvars]

    def functions(self, jaxpr: Any, prefix: Path, read: Callable[[Any], Origin]) -> None:
        """The result of a function such as softmax, of several operations, is what leaves it."""
        known = [self.found.get(Key((*prefix, number), OUT, 0)) for number in range(len(jaxpr.eqns))]
        operations = [found[2] if found else "" for found in known]
        inside = {a for n, e in enumerate(jaxpr.eqns) if operations[n] in FUNCTIONS
                  for a in e.invars if isinstance(a, core.Var)}  # fmt: skip
        for number, eqn in enumerate(jaxpr.eqns):
            key = Key((*prefix, number), OUT, 0)
            leaves = operations[number] in FUNCTIONS and eqn.outvars[0] not in inside
            if leaves and any(read(a).learned for a in eqn.invars) and not self.found[key][0]:
                self.found[key] = (F, *self.found[key][1:])

    def scope(self, eqn: Any, scope: _Scope) -> _Scope:
        """Within a library function the user's line is that of its call."""
        if scope.operation:
            return scope
        where, _ = called(eqn)
        if eqn.primitive not in CALLS:
            return _Scope(scope.where or where)
        name, place = name_and_place(body(eqn).jaxpr.debug_info)
        library = place.startswith(LIBRARIES)
        return _Scope(where or scope.where, name.lstrip("_") if library else "")

    def entered(self, eqn: Any, operands: list[Origin], path: Path, scope: _Scope) -> list[Origin]:
        inner = inner_of(eqn)
        if eqn.primitive is primitives.cond_p:
            of = [self.jaxpr(b, operands[1:], (*path, k), scope) for k, b in enumerate(inner)]
            return [max(same, key=lambda o: o.learned) for same in zip(*of, strict=True)]
        if eqn.primitive is primitives.scan_p:
            n, m = scan_parts(eqn)
            outs = self.jaxpr(inner[0], operands, (*path, 0), scope)
            states = [
                Origin("", o.module or b.module or self.of(b.parameter), inputs=b.inputs | o.inputs)
                for b, o in zip(operands[n:m], outs, strict=False)
            ]
            outs = self.jaxpr(inner[0], [*operands[:n], *states, *operands[m:]], (*path, 0), scope)
            for out in outs[: m - n]:
                if out.key and out.key in self.found and out.learned:
                    kind, module, operation, where = self.found[out.key]
                    self.found[out.key] = (kind if kind == NAMED else STATE, module, operation, where)
            return [o._replace(product=None) for o in outs]
        outs = self.jaxpr(inner[0], operands, (*path, 0), scope)
        name = name_and_place(inner[0].jaxpr.debug_info)[0]
        if eqn.primitive in CALLS and name in FUNCTIONS and scope.operation == name:
            for out in outs:
                if out.key in self.found and any(o.learned for o in operands):
                    kind, module, _, where = self.found[out.key]
                    self.found[out.key] = (kind or F, module, name, where)
        return outs

    def place(
        self, eqn: Any, operands: list[Origin], single: list[bool], path: Path, scope: _Scope
    ) -> list[Origin]:
        self.operands[path] = tuple(operands)
        kind, operation = eqn.primitive.name, scope.operation or operation_of(eqn)
        where = scope.where if scope.operation else called(eqn)[0] or scope.where
        parameters = [o.parameter for o in operands if o.parameter]
        layout = operands[0].parameter if kind in LAYOUT else ""
        inputs = frozenset[int]().union(*(o.inputs for o in operands))
        module = self.module(eqn, operands)
        sort, outs = OTHER, []
        product: Key | None = None
        first = Key(path, OUT, 0)
        looked_up = kind == "gather" and bool(operands[0].parameter) and eqn.outvars[0].aval.ndim >= 1
        if (kind in PRODUCTS and parameters) or looked_up:
            self.weights.add(parameters[0])
            sort, module, product = A, self.of(parameters[0]), first
        elif kind == NAME:
            sort, self.names[first] = NAMED, eqn.params["name"]
        elif kind in LAYOUT and operands[0].product and single[0]:
            product = operands[0].product
        elif kind == "add" and any(o.product and s for o, s in zip(operands, single, strict=True)):
            biases = [o for o in operands if o.parameter]
            if len(biases) == 1:  # what is called a has its bias
                product = next(o.product for o in operands if o.product)
                assert product is not None
                _, module, _, _ = self.found[product]
                self.found[product] = (OTHER, *self.found[product][1:3], self.found[product][3])
                sort = A
        elif any(o.learned for o in operands) and (
            (kind in SQUASHING and operation not in FUNCTIONS)
            or eqn.primitive in KINDS
            or is_object(eqn)
            or (_is_relu(eqn) and operation == "maximum")
        ):
            sort = F
        for i, var in enumerate(eqn.outvars):
            key = Key(path, OUT, i)
            if isinstance(getattr(var.aval, "shape", None), tuple):
                self.found[key] = (sort, module, operation, where)
                self.stacks[key] = path_of(eqn)
            outs.append(Origin(layout, module, key, product if i == 0 else None, inputs))
        return outs

    def of(self, parameter: str) -> str:
        return self.modules.get(parameter, parameter)

    def module(self, eqn: Any, operands: list[Origin]) -> str:
        """That of the operands; where several meet, what their paths have in common, else the last one's."""
        met = list(dict.fromkeys(o.module for o in operands if o.module))
        if not met:
            used = [o.parameter for o in operands if o.parameter]
            return self.of(used[0]) if used else ""
        if len(met) == 1:
            return met[0]
        split = [re.split(r"(?=[/.])", m) for m in met]
        common = ""
        for parts in zip(*split, strict=False):
            if len(set(parts)) > 1:
                break
            common += parts[0]
        return common or met[-1]


def survey(closed: Any, places: Sequence[Place], parameters: Sequence[Sequence[Any] | None]) -> Survey:
    """A label for the result of every place.

    Args:
        closed: the traced function.
        places: its places.
        parameters: for each input the parts of the path of the parameter that it is, or None.
    """
    inputs = [Origin("" if p is None else joined(p), inputs=frozenset({n})) for n, p in enumerate(parameters)]
    first = _Walk({})
    first.jaxpr(closed, inputs, (), _Scope())
    parts = {joined(p): p for p in parameters if p is not None}
    walk = _Walk(modules_of({path: parts[path] for path in sorted(first.weights)}))
    walk.jaxpr(closed, inputs, (), _Scope())
    by_path = {place.path: place for place in places}
    labels: dict[Key, Label] = {}
    seen: Counter[str] = Counter()
    for key in sorted(walk.found):
        kind, module, operation, where = walk.found[key]
        place = by_path[key.path]
        text = _text(walk, key, kind, module, operation, where)
        atom = place.eqn.outvars[key.number]
        axes = ", ".join(a.kind for a in place.axes_of(atom))
        seen[text] += 1
        text += f"#{seen[text]}" if seen[text] > 1 else ""
        labels[key] = Label(f"{text} [{axes}]" if axes else text, kind, module, operation, where)
    return Survey(labels, walk.operands)


def _text(walk: _Walk, key: Key, kind: str, module: str, operation: str, where: str) -> str:
    if kind == NAMED:
        return walk.names[key]
    stack = re.sub(r"\w+\(([^()]*)\)", r"\1", walk.stacks[key])
    numbers = re.fullmatch(r"layer_(\d+)(/layer_\d+)*", stack)
    if numbers and kind in (A, F):  # a network of this library: the lecture's symbols
        return f"{kind}_{stack.replace('layer_', '').replace('/', '.')}"
    if not module:
        module = stack or File(where.rpartition(":")[0]).stem
    if kind == A:
        return f"{module} a"
    if kind == STATE:
        return f"{module}/h"
    return f"{module}/{operation} f" if kind == F else f"{module}/{operation}"


def _is_relu(eqn: Any) -> bool:
    """Whether it is ``max(x, 0)``."""
    zeros = [a for a in eqn.invars if isinstance(a, core.Literal) and not np.shape(a.val) and a.val == 0]
    return eqn.primitive.name == "max" and len(zeros) == 1
