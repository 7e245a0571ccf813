"""Rules where they stand: on the devices of a mesh, around kernels, and by the names of their arguments."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import hijax
from jax.experimental import pallas as pl

from jaxbp.verify import check
from jaxbp.verify import whole_function as whole
from jaxbp.verify.sites import nested_derivatives as consumed

from .case import normal, rule

pytestmark = pytest.mark.jax_release

ON_FOUR_DEVICES = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, PartitionSpec as P
from jaxbp.verify import check
from tests.verify.case import normal, rule

mesh = jax.make_mesh((2, 2), ("i", "k"), axis_types=(AxisType.Auto,) * 2)
x, w = normal((4, 3), (3, 2))(np.float32)

def judged(body, args, specs, out, tracked):
    report = check(jax.shard_map(body, mesh=mesh, in_specs=specs, out_specs=out, check_vma=tracked), *args)
    print(*(f"{f.kind}:{f.verdict}:{f.cause}" for f in report.findings))

for k in (1, 2):
    sine = rule(jnp.sin, lambda a, y, c: (k * c * jnp.cos(a[0]),))
    total = rule(lambda x: jax.lax.psum(x * x, "i"), lambda a, y, c: (k * 2 * a[0] * c,))
    dense = rule(lambda x, w: x @ w, lambda a, y, c: (c @ a[1].T, k * a[0].T @ c))
    judged(lambda x: 2 * jax.jit(sine)(x), (x,), P("i"), P("i"), True)
    judged(total, (x,), P("i"), P(), True)
    judged(dense, (x, w), (P("i"), P()), P("i"), False)
# The cotangent of what all devices share must be summed over them: JAX refuses it where it keeps track.
judged(dense, (x, w), (P("i"), P()), P("i"), True)
# What is in a loop on the mesh is named, and f is judged as a whole.
judged(lambda x: jax.lax.scan(lambda h, _: (sine(h), None), x, None, length=3)[0], (x,), P("i"), P("i"), True)
"""


class Sine(getattr(hijax, "HiPrim", None) or hijax.VJPHiPrimitive):
    """A primitive that is an object, its VJP ``k`` times the right one."""

    def __init__(self, aval, k):
        self.in_avals, self.out_aval, self.params, self.effects = (aval,), aval, {"k": k}, frozenset()
        super().__init__()

    def expand(self, x):
        return jnp.sin(x)

    def vjp_fwd(self, nzs_in, x):
        return self(x), x

    def vjp_bwd_retval(self, x, ct):
        return (self.k * ct * jnp.cos(x),)


@pytest.mark.parametrize("around", [lambda f: f, jax.jit, lambda f: lambda x: jax.lax.map(f, x)])
@pytest.mark.parametrize(("k", "verdict", "cause"), [(1.0, "right", ""), (-1.0, "wrong", "sign")])
def test_the_rule_of_a_primitive_that_is_an_object(around, k, verdict, cause):
    report = check(around(lambda x: 3 * Sine(jax.typeof(x), k)(2 * x)), np.float32([0.5, 1.0, 2.0]))
    found = report.findings[0]
    assert (found.rule, found.kind, found.verdict, found.cause) == ("Sine", "hi_primitive", verdict, cause)
    assert __file__ in found.where
    assert report.verdict == verdict


def test_rules_in_shard_map_are_judged_on_the_mesh():
    root = Path(__file__).parents[2]
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4", "PYTHONPATH": str(root)
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", ON_FOUR_DEVICES], env=environment, cwd=root, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    right, wrong = "custom_vjp:right: function:right:", "custom_vjp:wrong:factor"
    assert done.stdout.splitlines() == [
        *[right] * 3, *[wrong] * 3, "custom_vjp:wrong:missing_sum",
        "function:wrong:factor custom_vjp:inconclusive:",
    ]  # fmt: skip


def kernel(body, interpret=True):
    def call(*args):
        return pl.pallas_call(
            body, out_shape=jax.ShapeDtypeStruct(args[0].shape, args[0].dtype), interpret=interpret
        )(*args)

    return call


def forward_kernel(x, out):
    out[...] = x[...] * jnp.sin(x[...])


def backward_kernel(factor):
    def body(x, c, out):
        out[...] = factor * c[...] * (jnp.sin(x[...]) + x[...] * jnp.cos(x[...]))

    return body


@pytest.mark.parametrize(("factor", "verdict"), [(1, "right"), (2, "wrong")])
def test_kernels_as_primal_and_as_rule(factor, verdict):
    f = rule(kernel(forward_kernel), lambda a, y, c: (kernel(backward_kernel(factor))(a[0], c),))
    report = check(f, *normal((4, 3))(np.float32))
    assert report.verdict == verdict, str(report)
    assert not report.wrong or report.wrong[0].cause == "factor"


def test_a_rule_inside_a_kernel_is_named():
    act = rule(jnp.tanh, lambda a, y, c: (c,))

    def body(x, out):
        out[...] = act(x[...])

    report = check(kernel(body), *normal((3,))(np.float32))
    assert report.verdict == "inconclusive"
    assert any("pallas_call" in f.sentence for f in report.findings)


def dense_rule():
    @jax.custom_vjp
    def dense(params, x):
        return x @ params["layer"]["W"]

    def back(saved, c):
        params, x = saved
        return {"layer": {"W": -x.T @ c}}, c @ params["layer"]["W"].T

    dense.defvjp(lambda params, x: (dense(params, x), (params, x)), back)
    return dense


