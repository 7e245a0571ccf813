"""The chain rule with every factor in hand: J_{f o g}(x) = J_f(g(x)) J_g(x).

For a network f_L = phi_L(W_L ... phi_1(W_1 x)) the product, as it is written on the board, is

    J_{f_L}(x) = J_{f_L}(a_L) W_L ... J_{f_1}(a_1) W_1

and back-propagation is one way to read it: a row delta multiplied from the left, factor by factor.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp import arguments, errors, tables
from jaxbp.jacobians import products, show
from jaxbp.jacobians.order import Plan, make_plan
from jaxbp.operators import Dense, Operator, Product, Recurrent, planning
from jaxbp.trace import Deltas
from jaxbp.typing import Array, Float, Tensor


class Variable(NamedTuple):
    """A quantity of the network: ``a_2``, ``f_1``, ``x``; primes for those between a_l and f_l."""

    letter: str
    l: int | None = None
    primes: int = 0

    def __str__(self) -> str:
        return self.letter + ("" if self.l is None else f"_{self.l}") + "'" * self.primes


X, LOSS = Variable("x"), Variable("loss")
PRINTED = 2**22  # entries of a matrix that is formed to be printed


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

    @property
    def steps(self) -> "JacobianChain | None":
        """Of a recurrent layer the chain through time, J_{h_T}(h_0) = J_{h_T}(h_{T-1}) ... J_{h_1}(h_0).

        Its ``running()`` is what is left of a delta at the last place at each before it: what vanishes, or
        explodes, over time. An LSTM's state is s_t, h_t with c_t after it. None of other layers.
        """
        if not isinstance(self.J, Recurrent):
            return None
        Js = self.J.steps()
        letter, shape = ("h" if Js.shape[-1] == self.J.R.shape[-1] else "s"), Js.shape[-1:]
        s = [Variable(letter, t) for t in range(len(Js), -1, -1)]
        steps = zip(map(Dense, Js[::-1]), s[:-1], s[1:], strict=True)
        made = [Factor(J, None, of, at, f"step {of.l}", shape, shape) for J, of, at in steps]
        return JacobianChain(tuple(made))

    @property
    def has_numbers(self) -> bool:
        """Whether it can be printed: no tracer, not one for each of a batch, nor too large for a matrix."""
        large = math.prod(self.out_shape) * math.prod(self.in_shape) > PRINTED
        if large or any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(self.J)):
            return False
        try:
            shape = jax.eval_shape(lambda J: J.matrix(), self.J).shape
        except (ValueError, TypeError):  # of a batch the parts no longer fit
            return False
        return bool(shape == (math.prod(self.out_shape), math.prod(self.in_shape)))

    def row(self, numbers: bool = True) -> show.Row:
        """What is printed of it, with its numbers or without."""
        shape = math.prod(self.out_shape), math.prod(self.in_shape)
        matrix = products.matrix(self.J) if numbers and self.has_numbers else None
        block = self.block
        inner = None if block is None else (block.head, tuple(f.row(numbers=False) for f in block.factors))
        return show.Row(self.symbol, self.means, shape, type(self.J).__name__, matrix, inner)

    def __repr__(self) -> str:
        return show.line(self.row(numbers=False))


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
        """The shape of x, or of a_1 = E[id] of a network of ids."""
        return self.factors[-1].in_shape

    @property
    def symbol(self) -> str:
        """J_{f_L}(x), or delta_x of a chain that ends in a loss; in place of x where the chain begins."""
        return symbol(self._output, self.factors[-1].at)

    @property
    def _output(self) -> Variable:
        """The variable f_L, which without an activation is a_L; or the loss."""
        of = self.factors[0].of
        return of._replace(letter="f") if of.letter == "a" else of

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
        arguments.option("matrix", "order", order, ("optimal", "reverse", "forward", "scan"))
        if order == "scan":
            return products.product_by_scan(self.operator.factors)
        return products.product(self.operator.factors, order)

    def pull(self, delta: Tensor | None = None, *, order: Literal["reverse", "scan"] = "reverse") -> Deltas:
        """Delta J, factor by factor from the output to x: back-propagation.

        Args:
            delta: delta_{f_L}, of f_L's shape; may be left out of a chain that ends in a loss.
            order: ``"scan"`` finds all of them in parallel, in log k steps of dense products, and pays
                where many processors wait for a long chain of small layers.

        Returns:
            ``deltas.f[l]``, ``deltas.a[l]``, ``deltas.x``, and ``deltas.blocks[l]`` within residual
            blocks, as from `backward`; ``deltas.params`` is empty, for a chain is by x. Of a chain that
            begins elsewhere x is None; of one through time delta_{h_t} is ``deltas.f[t]``.

        Raises:
            ValueError: for a delta of another shape.
        """
        arguments.option("pull", "order", order, ("reverse", "scan"))
        if delta is None and self.out_shape == ():
            delta = jnp.ones(())
        if delta is not None:
            delta = arguments.array(f"pull through {self.symbol}", "delta", delta, floats=True)
        if delta is None or jnp.shape(delta) != self.out_shape:
            got = "none" if delta is None else f"shape {jnp.shape(delta)}"
            hint = "for rows, jax.vmap(chain.pull)(rows)"
            expected = f"a delta of the output's shape {self.out_shape}"
            raise ValueError(errors.message(f"pull through {self.symbol}", expected, got, hint))
        pulled = products.rows_by_scan if order == "scan" else products.rows
        rows = pulled(self.operator.factors, delta)
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
            row = rows[i].reshape(factor.in_shape)
            if factor.at.letter != "a" and not factor.at.primes and factor.at.l is not None:
                deltas.f[factor.at.l] = row
        last = self.factors[-1]
        if last.at != X:
            if last.at.letter in "af" and last.at.l is not None:  # of ids: f_1, without an activation, is a_1
                deltas.a[last.at.l] = row
            return deltas._replace(x=None)
        if last.of.l:  # layer 1 acts on x itself, which then is f_0
            deltas.f[0] = row
        return deltas._replace(x=row)

    def push(self, v: Tensor) -> Tensor:
        """J v, from x to the output: what a small step v in x does to f_L.

        Args:
            v: of x's shape.

        Raises:
            ValueError: for a v of another shape.
        """
        v = arguments.array(f"push through {self.symbol}", "v", v, floats=True)
        if v.shape != self.in_shape:
            expected = f"a v of the input's shape {self.in_shape}"
            raise ValueError(errors.message(f"push through {self.symbol}", expected, f"shape {v.shape}"))
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
        running = products.running(self.operator.factors)
        return [(symbol(self._output, f.at), J) for f, J in zip(self.factors, running, strict=True)]

    @property
    def head(self) -> str:
        """What it is, in a line."""
        m, n = math.prod(self.out_shape), math.prod(self.in_shape)
        return f"{self.symbol}, {m} x {n}, the product of {len(self.factors)} factors"

    def table(self, limit: int = tables.LIMIT, digits: int = tables.DIGITS) -> tables.Printed:
        """Every factor and the running product from the output back to x, with their numbers.

        Args:
            limit: rows and columns of a matrix that is written out; of a larger one its norm and its range.
            digits: of each number.

        Raises:
            TypeError, ValueError: for a limit that is no whole number above 0, or digits not in 1 to 17.
        """
        limit, digits = tables.given("JacobianChain.table", limit, digits)
        running = self.running() if all(factor.has_numbers for factor in self.factors) else []
        shown = tuple(factor.row() for factor in self.factors), running, limit, digits
        return tables.Printed(show.text(self.head, *shown), show.html(self.symbol, *shown))

    def __repr__(self) -> str:
        return self.table().text

    def _repr_html_(self) -> str:
        return self.table().html

    def to_dict(self) -> dict[str, Any]:
        """Symbols, types, shapes and numbers as plain lists, ready for JSON."""
        return {
            "symbol": self.symbol,
            "shape": [math.prod(self.out_shape), math.prod(self.in_shape)],
            "factors": [
                {
                    "symbol": factor.symbol,
                    "means": factor.means,
                    "type": type(factor.J).__name__,
                    "shape": list(factor.J.shape),
                    "matrix": np.asarray(factor.J.matrix()).tolist(),
                    "block": None if factor.block is None else factor.block.to_dict(),
                }
                for factor in self.factors
            ],
            "matrix": np.asarray(self.matrix()).tolist(),
        }
