"""The mathematics of a computation apart from its precision: every operation in the widest dtype."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core
from jax.extend.core import primitives

from jaxbp.jaxprs.exception_origin import raise_own
from jaxbp.jaxprs.inline import flattened
from jaxbp.jaxprs.internals import as_closed, branches_of, scan_of, while_of
from jaxbp.jaxprs.loops import scanned, taken_apart
from jaxbp.jaxprs.walk import dtypes_in, evaluate, single, subjaxprs

# Constants of so many binary digits (2, 0.75) are meant as they are.
SHORT = 3
ROUNDING = (primitives.convert_element_type_p, primitives.reduce_precision_p)


def widest(dtype: Any) -> Any:
    """The floating (or complex) dtype with the most digits that JAX has now; other dtypes as they are."""
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return jnp.dtype(jax.dtypes.canonicalize_dtype(np.complex128))
    if jnp.issubdtype(dtype, jnp.floating):
        return jnp.dtype(jax.dtypes.canonicalize_dtype(np.float64))
    return dtype


def raised(x: Any) -> Any:
    """The array in the widest dtype of its kind."""
    return x.astype(widest(x.dtype)) if x.dtype != widest(x.dtype) else x


def widened(closed: Any) -> Any:
    """``closed`` with casts to coarser dtypes taken out: what it computes, without what they round away.

    Behind the rounding of a half-precision cast a wrong factor could hide. An operation that is tied to
    its dtype (the bits of a number, a kernel, a callback) is given that dtype.
    """
    if all(d == widest(d) for d in dtypes_in(closed.jaxpr)):
        return closed
    return jax.make_jaxpr(_widely(closed))(*map(_like, closed.in_avals))


def _widely(closed: Any) -> Callable[..., list[Any]]:
    flat = flattened(closed)

    def each(_: int, eqn: Any, inputs: list[Any]) -> Sequence[Any]:
        pairs = zip(eqn.invars, inputs, strict=True)
        values = [_constant(x) if isinstance(a, core.Literal) else x for a, x in pairs]
        return _applied(eqn, values, flat.jaxpr.debug_info)

    def fn(*args: Any) -> list[Any]:
        constants = core.ClosedJaxpr(flat.jaxpr, [_constant(c) for c in flat.consts])
        return [raised(y) for y in evaluate(constants, [raised(x) for x in args], each)]

    return fn


def _constant(x: Any) -> Any:
    """A constant of the computation, raised; what its coarser dtype rounded away is marked as unknown."""
    exact = isinstance(x, jax.core.Tracer) or not jnp.issubdtype(x.dtype, jnp.floating)
    if exact or x.dtype == widest(x.dtype):
        return raised(x)
    digits = np.frexp(np.asarray(x, np.float64))[0] * 2 ** (SHORT + 1)
    if (digits == np.round(digits)).all():
        return raised(jnp.asarray(x))
    limits = jnp.finfo(x.dtype)  # type: ignore[no-untyped-call]
    return jax.lax.reduce_precision(raised(jnp.asarray(x)), limits.nexp, limits.nmant)


def _applied(eqn: Any, inputs: list[Any], info: Any) -> Sequence[Any]:
    """One operation on raised inputs: in their dtype where it can be had, else in its own."""
    p = eqn.params
    if eqn.primitive in ROUNDING and jnp.issubdtype(eqn.outvars[0].aval.dtype, jnp.inexact):
        return [inputs[0].astype(widest(eqn.outvars[0].aval.dtype))]
    if eqn.primitive is primitives.cond_p:
        return list(jax.lax.switch(inputs[0], [_widely(b) for b in branches_of(eqn)], *inputs[1:]))
    if eqn.primitive is primitives.while_p:
        test, body = _widely(while_of(eqn).test), _widely(while_of(eqn).body)
        return jax.lax.while_loop(*taken_apart(eqn, inputs, test, body))
    if eqn.primitive is primitives.scan_p:
        return scanned(eqn, inputs, _widely(scan_of(eqn).body))
    if jnp.issubdtype(p.get("preferred_element_type") or np.int8, jnp.inexact):
        eqn = eqn.replace(params={**p, "preferred_element_type": None})
    if p.get("update_jaxpr") is not None:
        scalars = [_like(v.aval) for v in p["update_jaxpr"].invars]
        combined = jax.make_jaxpr(_widely(as_closed(p["update_jaxpr"])))(*scalars).jaxpr
        eqn = eqn.replace(params={**p, "update_jaxpr": combined})
    elif subjaxprs(eqn):
        return _as_it_is(eqn, inputs, info)
    wanted = [(v.aval.shape, widest(v.aval.dtype)) for v in eqn.outvars]
    run = single(eqn, info)
    try:
        shapes = [(s.shape, s.dtype) for s in jax.eval_shape(run, *inputs)]
    except Exception as error:
        raise_own(error)
        shapes = []
    return run(*inputs) if shapes == wanted else _as_it_is(eqn, inputs, info)


def _as_it_is(eqn: Any, inputs: list[Any], info: Any) -> Sequence[Any]:
    """One operation in its own dtypes."""
    return single(eqn, info)(*(x.astype(a.aval.dtype) for x, a in zip(inputs, eqn.invars, strict=True)))


def _like(aval: Any) -> Any:
    return jax.ShapeDtypeStruct(aval.shape, widest(aval.dtype))  # type: ignore[no-untyped-call]
