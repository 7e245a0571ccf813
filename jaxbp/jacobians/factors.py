"""The chain of a network, or of any functions: each part's Jacobian, at what the part receives."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, overload

import jax
import jax.numpy as jnp

from jaxbp import arguments, errors
from jaxbp.jacobians.chain import LOSS, Factor, JacobianChain, Variable, X
from jaxbp.jacobians.given import assert_apart
from jaxbp.jaxprs.compile_once import at_once
from jaxbp.layers.composition.chain import numbered
from jaxbp.layers.composition.tied import opened
from jaxbp.layers.entrance import accepts, inputs_of
from jaxbp.layers.layer import Layer, assert_params
from jaxbp.losses import Loss
from jaxbp.operators import Dense, Linear, Operator, Sum
from jaxbp.typing import Array, Params, Targets

Factors = Literal["rule", "jacrev"]


@overload
def jacobian_chain(
    net: Layer,
    params: Params,
    x: Array,
    /,
    *,
    factors: Factors = "rule",
    loss: Loss | None = None,
    y: Targets | None = None,
) -> JacobianChain: ...


@overload
def jacobian_chain(
    functions: Sequence[Callable[[Array], Array]], x: Array, /, *, factors: Factors = "jacrev"
) -> JacobianChain: ...


def jacobian_chain(
    net: Layer | Sequence[Callable[[Array], Array]],
    *args: Any,
    factors: Factors | None = None,
    loss: Loss | None = None,
    y: Targets | None = None,
) -> JacobianChain:
    """J_{f_L}(x) = J_{f_L}(a_L) W_L ... J_{f_1}(a_1) W_1, every factor named, at one example x.

    ``jacobian_chain(net, params, x)`` is the chain of a network, ``jacobian_chain([f1, f2, ...], x)``
    that of any functions, f1 acting first. For a batch, `jax.vmap` it.

    The chain of a network of ids, whose first layer is an `embedding`, begins at what that makes of them,
    a_1 = E[id]: there is no Jacobian by an id.

    Args:
        net: any layer; or functions of one array.
        args: the parameters, for a network; then x, one example of floating-point numbers, or of whole ones
            that the first layer takes.
        factors: ``"jacrev"`` differentiates each part's plain function by `jax.jacrev` (`jax.jacfwd`
            where its input is the smaller), which is the lecture's chain as it stands and the default for
            functions; ``"rule"`` takes each layer's own structured Jacobian, the default for networks,
            and is matrix-free for functions.
        loss: puts J_loss(f_L) = delta_{f_L} before the chain, which then is a single row.
        y: the target of the loss.

    Returns:
        A `JacobianChain`: its ``factors``, ``matrix()``, ``pull(delta)``, ``push(v)`` and ``plan()``. Of
        a recurrent layer ``factor.steps`` is the chain through time.

    Raises:
        TypeError: for an x of bytes where the first layer takes no ids, or parts that are no functions.
        ValueError: for a batch, for factors whose shapes do not meet, or an embedding with nothing after it.

    Example: two weights and a sigmoid at 0, whose slope is 1/4.
        >>> import jax.numpy as jnp, jaxbp
        >>> net = jaxbp.mlp([2, 1, 1])
        >>> params = {1: {"W": jnp.array([[1.0, 2.0]]), "b": jnp.zeros(1)},
        ...           2: {"W": jnp.array([[8.0]]), "b": jnp.zeros(1)}}
        >>> J = jacobian_chain(net, params, jnp.zeros(2))
        >>> J.matrix()
        Array([[2., 4.]], dtype=float32)
        >>> [factor.symbol for factor in J.factors]
        ['J_{a_2}(f_1)', 'J_{f_1}(a_1)', 'J_{a_1}(x)']
        >>> J.pull(jnp.ones(1)).a[1]
        Array([2.], dtype=float32)

    Source: the lecture, chain rule and step 4.
    """
    where = "jacobian_chain"
    if factors is not None:
        arguments.option(where, "factors", factors, ("rule", "jacrev"))
    wanted = ("params", "x") if isinstance(net, Layer) else ("x",)
    if not isinstance(net, Layer | list | tuple):
        expected = "a Layer, or a list of functions of one array"
        hint = "[f] for a single one" if callable(net) else ""
        raise TypeError(errors.message(where, expected, arguments.described(net), hint))
    if len(args) != len(wanted):
        expected = (
            f"{' and '.join(wanted)} after {'the network' if isinstance(net, Layer) else 'the functions'}"
        )
        raise TypeError(errors.message(where, expected, f"{len(args)} arguments"))
    if not isinstance(net, Layer):
        x = arguments.as_floats(where, "x", arguments.array(where, "x", args[-1]))
        if loss is not None or y is not None:
            hint = "append the loss as a function, lambda f: loss(f, y)"
            raise TypeError(errors.message(where, "loss and y after a network only", "functions", hint))
        return _function_chain(list(net), x, factors or "jacrev")
    if (loss is None) != (y is None):
        given = "only y" if loss is None else "only loss"
        raise TypeError(errors.message(where, "loss and y together", given))
    if loss is not None:
        arguments.instance(where, "loss", loss, Loss, "e.g. jaxbp.squared_error")
    assert_apart(where, net)
    params = arguments.params(where, args[0])
    x = _one_example(net, params, inputs_of(where, net, params, args[-1]))
    if (tie := net.tie) is not None:
        net, params = net.parts[0], opened(params, tie)
    chain: JacobianChain = at_once(_network_chain, (net, factors or "rule", loss), (params, x, y))
    return chain


def _network_chain(
    net: Layer, kind: Factors, loss: Loss | None, params: Params, x: Array, y: Any = None
) -> JacobianChain:
    parts, params = (net.parts, params) if net.form == "product" else ((net,), {1: params})
    if not parts:
        raise ValueError(errors.message("jacobian_chain", "at least one layer", "a chain without parts"))
    if net.form == "product":
        assert_params(net.name, params, range(1, sum(part.has_params for part in parts) + 1))
    ls = [l for l, _ in numbered(parts)]
    made: list[Factor] = []
    f, at = x, X
    for i, (l, part) in enumerate(numbered(parts)):
        p = params[l] if part.has_params else {}
        if part.has_params:
            at, of = (at if i == 0 else Variable("f", l - 1)), Variable("a", l)
        else:
            last = i + 1 == len(parts) or parts[i + 1].has_params
            of = Variable("f", l) if last else Variable("f", l, (at.primes if at.letter == "f" else 0) + 1)
        with errors.within(f"jacobian_chain: layer {ls[i]}"):
            out = part.apply(p, f)
            if jnp.issubdtype(f.dtype, jnp.integer):
                _assert_ids(part, p, f)
                f, at = out, Variable("a", l)
                continue
            J, block = _part(part, p, f, kind)
        made.insert(0, Factor(J, block, of, at, _meaning(part, l), out.shape, f.shape))
        f, at = out, of
    if loss is not None:
        J = Dense(loss.delta(f, y).reshape(1, -1))
        made.insert(0, Factor(J, None, LOSS, Variable("f", ls[-1]), f"J_loss(f_{ls[-1]})", (), f.shape))
    if not made:
        got = f"{net.name}, whose input are ids"
        raise ValueError(errors.message("jacobian_chain", "a layer after the one that takes ids", got))
    return JacobianChain(tuple(made))


def _assert_ids(part: Layer, params: Params, ids: Array) -> None:
    """Raises a TypeError unless the layer takes whole numbers: then it has no delta for them."""

    def delta(ids: Array) -> Any:
        out, saved = part.forward(params, ids)
        return part.backward(params, saved, out)[1]

    if jax.eval_shape(delta, ids) is not None:
        raise TypeError(errors.message(part.name, "floating-point x", f"{ids.dtype}", "x.astype(float)"))


def _part(part: Layer, params: Params, f: Array, kind: Factors) -> tuple[Operator, JacobianChain | None]:
    """The Jacobian of one part, and the chain of a residual block's branch."""
    if part.form == "sum":
        branch, skip = part.parts
        p = {"branch": {}, "skip": {}} | params
        inner = _network_chain(branch, kind, None, p["branch"], f)
        skip_J, _ = _part(skip, p["skip"], f, kind)
        return Sum((skip_J, inner.operator)), inner if branch.has_params else None
    if kind == "rule":
        return part.jacobian(params, f), None
    return _dense_by_autodiff(lambda f: part.apply(params, f), f), None


