"""The contract of a layer: a differentiable map with its derivative written by hand."""

import math
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import jax
from jax.tree_util import Partial

from jaxbp import arguments, errors, recipes
from jaxbp.layers.promises import kept
from jaxbp.operators import Linear, Operator
from jaxbp.typing import Array, Given, Params, Random, Saved


def no_params(key: Random) -> Params:
    """{}, the parameters of a stateless layer."""
    return {}


def _matrix_free(
    params: Params, f: Array, *, apply: Callable[..., Array], given: Given | None = None
) -> Operator:
    """The Jacobian of a layer that names no structure: by forward and reverse mode of its ``apply``."""
    named = {"given": given} if given else {}
    return Linear(Partial(apply, params, **named), f)  # type: ignore[no-untyped-call]


@dataclass(frozen=True, repr=False)
class Layer:
    """A map out = phi(params, f) as a record of pure functions, with delta_f = delta_out J_phi by hand.

    Layers are closed under composition: `chain` and `residual` of layers are layers. Rules are written
    on rows with any leading axes ``*n``; the single example is n = ().

    Args:
        name: how the layer prints and what its errors begin with, ``dense(3, 5)``.
        apply: ``(params, f, *, key=None) -> out``. Plain JAX, the truth that `jax.grad` sees. A
            stochastic layer is the identity without a key.
        forward: ``(params, f, *, key=None) -> (out, saved)``, the same out, and the least that backward
            needs.
        backward: ``(params, saved, delta_out) -> (delta_params, delta_f)``, the hand-written VJP. Of
            integers, which only the first layer takes, delta_f is None.
        init: ``key -> params``, a dict pytree. Stateless layers leave it out.
        jacobian: ``(params, f) -> d out / d f`` for one example, as an operator. The default is
            matrix-free, from ``apply``.
        saves_input: whether what forward saves is f itself. Of a stateless such layer and one with
            parameters after it, a `chain` keeps the first's f alone and computes the second's from it.
        form: how the parts compose, and hence their Jacobians: ``"product"`` (`chain`), ``"sum"``
            (`residual`), ``"atom"`` without parts.
        parts: the composed layers.
        function: phi itself, where the layer is a function of f alone: a loss on logits is compared with
            it, and `mlp` sees by it what W to begin with. None where there is no such function.
        means: what the Jacobian is in a chain, ``"W_{l}"``; by default ``J_`` and the name.
        given: the names that ``apply``, ``forward`` and ``jacobian`` take by their keyword ``given``, a dict:
            masks, positions, state, by which there is no derivative. `chain` and `residual` hand each part
            what it names, and ``given`` not at all to a part that names nothing or of which nothing is
            there. Two names have a meaning of their own. ``"state"`` is what an earlier pass left, and goes
            by l to the part that has it, as parameters do; a layer has it if and only if it has the field
            ``state``. ``"training"`` is True in a pass that learns from its batch.
        state: ``saved -> state``, a pytree: what the pass leaves for the next one, such as the running
            statistics of `batch_norm`, or the carry of a recurrent layer. The layer makes the next state
            itself, from what it was given and the batch: whoever called forward only keeps it. A state of
            zeros means that there was no pass yet. A layer has this field only if passes are to go on
            where others ended; it has an ``init``, if of {}, for it counts as a layer l.
        tie: of `tied`, the ways to the array that is left out of the parameters and to the one that takes its
            place; None of any other layer.
        factors: ``(params, saved, delta_out) -> (blocks, delta_f)``, backward of ONE example, whose leading
            axes are positions, with the gradient of each parameter in factors: a tree like the parameters
            of `Outer`, `Rows`, `Summed` and `Entrywise`. Without it, what multiplies is found by tracing.
        formula: of an elementwise layer, how `jaxbp.explain` writes it: Python assignments to ``f``, an
            expression in a, and to ``slope``, one in a and f, with other names between them:
            ``"s = 1 / (1 + exp(-a)); f = a * s; slope = s + a * s * (1 - s)"``.
        doc: what `help` says of the layer.

    A layer that was made by a registered function (`jaxbp.register`, and all of the library's) has a
    ``recipe``, the name of that function and its arguments: it can be described, pickled and saved. A copy
    with other functions (`dataclasses.replace`) was not made by that call, and has none.

    Raises:
        TypeError: for fields of another type, functions that take other arguments or lack the keyword
            ``key``, and functions without the keyword ``given`` of a layer that
            names something.
        ValueError: for another word as ``form``, and ``state`` without ``"state"`` in ``given``, or
            without ``init``.

    Example: a layer of your own is one record.
        >>> import jax, jax.numpy as jnp
        >>> square = Layer(
        ...     "square",
        ...     apply=lambda params, f, *, key=None: f**2,
        ...     forward=lambda params, f, *, key=None: (f**2, f),
        ...     backward=lambda params, saved, delta_out: ({}, delta_out * 2 * saved),
        ... )
        >>> out, saved = square.forward({}, jnp.array([1.0, 3.0]))
        >>> square.backward({}, saved, jnp.ones(2))
        ({}, Array([2., 6.], dtype=float32))
        >>> square.jacobian({}, jnp.array([1.0, 3.0])).matrix()
        Array([[2., 0.],
               [0., 6.]], dtype=float32)

    Source: the lecture, back-propagation steps 1 and 4.
    """

    name: str
    apply: Callable[..., Array]
    forward: Callable[..., tuple[Array, Saved]]
    backward: Callable[[Params, Saved, Array], tuple[Params, Any]]
    init: Callable[[Random], Params] = no_params
    jacobian: Callable[..., Operator] = _matrix_free
    saves_input: bool = False
    form: Literal["atom", "product", "sum"] = "atom"
    parts: tuple["Layer", ...] = ()
    function: Callable[[Array], Array] | None = None
    means: str = ""
    formula: str = ""
    given: tuple[str, ...] = ()
    state: Callable[[Saved], Any] | None = None
    factors: Callable[[Params, Saved, Array], tuple[Any, Any]] | None = None
    tie: tuple[tuple[Hashable, ...], tuple[Hashable, ...]] | None = None
    doc: str = field(default="", compare=False)
    recipe: recipes.Recipe | None = field(default=None, init=False, compare=False)

    def __post_init__(self) -> None:
        where = f"Layer {arguments.instance('Layer', 'name', self.name, str)}"
        own_jacobian = self.jacobian is not _matrix_free
        if not own_jacobian:
            object.__setattr__(self, "jacobian", partial(_matrix_free, apply=self.apply))
        for name, takes in (("apply", 2), ("forward", 2), ("backward", 3), ("init", 1), ("jacobian", 2)):
            keywords = ("key",) if name in ("apply", "forward") else ()
            arguments.function(where, name, getattr(self, name), positional=takes, keywords=keywords)
        for name in ("function", "state", "factors"):
            if getattr(self, name) is not None:
                arguments.function(where, name, getattr(self, name))
        arguments.flag(where, "saves_input", self.saves_input)
        arguments.option(where, "form", self.form, ("atom", "product", "sum"))
        for i, part in enumerate(arguments.instance(where, "parts", self.parts, tuple)):
            arguments.instance(where, f"part {i}", part, Layer)
        arguments.instance(where, "given", self.given, tuple)
        for name in ("apply", "forward", "jacobian") if self.given else ():
            if own_jacobian or name != "jacobian":
                arguments.function(where, name, getattr(self, name), keywords=("given",))
        if (self.state is None) == ("state" in self.given):
            expected = 'the field state and "state" in given together'
            got = "only state" if self.state else 'only "state" in given'
            raise ValueError(errors.message(where, expected, got))
        if self.state is not None and not self.has_params:
            hint = "init=lambda key: {} for one without parameters: a layer with state counts as a layer l"
            raise ValueError(errors.message(where, "init beside state", "none", hint))
        if arguments.instance(where, "doc", self.doc, str):
            object.__setattr__(self, "__doc__", self.doc)
        if self.form == "atom":  # what composes calls rules that are looked at
            for name in ("forward", "backward"):
                rule = kept(f"{self.name}: {name}", getattr(self, name), of_params=name == "backward")
                object.__setattr__(self, name, rule)

    @property
    def has_params(self) -> bool:
        """False for stateless layers, whose parameters are {}."""
        return self.init is not no_params

    def to_dict(self) -> dict[str, Any]:
        """The layer as strict JSON: the calls that make it. Its parameters are not in it.

        Raises:
            ValueError: for a layer within that is not registered; it is named, with what to do.

        Example:
            >>> from jaxbp.layers import flatten
            >>> flatten(8, 8).to_dict()
            {'format': 1, 'make': 'flatten', 'with': {'shape': [8, 8]}}
        """
        return recipes.to_dict(self, "Layer.to_dict")

    @staticmethod
    def from_dict(data: dict[str, Any]) -> "Layer":
        """The layer that `to_dict` described: the same functions of the same parameters.

        Raises:
            ValueError: for another format or form, and names or arguments that are not registered.
            TypeError: for the description of something else.
        """
        made = recipes.from_dict(data, "Layer.from_dict")
        return arguments.instance("Layer.from_dict", "the description", made, Layer)

    def __reduce__(self) -> tuple[Any, ...]:
        return Layer.from_dict, (self.to_dict(),)

    def __copy__(self) -> "Layer":
        return self

    def __deepcopy__(self, memo: Any) -> "Layer":
        return self

    def __repr__(self) -> str:
        return self.name


