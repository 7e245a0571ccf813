"""What check promises beyond the suite: small faults in large models, right models in peace, clear words."""

import json
import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import jaxbp
from jaxbp.verify import assert_rules, check, check_jvp, check_vjp
from tests.test_arguments import MEANT, TAKEN

from .case import normal, rule

pytestmark = pytest.mark.jax_release


def activation(slope):
    return rule(jnp.tanh, lambda a, y, c: (c * slope(y),))


@pytest.mark.soak
def test_one_percent_in_one_of_a_dozen_activations():
    right = activation(lambda y: 1 - y * y)
    wrong = activation(lambda y: 1.01 * (1 - y * y))
    layers = [right] * 7 + [wrong] + [right] * 4
    weights = [w / 10 for w in normal(*[(100, 100)] * 12)(np.float32)]
    assert sum(w.size for w in weights) >= 100_000

    def model(weights, x):
        for k, (w, act) in enumerate(zip(weights, layers, strict=True)):
            with jax.named_scope(f"layer{k}"):
                x = act(x @ w)
        return jnp.mean(x**2)

    report = check(model, weights, *normal((8, 100))(np.float32))
    (found,) = report.wrong
    assert found.cause == "factor"
    assert "1.01" in found.sentence
    assert "layer7" in found.path
    assert sum(f.verdict == "right" for f in report.findings) == 11
    # What there was before does not notice.
    check_grads(lambda x: model(weights, x), normal((8, 100))(np.float32), order=1, modes=["rev"])


def test_one_entry_in_a_million():
    flipped = np.ones(10**6)
    flipped[765_432] = -1
    f = rule(jnp.sin, lambda a, y, c: (c * jnp.cos(a[0]) * flipped.astype(c.dtype),))
    (found,) = check(f, *normal((10**6,))(np.float32)).wrong
    assert (found.cause, found.index) == ("sign", (765_432,))


def test_rules_are_named_and_placed():
    @jax.custom_vjp
    def cube(a):
        return a**3

    cube.defvjp(lambda a: (a**3, a), lambda a, c: (2 * c * a**2,))

    def model(a):
        with jax.named_scope("block"):
            return jnp.sum(cube(a))

    (found,) = check(model, jnp.array([1.0, 2.0, 3.0])).findings
    assert (found.rule, found.kind, found.argument, found.cause) == ("cube", "custom_vjp", "a", "factor")
    assert __file__ in found.where
    assert __file__ in found.called
    assert "block" in found.path
    assert found.rule_value / found.reference_value == pytest.approx(2 / 3)
    assert found.compared >= 3


def test_checkpoint_and_scan_give_no_alarm():
    right = activation(lambda y: 1 - y * y)

    @jax.checkpoint
    def layer(w, h):
        return right(h @ w)

    def model(w, x):
        return jnp.sum(jax.lax.scan(lambda h, wk: (layer(wk, h), None), x, w)[0] ** 2)

    report = check(model, *normal((6, 4, 4), (3, 4))(np.float32))
    assert report.ok
    assert [f.verdict for f in report.findings] == ["right", "right"]
    assert report.findings[1].kind == "function"


def test_a_fault_between_the_captured_steps_shows_in_the_whole():
    def bwd(a, y, c):
        return (c * jnp.where((a[1] > 1.5) & (a[1] < 2.5), 3.0, 1.0) * jnp.cos(a[0]), jnp.zeros_like(a[1]))

    f = rule(lambda x, k: jnp.sin(x) + 0 * k, bwd)
    report = check(lambda x: jax.lax.scan(lambda h, k: (f(h, k), None), x, jnp.arange(9.0))[0], jnp.ones(3))
    assert [(f.kind, f.verdict) for f in report.findings] == [("custom_vjp", "right"), ("function", "wrong")]


