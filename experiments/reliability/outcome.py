"""What a call came to, in a form that can be compared: its result, or its exception."""

import dataclasses
import types
from typing import Any, NamedTuple

import jax
import numpy as np

SKIPPED = {
    "seconds",
    "compile_seconds",
    "waited",
    "name",
    "environment",
    "run",
    "verdict",
}  # time, what is drawn at random, and what only prints
WORDED = (
    ValueError,
    TypeError,
    OSError,
    ImportError,
    RuntimeError,
    FloatingPointError,
    LookupError,
    ArithmeticError,
)


class Outcome(NamedTuple):
    """A result as plain containers and arrays, or an exception."""

    result: Any = None
    error: BaseException | None = None


def is_worded(error: BaseException) -> bool:
    """Whether an exception is in the library's wording: where, what was expected, what came."""
    text = str(error)
    return isinstance(error, WORDED) and ": expected " in text and ", got " in text and len(text) < 4000


def plain(value: Any) -> Any:
    """Dicts, lists, texts and NumPy arrays of what a function returned."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, jax.Array):
        if jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
            value = jax.random.key_data(value)
        return _array(np.asarray(value))
    if isinstance(value, np.ndarray | np.generic | bool | int | float | complex):
        return _array(np.asarray(value))
    if isinstance(value, dict):
        # 1.0 and 1 are one key of a dict
        names = {int(k) if isinstance(k, float) and k.is_integer() else k: v for k, v in value.items()}
        return {str(k): plain(v) for k, v in names.items() if k not in SKIPPED}
    if hasattr(value, "matrix") and hasattr(value, "push") and hasattr(value, "shape"):  # a Jacobian
        return _array(np.asarray(value.matrix()))
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain({f.name: getattr(value, f.name) for f in dataclasses.fields(value)})
    if isinstance(value, types.GeneratorType):
        return [plain(v) for v in value]
    return f"<{type(value).__name__}>"


def _array(found: np.ndarray) -> Any:
    if found.dtype.kind in "OSUMm":
        return found.astype(str).tolist()
    if found.dtype.kind == "V" or found.dtype.isbuiltin == 2:  # bfloat16 and its kin
        found = found.astype(np.float32)
    return np.asarray(found, np.complex128 if found.dtype.kind == "c" else np.float64)


def equal(found: Any, wanted: Any, loose: float = 0.0) -> bool:
    """Whether two plain results are the same, to the rounding of float32 or looser."""
    if isinstance(wanted, np.ndarray):
        if not isinstance(found, np.ndarray) or found.shape != wanted.shape:
            return False
        finite = np.abs(wanted[np.isfinite(wanted)])
        scale = finite.max() if finite.size else 0.0
        rtol = max(1e-5, loose)
        return bool(np.allclose(found, wanted, rtol=rtol, atol=1e-6 + rtol * scale, equal_nan=True))
    if type(found) is not type(wanted):
        return False
    if isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(equal(found[k], wanted[k], loose) for k in wanted)
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(
            equal(f, w, loose) for f, w in zip(found, wanted, strict=True)
        )
    return bool(found == wanted)


def not_finite(result: Any) -> bool:
    """Whether NaN or infinity is anywhere in a plain result, for all to see."""
    if isinstance(result, np.ndarray):
        return not bool(np.isfinite(result).all())
    if isinstance(result, dict):
        return any(not_finite(v) for v in result.values())
    return isinstance(result, list) and any(not_finite(v) for v in result)
