"""The chain rule with every factor in hand: J_{f o g}(x) = J_f(g(x)) J_g(x).

For a network f_L = phi_L(W_L ... phi_1(W_1 x)) the product, as it is written on the board, is

    J_{f_L}(x) = J_{f_L}(a_L) W_L ... J_{f_1}(a_1) W_1

and back-propagation is one way to read it: a row delta multiplied from the left, factor by factor.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, overload

import jax
import jax.numpy as jnp

from jaxbp import errors, operators
from jaxbp.backprop import Deltas
from jaxbp.jacobians import show
from jaxbp.jacobians.order import Plan, make_plan, prefix_products
from jaxbp.layers.composition import numbered
from jaxbp.layers.layer import Layer
from jaxbp.losses import Loss
from jaxbp.operators import Dense, Linear, Operator, Product, Sum, planning
from jaxbp.typing import Array, Float, Params, Targets, Tensor

Factors = Literal["rule", "jacrev"]


class Variable(NamedTuple):
    """A quantity of the network: ``a_2``, ``f_1``, ``x``; primes for those between a_l and f_l."""

    letter: str
    l: int | None = None
    primes: int = 0

    def __str__(self) -> str:
        return self.letter + ("" if self.l is None else f"_{self.l}") + "'" * self.primes


X, LOSS = Variable("x"), Variable("loss")


@jax.tree_util.register_dataclass
@dataclass(frozen=True, repr=False, eq=False)
class Factor:
    """One Jacobian of the chain, J_of(at).

    Args:
        J: the operator.
        block: of a residual block, the chain of its branch.
        of: the variable that is differentiated.
        at: the variable by which.
        means: what it is in the network, ``W_2`` or ``diag(sigmoid')``.
        out_shape: the shape of ``of``.
        in_shape: the shape of ``at``.
    """

    J: Operator
    block: "JacobianChain | None"
    of: Variable = field(metadata={"static": True})
    at: Variable = field(metadata={"static": True})
    means: str = field(metadata={"static": True})
    out_shape: tuple[int, ...] = field(metadata={"static": True})
    in_shape: tuple[int, ...] = field(metadata={"static": True})

    @property
    def symbol(self) -> str:
        """J_{a_2}(f_1), as the lecture writes it."""
        return symbol(self.of, self.at)

    def __repr__(self) -> str:
        return show.factor_line(self)


def symbol(of: Variable, at: Variable) -> str:
    """J_of(at) in the lecture's notation."""
    if of == LOSS:
        return f"delta_{{{at}}}" if at.l is not None else f"delta_{at}"
    return f"J_{{{of}}}({at})"


@jax.tree_util.register_dataclass
@dataclass(frozen=True, repr=False, eq=False)
class JacobianChain:
    """J_{f_L}(x) as its factors; from `jacobian_chain`.

    A pytree, which passes through `jax.jit` and `jax.vmap`. Under `jax.vmap` it is the chain of each
    example.

    Args:
        factors: as the product is written, output first.
    """

    factors: tuple[Factor, ...]

    @property
    def out_shape(self) -> tuple[int, ...]:
        """The shape of f_L, or () of a loss."""
        return self.factors[0].out_shape

    @property
    def in_shape(self) -> tuple[int, ...]:
        """The shape of x."""
        return self.factors[-1].in_shape

    @property
    def symbol(self) -> str:
        """J_{f_L}(x), or delta_x of a chain that ends in a loss."""
        return symbol(self.factors[0].of, self.factors[-1].at)

    @property
    def operator(self) -> Product:
        """The product as one operator, not multiplied out."""
        return Product(tuple(factor.J for factor in self.factors))

    def matrix(self, order: planning.Order | Literal["scan"] = "optimal") -> Float[Array, "m n"]:
        """J_{f_L}(x) as a matrix, output index first, in the FLOPs that `plan` says.

        Args:
            order: ``"optimal"``, ``"reverse"`` or ``"forward"``; ``"scan"`` multiplies neighbours
                pairwise in parallel, in log k steps of dense products.

        Returns:
            (m, n), output and input flattened by rows.

        Raises:
            ValueError: for another order.
        """
        if order == "scan":
            m, n = _shape(self.factors)
            return prefix_products([factor.J.matrix() for factor in self.factors])[-1][:m, :n]
        return operators.product(self.operator.factors, order).matrix()

    def pull(self, delta: Tensor | None = None, *, order: Literal["reverse", "scan"] = "reverse") -> Deltas:
        """Delta J, factor by factor from the output to x: back-propagation.

        Args:
            delta: delta_{f_L}, of f_L's shape; may be left out of a chain that ends in a loss.
            order: ``"scan"`` finds all of them in parallel, in log k steps of dense products, and pays
                where many processors wait for a long chain of small layers.

        Returns:
            ``deltas.f[l]``, ``deltas.a[l]``, ``deltas.x``, and ``deltas.blocks[l]`` within residual
            blocks, as from `backward`; ``deltas.params`` is empty, for a chain is by x.

        Raises:
            ValueError: for a delta of another shape.
        """
        if delta is None and self.out_shape == ():
            delta = jnp.ones(())
        if delta is None or jnp.shape(delta) != self.out_shape:
            got = "none" if delta is None else f"shape {jnp.shape(delta)}"
            hint = "for rows, jax.vmap(chain.pull)(rows)"
            expected = f"a delta of the output's shape {self.out_shape}"
            raise ValueError(errors.message(f"pull through {self.symbol}", expected, got, hint))
        rows = _rows_by_scan(self.factors, delta) if order == "scan" else None
        first = self.factors[0]
        L = first.of.l if first.of.l is not None else first.at.l or 0
        deltas = Deltas(f={}, a={}, params={}, x=jnp.asarray(delta), blocks={})
        if first.of != LOSS:
            deltas.f[L] = deltas.x
        row = deltas.x
        for i, factor in enumerate(self.factors):
            if factor.of.letter == "a" and factor.of.l is not None:
                deltas.a[factor.of.l] = row
                if factor.block is not None:
                    deltas.blocks[factor.of.l] = factor.block.pull(row)
            flat = factor.J.pull(row.reshape(-1)) if rows is None else rows[i]
            row = flat.reshape(factor.in_shape)
            if factor.at.letter == "f" and not factor.at.primes and factor.at.l is not None:
                deltas.f[factor.at.l] = row
        if self.factors[-1].of.l:  # layer 1 acts on x itself, which then is f_0
            deltas.f[0] = row
        return deltas._replace(x=row)

    def push(self, v: Tensor) -> Tensor:
        """J v, from x to the output: what a small step v in x does to f_L.

        Args:
            v: of x's shape.

        Raises:
            ValueError: for a v of another shape.
        """
        if jnp.shape(v) != self.in_shape:
            expected = f"a v of the input's shape {self.in_shape}"
            raise ValueError(errors.message(f"push through {self.symbol}", expected, f"shape {jnp.shape(v)}"))
        return self.operator.push(jnp.reshape(v, -1)).reshape(self.out_shape)

    def plan(self) -> Plan:
        """The order in which the product is cheapest, and what each order costs, before it is multiplied."""
        return make_plan(
            [str(factor.means) for factor in self.factors], [factor.J for factor in self.factors]
        )

    def running(self) -> list[tuple[str, Array]]:
        """The product so far, from the output back to x: J_{f_L}(a_L), J_{f_L}(f_{L-1}), ... as matrices.

        Of a chain that ends in a loss these are the rows delta_{a_L}, delta_{f_{L-1}}, ..., delta_x.
        """
        product, steps = self.factors[0].J, []
        for i, factor in enumerate(self.factors):
            product = operators.product((product, factor.J), "reverse") if i else product
            steps.append((symbol(self.factors[0].of, factor.at), product.matrix()))
        return steps

    def __repr__(self) -> str:
        return show.text(self)

    def _repr_html_(self) -> str:
        return show.html(self)

    def to_dict(self) -> dict[str, Any]:
        """Symbols, types, shapes and numbers as plain lists, ready for JSON."""
        return show.to_dict(self)


def _shape(factors: Sequence[Factor]) -> tuple[int, int]:
    """(m, n) of the product."""
    return factors[0].J.shape[0], factors[-1].J.shape[1]


def _rows_by_scan(factors: tuple[Factor, ...], delta: Array) -> list[Array]:
    prefixes = prefix_products([factor.J.matrix() for factor in factors])
    m = factors[0].J.shape[0]
    return [
        (delta.reshape(-1) @ prefix[:m])[: factor.J.shape[1]]
        for factor, prefix in zip(factors, prefixes, strict=True)
    ]


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

    Args:
        net: any layer; or functions of one array.
        args: the parameters, for a network; then x, one example of floating-point numbers.
        factors: ``"jacrev"`` differentiates each part's plain function by `jax.jacrev` (`jax.jacfwd`
            where its input is the smaller), which is the lecture's chain as it stands and the default for
            functions; ``"rule"`` takes each layer's own structured Jacobian, the default for networks,
            and is matrix-free for functions.
        loss: puts J_loss(f_L) = delta_{f_L} before the chain, which then is a single row.
        y: the target of the loss.

    Returns:
        A `JacobianChain`: its ``factors``, ``matrix()``, ``pull(delta)``, ``push(v)`` and ``plan()``.

    Raises:
        TypeError: for an x of integers, or parts that are no functions.
        ValueError: for a batch, or for factors whose shapes do not meet.

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
    if isinstance(net, Layer):
        params, x = args
        return _network_chain(net, params, _one_example(net, params, x), factors or "rule", loss, y)
    (x,) = args
    _floating(x)
    return _function_chain(list(net), jnp.asarray(x), factors or "jacrev")