@pytest.mark.soak
def test_flax_transformer_of_six_blocks_gives_no_alarm():
    nn = pytest.importorskip("flax.linen")

    class Block(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = x + nn.MultiHeadDotProductAttention(num_heads=2)(nn.LayerNorm()(x))
            return x + nn.Dense(16)(nn.relu(nn.Dense(32)(nn.LayerNorm()(x))))

    class Transformer(nn.Module):
        @nn.compact
        def __call__(self, tokens):
            x = nn.Embed(11, 16)(tokens)
            for _ in range(6):
                x = Block()(x)
            return nn.log_softmax(nn.Dense(11)(x))

    tokens = np.arange(8).reshape(1, 8) % 11
    model = Transformer()
    params = model.init(jax.random.key(0), tokens)
    report = check(lambda p: model.apply(p, tokens), params)
    assert report.ok, str(report)
    assert [f.kind for f in report.findings] == ["custom_jvp"] * 6 + ["function"]
    assert any("Block_3" in f.path for f in report.findings)


def test_host_indices_that_jax_has_seen_in_the_other_precision():
    index = np.array([2, 0])
    good = activation(lambda y: 1 - y * y)

    def f(w):
        return good(jnp.take(w, index, axis=0))

    jax.grad(lambda w: f(w).sum())(np.ones((3, 2), np.float32))
    report = check(f, *normal((3, 2))(np.float32))
    assert report.verdict == "right"
    assert not report.notes


def test_flax_nnx_module_gives_no_alarm():
    nnx = pytest.importorskip("flax.nnx")
    layer = nnx.Linear(3, 4, rngs=nnx.Rngs(0))
    graph, state = nnx.split(layer)
    report = check(
        lambda s, x: nnx.silu(nnx.relu(nnx.merge(graph, s)(x))), state, np.ones((2, 3), np.float32)
    )
    assert report.ok
    assert report.findings


def test_a_model_that_fixes_its_dtypes_gives_no_alarm():
    """It stays float32 in the float64 trace; its rules are compared at the dtype that they have there."""

    def model(x):
        return jax.nn.relu(x.astype(jnp.float32) @ np.ones((3, 4), np.float32))

    assert check(model, np.arange(-3, 3, dtype=np.float32).reshape(2, 3)).ok


@pytest.mark.soak
def test_equinox_mlp_gives_no_alarm_and_a_fault_in_it_is_found():
    eqx = pytest.importorskip("equinox")

    def model(slope):
        return eqx.nn.MLP(3, 2, 8, 2, activation=activation(slope), key=jax.random.key(0))

    x = np.array([0.1, -0.4, 2.0], np.float32)
    report = check(lambda m, x: m(x), model(lambda y: 1 - y * y), x)
    assert report.ok
    assert {f.verdict for f in report.findings} == {"right"}
    report = check(model(lambda y: 1 - y), x)
    assert not report.ok


def test_equinox_filtered_rule():
    eqx = pytest.importorskip("equinox")

    def scaled(factor):
        f = eqx.filter_custom_vjp(lambda x, flag: jnp.sin(x))
        f.def_fwd(lambda perturbed, x, flag: (jnp.sin(x), None))
        f.def_bwd(lambda residuals, g, perturbed, x, flag: factor * g * jnp.cos(x))
        return lambda x: f(x, "flag")

    assert check(scaled(1), jnp.array([0.1, 0.2, 0.3])).ok
    assert [f.cause for f in check(scaled(2), jnp.array([0.1, 0.2, 0.3])).wrong] == ["factor"]


def test_declared_by_name():
    ste = rule(lambda x: jnp.round(x), lambda a, y, c: (c,))
    named = jax.custom_vjp(lambda x: jnp.round(x))
    named.defvjp(lambda x: (jnp.round(x), None), lambda _, c: (c,))
    assert check(ste, jnp.array([0.3, 1.4]), declare="straight_through").verdict == "declared"
    assert check(ste, jnp.array([0.3, 1.4]), declare={"<lambda>": "straight_through"}).verdict == "declared"
    with pytest.raises(ValueError, match="declare to name a rule"):
        check(ste, jnp.array([0.3, 1.4]), declare={"quantise": "straight_through"})
    with pytest.raises(ValueError, match="one of straight_through"):
        check(ste, jnp.array([0.3, 1.4]), declare="magic")


def test_plain_functions():
    assert check_vjp(
        lambda a, b: a @ b, lambda a, b, c: (c @ b.T, a.T @ c), *normal((2, 3), (3, 2))(np.float32)
    ).ok
    report = check_vjp(
        lambda a, b: a @ b, lambda a, b, c: (c @ b, a.T @ c), *normal((2, 2), (2, 2))(np.float32)
    )
    assert [f.cause for f in report.wrong] == ["transposed"]
    report = check_jvp(lambda x: x**2, lambda p, t: p[0] * t[0], jnp.array([1.0, 2.0, 3.0]))
    assert [f.cause for f in report.wrong] == ["factor"]


def slope_times_two(x, c):
    return 2 * c * jnp.cos(x)


def test_plain_functions_are_named_and_placed():
    (found,) = check_vjp(lambda angle: jnp.sin(angle), slope_times_two, jnp.array([0.1, 0.2, 0.3])).wrong
    assert (found.rule, found.argument, found.origin) == ("slope_times_two", "angle", "angle")
    assert found.where == f"{__file__}:{slope_times_two.__code__.co_firstlineno}"


def test_assert_rules_shows_the_report():
    with pytest.raises(AssertionError, match="rule = 2 x reference"):
        assert_rules(activation(lambda y: 2 * (1 - y * y)), jnp.array([0.1, 0.2, 0.3]))


def test_the_function_is_not_changed_and_its_options_reach_it():
    seen = []

    def f(x, *, power):
        seen.append(power)
        return x**power

    assert check(f, jnp.array([1.0]), power=3).findings == ()
    assert set(seen) == {3}


def test_records_are_plain_data():
    report = check(activation(lambda y: 2 * (1 - y * y)), jnp.array([0.1, 0.2, 0.3]))
    data = json.loads(json.dumps(report.to_dict()))
    assert data["verdict"] == "wrong"
    assert data["findings"][0]["cause"] == "factor"
    assert "<table>" in report._repr_html_()


@pytest.mark.parametrize("kind", ["big-endian float32", "a nullable frame", "objects", "a memoryview"])
def test_arguments_that_hold_numbers_are_the_arrays_they_mean(kind):
    square = jax.custom_vjp(lambda a: a * a)
    square.defvjp(lambda a: (a * a, a), lambda a, c: (3 * a * c,))
    kinds = TAKEN | {"a memoryview": lambda: memoryview(MEANT)}
    found, wanted = check(square, kinds[kind]()), check(square, jnp.asarray(MEANT))
    assert found.findings[0].sentence == wanted.findings[0].sentence
    assert not found.ok


def host(x):
    return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: check(3, jnp.ones(2)), TypeError, "a function"),
        (lambda: check(jnp.sin, jnp.arange(3)), TypeError, "a floating argument"),
        (lambda: check(lambda x: jnp.argmax(x), jnp.ones(3)), TypeError, "return a floating array"),
        (lambda: check(lambda x: "text", jnp.ones(3)), TypeError, "to return arrays"),
        (lambda: check(lambda x, y: x, jnp.ones(3)), TypeError, "arguments that fit"),
        (lambda: check(jnp.sin, jnp.array([1.0, jnp.nan])), ValueError, "a NaN in x"),
        (lambda: check(lambda t: t["w"], {"w": jnp.array([jnp.nan])}), ValueError, "a NaN in t['w']"),
        (lambda: check(jnp.sin, jnp.ones(3), order=3), ValueError, "order a whole number in [1, 2]"),
        (lambda: check(jnp.sin, jnp.ones(3), declare="stop"), ValueError, "its rules are none"),
        (lambda: check(jnp.sin, jnp.ones(3), declare={"name": 1}), ValueError, "got 'name': the int 1"),
        (lambda: check(jnp.sin, jnp.ones(3), declare=["stop"]), ValueError, "a word holds for every rule"),
        (lambda: check(jnp.sin, jnp.ones(3), declare=("clipped", 1)), ValueError, "take one number"),
        (lambda: check(jnp.sin, jnp.ones(3), declare=()), ValueError, "declare to name one of"),
        (lambda: check(jnp.sin, jnp.ones(3), declare=""), ValueError, "declare to name one of"),
        (lambda: check(jnp.sin, jnp.ones(3), declare=("scaled",)), ValueError, "take one number"),
        (lambda: check(jnp.sin, jnp.ones(3), declare=("scaled", "2")), TypeError, "the constant of scaled"),
        (lambda: check(jnp.sin, jnp.ones(3), declare=("scaled", jnp.nan)), ValueError, "got nan"),
        (lambda: check(jnp.sin, jnp.ones(3), order=np.zeros(0)), TypeError, "order a whole number"),
        (lambda: assert_rules(jnp.sin, jnp.ones(3), order="1"), TypeError, "assert_rules: expected order"),
        (lambda: check_vjp(jnp.sin, jnp.multiply, jnp.ones(3), order=True), TypeError, "got True"),
        (lambda: check(jnp.sin, np.ma.masked_array([1.0, 2.0], [0, 1])), ValueError, "without masked values"),
        (lambda: check(jnp.sin, np.ma.masked), ValueError, "without masked values"),
        (lambda: check(jnp.sin, np.array([1.0, None])), ValueError, "without missing values"),
        (lambda: check(jnp.sin, np.zeros(2, "M8[s]")), TypeError, "dates"),
        (lambda: check(lambda x: x, jnp.ones(3, bool)), TypeError, "a floating argument"),
        (lambda: check(lambda x: None, jnp.ones(3)), TypeError, "got nothing"),
        (lambda: check(host, jnp.ones(3)), TypeError, "host to be differentiable"),
        (lambda: check_vjp(3, jnp.sin, jnp.ones(3)), TypeError, "a function"),
        (lambda: check_vjp(jnp.sin, lambda a: a, jnp.ones(3)), TypeError, "arguments that fit"),
        (lambda: check_jvp(jnp.sin, lambda p: p, jnp.ones(3)), TypeError, "arguments that fit"),
        (lambda: check_vjp(lambda a: "a", jnp.multiply, jnp.ones(3)), TypeError, "to return arrays, got 'a'"),
        (lambda: check_jvp(lambda a: jnp.cos, lambda p, t: t, jnp.ones(3)), TypeError, "the function cos"),
        (lambda: check(dict, jnp.ones(3)), TypeError, "a function, got the class dict"),
        (lambda: assert_rules(jnp.sin, jnp.array([jnp.nan])), ValueError, "a NaN in x"),
    ],
)
def test_bad_use_is_told(call, error, words):
    with pytest.raises(error) as told:
        call()
    assert words in str(told.value)


