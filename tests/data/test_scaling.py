"""A fitted scaler of scikit-learn is what scales a run's x: in programs, on the host, and in a folder."""

import jax
import numpy as np
import optax
import pandas as pd
import pytest
from sklearn import preprocessing
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline

import jaxbp
from jaxbp.data import Scaling
from jaxbp.data.scaling import for_programs, scaling_of

RNG = np.random.default_rng(0)
X = RNG.normal(1000, [1e-3, 1, 50, 0], (40, 4))  # the last one is constant
AFFINE = {
    "standard": preprocessing.StandardScaler(),
    "no mean": preprocessing.StandardScaler(with_mean=False),
    "no deviation": preprocessing.StandardScaler(with_std=False),
    "min max": preprocessing.MinMaxScaler(),
    "another range": preprocessing.MinMaxScaler((-3, 1)),
    "greatest": preprocessing.MaxAbsScaler(),
    "robust": preprocessing.RobustScaler(),
    "one after another": make_pipeline(preprocessing.StandardScaler(), preprocessing.MinMaxScaler()),
    "a frame": preprocessing.StandardScaler().set_output(transform="pandas"),
}


@pytest.mark.parametrize("name", AFFINE)
def test_a_fitted_scaler_is_its_shift_and_scale(name):
    data = pd.DataFrame(X, columns=[*"abcd"]) if name == "a frame" else X
    scaler = AFFINE[name].fit(data)
    wanted, scaling = np.asarray(scaler.transform(data)), scaling_of("fit", scaler)
    spread = X.std(axis=0).clip(1e-3)
    np.testing.assert_allclose(scaling(X), wanted, rtol=1e-9, atol=(1e-12 * 1000 / spread).max())
    if name in ("standard", "a frame"):
        np.testing.assert_array_equal(scaling.shift, scaler.mean_)
        np.testing.assert_array_equal(scaling.scale, scaler.scale_)


OTHERS = {
    "that turns": PCA(4),
    "that turns and scales": PCA(4, whiten=True),
    "that stops at its ends": preprocessing.MinMaxScaler(clip=True),
    "of examples": preprocessing.Normalizer(),
    "that bends": preprocessing.PowerTransformer(),
    "of ranks": preprocessing.QuantileTransformer(n_quantiles=9),
    "of categories": preprocessing.OneHotEncoder(),
    "of a function": preprocessing.FunctionTransformer(np.log1p, np.expm1),
}


@pytest.mark.parametrize("where", ["fit", "Trained"])
@pytest.mark.parametrize("name", OTHERS)
def test_a_transformer_that_does_something_else_is_refused(name, where):
    transformer = OTHERS[name].fit(X)
    with pytest.raises(ValueError, match=f"{where}: expected preprocess to shift and scale .+, got .+; give"):
        scaling_of(where, transformer)


def test_one_that_is_not_fitted_is_refused_before_anything_is_computed():
    net = jaxbp.mlp([4, 2])
    params, loss = net.init(jax.random.key(0)), jaxbp.softmax_cross_entropy
    data, bare = (X, np.arange(40) % 2), preprocessing.StandardScaler()
    options = {"optimizer": optax.sgd(0.1), "key": jax.random.key(1), "progress_bar": False}
    with pytest.raises(ValueError, match="fit: expected a fitted preprocess, got a StandardScaler; call its"):
        jaxbp.fit(jaxbp.value_and_grad(net, loss), params, data, preprocess=bare, **options)
    with pytest.raises(ValueError, match="Trained: expected a fitted preprocess"):
        jaxbp.Trained(net, params, loss, preprocess=bare)
    for pipeline in (make_pipeline(bare), make_pipeline(preprocessing.MinMaxScaler(), bare)):
        with pytest.raises(ValueError, match="fit: expected a fitted preprocess"):
            scaling_of("fit", pipeline)
    narrow = preprocessing.StandardScaler().fit(X[:, :3])
    with pytest.raises(ValueError, match=r"expected examples of shape \(3,\), .+ got .+ of shape \(4,\)"):
        jaxbp.fit(jaxbp.value_and_grad(net, loss), params, data, preprocess=narrow, **options)


def test_a_run_on_raw_numbers_is_that_on_scaled_ones(tmp_path):
    x, y = X.astype(np.float32), (X[:, 2] > 1000).astype(int)
    scaler = preprocessing.StandardScaler().fit(x)
    net = jaxbp.mlp([4, 2])
    params, grad_fn = net.init(jax.random.key(0)), jaxbp.value_and_grad(net, jaxbp.softmax_cross_entropy)

    def fit(x, **options):
        options |= {"optimizer": optax.adam(0.1), "key": jax.random.key(1), "progress_bar": False}
        return jaxbp.fit(grad_fn, params, (x, y), epochs=8, **options)

    raw, scaled = fit(x, preprocess=scaler), fit(scaler.transform(x))
    np.testing.assert_allclose(raw.history["loss"], scaled.history["loss"], rtol=1e-4)
    run = jaxbp.Trained(net, raw.params, jaxbp.softmax_cross_entropy, preprocess=scaler)
    assert run.evaluate(x, y).metrics["accuracy"] > 0.9
    jaxbp.save_run(tmp_path / "run", run)
    again = jaxbp.load_run(tmp_path / "run")
    assert type(again.preprocess) is Scaling
    np.testing.assert_array_equal(again.predict_proba(x), run.predict_proba(x))
    on = fit(x, preprocess=again.preprocess)  # what was kept trains on
    np.testing.assert_array_equal(on.history["loss"], raw.history["loss"])
    swept = jaxbp.sweep(
        grad_fn, net.init, (x, y), optimizer=optax.adam, hyperparameters={"learning_rate": [0.1]}, seeds=2,
        key=jax.random.key(1), epochs=2, preprocess=scaler, progress_bar=False,
    )  # fmt: skip
    assert swept.history["loss"][:, -1].max() < 2


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float16, np.float32])
def test_it_scales_in_programs_as_on_the_host(dtype):
    x = np.array([[0, 5], [16, 7]], dtype)
    scaling = Scaling(np.array([8.0, 6.0]), np.array([4.0, 0.5]))
    host, program = scaling(x), jax.jit(for_programs("fit", scaling))(x)
    assert host.dtype == program.dtype == (np.float16 if dtype is np.float16 else np.float32)
    assert host.tolist() == program.tolist() == [[-2, -2], [2, 2]]


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_it_loses_no_imaginary_part(dtype):
    with pytest.raises(TypeError, match="scaling: expected real numbers, got complex"):
        Scaling(np.zeros(2), np.ones(2))(np.ones((3, 2), dtype))
