"""Where a NaN comes from: the first operation of the rule that makes one."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxbp.jaxprs.inline import flattened
from jaxbp.jaxprs.rules import beneath, written_at
from jaxbp.jaxprs.walk import evaluate, single
from jaxbp.verify.maps.pullback import Pullback, is_float, wide

# Operations by the sign that people write, where two values make a NaN.
SIGNS = {"div": "/", "mul": "x", "sub": "-", "add": "+", "add_any": "+"}


def origin(m: Pullback, inputs: Sequence[Any], ct: Sequence[Any]) -> str:
    """The first operation that makes a NaN of numbers (or else something infinite), in words; "" if none."""
    flat = flattened(m.traced)
    found: dict[str, str] = {}

    def each(_: int, eqn: Any, values: list[Any]) -> Sequence[Any]:
        outs = single(eqn, flat.jaxpr.debug_info)(*values)
        floats = [wide(v) for v in values if is_float(v)]
        for y in outs:
            if is_float(y):
                host = wide(y)
                if "nan" not in found and np.isnan(host).any() and not any(np.isnan(v).any() for v in floats):
                    found["nan"] = _words(eqn, floats, np.isnan(host))
                blown = np.isinf(host).any() and all(np.isfinite(v).all() for v in floats)
                if "inf" not in found and blown:
                    found["inf"] = _words(eqn, floats, np.isinf(host))
        return outs

    evaluate(flat, [*inputs, *ct], each)
    return found.get("nan") or found.get("inf") or ""


def _words(eqn: Any, floats: list[np.ndarray], bad: np.ndarray) -> str:
    name, where = eqn.primitive.name, written_at(eqn)
    place = f" at {beneath(where)}" if where else ""
    if name in SIGNS and len(floats) == 2 and bad.ndim:
        index = tuple(np.argwhere(bad)[0])
        one, other = (_short(np.broadcast_to(v, bad.shape)[index]) for v in floats)
        return f"{one} {SIGNS[name]} {other}{place}"
    return f"{name}{place}"


def _short(x: Any) -> str:
    return f"{x:.3g}"
