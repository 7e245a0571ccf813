"""A rule, the inputs it is tried at, and the proof that it is right or wrong. Nothing here knows the checker.

A wrong rule carries its mistake in a word or two. The proof is the VJP of the function in float64 against
central differences of its value (extrapolated once, a step for each entry), or against a closed form where
the case gives one; it must say what the case claims, with a gap between right and wrong.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Case(NamedTuple):
    name: str
    build: Callable[[], Callable]  # makes the function, under the precision of the run
    args: tuple  # float64 leaves take the precision of the run, all others stay
    mistake: str = ""  # a right rule has none
    declare: Any = None
    order: int = 1
    true: Callable | None = None  # the function that is meant, where its own value cannot be differenced
    pullback: Callable | None = None  # closed form: (*args, cotangent) -> gradients
    kinks: bool = False  # any derivative between the two one-sided ones is right
    rough: float = 0.0  # relative error that the precision of the inputs excuses
    only: str = ""  # the one precision in which the rule is wrong


def into(cases: dict[str, Case]):
    """(right, wrong): decorators that put the function which builds a rule into the table under its name."""

    def put(name, build, *row, **options):
        assert name not in cases, name
        cases[name] = Case(name, build, *row, **options)
        return build

    def right(*args, **options):
        return lambda build: put(build.__name__, build, args, **options)

    def wrong(mistake, *args, **options):
        return lambda build: put(build.__name__, build, args, mistake, **options)

    return right, wrong


def rule(primal, backward):
    """`primal` with a rule that saves its arguments: backward(*args, cotangent) gives the gradients."""
    f = jax.custom_vjp(primal)

    def pull(args, cotangent):
        gradients = backward(*args, cotangent)
        return gradients if isinstance(gradients, tuple) else (gradients,)

    f.defvjp(lambda *args: (primal(*args), args), pull)
    return f


def from_output(primal, backward):
    """`primal` of one argument with a rule that saves its result: backward(result, cotangent)."""
    f = jax.custom_vjp(primal)

    def forward(x):
        y = primal(x)
        return y, y

    f.defvjp(forward, lambda y, cotangent: (backward(y, cotangent),))
    return f


def forward_rule(primal, tangent):
    """`primal` with a custom_jvp: tangent(*args, *tangents) gives the tangent of the result."""
    f = jax.custom_jvp(primal)
    f.defjvp(lambda args, tangents: (primal(*args), tangent(*args, *tangents)))
    return f


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def uniform(*shape, low=0.2, high=2.0, seed=0):
    return np.random.default_rng(seed).uniform(low, high, size=shape)


def spd(n, seed=0):
    a = normal(n, n, seed=seed)
    return a @ a.T + n * np.eye(n)


def half(dtype, *shape, seed=0, scale=1.0):
    return np.asarray(jnp.asarray(scale * normal(*shape, seed=seed), dtype))


def cast(args, dtype):
    """The arguments in the precision of the run: float64 and complex128 leaves alone are cast."""
    wide = {"float32": "complex64", "float64": "complex128"}[dtype]
    to = dict.fromkeys(("float64", "float32"), dtype) | dict.fromkeys(("complex128", "complex64"), wide)
    return jax.tree.map(lambda a: jnp.asarray(a, to.get(str(np.asarray(a).dtype))), args)


def pulled(f, args, seed=1):
    """(value, value under differentiation, cotangent, gradients) for one random cotangent."""
    leaves, tree = jax.tree.flatten(args)
    inexact = [i for i, a in enumerate(leaves) if jnp.issubdtype(a.dtype, jnp.inexact)]

    def of(*chosen):
        every = list(leaves)
        for i, a in zip(inexact, chosen, strict=True):
            every[i] = a
        return f(*jax.tree.unflatten(tree, every))

    chosen = [leaves[i] for i in inexact]
    value = of(*chosen)
    out, pull = jax.vjp(of, *chosen)
    rng = np.random.default_rng(seed)

    def drawn(y):
        if not jnp.issubdtype(y.dtype, jnp.inexact):
            return np.zeros(y.shape, jax.dtypes.float0)
        c = rng.normal(size=y.shape) + 0.3
        if jnp.issubdtype(y.dtype, jnp.complexfloating):
            c = c + 1j * rng.normal(size=y.shape)
        return jnp.asarray(c, y.dtype)

    cotangent = jax.tree.map(drawn, out)
    return value, out, cotangent, pull(cotangent), of, chosen


def paired(cotangent, y):
    """The real part of the sum of their products, in float64 on the host."""
    parts = zip(jax.tree.leaves(cotangent), jax.tree.leaves(y), strict=True)
    return sum(
        np.sum(np.asarray(c, complex) * np.asarray(v, complex)).real
        for c, v in parts
        if c.dtype != jax.dtypes.float0
    )


def slopes(of, chosen, which, cotangent, kinks):
    """(low, high, noise) of the derivative of <cotangent, f> along each entry of one argument."""
    base = np.asarray(chosen[which])
    directions = (1.0, 1j) if np.iscomplexobj(base) else (1.0,)
    f = jax.jit(of)
    low, high, noise = (np.zeros((*base.shape, len(directions))) for _ in range(3))
    for at in np.ndindex(base.shape):
        size = abs(base[at])
        h = 1e-3 * (size if size > 0 else 1.0) * (0.1 if kinks else 1.0)
        for d, along in enumerate(directions):

            def phi(t, at=at, along=along):
                moved = base.copy()
                moved[at] += t * along
                every = [moved if i == which else a for i, a in enumerate(chosen)]
                return paired(cotangent, f(*every))

            values = {k: phi(k * h / 2) for k in (-2, -1, 0, 1, 2)}
            coarse, fine = (values[2] - values[-2]) / (2 * h), (values[1] - values[-1]) / h
            both = [(4 * fine - coarse) / 3]
            if kinks:
                both = [s * (4 * values[s] - 3 * values[0] - values[2 * s]) / h for s in (1, -1)]
            low[(*at, d)], high[(*at, d)] = min(both), max(both)
            noise[(*at, d)] = (1e-3 * h if kinks else 0) + 1e-15 * max(abs(v) for v in values.values()) / h
    return low, high, noise


def as_real(a, like):
    """The derivative along 1 (and along i for a complex argument) that a gradient states."""
    a = np.asarray(a, complex)
    return np.stack([a.real, -a.imag], -1) if np.iscomplexobj(like) else a.real[..., None]


def errors(case, dtype="float64"):
    """Of each argument the errors of the rule: (error, |true|, noise) entry by entry; the value's first."""
    with jax.enable_x64(True), jax.numpy_rank_promotion("allow"):
        exact = cast(cast(case.args, dtype), "float64")
        f = case.build()
        if case.order == 2:
            _, _, fixed, _, of, chosen = pulled(f, exact)
            f, exact = (lambda *a, of=of: jax.vjp(of, *a)[1](fixed)), tuple(chosen)
        value, out, cotangent, gradients, of, chosen = pulled(f, exact)
        if case.true is not None:
            wide = jax.tree.map(lambda a: a.astype(float) if a.dtype.itemsize < 4 else a, exact)
            of, chosen = pulled(case.true, wide)[4:]
        if case.pullback is not None:
            closed = jax.tree.leaves(case.pullback(*exact, cotangent))
        found = []
        for one, other in zip(jax.tree.leaves(value), jax.tree.leaves(out), strict=True):
            one, other = np.asarray(one), np.asarray(other)
            if case.rough == 0 and dtype == "float64" and not np.array_equal(one, other, equal_nan=True):
                found.append((np.abs(one - other), *np.zeros((2, *one.shape))))
        told = []
        for i, a in enumerate(chosen):
            if case.pullback is None:
                low, high, noise = slopes(of, chosen, i, cotangent, case.kinks)
            else:
                low = high = as_real(closed[i], a)
                noise = np.zeros(low.shape)
            told.append((low, high, noise))
    if dtype == "float32":
        single = cast(case.args, "float32")
        same = jax.tree.map(lambda c: c if c.dtype == jax.dtypes.float0 else np.asarray(c), cotangent)
        with jax.numpy_rank_promotion("allow"):
            *_, of32, chosen32 = pulled(case.build(), single)
            out, pull = jax.vjp(of32, *chosen32)
            gradients = pull(jax.tree.map(lambda c, y: c if c.dtype == jax.dtypes.float0
                                          else jnp.asarray(c, y.dtype), same, out))
    for g, a, (low, high, noise) in zip(gradients, chosen, told, strict=True):
        g = as_real(g, a)
        error = np.where(np.isfinite(g), np.maximum(np.maximum(low - g, g - high), 0), np.inf)
        found.append((error, np.maximum(abs(low), abs(high)), noise))
    return found


def verdict(case, dtype="float64"):
    """'right', 'wrong', or 'undecided' where the proof leaves no gap."""
    every = errors(case, dtype)
    if case.rough or dtype == "float32":
        rough = case.rough or 1e-3
        worst = max(float(np.max(e / (true.max() + 1e-30 + noise), initial=0)) for e, true, noise in every)
        return "right" if worst <= rough else "wrong" if worst > 4 * rough else "undecided"
    right = all(np.all(e <= 1e-6 * t + 1e-8 * t.max(initial=0) + 1e3 * n + 1e-12) for e, t, n in every)
    wrong = any(np.any(e > 1e-3 * t + 1e-6 * t.max(initial=0) + 1e5 * n + 1e-9) for e, t, n in every)
    return "right" if right else "wrong" if wrong else "undecided"


def proved(case):
    """Raise unless the proof says what the case claims, in float64 and (of right ones) in float32 too."""
    told = verdict(case)
    if case.only == "float32":
        assert (told, verdict(case, "float32")) == ("right", "wrong"), (case.name, told)
        return
    assert told == ("wrong" if case.mistake else "right"), (case.name, told)
    if not case.mistake and case.order == 1:
        assert verdict(case, "float32") == "right", (case.name, "float32")