def _network_chain(
    net: Layer, params: Params, x: Array, kind: Factors, loss: Loss | None = None, y: Any = None
) -> JacobianChain:
    parts, params = (net.parts, params) if net.form == "product" else ((net,), {1: params})
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
            J, block = _part(part, p, f, kind)
        made.insert(0, Factor(J, block, of, at, _meaning(part, l), out.shape, f.shape))
        f, at = out, of
    if loss is not None:
        J = Dense(loss.delta(f, y).reshape(1, -1))
        made.insert(0, Factor(J, None, LOSS, Variable("f", ls[-1]), f"J_loss(f_{ls[-1]})", (), f.shape))
    return JacobianChain(tuple(made))


def _part(part: Layer, params: Params, f: Array, kind: Factors) -> tuple[Operator, JacobianChain | None]:
    """The Jacobian of one part, and the chain of a residual block's branch."""
    if part.form == "sum":
        branch, skip = part.parts
        p = {"branch": {}, "skip": {}} | params
        inner = _network_chain(branch, p["branch"], f, kind)
        skip_J, _ = _part(skip, p["skip"], f, kind)
        return Sum((skip_J, inner.operator)), inner if branch.has_params else None
    if kind == "rule":
        return part.jacobian(params, f), None  # type: ignore[misc]
    return _dense_by_autodiff(lambda f: part.apply(params, f), f), None


