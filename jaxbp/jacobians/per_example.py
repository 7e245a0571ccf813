"""The gradient of every example's loss, and what is made of them: norms, clipped means, moments, noise."""

import html
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxbp import arguments, errors
from jaxbp.jacobians import outer
from jaxbp.jacobians.given import ExampleLoss, Network, by_rules, inputs, loss_gradient, loss_value, targets
from jaxbp.jacobians.one_pass import one_pass
from jaxbp.jacobians.parameters import ParameterJacobian
from jaxbp.jaxprs.compile_once import one_program
from jaxbp.typing import Array, Float, Params, Scalar, Targets


@jax.tree_util.register_dataclass
@dataclass(frozen=True, repr=False, eq=False)
class PerExample:
    """The gradient g_n of each example's loss, held as deltas and activations; from `per_example`.

    Args:
        jacobian: the Jacobian of the N losses, a `ParameterJacobian` with C = 1.
    """

    jacobian: ParameterJacobian

    @property
    def losses(self) -> Float[Array, " N"]:
        """The loss of each example."""
        return self.jacobian.out

    @one_program
    def gradients(self) -> Params:
        """G_n, formed: a tree like the parameters with a leading axis N."""
        return self.jacobian.tree([outer.formed(block)[:, 0] for block in self.jacobian.blocks])

    @one_program
    def squared_norms(self) -> Float[Array, " N"]:
        """|g_n|^2 over all parameters.

        Source: Goodfellow 2015, arXiv 1510.01799; with shared weights Rochette et al. 2019, Li et al. 2022.
        """
        return _added([outer.squared_norms(block) for block in self.jacobian.blocks])

    @one_program
    def mean(self) -> Params:
        """1/N sum_n g_n, the gradient of the mean loss."""
        return self._weighted_mean(jnp.ones_like(self.losses), self.jacobian.blocks)

    def clipped_mean(self, c: float | Scalar) -> Params:
        """1/N sum_n g_n min(1, c / |g_n|), each gradient clipped to norm c, as private training needs it.

        Args:
            c: the largest norm, over all parameters together; positive.

        Raises:
            ValueError: for a c that is not above 0: below, it would turn the gradients round.

        Source: Abadi et al. 2016, arXiv 1607.00133; in one backward pass, Bu et al. 2023, arXiv 2210.00038.
        """
        if not isinstance(c, jax.core.Tracer):
            c = arguments.number("clipped_mean", "c", c, low=0, open_low=True)
        return self._clipped_mean(c)

    @one_program
    def _clipped_mean(self, c: Scalar) -> Params:
        held = [outer.with_norms(block) for block in self.jacobian.blocks]
        norms = jnp.sqrt(_added([square for _, square in held]))
        # A gradient of zero has nothing to clip, and c / 0 would be infinite: the minimum is 1.
        return self._weighted_mean(jnp.minimum(1, c / norms), [block for block, _ in held])

    @one_program
    def second_moment(self) -> Params:
        """1/N sum_n g_n^2, entry by entry."""
        blocks = self.jacobian.blocks
        return self.jacobian.tree([outer.product_sum(block, block) / len(self.losses) for block in blocks])

    @one_program
    def variance(self) -> Params:
        """1/N sum_n (g_n - mean)^2, entry by entry.

        Found as second moment - mean^2, so that an entry whose gradients hardly differ is exact only to
        the rounding of its second moment.
        """
        return jax.tree.map(lambda s, m: jnp.maximum(s - m**2, 0), self.second_moment(), self.mean())

    def noise_scale(self) -> Scalar:
        """The gradient noise scale tr(Sigma) / |G|^2.

        It is about the batch size beyond which larger batches cease to help. Both are
        the unbiased estimates from this batch: tr(Sigma) = N / (N - 1) (1/N sum_n |g_n|^2 -
        |mean|^2), and |G|^2 = |mean|^2 - tr(Sigma) / N.

        Raises:
            ValueError: for a single example.

        Source: McCandlish et al. 2018, arXiv 1812.06162, appendix A.1.
        """
        if len(self.losses) < 2:
            raise ValueError(errors.message("noise_scale", "at least two examples", f"{len(self.losses)}"))
        return self._noise_scale()

    @one_program
    def _noise_scale(self) -> Scalar:
        N = len(self.losses)
        mean = sum((jnp.sum(leaf**2) for leaf in jax.tree.leaves(self.mean())), jnp.zeros(()))
        trace = N / (N - 1) * (self.squared_norms().mean() - mean)
        return trace / (mean - trace / N)

    def _weighted_mean(self, w: Array, blocks: list[outer.Block]) -> Params:
        return self.jacobian.tree([outer.weighted_sum(block, w[:, None] / len(w)) for block in blocks])

    def __repr__(self) -> str:
        return f"gradients of {len(self.losses)} losses\n" + repr(self.jacobian)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"

    def to_dict(self) -> dict[str, Any]:
        """Shape and sizes, ready for JSON."""
        return self.jacobian.to_dict()