def test_an_exception_of_f_is_shown_as_its_own():
    def f(x):
        raise ZeroDivisionError("inside f")

    with pytest.raises(ZeroDivisionError, match="inside f") as told:
        check(f, jnp.ones(2))
    assert any("raised by f itself" in note for note in told.value.__notes__)


def test_what_cannot_be_retraced_in_float64_is_judged_at_its_own_precision():
    f = rule(jnp.tanh, lambda a, y, c: (1.1 * c * (1 - y * y),))

    def only_float32(x):
        assert x.dtype == jnp.float32
        return f(x)

    report = check(only_float32, *normal((9,))(np.float32))
    assert [f.cause for f in report.wrong] == ["factor"]
    assert "does not run in float64" in report.notes[0]


@pytest.mark.parametrize("kept", [1, pytest.param(0, marks=pytest.mark.soak)])
def test_memory_is_a_number_of_arrays_whatever_their_size(kept):
    """Also where a term is missing and the terms of the chain rule are looked through."""

    def back(a, y, c):
        return (c * (jnp.sin(a[0]) + kept * a[0] * jnp.cos(a[0])),)

    def peak(entries):
        x = np.linspace(-3, 3, entries)
        tracemalloc.start()
        try:
            assert check(rule(lambda x: x * jnp.sin(x), back), x).ok == bool(kept)
            return tracemalloc.get_traced_memory()[1] / x.nbytes
        finally:
            tracemalloc.stop()

    assert peak(100_000) < 60