def _dense_by_autodiff(fn: Callable[[Array], Array], x: Array) -> Dense:
    out = jax.eval_shape(fn, x)
    mode = jax.jacfwd if x.size < out.size else jax.jacrev
    return Dense(mode(fn)(x).reshape(out.size, x.size))


def _function_chain(functions: list[Any], x: Array, kind: Factors) -> JacobianChain:
    if not functions:
        raise ValueError(errors.message("jacobian_chain", "at least one function", "an empty list"))
    made: list[Factor] = []
    f, at = x, X
    for l, fn in enumerate(functions, 1):
        if not callable(fn):
            expected = f"functions of one array, function {l} to be one"
            hint = "a network is jacobian_chain(net, params, x)" if isinstance(fn, Layer) else ""
            raise TypeError(errors.message("jacobian_chain", expected, repr(fn), hint))
        of = Variable("f", l)
        with errors.within(
            f"jacobian_chain: function {l} at f_{l - 1} of shape {f.shape}, from function {l - 1}"
        ):
            out = jax.eval_shape(fn, f)
            J = Linear(fn, f) if kind == "rule" else _dense_by_autodiff(fn, f)
            made.insert(0, Factor(J, None, of, at, getattr(fn, "__name__", repr(fn)), out.shape, f.shape))
            f, at = fn(f), of
    return JacobianChain(tuple(made))


def _meaning(part: Layer, l: int) -> str:
    """How the factor is written: W_l, diag(sigmoid'), I + J_branch."""
    return part.means.replace("{l}", str(l)) or f"J_{part.name.partition('(')[0]}"


def _one_example(net: Layer, params: Params, x: Array) -> Array:
    """X, if it is one example: no network that takes x also takes x[0], unless x is a batch."""
    if x.ndim > 1 and accepts(net, params, x[0]):
        got = f"shape {x.shape}, a batch of {x.shape[0]}"
        hint = "jax.vmap(lambda x: jacobian_chain(net, params, x).matrix())(x), or x[0]"
        raise ValueError(errors.message("jacobian_chain", "one example x", got, hint))
    return x
