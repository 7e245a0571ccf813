"""One test for each assumption about JAX's own: a new release says by name which of them fell."""

import re
import traceback
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.experimental import hijax
from jax.extend import core
from jax.extend.core import primitives
from jax.sharding import PartitionSpec as P

from jaxbp.jaxprs import internals, messages
from jaxbp.jaxprs.rules import rules_in
from jaxbp.jaxprs.values import kept
from jaxbp.jaxprs.walk import single

pytestmark = pytest.mark.jax_release
X = jnp.arange(3.0)


@jax.custom_vjp
def squared(x):
    return x * x


def squared_forward(x):
    return x * x, x


def squared_backward(x, c):
    return (2 * x * c,)


squared.defvjp(squared_forward, squared_backward)


@jax.custom_jvp
def sine(x):
    return jnp.sin(x)


@sine.defjvp
def sine_jvp(primals, tangents):
    return sine(*primals), tangents[0] * jnp.cos(primals[0])


class Doubled(getattr(hijax, "HiPrim", None) or hijax.VJPHiPrimitive):
    def __init__(self, aval):
        self.in_avals, self.out_aval, self.params, self.effects = (aval, [aval, aval]), aval, {}, frozenset()
        super().__init__()

    def expand(self, x, rest):
        return 2 * x + rest[0]


def doubled(x):
    return Doubled(jax.typeof(x))(x, [x, x])


def equation(fn, *args):
    """The only equation that fn is traced to."""
    (eqn,) = jax.make_jaxpr(fn)(*args).jaxpr.eqns
    return eqn


def root(a):
    return lax.custom_root(
        lambda z: z * z - a, a, lambda f, z: jnp.sqrt(a), lambda g, y: y / g(jnp.ones_like(y))
    )


def line_of(text):
    """file:line of this file's first line with that text."""
    lines = Path(__file__).read_text().splitlines()
    return f"{__file__}:{1 + next(n for n, line in enumerate(lines) if line.startswith(text))}"