@pytest.mark.parametrize(("sign", "verdict"), [(1.0, "right"), (-1.0, "wrong")])
def test_host_arrays_keep_their_dtypes(sign, verdict):
    """Arrays that only the backward rule reads are first met in float32, and after check they still are."""
    order, twice = np.arange(3, -1, -1), np.full(4, 2 * sign)
    f = rule(lambda x: 2 * x[::-1], lambda a, y, c: (jnp.zeros_like(c).at[order].add(c) * twice,))
    report = check(f, jnp.arange(4.0))
    assert report.verdict == verdict
    assert "does not run in float64, so its own precision decides" in str(report)
    np.testing.assert_array_equal(jax.jit(jax.grad(lambda x: f(x)[0]))(jnp.arange(4.0)), [0, 0, 0, 2 * sign])


def normed_at(x, W, b):
    """h, the norm of x W + b over its entries, and what it was divided by: h is the same for every b."""
    a = x @ W + b
    centred = a - a.mean()
    spread = jnp.sqrt((centred**2).mean() + 1e-5)
    return centred / spread, spread


def norm_back(args, h, c):
    x, W, b = args
    delta_a = (c - c.mean() - h * (c * h).mean()) / normed_at(x, W, b)[1]
    return delta_a @ W.T, x.T @ delta_a, delta_a.sum()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_slope_that_cancels_to_0_is_no_noise(dtype):
    f = rule(lambda *args: normed_at(*args)[0], norm_back)
    with jax.enable_x64(dtype == "float64"):
        for seed in range(3):
            report = check(f, *normal((6, 5), (5, 4), (), seed=seed)(dtype))
            assert report.findings[0].verdict == "right", report


def test_a_network_with_a_bias_ahead_of_a_norm_is_right():
    net = jaxbp.chain(jaxbp.conv2d(2, 3, 1), jaxbp.group_norm(3, 3), jaxbp.tanh)
    params = net.init(jax.random.key(1))
    params[1]["b"] += 0.1
    f = jax.random.normal(jax.random.key(0), (2, 4, 3, 2))
    assert check(jaxbp.with_hand_vjp(net), params, f).ok