def assert_given(where: str, given: Any, names: Collection[str]) -> None:
    """Raises unless ``given`` is None or a dict with no other names than these.

    Example:
        >>> assert_given("attend", {"maks": 0}, ("mask",))
        Traceback (most recent call last):
        ...
        ValueError: attend: expected given with no other names than mask, got 'maks'
    """
    if given is None:
        return
    arguments.instance(where, "given", given, dict, "e.g. {'mask': mask}")
    for name in given:
        if name not in names:
            listed = (
                f"no other names than {', '.join(names)}" if names else "nothing, no layer names anything"
            )
            raise ValueError(errors.message(where, f"given with {listed}", repr(name)))


def handed(part: Layer, given: Given | None, at: Hashable = None) -> dict[str, Any]:
    """The keyword ``given`` that a part is called with: what it names, and its own state.

    Args:
        part: the layer.
        given: what the whole was given.
        at: where in the whole's state the part's is; None if the whole is the part, and has no other names.
    """
    if at is None:
        assert_given(part.name, given, part.given)
    own = {name: given[name] for name in part.given if given and given.get(name) is not None}
    if "state" in own and at is not None:
        own["state"] = own["state"][at]
    return {"given": own} if own else {}


def rows(name: str, f: Any, symbol: str = "f") -> Array:
    """What comes in as f or delta: an array as it is, numbers that are written out as floats."""
    return arguments.array(name, symbol, f, floats=not hasattr(f, "dtype"))


