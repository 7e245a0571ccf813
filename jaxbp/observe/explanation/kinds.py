"""What kind of place a layer makes, by what it computes and by the function that made it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxbp import recipes
from jaxbp.layers import Layer, softmax
from jaxbp.observe.explanation.formulas.trees import parse
from jaxbp.observe.explanation.places import FLOAT64, Kind, Precision, Shape
from jaxbp.operators import Dense, Identity, Kronecker
from jaxbp.typing import Params


def operator_of(part: Layer, params: Params, f: Any) -> Any:
    """The form of the part's Jacobian, without its numbers."""
    return jax.eval_shape(part.jacobian, params, f) if part.form != "sum" else None


def kind_of(part: Layer, params: Params, f: Any, out: Any) -> Kind:
    """What the part is, by what it computes: its name only prints."""
    part, _ = unwrapped(part)
    if is_ids(f):
        return _known(part, f)
    if part.form == "sum":
        return "residual"
    J = operator_of(part, params, f)
    weights = isinstance(params, dict) and "W" in params and params.keys() <= {"W", "b"}
    weights = weights and params["W"].shape == (*out.shape[-1:], *f.shape[-1:])
    at_each = isinstance(J, Kronecker) and isinstance(J.A, Identity) and isinstance(J.B, Dense)
    if weights and (isinstance(J, Dense) or (at_each and f.ndim == 2)):
        return "dense"
    if isinstance(J, Identity) and not part.has_params:
        return "same" if shape_of(f) == shape_of(out) else "flat" if len(shape_of(out)) == 1 else "own"
    if part.apply is softmax.apply and f.ndim == 1:
        return "softmax"
    return "phi" if parse(part.formula) else _known(part, f)


def unwrapped(part: Layer) -> tuple[Layer, Precision]:
    """The layer whose formulas are written out, and in which numbers its rules compute."""
    if part.recipe is None or part.recipe.maker != "mixed_precision":
        return part, FLOAT64
    dtype = jnp.dtype(part.recipe.arguments["dtype"])
    return part.recipe.arguments["layer"], Precision(dtype.name, float(jnp.finfo(dtype).eps))  # type: ignore[no-untyped-call]


class Known(NamedTuple):
    """A layer of the library whose steps are written out.

    Args:
        kind: of its place.
        axes: how many axes it takes there.
        given: what its steps need of what it was made with.
        more: what they need besides.
        without: what it was not made with, where they are written out.
    """

    kind: Kind
    axes: tuple[int, ...]
    given: tuple[str, ...]
    more: tuple[tuple[str, Any], ...] = ()
    without: tuple[str, ...] = ()


KNOWN: dict[str, Known] = {
    "embedding": Known("lookup", (0, 1), ("positions",)),
    "layer_norm": Known("norm", (1, 2), ("eps",), (("centered", True),)),
    "rms_norm": Known("norm", (1, 2), ("eps",), (("centered", False),)),
    "elman": Known("recurrence", (2,), (), (("gates", False),)),
    "lstm": Known("recurrence", (2,), (), (("gates", True),)),
    "gru": Known("gru", (2,), ()),
    "attend": Known("attention", (2,), ("heads", "kv_heads", "causal"), without=("rotary",)),
}
"""By the library's function that makes them."""


def _known(part: Layer, f: Any) -> Kind:
    known = KNOWN.get(part.recipe.maker) if part.recipe else None
    if part.recipe is None or known is None or f.ndim not in known.axes:
        return "own"
    given = part.recipe.arguments
    return "own" if any(given[name] is not None for name in known.without) else known.kind


def options_of(part: Layer, kind: Kind) -> tuple[tuple[str, Any], ...]:
    """What a layer of a known kind was made with."""
    if part.recipe is None or kind == "own" or part.recipe.maker not in KNOWN:
        return ()
    known = KNOWN[part.recipe.maker]
    return (*((name, part.recipe.arguments[name]) for name in known.given), *known.more)


def is_registered(part: Layer) -> bool:
    """Whether the layer is one of the library's, or of the user's that has a name in its table."""
    try:
        recipes.to_dict(part, "explain")
    except ValueError:
        return False
    return True


def is_ids(f: Any) -> bool:
    """Whether they are whole numbers, which are looked up."""
    return bool(jnp.issubdtype(f.dtype, jnp.integer))


def shape_of(f: Any) -> Shape:
    """The shape of what is written: a row for each place of a sequence; else all entries as one column."""
    return tuple(f.shape) if f.ndim == 2 else (f.size,)
