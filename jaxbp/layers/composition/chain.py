"""Composition: `chain` multiplies Jacobians, and is a layer again; what other compositions share with it."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import jax

from jaxbp import arguments, errors, recipes
from jaxbp.layers.activations import identity
from jaxbp.layers.layer import Layer, assert_given, assert_params, handed, no_params
from jaxbp.layers.memory import apart
from jaxbp.operators import Identity, Operator, Product
from jaxbp.typing import Array, Given, Params, Random, Saved


def split(key: Random | None, count: int) -> list[Random | None]:
    """A key for each part; without a key, none for each part."""
    return [None] * count if key is None else list(jax.random.split(arguments.key("network", key), count))


def numbered(parts: Sequence[Layer]) -> Iterator[tuple[int, Layer]]:
    """Each part with its number l in the lecture's counting.

    A part with parameters begins layer l = 1..L; the stateless parts after it are that layer's
    activation phi_l. Stateless parts before the first weights have l = 0.
    """
    l = 0
    for part in parts:
        l += part.has_params
        yield l, part


def factors_of(part: Layer) -> Callable[[Params, Saved, Array], tuple[Any, Array]] | None:
    """The part's factors; of one without parameters there is only delta_f."""
    if part.factors is not None or part.has_params:
        return part.factors
    return part.backward


def names_of(parts: Sequence[Layer]) -> tuple[str, ...]:
    """What the parts name in ``given``, each name once."""
    return tuple(dict.fromkeys(name for part in parts for name in part.given))


def assert_states(name: str, given: Given | None, names: Sequence[str], at: Sequence[Hashable]) -> None:
    """Raises unless ``given`` has no other names, and its state an entry for each part that has state.

    Args:
        name: of the whole.
        given: what it was given.
        names: those that its parts name.
        at: where the parts with state are.
    """
    assert_given(name, given, names)
    state = (given or {}).get("state")
    if state is not None and not (isinstance(state, dict) and state.keys() == set(at)):
        got = f"{{{', '.join(map(str, state))}}}" if isinstance(state, dict) else arguments.described(state)
        expected, hint = f"state {{{', '.join(map(str, at))}}}", "was it left by another network?"
        raise ValueError(errors.message(name, expected, got, hint))