def test_arguments_are_paths_in_the_tree():
    dense = dense_rule()
    W, x = normal((3, 2), (4, 3))(np.float32)
    params = {"layer": {"W": W}}
    (found,) = check(dense, params, x).findings
    assert (found.argument, found.origin) == ("params['layer']['W']", "params['layer']['W']")
    (found,) = check(lambda model, x: dense({"layer": {"W": model[0]["W"]}}, x), [{"W": W}], x).findings
    assert (found.argument, found.origin) == ("params['layer']['W']", "model[0]['W']")
    assert "params['layer']['W'] (f's model[0]['W']) at [" in str(found)
    (found,) = check(lambda p, x: dense(p, x=x), params, x).findings
    assert (found.argument, found.origin) == ("args[0]['layer']['W']", "p['layer']['W']")


def test_f_as_a_whole_names_its_argument_by_path():
    def closes_over(params, x):
        W = params["layer"]["W"]
        inner = jax.custom_vjp(lambda z: z @ W)
        inner.defvjp(lambda z: (z @ W, None), lambda _, c: (2 * c @ W.T,))
        return inner(jnp.sin(x))

    W, x = normal((3, 2), (4, 3))(np.float32)
    (found,) = check(closes_over, {"layer": {"W": W}}, x).wrong
    assert (found.argument, found.cause) == ("x", "factor")
    assert found.sentence.endswith("by x")


def test_what_was_not_judged_as_a_whole_is_said(monkeypatch):
    act = rule(jnp.tanh, lambda a, y, c: (c * (1 - y * y),))
    x = np.ones((3,), np.float32)
    assert check(act, x).notes == ("the gradient of f as a whole was not judged: f is one rule",)
    assert check(lambda x: act(x).sum(), x).notes == ()
    wrong = rule(jnp.tanh, lambda a, y, c: (c,))
    assert check(lambda x: wrong(x).sum(), x).notes == ("the gradient of f as a whole is wrong too",)
    monkeypatch.setattr(whole, "WHOLE_LIMIT", 2)
    assert "3 entries are more than 2" in check(lambda x: act(x).sum(), x).notes[0]


def single_inside(x):
    return jnp.cos(x.astype(jnp.float32)).astype(x.dtype)


@pytest.mark.parametrize(
    ("primal", "bwd", "x", "double", "cause"),
    [
        # The slope of 1/x, whose fourth power is too large for float32.
        (lambda x: 1 / x, lambda a, y, c: (-c * a[0] ** 2 / a[0] ** 4,), [1e10, 2.0], True, "lost_digits"),
        # Three digits are left of what is nearly 10^4 - 10^4.
        (lambda x: x * x / 2, lambda a, y, c: (c * (jnp.sqrt((1e4 + a[0]) ** 2) - 1e4),), [0.11, 3.0], True,
         "lost_digits"),
        (jnp.sin, lambda a, y, c: (c * single_inside(a[0]),), [0.3, 1.0], False, "dtype"),
    ],
)  # fmt: skip
def test_what_shows_in_one_precision_only(primal, bwd, x, double, cause):
    for dtype, right in ((np.float32, not double), (np.float64, double)):
        with jax.enable_x64(dtype == np.float64):
            report = check(rule(primal, bwd), np.array(x, dtype))
        assert report.ok == right, str(report)
        assert right or [f.cause for f in report.wrong] == [cause]


def test_rules_in_derivatives_of_f_are_named_where_they_are():
    act = rule(jnp.tanh, lambda a, y, c: (1.02 * c * (1 - y * y),))
    report = check(lambda x: jax.vmap(jax.grad(act))(x) + act(x), *normal((5,))(np.float32))
    assert [(f.cause, f.path) for f in report.wrong] == [
        ("factor", ""), ("factor", "in a derivative that f takes")
    ]  # fmt: skip


def test_what_could_not_be_watched_or_entered_is_said(monkeypatch):
    def f(x):
        assert isinstance(x, jax.core.Tracer), "only under jit"
        return jax.grad(lambda z: jnp.sum(jnp.sin(z) ** 2))(x)

    (note,) = check(f, jnp.ones(3)).notes
    monkeypatch.setattr(consumed, "CALLS", 3)
    act = rule(jnp.sin, lambda a, y, c: (-c * jnp.cos(a[0]),))

    def steps(x):
        return jax.lax.scan(lambda s, _: (s - 0.1 * jax.vmap(jax.grad(act))(s), None), x, None, length=9)[0]

    report = check(steps, jnp.ones(3))
    assert [f.cause for f in report.wrong] == ["sign"]
    assert report.notes[-1] == "f takes derivatives itself, so often that it was not run to its end"
    assert note.startswith("f takes derivatives itself; what rules they use up was not seen: AssertionError")

    def g(x):
        rounded = rule(lambda x: jnp.round(x), lambda a, y, c: (c,))(x)
        return jax.custom_derivatives.linear_call(lambda k, v: k * v, lambda k, c: k * c, 2.0, rounded)

    report = check(g, jnp.array([0.2, 1.3]), declare="straight_through")
    assert report.verdict == "declared"
    assert "a rule in it is no derivative, and so neither was linear_call of" in report.notes[0]