def per_example(net: Network, loss: ExampleLoss, params: Params, x: Array, y: Targets) -> PerExample:
    """The gradient g_n of each of N examples' losses, as factors: g_n by W is delta_n^T f_n.

    One forward and one backward pass; nothing of the size N P is formed unless ``gradients()`` is called.
    The gradients are those of each example's own loss, without the 1/N of a mean. The loss of a text is that
    of its places: their mean, or their sum for ``loss.sum``.

    Args:
        net: any layer, or any function ``(params, x) -> f`` of one example; weights that a function uses
            otherwise than in products are formed entry by entry, at N times their size, and a layer's where
            it has no ``factors``. Of a network with `batch_norm` that of evaluation, see `fixed`.
        loss: a `Loss`, or ``(f, y) -> scalar`` of one example.
        params: any pytree of arrays.
        x: N examples, (N, ...).
        y: N targets.

    Returns:
        A `PerExample`: ``gradients()``, ``squared_norms()``, ``mean()``, ``clipped_mean(c)``,
        ``second_moment()``, ``variance()`` and ``noise_scale()``.

    Raises:
        ValueError: when x and y are not of one length N; for a network that normalizes the examples of a
            batch together.
        TypeError: for parameters that are no floating-point numbers.

    Example: f = W x with squared error, so that g_n = (f - y) x^T.
        >>> import jaxbp
        >>> net, params = jaxbp.dense(2, 1, bias=False), {"W": jnp.array([[1.0, 1.0]])}
        >>> x, y = jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([[2.0], [5.0]])
        >>> g = per_example(net, jaxbp.squared_error, params, x, y)
        >>> g.gradients()["W"], g.squared_norms()
        (Array([[[1., 2.]],
               [[6., 8.]]], dtype=float32), Array([  5., 100.], dtype=float32))
        >>> g.clipped_mean(1.0)["W"]
        Array([[0.5236068, 0.8472136]], dtype=float32)

    Source: the lecture, step 4, delta_{W_l} = delta_{a_l}^T f_{l-1}^T, one example at a time.
    """
    where = "per_example"
    loss_value(where, loss)  # raises for what is no loss
    params, y = arguments.params(where, params), targets(where, loss, y)
    x = inputs(where, net, params, x)
    found: PerExample = by_rules(_per_example, (net, loss), (params, x, y))
    return found


def _added(squares: list[Float[Array, "N 1"]]) -> Float[Array, " N"]:
    """|g_n|^2 from that of each parameter."""
    return sum((square[:, 0] for square in squares), jnp.zeros(()))


def _per_example(net: Network, loss: ExampleLoss, params: Params, x: Any, y: Any) -> PerExample:
    """`per_example` of what was let in."""
    where = "per_example"
    value, gradient = loss_value(where, loss), loss_gradient(where, loss)

    def backward(f: Array, y: Any) -> tuple[Scalar, Array]:
        return value(f, y), gradient(f, y)[None]

    out, held, form = one_pass(where, net, params, x, y, backward)
    return PerExample(ParameterJacobian(out, held, params, form))