@recipes.own("chain")
def chain(*parts: Layer) -> Layer:
    """f_L = part_k(... part_2(part_1(x))), whose Jacobian is the product J_k ... J_2 J_1.

    Forward runs the parts in order; backward runs their backward passes in reverse, which is the chain
    rule. Chains are associative: a chain within a chain is the same as its parts written out. The
    parameters are ``{1: ..., 2: ..., L: ...}``, one entry for each part that has any, so that
    ``params[l]["W"]`` is the lecture's W_l. A key is split over the parts. What is ``given`` goes to
    the parts that name it, state by l, as parameters do.

    Args:
        parts: the layers, in the order in which data pass through them.

    Raises:
        TypeError: for a part that is no Layer.
        ValueError: when applied to parameters or state of another network, or given what no part names; an
            error of a part names its layer.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxbp.layers import dense, sigmoid
        >>> net = chain(dense(3, 5), sigmoid, dense(5, 2))
        >>> net
        chain(dense(3, 5), sigmoid, dense(5, 2))
        >>> params = net.init(jax.random.key(0))
        >>> params[2]["W"].shape
        (2, 5)
        >>> net.apply(params, jnp.ones((7, 3))).shape
        (7, 2)

    Source: the lecture, chain rule: J_{f o g}(x) = J_f(g(x)) J_g(x).
    """
    for i, part in enumerate(parts):
        arguments.instance("chain", f"part {i}", part, Layer, no_layer(part))
    parts = tuple(inner for part in parts for inner in (part.parts if part.form == "product" else (part,)))
    name = f"chain({', '.join(part.name for part in parts)})"
    L = sum(part.has_params for part in parts)
    steps = list(parts)  # of forward and backward
    for i, (first, then) in enumerate(pairwise(parts)):
        saves_input = first.saves_input and then.saves_input and not (first.given or then.given)
        if saves_input and not first.has_params and then.has_params:
            steps[i : i + 2] = identity, _joined(first, then)
    names = names_of(parts)
    stateful = [l for l, part in numbered(parts) if part.state is not None]

    def init(key: Random) -> Params:
        keys = iter(jax.random.split(arguments.key("init", key), L))
        return {l: part.init(next(keys)) for l, part in numbered(parts) if part.has_params}

    def parts_of(params: Params, parts: Sequence[Layer] = parts) -> Iterator[tuple[int, Layer, Params]]:
        assert_params(name, params, range(1, L + 1))
        for l, part in numbered(parts):
            yield l, part, params[l] if part.has_params else {}

    def apply(params: Params, f: Array, *, key: Random | None = None, given: Given | None = None) -> Array:
        assert_states(name, given, names, stateful)
        for (l, part, p), k in zip(parts_of(params), split(key, len(parts)), strict=True):
            with _layer(l):
                f = part.apply(p, f, key=k, **handed(part, given, l))
        return f

    def forward(
        params: Params, f: Array, *, key: Random | None = None, given: Given | None = None
    ) -> tuple[Array, Saved]:
        assert_states(name, given, names, stateful)
        saved = []
        for (l, part, p), k in zip(parts_of(params, steps), split(key, len(parts)), strict=True):
            with _layer(l):
                f, s = part.forward(p, f, key=k, **handed(part, given, l))
            saved.append(s)
        return f, tuple(saved)

    def assert_saved(saved: Saved) -> None:
        if not isinstance(saved, tuple) or len(saved) != len(parts):
            got, hint = arguments.described(saved), "it is the second result of forward"
            expected = f"saved, a tuple of {len(parts)}, one for each part"
            raise TypeError(errors.message(name, expected, got, hint))

    def reverse(rules: list[Any], params: Params, saved: Saved, delta: Array) -> tuple[Any, Array]:
        """The chain rule: each part's rule in turn, the last first."""
        assert_saved(saved)
        of_params = {}
        for (l, part, p), rule, s in reversed(list(zip(parts_of(params, steps), rules, saved, strict=True))):
            with jax.named_scope(f"delta_{l}"):
                of_p, delta = rule(p, s, delta)
            if part.has_params:
                of_params[l] = of_p
        return of_params, delta

    def backward(params: Params, saved: Saved, delta: Array) -> tuple[Params, Array]:
        return reverse([part.backward for part in steps], params, saved, delta)

    ways = [factors_of(part) for part in steps]

    def factors(params: Params, saved: Saved, delta: Array) -> tuple[Any, Array]:
        return reverse(ways, params, saved, delta)

    def state(saved: Saved) -> Any:
        assert_saved(saved)
        pairs = zip(numbered(steps), saved, strict=True)
        return {l: part.state(s) for (l, part), s in pairs if part.state is not None}

    def jacobian(params: Params, f: Array, *, given: Given | None = None) -> Operator:
        assert_states(name, given, names, stateful)
        factors: list[Operator] = []
        for l, part, p in parts_of(params):
            with _layer(l):
                factors.insert(0, part.jacobian(p, f, **handed(part, given, l)))
                f = part.apply(p, f, **handed(part, given, l))
        return Product(tuple(factors)) if factors else Identity(f.size)

    return Layer(
        name,
        apply,
        forward,
        backward,
        init if L else no_params,
        jacobian,
        form="product",
        parts=parts,
        given=names,
        state=state if stateful else None,
        factors=None if None in ways else factors,
    )


@contextmanager
def _layer(l: int) -> Iterator[None]:
    """Errors and profiles name the layer."""
    with errors.within(f"layer {l}"), jax.named_scope(f"layer_{l}"):
        yield


def _joined(first: Layer, then: Layer) -> Layer:
    """then(first(f)) for two that save their inputs: it keeps the first input and computes the second."""

    def apply(params: Params, f: Array, *, key: Random | None = None) -> Array:
        return then.apply(params, first.apply({}, f), key=key)

    def forward(params: Params, f: Array, *, key: Random | None = None) -> tuple[Array, Saved]:
        between, saved = first.forward({}, f)
        return then.forward(params, between, key=key)[0], saved

    @apart
    def again(f: Array, params: Params, delta_out: Array) -> tuple[Params, Array]:
        delta_params, delta = then.backward(params, first.apply({}, f), delta_out)
        return delta_params, first.backward({}, f, delta)[1]

    def backward(params: Params, saved: Saved, delta_out: Array) -> tuple[Params, Array]:
        return again(saved, params, delta_out)

    def factors(params: Params, saved: Saved, delta_out: Array) -> tuple[Any, Array]:
        assert then.factors is not None
        blocks, delta = then.factors(params, first.apply({}, saved), delta_out)
        return blocks, first.backward({}, saved, delta)[1]

    name, ways = f"{first.name}, {then.name}", factors if then.factors else None
    return Layer(name, apply, forward, backward, then.init, factors=ways)


def no_layer(value: object) -> str:
    """What to do about something that is given for a layer."""
    if isinstance(value, list | tuple):
        return "chain(*layers) makes one layer of several"
    return "call it to make the layer, or write one: jaxbp.sigmoid, jaxbp.elementwise(...)"
