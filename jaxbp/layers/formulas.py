"""How the quantities of a pass are computed, layer by layer, in the lecture's symbols."""

from collections.abc import Callable, Sequence

from jaxbp.layers.composition.chain import numbered
from jaxbp.layers.layer import Layer
from jaxbp.typing import Params

_LONG = 24  # letters of a name beside numbers


def formulas_of(
    parts: Sequence[Layer], params: Params, loss: str, mu: Callable[..., object]
) -> tuple[tuple[str, str], ...]:
    """Each a_l, f_l and delta, mu and the loss with its formula, for one example.

    Of a layer that says of its Jacobian that it is W_l they are those of W_l; of others the chain rule.

    Args:
        parts: of a network.
        params: by l.
        loss: its name.
        mu: the function of the outputs that predicts.

    Example:
        >>> from jaxbp.layers import dense, sigmoid
        >>> params = {1: {"W": 0.0, "b": 0.0}}
        >>> found = dict(formulas_of((dense(2, 3), sigmoid), params, "squared_error", sigmoid))
        >>> found["a_1"], found["f_1"], found["delta_a_1"], found["delta_x"]
        ('W_1 f_0 + b_1', 'sigmoid(a_1)', 'delta_f_1 J_{f_1}(a_1)', 'delta_a_1 W_1')
    """
    names: dict[int, list[str]] = {0: []}
    for l, _ in numbered(parts):
        names.setdefault(l, [])
    for l, part in numbered(parts):
        if not part.has_params:
            names[l].append(_short(part.name))
    found = {"f_0": _applied(names[0], "x")}
    if names[0]:
        found["delta_x"] = "delta_f_0 J_{f_0}(x)"
    for l, part in numbered(parts):
        if not part.has_params:
            continue
        keys = set(params[l]) if isinstance(params[l], dict) else set()
        linear = part.means == "W_{l}" and keys <= {"W", "b"}
        before, delta = f"f_{l - 1}", f"delta_f_{l - 1}"
        if linear:
            found[f"a_{l}"] = f"W_{l} {before}" + f" + b_{l}" * ("b" in keys)
            found |= {f"delta_W_{l}": f"delta_a_{l}^T {before}^T", f"delta_b_{l}": f"delta_a_{l}"}
        else:
            found[f"a_{l}"] = f"{_short(part.name)}({before})"
        if l == 1 and not names[0]:
            before, delta = "x", "delta_x"
        found[delta] = f"delta_a_{l} W_{l}" if linear else f"delta_a_{l} J_{{a_{l}}}({before})"
        found[f"f_{l}"] = _applied(names[l], f"a_{l}")
        found[f"delta_a_{l}"] = f"delta_f_{l}" + f" J_{{f_{l}}}(a_{l})" * bool(names[l])
    L = max(names)
    name = getattr(mu, "__name__", "")
    name = name if name.isidentifier() and name[0] != "_" else "mu"
    outputs = {"mu": f"{name}(f_{L})", "loss": f"{loss}(f_{L}, y)", f"delta_f_{L}": f"d loss / d f_{L}"}
    return tuple({**found, **outputs}.items())


def _applied(names: list[str], to: str) -> str:
    for name in names:
        to = f"{name}({to})"
    return to


def _short(name: str) -> str:
    """The name of a layer; of a composed one, what composed it."""
    return name if len(name) <= _LONG else f"{name.partition('(')[0]:.24}(...)"