def _dense_by_autodiff(fn: Callable[[Array], Array], x: Array) -> Dense:
    out = jax.eval_shape(fn, x)
    mode = jax.jacfwd if x.size < out.size else jax.jacrev
    return Dense(mode(fn)(x).reshape(out.size, x.size))


def _function_chain(functions: list[Any], x: Array, kind: Factors) -> JacobianChain:
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
    name = part.name.partition("(")[0]
    return {
        "dense": f"W_{l}",
        "flatten": "I",
        "identity": "I",
        "dropout": "I",
        "softmax": "diag(mu) - mu mu^T",
        "residual": "I + J_branch"
        if part.parts and part.parts[1].name == "identity"
        else "J_skip + J_branch",
    }.get(name, f"J_{name}" if part.has_params else f"diag({name}'(a_{l}))")


def _floating(x: Any) -> None:
    dtype = jnp.result_type(x)
    if not jnp.issubdtype(dtype, jnp.floating):
        hint = "derivatives are by real numbers, x.astype(float)"
        raise TypeError(errors.message("jacobian_chain", "floating-point x", str(dtype), hint))


def _one_example(net: Layer, params: Params, x: Any) -> Array:
    """X, if it is one example: no network that takes x also takes x[0], unless x is a batch."""
    _floating(x)
    x = jnp.asarray(x)
    if x.ndim > 1:
        try:
            jax.eval_shape(net.apply, params, x[0])
        except (ValueError, TypeError):
            return x
        raise ValueError(
            errors.message(
                "jacobian_chain",
                "one example x",
                f"shape {x.shape}, a batch of {x.shape[0]}",
                "jax.vmap(lambda x: jacobian_chain(net, params, x).matrix())(x), or x[0]",
            )
        )
    return x
