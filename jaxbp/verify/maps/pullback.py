"""The two maps that are compared at a rule: its own pullback, and autodiff of its primal body."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp.jaxprs.compile_once import compiled, fingerprint, jitted
from jaxbp.jaxprs.exception_origin import Refusal, raise_own
from jaxbp.jaxprs.internals import HOST
from jaxbp.jaxprs.last_digits import shaken
from jaxbp.jaxprs.loops import capped, run_on, stops_by_test
from jaxbp.jaxprs.walk import dtypes_in, primitives_in
from jaxbp.jaxprs.widest_dtype import raised, widened
from jaxbp.verify.clock import tick

FORWARD_LIMIT = 512

Call = Callable[[Sequence[Any], Sequence[Any]], tuple[list[Any], list[Any]]]


class ClosedOver(Refusal):
    """The function uses a traced value that is not among its arguments."""


class Point(NamedTuple):
    """A function of float arrays at the place where it is judged.

    ``inputs`` are the differentiable inputs only; ``outputs`` the shapes of the float outputs.
    ``fn`` takes and returns lists of exactly these. Where it is ``wide``, they are in the widest dtype,
    and so is every operation between them. ``rest`` returns the outputs that are not floating, if any.
    """

    fn: Callable[..., list[Any]]
    inputs: list[Any]
    outputs: list[jax.ShapeDtypeStruct]
    wide: bool = False
    rest: Callable[..., list[Any]] | None = None

    def traced(self, fn: Callable[..., Any], *args: Any) -> Any:
        """The closed jaxpr of a function made of ``fn``; where wide, of its mathematics."""
        closed = jax.make_jaxpr(fn)(*args)
        return widened(closed) if self.wide else closed

    def compiled(self, fn: Callable[..., Any], *args: Any) -> Callable[..., list[Any]]:
        """The same, compiled, with no loop that goes on for ever."""
        closed = capped(self.traced(fn, *args))
        return compiled(closed, fingerprint(closed), self.inputs)


class Pullback(NamedTuple):
    """A traced VJP: ``call(inputs, cotangents)`` gives the primal outputs and the input cotangents.

    ``settle`` is the same with loops that stop by a test run on, None when there are none; ``shake`` takes a
    seed besides and moves the result of every operation by its last digit; ``traced`` is its jaxpr;
    ``native`` says that its operations are in the dtypes that they are written in.
    """

    call: Call
    settle: Call | None
    shake: Callable[[Any, Sequence[Any], Sequence[Any]], tuple[list[Any], list[Any]]]
    dtypes: list[Any]
    met: frozenset[Any]
    primitives: frozenset[str]
    outputs: int
    text: str
    traced: Any
    native: bool
    reverse: bool = False

    @property
    def coarsest(self) -> Any:
        """The floating dtype on the way that has the fewest digits: it decides how many the answer has."""
        return max(self.met, key=epsilon)

    @property
    def epsilon(self) -> float:
        """The spacing at 1 of the coarsest dtype."""
        return epsilon(self.coarsest)

    @property
    def tiny(self) -> float:
        """What some dtype on the way cannot tell from zero."""
        return max(map(smallest, self.met))

    @property
    def iterative(self) -> bool:
        """Whether a loop in it runs until its values pass a test."""
        return self.settle is not None

    @property
    def host(self) -> bool:
        """Whether it calls back to the host, where values may change from call to call."""
        return bool(self.primitives & HOST)


def is_float(x: Any) -> bool:
    """Whether an array (or shape) has a real or complex floating dtype."""
    return bool(jnp.issubdtype(x.dtype, jnp.inexact))


def point(
    fn: Callable[..., list[Any]],
    inputs: Sequence[Any],
    moving: Sequence[int] | None = None,
    wide: bool = False,
    twins: Mapping[int, int] | None = None,
) -> Point:
    """``fn`` as a function of its ``moving`` inputs (all that are floating); the rest stay as they are.

    ``twins`` are inputs that take the value of another one.
    """
    moving = [i for i, x in enumerate(inputs) if is_float(x)] if moving is None else moving
    own = raised if wide else lambda x: x
    shapes = jax.eval_shape(fn, *inputs)
    kept = [k for k, s in enumerate(shapes) if is_float(s)]

    def everything(*values: Any) -> list[Any]:
        full = list(inputs)
        for i, value in zip(moving, values, strict=True):
            full[i] = value.astype(inputs[i].dtype)
        for i, same in (twins or {}).items():
            full[i] = full[same]
        return fn(*full)

    def restricted(*values: Any) -> list[Any]:
        outs = everything(*values)
        return [own(outs[k]) for k in kept]

    def rest(*values: Any) -> list[Any]:
        return [y for y in everything(*values) if not is_float(y)]

    outputs = [jax.eval_shape(own, shapes[k]) for k in kept]
    moved = [own(inputs[i]) for i in moving]
    return Point(restricted, moved, outputs, wide, rest if len(kept) < len(shapes) else None)


def epsilon(dtype: Any) -> float:
    """The spacing of the dtype at 1 (of its real part, when complex)."""
    return float(_limits(dtype).eps)


def smallest(dtype: Any) -> float:
    """What the dtype cannot tell from zero: below the smallest normal number it may be flushed.

    Half precision is computed in single precision and keeps its subnormal numbers.
    """
    limits = _limits(dtype)
    return float(limits.smallest_subnormal if jnp.dtype(dtype) == jnp.float16 else limits.tiny)


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

    return _traced(at, both)._replace(reverse=True)


def forward(at: Point) -> Pullback:
    """The pullback by forward mode, one column at a time, for what reverse mode cannot do (while loops).

    Raises:
        Refusal: when the inputs have more entries than columns can be afforded.
    """
    size = sum(int(np.prod(np.shape(x))) for x in at.inputs)
    if size > FORWARD_LIMIT or any(jnp.iscomplexobj(x) for x in at.inputs):
        raise Refusal(f"forward mode needs a column for each of {size} entries")

    def both(inputs: Sequence[Any], cotangents: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        # The values that the function has while it is differentiated: its rule may give others.
        out = jax.jvp(at.fn, tuple(inputs), tuple(map(jnp.zeros_like, inputs)))[0]
        flat, unravel = _flat(inputs)

        def column(direction: Any) -> Any:
            tangents = jax.jvp(at.fn, tuple(inputs), tuple(unravel(direction)))[1]
            return sum(jnp.sum(jnp.real(c * t)) for c, t in zip(cotangents, tangents, strict=True))

        columns = jax.lax.map(column, jnp.eye(size, dtype=flat.dtype))
        return out, unravel(columns)

    return _traced(at, both)


def rule_pullback(at: Point, kind: str) -> Pullback:
    """The rule's VJP; a custom_jvp that cannot be transposed is judged by its columns."""
    try:
        return reverse(at)
    except Exception as error:
        raise_own(error)
        columns = _tried(forward, at) if kind == "custom_jvp" else None
        if columns is None:
            raise
        return columns


