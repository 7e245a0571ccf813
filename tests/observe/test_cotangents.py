"""Every delta of any function: equal to independent ones, with a name, from one compiled program."""

import itertools
import re
from pathlib import Path

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import AxisType, PartitionSpec

import jaxbp
from jaxbp.jaxprs.values.places import OUT, Key, Run, places_in, run
from jaxbp.observe.deltas import reduced

pytestmark = pytest.mark.jax_release
FAST = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


@pytest.fixture(autouse=True)
def as_users_run():
    """Flax promotes ranks."""
    with jax.numpy_rank_promotion("allow"):
        yield


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape))


def cross_entropy(logits, y):
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


class CNN(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.gelu(nn.Conv(4, (3, 3))(x))
        x = nn.avg_pool(x, (2, 2), (2, 2)).reshape(x.shape[0], -1)
        return nn.Dense(3)(nn.tanh(nn.Dense(8)(x)))


class Block(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = x + nn.MultiHeadDotProductAttention(2, name="attn")(nn.LayerNorm()(x))
        return x + nn.Dense(8, name="down")(nn.gelu(nn.Dense(16, name="up")(nn.LayerNorm()(x))))


class Transformer(nn.Module):
    blocks: int = 1

    @nn.compact
    def __call__(self, tokens):
        x = nn.Embed(11, 8)(tokens)
        for _ in range(self.blocks):
            x = Block()(x)
        return nn.Dense(3)(x.mean(1))


class NNX(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.layers = nnx.List([nnx.Linear(m, n, rngs=rngs) for m, n in ((5, 6), (6, 6))])
        self.value = nnx.Linear(6, 3, rngs=rngs)

    def __call__(self, x):
        for layer in self.layers:
            x = nnx.gelu(layer(x))
        return self.value(x)


def linen(module, x):
    params = module.init(jax.random.key(0), x)
    params = jax.tree.map(lambda w: w.astype(float), params)
    return lambda p, x, y: cross_entropy(module.apply(p, x), y), params, x, jnp.arange(len(x)) % 3


def cnn():
    return linen(CNN(), normal(0, 4, 6, 6, 1))


def transformer(blocks=1):
    return linen(Transformer(blocks), jnp.arange(20).reshape(4, 5) % 11)


def nnx_mlp():
    graph, params = nnx.split(NNX())
    params = jax.tree.map(lambda w: w.astype(float), params)
    return (
        lambda p, x, y: cross_entropy(nnx.merge(graph, p)(x), y),
        params,
        normal(0, 4, 5),
        jnp.arange(4) % 3,
    )


def equinox_mlp():
    net = eqx.nn.MLP(5, 3, 6, 2, jax.nn.softplus, key=jax.random.key(0), dtype=float)
    return lambda m, x, y: cross_entropy(jax.vmap(m)(x), y), net, normal(0, 4, 5), jnp.arange(4) % 3


def rnn():
    def f(params, x):
        def step(h, x):
            h = jaxbp.name(jnp.tanh(x @ params["W"] + h @ params["U"] + params["b"]), "state")
            return h, h @ params["out"]

        _, out = jax.lax.scan(step, jnp.zeros(4, x.dtype), x)
        return jnp.mean(out**2)

    params = {"W": normal(0, 3, 4), "U": 0.5 * normal(1, 4, 4), "b": normal(2, 4), "out": normal(3, 4, 2)}
    return f, params, normal(4, 5, 3)


def nested_scans():
    def f(w, x):
        def inner(h, x):
            return jnp.sin(w * h + x), None

        def outer(h, row):
            h, _ = jax.lax.scan(inner, h, row, reverse=True)
            return h, h

        return jax.lax.scan(outer, x[0, 0], x)[1].sum()

    return f, 0.7 + jnp.zeros(()), normal(0, 3, 4)


def sharded():
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))

    @jax.shard_map(mesh=mesh, in_specs=(PartitionSpec(), PartitionSpec("data")), out_specs=PartitionSpec())
    def f(params, x):
        h = jnp.tanh(x @ params["W"])
        return jax.lax.pmean(jnp.mean((h @ params["out"]) ** 2), "data")

    return f, {"W": normal(0, 5, 3), "out": normal(1, 3, 1)}, normal(2, 8, 5)


def branches():
    def f(w, x):
        h = jnp.tanh(w * x)
        h = jax.checkpoint(jnp.sin)(h)
        inner = jax.vmap(jax.grad(lambda a: jnp.exp(w[0] * a)))(h).sum()
        return inner + jax.lax.cond(x[0] > 0, lambda h: jnp.cos(h).sum(), lambda h: jnp.exp(h).sum(), h)

    return f, normal(0, 3), jnp.ones(3)


def own_net():
    net = jaxbp.mlp([3, 4, 2], jaxbp.gelu)
    params = net.init(jax.random.key(0))
    params = jax.tree.map(lambda w: w.astype(float), params)
    return lambda p, x, y: jaxbp.squared_error(net.apply(p, x), y), params, normal(0, 5, 3), normal(1, 5, 2)


CASES = [cnn, transformer, nnx_mlp, equinox_mlp, rnn, nested_scans, sharded, branches, own_net]
LABELS = {
    "cnn": ["Conv_0 a", "Conv_0/gelu f", "Dense_1 a", "Dense_1/tanh f", "Dense_0 a"],
    "transformer": [
        "Embed_0 a", "Block_0/attn/query a", "Block_0/attn/key a",
        "Block_0/attn/value a", "Block_0/attn/softmax f", "Block_0/attn/out a",
        "Block_0/up a", "Block_0/up/gelu f", "Block_0/down a", "Dense_0 a",
    ],
    "nnx_mlp": ["layers.0 a", "layers.0/gelu f", "layers.1 a", "layers.1/gelu f", "value a"],
    "equinox_mlp": ["layers.0 a", "layers.0/softplus f", "layers.1 a", "layers.1/softplus f", "layers.2 a"],
    "rnn": ["W a [step]", "U a [step]", "U/tanh f [step]", "state [step]", "out a [step]"],
    "nested_scans": ["w/h [step, step]"],
    "sharded": ["W a [device]", "W/tanh f [device]", "out a [device]"],
    "branches": ["w/tanh f"],
    "own_net": ["a_1", "f_1", "a_2"],
}  # fmt: skip


def compiled(f, *args, **options):
    """With little optimization: each is run once."""
    arrays, rest = eqx.partition(args, eqx.is_array)
    run = jax.jit(lambda arrays: f(*eqx.combine(arrays, rest)), compiler_options=FAST)
    return run(arrays, **options)


LARGE = (transformer, cnn)


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[pytest.mark.soak] * (case in LARGE)) for case in CASES]
)
@pytest.mark.soak
def test_labels_and_gradients(case, x64):
    f, params, *batch = case()
    seen = jaxbp.cotangents(f)(params, *batch)
    labels = [tap.label for tap in seen.taps]
    assert labels == LABELS[case.__name__]
    assert list(seen.deltas) == list(seen.values) == labels
    for tap in seen.taps:
        assert Path(tap.where.rpartition(":")[0]).samefile(__file__) or case is equinox_mlp or case is own_net
        assert seen.deltas[tap.label].shape == seen.values[tap.label].shape == tap.shape
    expected = eqx.filter_grad(f)(params, *batch)
    for got, want in zip(jax.tree.leaves(seen.gradients), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(seen.loss, f(params, *batch), rtol=1e-13)


def slow(case):
    """Those whose kinds of equations are among those of the others."""
    return pytest.param(case, marks=[pytest.mark.soak] * (case in (*LARGE, nnx_mlp, own_net)))


@pytest.mark.parametrize("case", [slow(case) for case in CASES])
def test_deltas_are_differences_of_the_moved_value(case, x64):
    """Each value is moved in a random direction, and f differenced."""
    f, params, *batch = case()
    seen = jaxbp.cotangents(f, "*")(params, *batch)
    arrays, rest = eqx.partition((params, *batch), eqx.is_array)
    closed = jax.make_jaxpr(lambda arrays: f(*eqx.combine(arrays, rest)))(arrays)
    keys = [
        Key(place.path, OUT, i)
        for place in places_in(closed) for i, v in enumerate(place.eqn.outvars)
        if jnp.issubdtype(v.aval.dtype, jnp.floating)
    ]  # fmt: skip
    assert len(keys) == len(seen.taps)
    assert len({tap.label for tap in seen.taps}) == len(keys)
    rng = np.random.default_rng(0)
    deltas = [np.asarray(seen.deltas[tap.label]) for tap in seen.taps]
    ways = [rng.standard_normal(d.shape) for d in deltas]
    leaves, h = jax.tree.leaves(arrays), 1e-5

    def moved(n, step):
        probes = {key: (step * (n == i)) * way for i, (key, way) in enumerate(zip(keys, ways, strict=True))}
        return run(closed, leaves, probes, Run(jnp.add, frozenset()))[0][0]

    def differences(n):
        at = jax.lax.map(lambda k: moved(n, k * h), jnp.array([-2.0, -1.0, 1.0, 2.0]))
        return (at @ jnp.array([1.0, -8.0, 8.0, -1.0])) / (12 * h)

    found = jax.jit(lambda: jax.lax.map(differences, jnp.arange(len(keys))), compiler_options=FAST)()
    expected = [np.sum(d * way) for d, way in zip(deltas, ways, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


def test_the_library_s_nets_have_backprop_s_deltas(x64):
    net = jaxbp.chain(jaxbp.dense(3, 4), jaxbp.tanh, jaxbp.residual(jaxbp.dense(4, 4)), jaxbp.dense(4, 2))
    params, x, y = net.init(jax.random.key(0)), normal(1, 5, 3), jnp.arange(5) % 2
    seen = jaxbp.cotangents(lambda p, x, y: jaxbp.softmax_cross_entropy(net.apply(p, x), y))(params, x, y)
    bp = jaxbp.backprop(net, jaxbp.softmax_cross_entropy, params, x, y)
    for l in (1, 3):
        np.testing.assert_allclose(seen[f"a_{l}"], bp.deltas.a[l], rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(seen.values[f"a_{l}"], bp.trace.a[l], rtol=1e-12)


@pytest.mark.parametrize("case", [pytest.param(cnn, marks=pytest.mark.soak), rnn, nested_scans, sharded])
def test_reductions_are_those_of_the_whole_deltas(case, x64):
    f, params, *batch = case()
    whole = jaxbp.cotangents(f, "*")(params, *batch)
    kept = jaxbp.cotangents(f, "*", reduce=("norm", "max", "zeros"))(params, *batch)
    assert kept.values == {}
    for tap in whole.taps:
        delta = whole.deltas[tap.label]
        steps = tap.axes.count("step")
        if "device" not in tap.axes:
            delta = delta.reshape(*delta.shape[:steps], -1)
            norm, top, none = jnp.linalg.norm(delta, axis=-1), abs(delta).max(-1), (delta == 0).mean(-1)
        else:
            norm, top, none = jnp.linalg.norm(delta.ravel()), abs(delta).max(), (delta == 0).mean()
        found = kept.deltas[tap.label]
        for got, want in ((found["norm"], norm), (found["max"], top), (found["zeros"], none)):
            np.testing.assert_allclose(got, want, rtol=1e-6)


def test_reductions_keep_no_delta_and_trace_f_once():
    """Memory of the number of values, loops included; one trace, one program."""
    traces = []

    def f(w, x):
        traces.append(1)
        h, _ = jax.lax.scan(lambda h, x: (jnp.tanh(h @ w + x), None), jnp.zeros((64, 64)), x)
        return jnp.mean(h**2)

    w, x = jnp.eye(64), jnp.ones((50, 64, 64))
    plain = jax.jit(jax.value_and_grad(f)).lower(w, x).compile().memory_analysis()
    traces.clear()
    seen = jaxbp.cotangents(f, reduce=("norm", "max", "zeros"))
    for _ in range(3):
        seen(w, x)
    assert len(traces) == 1
    kept = jax.jit(lambda w, x: seen(w, x).deltas).lower(w, x).compile().memory_analysis()
    assert kept.temp_size_in_bytes <= 1.1 * plain.temp_size_in_bytes + 2**20
    assert kept.output_size_in_bytes < 4096
    whole = jax.jit(lambda w, x: jaxbp.cotangents(f)(w, x).deltas).lower(w, x).compile().memory_analysis()
    assert whole.output_size_in_bytes > 50 * 64 * 64 * 4


def test_branches_say_which_was_taken():
    f, w, x = branches()
    for sign, taken in ((1, "cos"), (-1, "exp")):
        seen = jaxbp.cotangents(f, ["*/cos", "*/exp*"])(w, sign * x)
        assert [name for name, yes in seen.taken.items() if yes] == [n for n in seen.taken if taken in n]
        for name, yes in seen.taken.items():
            assert (seen[name] != 0).any() == yes


def test_a_while_loop_is_unrolled_at_its_arguments(x64):
    def power(w):
        return jax.lax.while_loop(lambda c: c[1] < 5, lambda c: (jnp.sin(c[0] * w), c[1] + 1), (w, 0))[0]

    def five(w):
        y = w
        for _ in range(5):
            y = jnp.sin(y * w)
        return y

    seen = jaxbp.cotangents(power, "*")(jnp.float64(1.1))
    np.testing.assert_allclose(seen.gradients, jax.grad(five)(1.1), rtol=1e-13)
    assert {tap.shape for tap in seen.taps} == {(5,)}

    def nested(w, x):
        return jax.lax.scan(lambda h, x: (power(h + x), None), w, x)[0]

    with pytest.raises(ValueError, match="loops that can be unrolled, got a while loop within a loop"):
        jaxbp.cotangents(nested)(1.1, jnp.ones(2))
    with pytest.raises(ValueError, match="loops of known length, got a while loop under a transform"):
        jax.jit(jaxbp.cotangents(power))(1.1)


def test_a_counter_in_a_while_loop_does_no_harm():
    def f(w):
        n, _ = jax.lax.while_loop(lambda c: c[1] < 9.0, lambda c: (c[0] + 1, 2 * c[1]), (0, 1.0))
        return jnp.sin(w * n)

    assert jaxbp.cotangents(f, "*")(1.0).gradients == pytest.approx(float(4 * np.cos(4.0)))


def test_rules_are_one_operation_and_noted():
    @jax.custom_vjp
    def double(a):
        return jnp.sin(a) * 2

    double.defvjp(lambda a: (double(a), None), lambda _, delta: (7 * delta,))
    seen = jaxbp.cotangents(lambda w, x: double(x @ w).sum())(jnp.ones((2, 2)), jnp.ones((1, 2)))
    assert [tap.label for tap in seen.taps] == ["w a", "w/double f"]
    assert seen["w a"].tolist() == [[7, 7]]
    assert "2 operations inside have no delta: its rule gives the derivative of the whole" in seen.notes[0]


def test_name_names_and_does_nothing_else():
    def f(w):
        return jnp.sum(jaxbp.name(jnp.sin(w), "h1") * jaxbp.name(2 * w, "h1"))

    seen = jaxbp.cotangents(f, "h1*")(jnp.ones(2))
    assert list(seen.deltas) == ["h1", "h1#2"]
    value = jnp.arange(3.0)
    assert (jax.jit(lambda x: jaxbp.name(x, "x"))(value) == value).all()
    with pytest.raises(ValueError, match=r"name: expected a label without any of \[\]\*\?, got 'h\*'"):
        jaxbp.name(value, "h*")
    with pytest.raises(TypeError, match="name: expected label to be a str, got the int 3"):
        jaxbp.name(value, 3)


@pytest.mark.soak
def test_labels_are_those_of_the_last_run():
    f, params, *batch = transformer(2)
    first, second = (jaxbp.cotangents(f, "*", reduce="norm")(params, *batch) for _ in range(2))
    assert first.taps == second.taps


def test_it_composes_with_jit_and_vmap():
    f, params, x = rnn()
    seen = jaxbp.cotangents(f, "state")
    batch = jnp.stack([x, 2 * x])
    many = jax.jit(jax.vmap(seen, in_axes=(None, 0)))(params, batch)
    np.testing.assert_allclose(many["state [step]"][1], seen(params, 2 * x)["state [step]"], rtol=1e-5)


def test_bfloat16_values_have_float32_reductions():
    def f(w, x):
        return jnp.mean(jnp.tanh(x @ w).astype(jnp.float32) ** 2)

    args = jnp.ones((3, 2), jnp.bfloat16), jnp.ones((4, 3), jnp.bfloat16)
    assert jaxbp.cotangents(f)(*args)["w a"].dtype == jnp.bfloat16
    assert jaxbp.cotangents(f, reduce="norm")(*args)["w a"]["norm"].dtype == jnp.float32


BAD = [
    (
        lambda w: 2 * w,
        (jnp.ones(3),),
        "f to return one floating number, got float32 of shape (3,); a delta",
    ),
    (lambda w: (w.sum(), 1), (jnp.ones(3),), "f to return one number, got a tuple of 2; give f without"),
    (lambda w: w, (1.0,), "f to compute something, got no floating intermediate value"),
    (lambda w: w.sum(), (jnp.arange(3),), "parameters in w that are floating, got int32 at w; derivatives"),
    (lambda w: (w > 0).sum(), (jnp.ones(3),), "f to return one floating number, got int32 of shape ()"),
    (lambda w: w.sum(), ({"a": {}},), "floating arrays in argument 0 of f, got a dict of 1"),
]


@pytest.mark.parametrize(("f", "args", "words"), BAD)
def test_bad_use(f, args, words):
    with pytest.raises((TypeError, ValueError), match=re.escape(f"cotangents: expected {words}")):
        jaxbp.cotangents(f)(*args)


def test_bad_pattern_and_options():
    f, params, x = rnn()
    words = (
        r"a pattern that matches a label, got 'Dense\*'; there are W a \[step\], U a \[step\], .*'\*' is all"
    )
    with pytest.raises(ValueError, match=words):
        jaxbp.cotangents(f, "Dense*")(params, x)
    with pytest.raises(ValueError, match="reduce 'norm', 'max' or 'zeros', got 'norms'; did you mean"):
        jaxbp.cotangents(f, reduce="norms")
    with pytest.raises(TypeError, match="cotangents: expected f to be a function, got the int 3"):
        jaxbp.cotangents(3)
    with pytest.raises(ValueError, match="argnums"):
        jaxbp.cotangents(f, argnums=2)(params, x)


def test_several_arguments_are_parameters():
    def f(a, x, b):
        return (jnp.tanh(x @ a) @ b).sum()

    args = jnp.ones((2, 3)), jnp.ones((1, 2)), jnp.ones((3, 1))
    seen = jaxbp.cotangents(f, argnums=(0, 2))(*args)
    assert list(seen.deltas) == ["a a", "a/tanh f", "b a"]
    for got, want in zip(seen.gradients, jax.grad(f, (0, 2))(*args), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6)


def test_it_prints_a_table_with_places():
    seen = jaxbp.cotangents(*rnn()[:1], reduce="norm")(*rnn()[1:])
    lines = repr(seen).splitlines()
    assert lines[0].split() == ["delta", "of", "shape", "value", "where"]
    assert all("test_cotangents.py:" in line for line in lines[1:])
    assert seen._repr_html_().startswith("<table>")
    assert len(list(itertools.chain(seen.deltas))) == len(lines) - 1


@pytest.mark.parametrize("delta", [
    [3.0, -4.0, 0.0], [np.nan, 1.0, 0.0], [-np.inf, 1.0, 2.0], [-0.0, 0.0, 0.0], [1e-30, -3e38, 0.0], [],
])  # fmt: skip
def test_reductions_in_one_pass_are_those_of_numpy(delta):
    """However they are computed: NaN stays, signs do not count, -0 is 0."""
    delta = np.array(delta, np.float32)
    with np.errstate(all="ignore"):
        squares, top = np.square(delta).sum(), np.max(np.abs(delta), initial=0)
    found = jax.jit(reduced, static_argnums=0)(("max", "zeros", "norm"), jnp.asarray(delta))
    share = (delta != 0).sum() / max(delta.size, 1)
    np.testing.assert_array_equal(found, np.array([top, share, squares], np.float32))


def test_reductions_are_one_operation():
    """Several would be a loop over the delta each, in every step of a scan."""
    jaxpr = jax.make_jaxpr(lambda d: reduced(("norm", "max", "zeros"), d))(jnp.ones((4, 5)))
    names = [eqn.primitive.name for eqn in jaxpr.jaxpr.eqns]
    assert sum(name.startswith(("reduce", "dot_general")) for name in names) == 1
