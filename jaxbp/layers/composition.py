"""Composition: `chain` multiplies Jacobians, `residual` adds them, and both are layers again."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import jax

from jaxbp import arguments, errors, recipes
from jaxbp.layers.activations import identity
from jaxbp.layers.layer import Layer, assert_params, no_params
from jaxbp.layers.memory import apart
from jaxbp.operators import Identity, Operator, Product, Sum
from jaxbp.typing import Array, Params, Random, Saved


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


@recipes.own("chain")
def chain(*parts: Layer) -> Layer:
    """f_L = part_k(... part_2(part_1(x))), whose Jacobian is the product J_k ... J_2 J_1.

    Forward runs the parts in order; backward runs their backward passes in reverse, which is the chain
    rule. Chains are associative: a chain within a chain is the same as its parts written out. The
    parameters are ``{1: ..., 2: ..., L: ...}``, one entry for each part that has any, so that
    ``params[l]["W"]`` is the lecture's W_l. A key is split over the parts.

    Args:
        parts: the layers, in the order in which data pass through them.

    Raises:
        TypeError: for a part that is no Layer.
        ValueError: when applied to parameters of another network; an error of a part names its layer.

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
        arguments.instance("chain", f"part {i}", part, Layer, _no_layer(part))
    parts = tuple(inner for part in parts for inner in (part.parts if part.form == "product" else (part,)))
    name = f"chain({', '.join(part.name for part in parts)})"
    L = sum(part.has_params for part in parts)
    steps = list(parts)  # of forward and backward
    for i, (first, then) in enumerate(pairwise(parts)):
        if first.saves_input and not first.has_params and then.saves_input and then.has_params:
            steps[i : i + 2] = identity, _joined(first, then)

    def init(key: Random) -> Params:
        keys = iter(jax.random.split(arguments.key("init", key), L))
        return {l: part.init(next(keys)) for l, part in numbered(parts) if part.has_params}

    def parts_of(params: Params, parts: Sequence[Layer] = parts) -> Iterator[tuple[int, Layer, Params]]:
        assert_params(name, params, range(1, L + 1))
        for l, part in numbered(parts):
            yield l, part, params[l] if part.has_params else {}

    def apply(params: Params, f: Array, *, key: Random | None = None) -> Array:
        for (l, part, p), k in zip(parts_of(params), split(key, len(parts)), strict=True):
            with _layer(l):
                f = part.apply(p, f, key=k)
        return f

    def forward(params: Params, f: Array, *, key: Random | None = None) -> tuple[Array, Saved]:
        saved = []
        for (l, part, p), k in zip(parts_of(params, steps), split(key, len(parts)), strict=True):
            with _layer(l):
                f, s = part.forward(p, f, key=k)
            saved.append(s)
        return f, tuple(saved)

    def backward(params: Params, saved: Saved, delta: Array) -> tuple[Params, Array]:
        if not isinstance(saved, tuple) or len(saved) != len(parts):
            got, hint = arguments.described(saved), "it is the second result of forward"
            expected = f"saved, a tuple of {len(parts)}, one for each part"
            raise TypeError(errors.message(name, expected, got, hint))
        delta_params = {}
        for (l, part, p), s in reversed(list(zip(parts_of(params, steps), saved, strict=True))):
            with jax.named_scope(f"delta_{l}"):
                delta_p, delta = part.backward(p, s, delta)
            if part.has_params:
                delta_params[l] = delta_p
        return delta_params, delta

    def jacobian(params: Params, f: Array) -> Operator:
        factors: list[Operator] = []
        for l, part, p in parts_of(params):
            with _layer(l):
                factors.insert(0, part.jacobian(p, f))
                f = part.apply(p, f)
        return Product(tuple(factors)) if factors else Identity(f.size)

    return Layer(
        name, apply, forward, backward, init if L else no_params, jacobian, form="product", parts=parts
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

    return Layer(f"{first.name}, {then.name}", apply, forward, backward, then.init)


@recipes.own("residual")
def residual(branch: Layer, skip: Layer = identity) -> Layer:
    """out = skip(f) + branch(f), whose Jacobian is J_skip + J_branch; with the plain skip, I + J_branch.

    Backward, delta_out flows unchanged into both and their delta_f are added. The parameters are
    ``{"branch": ...}``, and ``"skip"`` beside it when the skip has any.

    Args:
        branch: any layer.
        skip: the identity, or a projection such as ``dense(d_in, d_out, bias=False)`` where the branch
            changes the size.

    Raises:
        ValueError: when applied, if the two results differ in shape.

    Example: the slope of f + f^2 / 2 at f = 3 is 1 + 3.
        >>> import jax.numpy as jnp
        >>> from jaxbp.layers import elementwise
        >>> block = residual(elementwise("half square", lambda a: a**2 / 2, lambda a: a, saves="input"))
        >>> out, saved = block.forward({}, jnp.array([3.0]))
        >>> block.backward({}, saved, jnp.ones(1))[1]
        Array([4.], dtype=float32)

    Source: the lecture, residual block; He et al. 2016.
    """
    for role, part in (("branch", branch), ("skip", skip)):
        arguments.instance("residual", role, part, Layer, _no_layer(part))
    name = f"residual({branch.name}" + (f", skip={skip.name})" if skip is not identity else ")")
    parts = {"branch": branch, "skip": skip}

    def of(params: Params) -> dict[str, Params]:
        assert_params(name, params, [role for role, part in parts.items() if part.has_params])
        return {"branch": {}, "skip": {}} | params

    def add(branch_out: Array, skip_out: Array) -> Array:
        if branch_out.shape != skip_out.shape:
            raise ValueError(
                errors.message(
                    name,
                    "branch and skip to give one shape, for they are added",
                    f"{branch_out.shape} from the branch and {skip_out.shape} from the skip",
                    "give the skip a projection, skip=dense(d_in, d_out, bias=False)",
                )
            )
        return skip_out + branch_out

    def init(key: Random) -> Params:
        keys = jax.random.split(arguments.key("init", key))
        return {
            role: part.init(k) for (role, part), k in zip(parts.items(), keys, strict=True) if part.has_params
        }

    def apply(params: Params, f: Array, *, key: Random | None = None) -> Array:
        p, (key_branch, key_skip) = of(params), split(key, 2)
        with errors.within("branch"):
            branch_out = branch.apply(p["branch"], f, key=key_branch)
        with errors.within("skip"):
            skip_out = skip.apply(p["skip"], f, key=key_skip)
        return add(branch_out, skip_out)

    def forward(params: Params, f: Array, *, key: Random | None = None) -> tuple[Array, Saved]:
        p, (key_branch, key_skip) = of(params), split(key, 2)
        with errors.within("branch"):
            branch_out, branch_saved = branch.forward(p["branch"], f, key=key_branch)
        with errors.within("skip"):
            skip_out, skip_saved = skip.forward(p["skip"], f, key=key_skip)
        return add(branch_out, skip_out), (branch_saved, skip_saved)

    def backward(params: Params, saved: Saved, delta_out: Array) -> tuple[Params, Array]:
        p, (branch_saved, skip_saved) = of(params), saved
        delta_branch, delta_f = branch.backward(p["branch"], branch_saved, delta_out)
        delta_skip, delta_f_skip = skip.backward(p["skip"], skip_saved, delta_out)
        delta_params = {"branch": delta_branch, "skip": delta_skip}
        return {role: delta_params[role] for role in params}, delta_f_skip + delta_f

    def jacobian(params: Params, f: Array) -> Operator:
        p = of(params)
        return Sum((skip.jacobian(p["skip"], f), branch.jacobian(p["branch"], f)))

    has_params = branch.has_params or skip.has_params
    return Layer(
        name,
        apply,
        forward,
        backward,
        init if has_params else no_params,
        jacobian,
        form="sum",
        parts=(branch, skip),
        means="I + J_branch" if skip is identity else "J_skip + J_branch",
    )


def _no_layer(value: object) -> str:
    """What to do about something that is given for a layer."""
    if isinstance(value, list | tuple):
        return "chain(*layers) makes one layer of several"
    return "call it to make the layer, or write one: jaxbp.sigmoid, jaxbp.elementwise(...)"