def autodiff(body: Point) -> Pullback | None:
    """Autodiff of the primal body, in reverse or forward mode, if it runs at all."""
    return _tried(reverse, body) or _tried(forward, body)


def _tried(mode: Callable[[Point], Pullback], at: Point) -> Pullback | None:
    try:
        pull = mode(at)
        pull.call(at.inputs, [jnp.zeros(s.shape, s.dtype) for s in at.outputs])
    except Exception as error:
        raise_own(error)
        return None  # A while loop has no reverse mode, a host callback none at all: differences remain.
    return pull


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
    written = jax.make_jaxpr(both)(list(at.inputs), cotangents)
    traced = widened(written) if at.wide else written
    if any(isinstance(c, jax.core.Tracer) for c in traced.consts):
        raise ClosedOver("a value of an outer trace is used inside")
    bounded = capped(traced)
    text = fingerprint(bounded)
    count = len(at.outputs)

    def parted(run: Callable[..., list[Any]]) -> Call:
        def call(inputs: Sequence[Any], cotangents: Sequence[Any]) -> tuple[list[Any], list[Any]]:
            tick()
            outs = run(*inputs, *cotangents)
            return outs[:count], outs[count:]

        return call

    call = parted(compiled(bounded, text, at.inputs))
    settle = parted(jitted(run_on(traced), at.inputs)) if stops_by_test(traced.jaxpr) else None
    shaking = jitted(shaken(bounded), at.inputs)
    met = frozenset(dtypes_in(traced.jaxpr) | {jnp.dtype(x.dtype) for x in at.inputs})
    names = frozenset(primitives_in(traced.jaxpr))
    return Pullback(
        call, settle, lambda seed, x, c: parted(partial(shaking, seed))(x, c),
        [a.dtype for a in traced.out_avals[count:]], met, names, count, text, bounded,
        traced is written,
    )  # fmt: skip


def draw(like: Sequence[Any], rng: np.random.Generator, uneven: bool = False) -> list[Any]:
    """Normal random arrays with the shapes and dtypes of ``like``; ``uneven`` ones span five decades."""
    arrays = []
    for x in like:
        value = rng.standard_normal(x.shape)
        if uneven:
            value = np.ldexp(value, -rng.integers(0, 17, x.shape, np.int32))
        if jnp.issubdtype(x.dtype, jnp.complexfloating):
            value = value + 1j * rng.standard_normal(x.shape)
        arrays.append(jnp.asarray(value, dtype=x.dtype))
    return arrays


def wide(x: Any) -> np.ndarray:
    """The array on the host in float64 or complex128; not to be written to, it may be JAX's own."""
    host = np.asarray(x)
    return host.astype(np.complex128 if np.iscomplexobj(host) else np.float64, copy=False)


def basis(outputs: Sequence[Any], limit: int) -> list[list[Any]]:
    """The one-hot cotangents, one for each output entry; none when there are more than ``limit``."""
    size = sum(int(np.prod(s.shape)) for s in outputs)
    return [basis_row(outputs, j) for j in range(size)] if size <= limit else []


def basis_row(outputs: Sequence[Any], j: int) -> list[Any]:
    """The one-hot cotangent of the j-th output entry."""
    row = []
    for s in outputs:
        size = int(np.prod(s.shape))
        hot = np.zeros(size)
        if 0 <= j < size:
            hot[j] = 1
        row.append(jnp.asarray(hot.reshape(s.shape), dtype=s.dtype))
        j -= size
    return row