def same(closed, fn, *args):
    for got, want in zip(core.jaxpr_as_fun(closed)(*args), jax.tree.leaves(fn(*args)), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize(("fn", "kind"), [(squared, "custom_vjp"), (sine, "custom_jvp")])
def test_a_rule_is_one_equation_of_its_kind(fn, kind):
    assert internals.KINDS[equation(fn, X).primitive] == kind


@pytest.mark.parametrize("fn", [jax.jit(jnp.sin), jax.checkpoint(lambda x: x * x)])
def test_a_call_is_one_equation(fn):
    assert equation(fn, X).primitive in internals.CALLS


@pytest.mark.parametrize("fn", [squared, sine, jax.jit(jnp.cos), jax.checkpoint(lambda x: x * x)])
def test_a_rule_or_a_call_holds_its_primal(fn):
    same(internals.body(equation(fn, X)), fn, X)
    same(internals.only_body(equation(fn, X)), fn, X)


def test_the_primal_of_an_object_is_its_expansion():
    eqn = equation(doubled, X)
    assert internals.is_object(eqn)
    assert type(internals.object_of(eqn)) is Doubled
    same(internals.body(eqn), lambda x, y, z: 2 * x + y, X, X + 1, X)


def test_an_implicit_function_is_a_rule():
    eqn = equation(root, X)
    assert internals.is_implicit(eqn) if internals.is_object(eqn) else eqn.primitive in internals.KINDS


@pytest.mark.parametrize("kind", [jax.custom_vjp, jax.custom_jvp])
def test_closed_over_values_come_first_and_are_counted(kind):
    def outer(y):
        f = kind(lambda x: x * jnp.sin(y))
        if kind is jax.custom_vjp:
            f.defvjp(lambda x: (x, None), lambda _, c: (c,))
        else:
            f.defjvp(lambda p, t: (p[0], t[0]))
        return f(X)

    eqn = next(e for e in jax.make_jaxpr(outer)(2.0).jaxpr.eqns if e.primitive in internals.KINDS)
    assert internals.consts_of(eqn) == len(eqn.invars) - 1 == 1
    assert eqn.invars[-1].aval.shape == (3,)
    assert internals.consts_of(equation(squared, X)) == 0


def test_symbolic_zeros_are_told():
    f = jax.custom_vjp(lambda x: x)
    f.defvjp(lambda x: (x.value, None), lambda _, c: (c,), symbolic_zeros=True)
    assert internals.wants_zeros(equation(f, X))
    assert not internals.wants_zeros(equation(squared, X))


@pytest.mark.parametrize("shape", [(4, 3), (4, 0), (0, 3)])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_says_what_it_carries_and_slices(shape, reverse):
    held, xs = jnp.ones(3), jnp.ones(shape)

    def fn(held, a, b, xs):
        return lax.scan(lambda s, x: ((s[0] + held.sum(), s[1] + 1), (x, s[0])), (a, b), xs, reverse=reverse)

    eqn = next(
        e for e in jax.make_jaxpr(fn)(held, 0.0, held, xs).jaxpr.eqns if e.primitive is primitives.scan_p
    )
    consts, sliced = internals.scan_parts(eqn)
    assert sliced - consts == 2
    assert [v.aval.shape for v in eqn.invars[sliced:]] == [shape]
    step = internals.scan_of(eqn)
    assert (step.length, step.backwards) == (shape[0], reverse)
    assert len(step.body.in_avals) == len(eqn.invars)


def test_a_while_loop_says_what_it_holds():
    def fn(top, step, s):
        return lax.while_loop(lambda s: s[0] < top, lambda s: (s[0] + step, s[1] * step), s)

    eqn = equation(fn, 5.0, 2.0, (0.0, 1.0))
    loop = internals.while_of(eqn)
    assert (loop.asked, loop.held, len(eqn.invars)) == (1, 1, 4)
    assert bool(core.jaxpr_as_fun(loop.test)(5.0, 6.0, 1.0)[0]) is False
    assert [float(y) for y in core.jaxpr_as_fun(loop.body)(2.0, 0.0, 1.0)] == [2.0, 2.0]


def test_the_first_input_of_a_cond_chooses_the_branch():
    eqn = jax.make_jaxpr(lambda k, x: lax.switch(k, [jnp.sin, jnp.cos, jnp.exp], x))(1, X).jaxpr.eqns[-1]
    assert eqn.primitive is primitives.cond_p
    assert jnp.issubdtype(eqn.invars[0].aval.dtype, jnp.integer)
    for branch, fn in zip(internals.branches_of(eqn), [jnp.sin, jnp.cos, jnp.exp], strict=True):
        same(branch, fn, X)


@pytest.mark.parametrize("tracked", [True, False])
def test_a_shard_map_says_its_mesh(tracked):
    mesh = jax.make_mesh((1,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    eqn = equation(jax.shard_map(jnp.sin, mesh=mesh, in_specs=P("i"), out_specs=P("i"), check_vma=tracked), X)
    assert eqn.primitive.name == internals.SHARD_MAP
    mapped = internals.mapped_of(eqn)
    assert (mapped.axes, mapped.tracked, tuple(mapped.in_specs)) == (["i"], tracked, (P("i"),))
    assert kept.out_specs_of(eqn) == (P("i"),)
    if tracked:
        assert internals.varying(mapped.body.jaxpr.invars[0]) == {"i"}


def test_a_shape_says_the_axes_that_it_varies_over():
    mesh = jax.make_mesh((1,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    seen = []

    def local(x):
        seen.append(kept.varying_of(jax.eval_shape(jnp.sin, x)))
        return x

    jax.shard_map(local, mesh=mesh, in_specs=P("i"), out_specs=P("i"))(X)
    assert seen[0] == ("i",)
    assert kept.varying_of(jax.eval_shape(jnp.sin, X)) == ()


def test_remat_says_how_it_was_called():
    policy = jax.checkpoint_policies.everything_saveable
    eqn = equation(jax.checkpoint(jnp.sin, policy=policy, prevent_cse=False), X)
    assert kept.remat_options(eqn) == {"policy": policy, "prevent_cse": False}


def test_names_and_stopped_gradients_are_operations():
    """What `jaxbp.name` leaves, and what closes the way of a derivative."""
    assert equation(lambda x: checkpoint_name(x, "h"), X).params["name"] == "h"
    assert equation(lambda x: checkpoint_name(x, "h"), X).primitive.name == "name"
    assert equation(lax.stop_gradient, X).primitive.name == "stop_gradient"


def test_the_axes_of_vmap_are_named_while_tracing():
    seen = []
    jax.vmap(lambda x: seen.append(set(internals.axis_names())) or x, axis_name="i")(X)
    assert seen == [{"i"}]


def test_the_place_of_a_rule_is_its_definition():
    name, place = internals.name_and_place(internals.body(equation(squared, X)).jaxpr.debug_info)
    assert (name, place) == ("squared", line_of("@jax.custom_vjp"))


def test_the_place_of_a_derivative():
    assert internals.derivative_place(equation(squared, X)) == line_of("def squared_backward")
    assert internals.derivative_place(equation(sine, X)) == line_of("@sine.defjvp")
    (relu,) = rules_in(jax.make_jaxpr(jax.nn.relu)(X).jaxpr)
    assert internals.derivative_place(relu).startswith(internals.LIBRARY)


def test_the_place_of_an_object_is_its_method():
    assert internals.method_place(equation(doubled, X)) == line_of("    def expand")


def test_arguments_keep_their_names():
    def weighted(weight, x):
        return weight * x

    f = jax.custom_vjp(weighted)
    f.defvjp(lambda weight, x: (weight * x, (weight, x)), lambda s, c: (c * s[1], c * s[0]))
    assert internals.argument_names(equation(f, X, X)) == ("weight", "x")
    g = jax.custom_jvp(weighted)
    g.defjvp(lambda p, t: (p[0] * p[1], t[0] * p[1] + p[0] * t[1]))
    assert internals.argument_names(equation(g, X, X)) == ("weight", "x")
    assert internals.argument_names(equation(doubled, X)) == ("x", "rest[0]", "rest[1]")


def test_a_custom_gradient_is_known_by_the_file_of_its_functions():
    @jax.custom_gradient
    def f(x):
        return x * x, lambda c: 2 * x * c

    assert internals.is_custom_gradient(equation(f, X))
    (relu,) = rules_in(jax.make_jaxpr(jax.nn.relu)(X).jaxpr)
    assert not any(map(internals.is_custom_gradient, [equation(squared, X), equation(sine, X), relu]))


def test_scopes_and_derivatives_are_in_the_path():
    def scoped(x):
        with jax.named_scope("layer"):
            return jnp.sin(x)

    assert "layer" in internals.path_of(equation(scoped, X))
    assert not internals.is_differentiated(equation(scoped, X))
    gradient = jax.make_jaxpr(jax.grad(lambda x: scoped(x).sum()))(X)
    assert any(map(internals.is_differentiated, gradient.jaxpr.eqns))


def test_the_stack_of_an_equation_begins_with_the_innermost_frame():
    frames = internals.frames_of(equation(lambda x: jnp.sin(x), X))
    first = next(f for f in frames if not f.file.startswith(internals.LIBRARY))
    assert first.file == __file__
    assert "internals.frames_of" in Path(__file__).read_text().splitlines()[first.line - 1]


@pytest.mark.parametrize(
    "name", ["linear_call", "custom_linear_solve", "optimization_barrier", "pure_callback"]
)
def test_primitives_go_by_these_names(name):
    uses = {
        "linear_call": lambda x: jax.custom_derivatives.linear_call(
            lambda r, x: 2 * x, lambda r, c: 2 * c, (), x
        ),
        "custom_linear_solve": lambda x: lax.custom_linear_solve(
            lambda y: 2 * y, x, lambda _, b: b / 2, symmetric=True
        ),
        "optimization_barrier": lax.optimization_barrier,
        "pure_callback": lambda x: jax.pure_callback(lambda x: x, x, x),
    }
    assert equation(uses[name], X).primitive.name == name
    assert name in {*internals.LINEAR, internals.BARRIER, *internals.HOST}


def refused(forward, backward):
    """What JAX raises for a custom_vjp of the identity with these, where it has been traced."""
    f = jax.custom_vjp(lambda x: x)
    f.defvjp(forward, backward)
    eqn = equation(f, X)
    with pytest.raises((TypeError, ValueError)) as caught:
        jax.vjp(single(eqn, internals.body(eqn).jaxpr.debug_info), X)[1]([X])
    return re.sub(r"\s+", " ", str(caught.value))


def test_jax_says_that_a_cotangent_has_a_wrong_shape():
    text = refused(lambda x: (x, None), lambda _, c: (c.sum(),))
    assert messages.refuses_rule(text)
    assert messages.named_argument(text) == 0
    assert messages.says_produced_first(text)
    assert not messages.says_primal(text)
    assert text.index("float32[]") < text.index("float32[3]")


def test_jax_says_that_the_forward_rule_returns_another_primal():
    text = refused(lambda x: ((x, x), None), lambda _, c: (c[0],))
    assert messages.refuses_rule(text)
    assert messages.says_primal(text)


def test_jax_says_that_a_cotangent_is_not_summed_over_a_mesh():
    mesh = jax.make_mesh((1,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    f = jax.custom_vjp(lambda w, x: w * x)
    f.defvjp(lambda w, x: (w * x, (w, x)), lambda s, c: (c * s[1], c * s[0]))
    with pytest.raises(ValueError, match="Custom VJP") as caught:
        jax.grad(lambda w: jax.shard_map(f, mesh=mesh, in_specs=(P(), P("i")), out_specs=P("i"))(w, X).sum())(
            X
        )
    assert messages.says_mesh(str(caught.value))


@pytest.mark.parametrize("value", ["x", object(), jnp.sin, np.array(["a"]), np.array([None])])
def test_what_is_no_array_is_said(value):
    f = jax.custom_vjp(jnp.sin)
    f.defvjp(lambda x: (jnp.sin(x), None), lambda _, c: (value,))
    with pytest.raises(TypeError) as caught:
        jax.grad(f)(1.0)
    assert messages.says_no_array(str(caught.value))


def test_jax_refuses_a_rule_that_closes_over_a_traced_value():
    def outer(y):
        f = jax.custom_vjp(lambda x: x * y)
        f.defvjp(lambda x: (x * y, None), lambda _, c: (c * y,))
        return f(X).sum()

    eqns = jax.make_jaxpr(outer)(2.0).jaxpr.eqns
    eqn = next(e for e in eqns if e.primitive in internals.KINDS)
    run = single(eqn, internals.body(eqn).jaxpr.debug_info)
    with pytest.raises(Exception) as caught:
        jax.jit(lambda x: jax.vjp(lambda x: run(jnp.float32(2.0), x), x)[1]([X]))(X)
    assert messages.closes_over_tracer(caught.value)


def test_beneath_a_boundary_exceptions_keep_the_frames_of_jax():
    def refused():
        jax.jvp(jnp.sin, (1.0,), (1,))

    def frames(run):
        with pytest.raises(TypeError) as told:
            run()
        return [f.filename for f in traceback.extract_tb(told.value.__traceback__)]

    before = jax.config.jax_traceback_filtering
    whole = frames(lambda: internals.beneath_boundary(refused))
    assert whole[-1].startswith(internals.LIBRARY)
    assert not frames(refused)[-1].startswith(internals.LIBRARY)
    assert jax.config.jax_traceback_filtering == before
