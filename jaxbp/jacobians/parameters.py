"""Jacobians by the parameters, contracted without being formed: per-example gradients, NTK, GGN, Laplace.

All of it comes from the deltas and the activations of one backward pass: a layer's own ``factors``, or what
`jaxbp.jacobians.taps` finds in any function; `jaxbp.jacobians.outer` has the formulas.
"""

import html
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp import arguments, errors
from jaxbp.jacobians import outer
from jaxbp.jacobians.given import (
    ExampleLoss,
    Network,
    by_rules,
    inputs,
    loss_gradient,
    of_one_length,
    targets,
)
from jaxbp.jacobians.one_pass import Form, one_pass
from jaxbp.jaxprs.compile_once import one_program
from jaxbp.losses import Loss
from jaxbp.typing import Array, Float, Params, Scalar, Targets


@jax.tree_util.register_dataclass
@dataclass(frozen=True, repr=False, eq=False)
class ParameterJacobian:
    """J = d f / d theta of N examples, (N, C, P), held as deltas and activations.

    From `parameter_jacobian`. A pytree, which passes through `jax.jit`. C counts the entries of one
    example's output, P the parameters.

    Args:
        out: f, (N, *out).
        held: the arrays of which the blocks are made: deltas (N, C, T, d_out), activations (N, T, d_in), and
            formed parts (N, C, *shape).
        params: the parameters.
        form: which is which.
    """

    out: Array
    held: tuple[Array, ...]
    params: Params
    form: Form = field(metadata={"static": True})

    @property
    def blocks(self) -> list[outer.Block]:
        """The Jacobian by each leaf of the parameters, in factors where it has any."""
        return self.form.blocks(self.held)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(N, C, P)."""
        N = self.out.shape[0]
        return N, self.out.size // N, sum(leaf.size for leaf in jax.tree.leaves(self.params))

    @property
    def nbytes(self) -> int:
        """What the deltas, activations and formed parts take; the matrix takes 4 N C P in float32."""
        return sum(leaf.nbytes for leaf in self.held)

    def ntk(self, other: "ParameterJacobian | None" = None) -> Float[Array, "N C M C"]:
        """The empirical neural tangent kernel J J^T, or between two sets of examples J K^T.

        Args:
            other: the Jacobian K of M other examples, of the same network and parameters; by default J.

        Returns:
            (N, C, M, C), entry [n, c, m, k] the inner product of d f_nc / d theta with d f_mk / d theta.

        Raises:
            TypeError: for an other that is no ParameterJacobian.
            ValueError: for that of another network.

        Source: Jacot et al. 2018; by structure, Novak et al. 2022, arXiv 2206.08720.
        """
        other = self if other is None else other
        hint = "parameter_jacobian(net, params, x) makes it of the other examples"
        arguments.instance("ntk", "other", other, ParameterJacobian, hint)
        kinds = [(jax.tree.map(jnp.shape, J.params), J.out.shape[1:]) for J in (self, other)]
        if kinds[0] != kinds[1]:
            got = f"parameters {kinds[1][0]} and outputs of shape {kinds[1][1]}"
            raise ValueError(errors.message("ntk", "the Jacobian of the same network", got))
        return self._ntk(other)

    @one_program
    def _ntk(self, other: "ParameterJacobian") -> Float[Array, "N C M C"]:
        return sum(map(outer.gram, self.blocks, other.blocks), jnp.zeros(()))

    @one_program
    def ntk_trace(self) -> Scalar:
        """The trace of the NTK, |J|^2, without the NTK."""
        return sum((outer.squared_norms(block).sum() for block in self.blocks), jnp.zeros(()))

    def ggn_diagonal(self, loss: ExampleLoss, y: Targets | None = None) -> Params:
        """The diagonal of the generalised Gauss-Newton matrix, sum_n J_n^T H_n J_n.

        H_n is the second derivative of the loss by f_n, for softmax diag(mu) - mu mu^T. The mean over the
        examples (and a text's places) for a loss that is a mean, the sum for ``loss.sum``. For the losses of
        this library the GGN is the Fisher information matrix.

        Args:
            loss: a `Loss`, or ``(f, y) -> scalar`` of one example.
            y: the targets, where H depends on them. Left out, they are what the network predicts,
                loss.mu(f), which for these losses gives the mean of H over the prediction.

        Returns:
            A tree like the parameters.

        Raises:
            ValueError: for a loss of one's own without y.

        Source: Schraudolph 2002; Martens 2014, arXiv 1412.1193.
        """
        loss_gradient("ggn_diagonal", loss)  # raises for what is no loss
        if y is None:
            if not isinstance(loss, Loss):
                expected = "y for a loss that is not a Loss"
                raise ValueError(errors.message("ggn_diagonal", expected, "none", "ggn_diagonal(loss, y)"))
            y = loss.mu(self.out)
        else:
            y = targets("ggn_diagonal", loss, y)
        if not of_one_length(self.out, y):
            expected = f"a target for each of {len(self.out)} examples"
            raise ValueError(errors.message("ggn_diagonal", expected, f"y of shape {jnp.shape(y)}"))
        found: Params = by_rules(_ggn_diagonal, (loss,), (self, y))
        return found

    def predictive_variance(self, sigma: Params) -> Float[Array, "N C"]:
        """diag(J Sigma J^T): the variance of each output under theta ~ N(params, Sigma), linearised.

        Args:
            sigma: the posterior variance of each parameter, the diagonal of Sigma: a tree like the
                parameters, or one number for all. From a Laplace approximation 1 / (GGN diagonal + prior).

        Raises:
            ValueError: for a tree of another structure.

        Source: MacKay 1992; Immer et al. 2021, arXiv 2008.08400.
        """
        where = "predictive_variance"
        leaves, tree = jax.tree.flatten(self.params)
        if isinstance(sigma, int | float | np.ndarray | np.generic | jax.Array) and jnp.ndim(sigma) == 0:
            traced = isinstance(sigma, jax.core.Tracer)
            sigma = sigma if traced else arguments.number(where, "sigma", sigma, low=0)
            sigma = jax.tree.unflatten(tree, [jnp.full(leaf.shape, sigma, leaf.dtype) for leaf in leaves])
        sigma = arguments.params(where, sigma)
        got: Any = jax.tree.structure(sigma)
        if got != tree:
            raise ValueError(errors.message(where, f"sigma as the tree {tree}", f"{got}"))
        for (path, leaf), s in zip(
            jax.tree_util.tree_leaves_with_path(self.params), jax.tree.leaves(sigma), strict=True
        ):
            if s.shape != leaf.shape:
                expected = f"sigma{jax.tree_util.keystr(path)} of the parameter's shape {leaf.shape}"
                raise ValueError(errors.message(where, expected, f"{s.shape}"))
        return self._predictive_variance(sigma)

    @one_program
    def _predictive_variance(self, sigma: Params) -> Float[Array, "N C"]:
        variances = map(outer.weighted_squares, self.blocks, jax.tree.leaves(sigma))
        return sum(variances, jnp.zeros(()))

    def matrix(self, *, limit: int = 2**30) -> Float[Array, "N C P"]:
        """J itself, the parameters in the order of `jax.tree.leaves`.

        Args:
            limit: the bytes it may take, by default 1 GiB.

        Raises:
            ValueError: before anything is formed, where it would take more.
        """
        limit = arguments.whole("ParameterJacobian.matrix", "limit", limit, low=0)
        N, C, P = self.shape
        size = N * C * P * self.out.dtype.itemsize
        if size > limit:
            expected = f"at most {_human(limit)} for J of shape {(N, C, P)}"
            hint = "ntk, ggn_diagonal and predictive_variance do without it; else raise limit"
            raise ValueError(errors.message("ParameterJacobian.matrix", expected, _human(size), hint))
        return self._matrix()

    @one_program
    def _matrix(self) -> Float[Array, "N C P"]:
        rows = [outer.formed(block).reshape(*self.shape[:2], -1) for block in self.blocks]
        return jnp.concatenate(rows, axis=-1)

    def tree(self, leaves: list[Array]) -> Params:
        """Leaves in the tree of the parameters."""
        return jax.tree.unflatten(jax.tree.structure(self.params), leaves)

    def __repr__(self) -> str:
        N, C, P = self.shape
        lines = [f"d f / d theta of {N} examples, {C} outputs and {P:,} parameters"]
        paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(self.params)]
        lines += [f"  {path}  {how}" for path, how in zip(paths, self.form.how, strict=True)]
        formed = N * C * P * self.out.dtype.itemsize
        return "\n".join([*lines, f"  {_human(self.nbytes)}, for {_human(formed)} as a matrix"])

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"

    def to_dict(self) -> dict[str, Any]:
        """Shape and sizes, ready for JSON."""
        N, C, P = self.shape
        return {
            "N": N,
            "C": C,
            "P": P,
            "bytes": self.nbytes,
            "matrix_bytes": N * C * P * self.out.dtype.itemsize,
        }


def parameter_jacobian(net: Network, params: Params, x: Array) -> ParameterJacobian:
    """J = d f_nc / d theta_p of N examples, (N, C, P), as factors.

    Args:
        net: any layer, or any function ``(params, x) -> f`` of one example.
        params: any pytree of arrays.
        x: N examples, (N, ...).

    Returns:
        A `ParameterJacobian`: ``ntk()`` and ``ntk(other)``, ``ntk_trace()``, ``ggn_diagonal(loss)``,
        ``predictive_variance(sigma)`` and ``matrix()``.

    Raises:
        TypeError: for parameters that are no floating-point numbers.

    Example: f = W x, so that the NTK is the Gram matrix of the x.
        >>> import jaxbp
        >>> net, params = jaxbp.dense(2, 1, bias=False), {"W": jnp.array([[1.0, 1.0]])}
        >>> J = parameter_jacobian(net, params, jnp.array([[1.0, 2.0], [3.0, 4.0]]))
        >>> J.ntk()[:, 0, :, 0]
        Array([[ 5., 11.],
               [11., 25.]], dtype=float32)
        >>> J.ntk(parameter_jacobian(net, params, jnp.array([[1.0, 0.0]])))[:, 0, :, 0]
        Array([[1.],
               [3.]], dtype=float32)
        >>> J.predictive_variance(0.1)[:, 0]
        Array([0.5, 2.5], dtype=float32)

    Source: Dangel et al. 2020, "BackPACK", arXiv 1912.10985, appendix A.
    """
    where = "parameter_jacobian"
    params = arguments.params(where, params)
    x = inputs(where, net, params, x)
    found: ParameterJacobian = by_rules(_parameter_jacobian, (net,), (params, x))
    return found


def _parameter_jacobian(net: Network, params: Params, x: Any) -> ParameterJacobian:
    """`parameter_jacobian` of what was let in."""

    def backward(f: Array, _: Any) -> tuple[Array, Array]:
        return f, jnp.eye(f.size, dtype=f.dtype).reshape(f.size, *f.shape)

    out, held, form = one_pass("parameter_jacobian", net, params, x, x, backward)
    return ParameterJacobian(out, held, params, form)


def _ggn_diagonal(loss: ExampleLoss, J: ParameterJacobian, y: Any) -> Params:
    gradient = loss_gradient("ggn_diagonal", loss)
    divisor = len(J.out) if isinstance(loss, Loss) and loss.reduction == "mean" else 1

    def curved(f: Array, y: Any, rows: Array) -> Array:
        """H J for one example, its rows (C, ...): forward over the hand-written delta, column by column."""
        push = jax.linearize(lambda f: gradient(f, y), f)[1]
        columns = rows.reshape(f.size, -1)
        pushed = jax.vmap(lambda v: push(v.reshape(f.shape)).reshape(-1), in_axes=1, out_axes=1)(columns)
        return pushed.reshape(rows.shape) / divisor

    H = jax.vmap(curved, in_axes=(0, 0, 0))
    curved_blocks = [outer.with_rows(block, lambda rows: H(J.out, y, rows)) for block in J.blocks]
    return J.tree(list(map(outer.product_sum, J.blocks, curved_blocks)))


def _human(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} TiB"
