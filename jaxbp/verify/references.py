"""The two maps that are compared at a rule: its own pullback, and autodiff of its primal body."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from jaxbp.verify.rules import as_closed, dtypes_in, primitives_in

HOST = {"pure_callback", "io_callback", "debug_callback", "ffi_call"}
FORWARD_LIMIT = 512
SMALL = 50_000
REMEMBERED = 64


class ClosedOver(Exception):  # noqa: N818 -- a finding, not an error of the caller
    """The function uses a traced value that is not among its arguments."""


class Point(NamedTuple):
    """A function of float arrays at the place where it is judged.

    ``inputs`` are the differentiable inputs only; ``outputs`` the shapes of the float outputs.
    ``fn`` takes and returns lists of exactly these.
    """

    fn: Callable[..., list[Any]]
    inputs: list[Any]
    outputs: list[jax.ShapeDtypeStruct]


class Pullback(NamedTuple):
    """A traced VJP: ``call(inputs, cotangents)`` gives the primal outputs and the input cotangents."""

    call: Callable[[Sequence[Any], Sequence[Any]], tuple[list[Any], list[Any]]]
    dtypes: list[Any]
    shapes: list[tuple[int, ...]]
    epsilon: float
    primitives: frozenset[str]
    text: str

    @property
    def iterative(self) -> bool:
        """Whether a loop in it runs until a test is met."""
        return "while" in self.primitives

    @property
    def host(self) -> bool:
        """Whether it calls back to the host, where values may change from call to call."""
        return bool(self.primitives & HOST)


def is_float(x: Any) -> bool:
    """Whether an array (or shape) has a real or complex floating dtype."""
    return bool(jnp.issubdtype(x.dtype, jnp.inexact))


def point(fn: Callable[..., list[Any]], inputs: Sequence[Any], held: int = 0) -> Point:
    """``fn`` as a function of its float inputs, all but the first ``held``; the rest stay as they are."""
    moving = [i for i, x in enumerate(inputs) if i >= held and is_float(x)]
    shapes = jax.eval_shape(fn, *inputs)
    kept = [k for k, s in enumerate(shapes) if is_float(s)]

    def restricted(*values: Any) -> list[Any]:
        full = list(inputs)
        for i, value in zip(moving, values, strict=True):
            full[i] = value
        outs = fn(*full)
        return [outs[k] for k in kept]

    return Point(restricted, [inputs[i] for i in moving], [shapes[k] for k in kept])


def epsilon(dtype: Any) -> float:
    """The spacing of the dtype at 1 (of its real part, when complex)."""
    return float(_limits(dtype).eps)


def relative_tolerance(eps: float, iterative: bool = False) -> float:
    """Half the digits of the dtype: what two right ways to compute a derivative agree to.

    A loop that stops by a test has its answer to the tolerance of that test, which is not known: a quarter.
    """
    return float(eps ** (0.25 if iterative else 0.5))


def smallest(dtype: Any) -> float:
    """The smallest normal number of the dtype: what is below may be flushed to zero."""
    return float(_limits(dtype).tiny)


def largest(dtype: Any) -> float:
    """The largest finite number of the dtype."""
    return float(_limits(dtype).max)


def _limits(dtype: Any) -> Any:
    return jnp.finfo(dtype)  # type: ignore[no-untyped-call]


def reverse(at: Point) -> Pullback:
    """The pullback of ``at`` by ``jax.vjp``: it runs whatever rules are in it."""

    def both(inputs: Sequence[Any], cotangents: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        out, pull = jax.vjp(at.fn, *inputs)
        return out, list(pull(list(cotangents)))

    return _traced(at, both)


def forward(at: Point) -> Pullback:
    """The pullback by forward mode, one column at a time, for what reverse mode cannot do (while loops).

    Raises:
        ValueError: when the inputs have more entries than columns can be afforded.
    """
    size = sum(int(np.prod(np.shape(x))) for x in at.inputs)
    if size > FORWARD_LIMIT or any(jnp.iscomplexobj(x) for x in at.inputs):
        raise ValueError(f"forward mode needs a column for each of {size} entries")

    def both(inputs: Sequence[Any], cotangents: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        out = at.fn(*inputs)
        flat, unravel = _flat(inputs)

        def column(direction: Any) -> Any:
            tangents = jax.jvp(at.fn, tuple(inputs), tuple(unravel(direction)))[1]
            return sum(jnp.sum(jnp.real(c * t)) for c, t in zip(cotangents, tangents, strict=True))

        columns = jax.lax.map(column, jnp.eye(size, dtype=flat.dtype))
        return out, unravel(columns)

    return _traced(at, both)


def _flat(inputs: Sequence[Any]) -> tuple[Any, Callable[[Any], list[Any]]]:
    """All inputs as one vector, and the way back to each one's shape and dtype."""
    widest = jnp.result_type(*inputs)
    sizes = np.cumsum([0, *(int(np.prod(np.shape(x))) for x in inputs)])

    def unravel(v: Any) -> list[Any]:
        parts = zip(sizes[:-1], sizes[1:], inputs, strict=True)
        return [v[a:b].reshape(jnp.shape(x)).astype(x.dtype) for a, b, x in parts]

    return jnp.concatenate([jnp.ravel(x).astype(widest) for x in inputs]), unravel


