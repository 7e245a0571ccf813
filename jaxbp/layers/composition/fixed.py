"""A layer with what it is given, fixed: the network of evaluation, for whoever gives nothing."""

from typing import Any

from jaxbp import arguments, recipes
from jaxbp.layers.composition.chain import assert_states, chain, numbered
from jaxbp.layers.composition.residual import residual
from jaxbp.layers.layer import Layer, assert_given, handed
from jaxbp.operators import Operator
from jaxbp.typing import Array, Given, Params, Random, Saved


def fixed(net: Layer, given: Given) -> Layer:
    """``net`` as the map that it is with these masks, positions or state.

    With the state of a trained network it is the network of evaluation: there batch normalization is an
    affine map of one example, which has a Jacobian and gradients of its own, and predicts alone. Chains and
    residual blocks keep their structure and parameters; a fixed layer has no state.

    Args:
        net: any layer.
        given: what layers of it name; what is not in it can still be given to the result.

    Raises:
        TypeError: for what is no Layer, or no dict.
        ValueError: for a name that no layer has, or the state of another network.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxbp.layers import batch_norm
        >>> state = {"mean": jnp.array([1.0]), "var": jnp.array([4.0]), "weight": jnp.array(1.0)}
        >>> net = fixed(batch_norm(1, eps=0), {"state": state})
        >>> net.apply({"g": jnp.ones(1), "b": jnp.zeros(1)}, jnp.array([5.0]))
        Array([2.], dtype=float32)
    """
    arguments.instance("fixed", "net", net, Layer, "call it to make the layer")
    assert_given("fixed", given, net.given)
    if net.form == "product":
        parts = list(numbered(net.parts))
        assert_states("fixed", given, net.given, [l for l, part in parts if part.state is not None])
        return chain(*(fixed(part, _own(part, given, l)) for l, part in parts))
    if net.form == "sum":
        roles = dict(zip(("branch", "skip"), net.parts, strict=True))
        wanted = [role for role, part in roles.items() if part.state is not None]
        assert_states("fixed", given, net.given, wanted)
        return residual(*(fixed(part, _own(part, given, role)) for role, part in roles.items()))
    return _fixed(net, own) if (own := _own(net, given)) else net


def _own(part: Layer, given: Given, at: Any = None) -> Given:
    own: Given = handed(part, given, at).get("given", {})
    return own


@recipes.own("fixed")
def _fixed(layer: Layer, given: Given) -> Layer:
    """`fixed` of a layer that is not composed."""
    state = None if "state" in given else layer.state
    # A layer whose state is fixed does not learn from batches.
    open_to = tuple(n for n in layer.given if n not in given and (state is not None or n != "training"))

    def named(later: Given | None) -> dict[str, Any]:
        return handed(layer, (later or {}) | given)

    def apply(params: Params, f: Array, *, key: Random | None = None, given: Given | None = None) -> Array:
        return layer.apply(params, f, key=key, **named(given))

    def forward(
        params: Params, f: Array, *, key: Random | None = None, given: Given | None = None
    ) -> tuple[Array, Saved]:
        return layer.forward(params, f, key=key, **named(given))

    def jacobian(params: Params, f: Array, *, given: Given | None = None) -> Operator:
        return layer.jacobian(params, f, **named(given))

    return Layer(
        f"{layer.name} given {', '.join(given)}",
        apply,
        forward,
        layer.backward,
        layer.init,
        jacobian,
        means=layer.means,
        given=open_to,
        state=state,
        factors=layer.factors,
    )