def delta_of(name: str, delta_out: Any, shape: tuple[int, ...]) -> Array:
    """delta_out as an array of the output's shape: of another it would be broadcast."""
    delta_out = arguments.array(name, "delta_out", delta_out, floats=True)
    if delta_out.shape != shape:
        expected = f"delta_out of the output's shape {shape}"
        raise ValueError(errors.message(name, expected, f"{delta_out.shape}"))
    return delta_out


def assert_params(name: str, params: Params, keys: Collection[Hashable]) -> None:
    """Raises a ValueError unless ``params`` is a dict with just these keys.

    Example:
        >>> assert_params("dense", {"W": 0.0}, ["W", "b"])
        Traceback (most recent call last):
        ...
        ValueError: dense: expected parameters {W, b}, got {W}; were they made by another network's init?
    """
    if isinstance(params, dict) and params.keys() == set(keys):
        return
    got = f"{{{', '.join(map(str, params))}}}" if isinstance(params, dict) else arguments.described(params)
    hint = "were they made by another network's init?"
    from_zero = isinstance(params, dict) and set(params) == set(range(len(keys)))
    if 1 in keys and (from_zero or isinstance(params, list | tuple)):
        hint = "layers count from 1: {1: ..., 2: ...}"
    expected = f"parameters {{{', '.join(map(str, keys))}}}"
    raise ValueError(errors.message(name, expected, got, hint))


def arrays_of(name: str, params: Params, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
    """A layer's parameters as arrays of their shapes.

    Raises:
        TypeError: for one that is no array of floats.
        ValueError: for others than these, and one of another shape.
    """
    assert_params(name, params, shapes.keys())
    arrays = {}
    for symbol, shape in shapes.items():
        arrays[symbol] = arguments.array(name, symbol, params[symbol], floats=True)
        if (got := arrays[symbol].shape) != shape:
            transposed = symbol == "W" and got == shape[::-1]
            hint = "W is (out, in): transpose it" if transposed else "was it made by another network's init?"
            raise ValueError(errors.message(name, f"{symbol} of shape {shape}", f"{got}", hint))
    return arrays


def count_parameters(params: Params) -> int:
    """The number of scalars in a parameter pytree, sum_l d_l (d_{l-1} + 1) for a network with biases.

    Args:
        params: any pytree of arrays, or of `jax.eval_shape(net.init, key)`'s shapes.

    Raises:
        TypeError: for a leaf that is no array.

    Example: the lecture's 4-4-1 net, 4 * 4 + 4 + 1.
        >>> from jaxbp.layers import chain, dense, sigmoid
        >>> net = chain(dense(4, 4, bias=False), sigmoid, dense(4, 1))
        >>> count_parameters(net.init(jax.random.key(0)))
        21

    Source: the lecture, multi-layer perceptron.
    """
    count = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if not isinstance(shape := getattr(leaf, "shape", None), tuple):
            at = jax.tree_util.keystr(path) or "params"
            got = f"{at} {arguments.described(leaf)}"
            raise TypeError(errors.message("count_parameters", "a pytree of arrays", got))
        count += math.prod(shape)
    return count