def _traced(at: Point, both: Callable[..., tuple[list[Any], list[Any]]]) -> Pullback:
    cotangents = [jnp.zeros(s.shape, s.dtype) for s in at.outputs]
    traced = jax.make_jaxpr(both)(list(at.inputs), cotangents)
    if any(isinstance(c, jax.core.Tracer) for c in traced.consts):
        raise ClosedOver("a value of an outer trace is used inside")
    text = fingerprint(traced)
    run = compiled(traced, text, at.inputs)
    count = len(at.outputs)

    def call(inputs: Sequence[Any], cotangents: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        outs = run(*inputs, *cotangents)
        return outs[:count], outs[count:]

    avals = traced.out_avals[count:]
    # The coarsest dtype on the way decides how many digits the answer can have.
    own = {jnp.dtype(x.dtype) for x in at.inputs}
    eps = max(epsilon(d) for d in dtypes_in(traced.jaxpr) | own)
    names = frozenset(primitives_in(traced.jaxpr))
    return Pullback(call, [a.dtype for a in avals], [a.shape for a in avals], eps, names, text)


def fingerprint(closed: Any) -> str:
    """Text that is equal for two traces only when they compute the same: equations and constants."""
    digest = sha256(str(closed.jaxpr).encode())
    for constant in _constants(closed):
        digest.update(np.asarray(constant).tobytes() if not _is_key(constant) else str(constant).encode())
    return digest.hexdigest()


def _constants(closed: Any) -> list[Any]:
    inner = [
        p for e in closed.jaxpr.eqns for v in e.params.values() for p in (v if isinstance(v, tuple) else (v,))
    ]
    found = list(closed.consts)
    for p in inner:
        if isinstance(p, core.ClosedJaxpr | core.Jaxpr):
            found += _constants(as_closed(p))
    return found


def _is_key(x: Any) -> bool:
    return bool(jnp.issubdtype(x.dtype, jax.dtypes.extended))


def _holds_functions(jaxpr: Any) -> bool:
    """Whether a Python function (a callback, a batching rule) is in it, which text cannot tell."""
    for eqn in jaxpr.eqns:
        if any(callable(p) and not isinstance(p, type) for p in eqn.params.values()):
            return True
        if any(map(_holds_functions, core.jaxprs_in_params(eqn.params))):
            return True
    return False


_COMPILED: OrderedDict[tuple[str, bool], Callable[..., list[Any]]] = OrderedDict()


def compiled(closed: Any, text: str, inputs: Sequence[Any]) -> Callable[..., list[Any]]:
    """The traced function, compiled; the same mathematics is compiled once however many rules share it.

    Small arrays cost more to compile for than to compute with, so their code is not optimised.
    """
    small = is_small(inputs)
    options = {"xla_backend_optimization_level": 0} if small else {}
    run: Callable[..., list[Any]] = jax.jit(core.jaxpr_as_fun(closed), compiler_options=options)
    if not small or _holds_functions(closed.jaxpr):
        return run
    key = (text, bool(jax.config.jax_enable_x64))  # type: ignore[attr-defined]
    run = _COMPILED.pop(key, run)
    _COMPILED[key] = run
    if len(_COMPILED) > REMEMBERED:
        _COMPILED.popitem(last=False)
    return run


def is_small(inputs: Sequence[Any]) -> bool:
    """Whether it costs more to compile for the arrays than to compute with them."""
    return sum(int(np.size(x)) for x in inputs) < SMALL


def draw(like: Sequence[Any], rng: np.random.Generator) -> list[Any]:
    """Normal random arrays with the shapes and dtypes of ``like``."""
    arrays = []
    for x in like:
        value = rng.standard_normal(x.shape)
        if jnp.issubdtype(x.dtype, jnp.complexfloating):
            value = value + 1j * rng.standard_normal(x.shape)
        arrays.append(jnp.asarray(value, dtype=x.dtype))
    return arrays


def jiggled(arrays: Sequence[Any], eps: float, rng: np.random.Generator) -> list[Any]:
    """Each entry times ``1 ± eps``: the change that rounding may make of it. Zeros stay zeros."""
    return [_jiggle(x, eps, rng) for x in arrays]


def _jiggle(x: Any, eps: float, rng: np.random.Generator) -> Any:
    signs = rng.integers(0, 2, np.shape(x), np.int8) * 2.0 - 1.0
    with np.errstate(all="ignore"):
        return jnp.asarray(wide(x) * (1 + eps * signs), dtype=x.dtype)


def wide(x: Any) -> np.ndarray:
    """The array on the host in float64 or complex128."""
    host = np.asarray(x)
    return host.astype(np.complex128 if np.iscomplexobj(host) else np.float64)


def basis(outputs: Sequence[Any], limit: int) -> list[list[Any]]:
    """The one-hot cotangents, one for each output entry; none when there are more than ``limit``."""
    sizes = [int(np.prod(s.shape)) for s in outputs]
    if not 0 < sum(sizes) <= limit:
        return []
    rows = []
    for k, (s, size) in enumerate(zip(outputs, sizes, strict=True)):
        for j in range(size):
            hot = np.zeros(size)
            hot[j] = 1
            rows.append(
                [
                    jnp.asarray(hot.reshape(s.shape) if q == k else np.zeros(o.shape), dtype=o.dtype)
                    for q, o in enumerate(outputs)
                ]
            )
    return rows
