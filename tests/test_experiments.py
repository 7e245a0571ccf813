"""Every experiment runs, on a small configuration, and writes what it found."""

import importlib
import json
import os
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import jaxbp

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("JAXBP_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture
def experiment(tmp_path):
    """Runs one with a small Config; gives its result, which the file holds too."""

    def run(name, **small):
        module = importlib.import_module(f"experiments.{name}")
        result = module.main(module.Config(out=tmp_path, **small))
        written = json.loads((tmp_path / "result.json").read_text())
        assert set(written) == {"config", "versions", "device", "result"}
        assert set(written["result"]) == set(result)
        return result

    return run


def has_figure(folder):
    pytest.importorskip("matplotlib")
    return (folder / "figure.png").stat().st_size > 1000


@pytest.mark.parametrize("y", [0.0, 1.0])
def test_exercise(experiment, tmp_path, capsys, y):
    result = experiment("01_exercise_direct_and_matrix", y=y, b2=0.4)
    assert result["largest_difference"] < 1e-15
    assert result["difference_to_jax_grad"] < 1e-15
    assert result["after"]["loss_value"] < result["loss_value"]
    assert "delta_mu · mu (1 - mu)" in capsys.readouterr().out
    assert has_figure(tmp_path)


def test_the_exercise_prints_what_its_first_lines_promise(experiment):
    result = experiment("01_exercise_direct_and_matrix")
    shown = [result["mu"][0], result["loss_value"], result["after"]["mu"][0], result["after"]["loss_value"]]
    text = " ".join(importlib.import_module("experiments.01_exercise_direct_and_matrix").__doc__.split())
    mu, loss, new_mu, new_loss = (f"{value:.6f}" for value in shown)
    assert f"mu = {mu} and loss {loss}, after the update mu = {new_mu} and loss {new_loss}" in text
    assert result["largest_difference"] <= 5.6e-17


@pytest.mark.soak
def test_units(experiment, tmp_path):
    result = experiment("02_units", points=60, epochs=50, mini_batch=10)
    for row in result["perceptron"].values():
        assert row["converged"]
        assert row["mistakes"] <= row["bound"]
    assert not result["xor"]["converged"]
    assert "not linearly separable" in result["xor"]["verdict"]
    assert result["linear_unit"]["batch"]["E_last"] < 1.01 * result["linear_unit"]["batch"]["E_least_squares"]
    assert result["linear_unit"]["beyond the bound"]["diverged"]
    assert has_figure(tmp_path)


@pytest.mark.soak
def test_activations(experiment, tmp_path):
    result = experiment("03_activations", points=101)
    assert all(row["difference_to_jax_grad"] < 1e-14 for row in result.values())
    assert result["sigmoid"]["greatest_slope"] == 0.25
    assert result["relu"]["slope_at_0"] == 0
    assert has_figure(tmp_path)


def test_forward_3_5_5_4(experiment, tmp_path):
    result = experiment("04_forward_3_5_5_4", seed=3)
    assert result["largest_difference_of_errors"] < 1e-15
    assert result["largest_difference_of_updates"] < 1e-15
    assert result["loss_after"] < result["loss"]
    assert result["parameters"] == 3 * 5 + 5 * 5 + 5 * 4
    assert result["parameters_4_4_1"] == 4 * 4 + 4 + 1
    assert has_figure(tmp_path)


@pytest.mark.soak
def test_why_deep_learning(experiment, tmp_path):
    pytest.importorskip("sklearn")
    result = experiment("05_why_deep_learning", hidden=(16,), code=4, epochs=8, seeds=1)
    median = {name: row["median"] for name, row in result["summary"].items()}
    assert median["linear on pixels"] > median["linear on features by hand"] > 0.7
    assert 0 < median["variance lost by PCA"] < 1
    assert has_figure(tmp_path)


@pytest.mark.soak
@pytest.mark.skipif(not (DATA / "mnist").is_dir(), reason="needs MNIST's files: set JAXBP_DATA")
def test_nielsen(experiment, tmp_path):
    result = experiment("06_nielsen", data_dir=DATA, train_size=5_000, epochs=2, seeds=1)
    assert result["median"] > 0.5
    assert has_figure(tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize("data", ["digits", "mnist"])
def test_delta_x(experiment, tmp_path, data):
    """An attack misleads more than random signs of its size do, and less after adversarial training."""
    small = {"hidden": (16,), "epochs": 8, "steps": 20, "seeds": 1}
    if data == "mnist":
        if not (DATA / "mnist").is_dir():
            pytest.skip("needs MNIST's files: set JAXBP_DATA")
        small |= {"data_dir": DATA / "mnist", "epochs": 1, "batch_size": 500}
    else:
        pytest.importorskip("sklearn")
    result = experiment("10_delta_x", **small)["summary"]
    readable = result.pop("network, trained in an L2 ball")
    assert readable["made"]["error"] == 0
    for ways in result.values():
        assert ways["clean"]["error"] < ways["random signs"]["error"] < ways["FGSM"]["error"]
    hard, plain = result["network, adversarial training"], result["network"]
    assert hard["FGSM"]["error"] < plain["FGSM"]["error"]
    assert has_figure(tmp_path)


@pytest.mark.soak
@pytest.mark.skipif(not (DATA / "mnist").is_dir(), reason="needs MNIST's files: set JAXBP_DATA")
def test_lenet(experiment, tmp_path):
    small = {"train_size": 2_000, "test_size": 500, "epochs": 2, "seeds": 1}
    assert experiment("08_lenet", data_dir=DATA, **small)["median"] < 0.3
    assert has_figure(tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize("net", ["gpt", "lstm"])
def test_char_language(experiment, tmp_path, net):
    small = {"d": 16, "layers": 1, "heads": 2, "length": 16, "iterations": 60, "seeds": 1, "sample": 20}
    result = experiment("09_char_language", corpus="python", net=net, **small)
    assert result["validation loss, median"] < 4.5
    assert len(result["written"]) == 20
    assert has_figure(tmp_path)


def test_the_recipe_of_mnist_1d_makes_its_published_file():
    """The numbers are those of mnist1d_data.pkl in its authors' repository, its test set last."""
    x, y = importlib.import_module("experiments.11_mnist_1d").series()
    begin = [-0.3320056673693902, -0.4719103656557236, -0.778697076293495, -1.0097408265367047]
    assert x.shape == (5_000, 40)
    assert y[:8].tolist() == [2, 6, 4, 5, 6, 6, 6, 0]
    assert x[0, :4] == pytest.approx(begin, abs=1e-14)
    assert x[-1, -3:] == pytest.approx([0.6598756470890784, 0.8777343497528006, 1.193151836835276], abs=1e-14)
    assert (x[:4_000] ** 3).sum() == pytest.approx(-10432.009923091371, rel=1e-12)


@pytest.mark.soak
def test_a_layer_read_both_ways_has_the_right_deltas(x64):
    """The layer that the library does not have is verified like those that it has."""
    both_ways = importlib.import_module("experiments.11_mnist_1d").both_ways
    net = jaxbp.chain(both_ways(jaxbp.gru(1, 2)), jaxbp.flatten(3, 4), jaxbp.dense(12, 2))
    params = net.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (2, 3, 1))
    assert jaxbp.check_network(net, jaxbp.softmax_cross_entropy, params, x, jnp.array([0, 1])).ok
    # The last place is the first that the second direction reads: it has seen no other.
    there = net.parts[0].apply(params[1], x)
    elsewhere = net.parts[0].apply(params[1], x.at[:, :2].add(1.0))
    same = jnp.all(there == elsewhere, (0, 2)).tolist(), jnp.all(there == elsewhere, 0)[-1].tolist()
    assert same == ([False, False, False], [False, False, True, True])


@pytest.mark.soak
def test_mnist_1d(experiment, tmp_path):
    result = experiment("11_mnist_1d", iterations=400, seeds=1)
    assert all(row["median"] > 25 for row in result.values())
    assert result["CNN"]["median"] > result["MLP"]["median"] > result["logistic"]["median"]
    assert has_figure(tmp_path)


@pytest.mark.soak
def test_the_deltas_of_a_deep_network_are_those_of_autodiff():
    module = importlib.import_module("experiments.12_depth")
    block, loss = module.normed_and_skipped(3), jaxbp.softmax_cross_entropy
    net = module.network(block, 2, 3)
    x, y = jax.random.normal(jax.random.key(0), (4, 64)), jnp.arange(4)
    found = module.begun(block, net, x, y, jax.random.key(1))
    params = net.init(jax.random.key(1))
    of = [jax.tree.map(lambda leaf, i=i: leaf[i], params[2]) for i in range(2)]

    def after(f, blocks):
        for p in blocks:
            f = block.apply(p, f)
        return loss(net.parts[2].apply(params[3], f), y)

    f = net.parts[0].apply(params[1], x)
    levels = [(f, of), (block.apply(of[0], f), of[1:]), (block.apply(of[1], block.apply(of[0], f)), [])]
    expected = [float(jnp.linalg.norm(jax.grad(after)(*level))) for level in levels]
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.soak
def test_depth(experiment, tmp_path):
    pytest.importorskip("sklearn")
    kinds = ("sigmoid, Glorot", "relu, He, layer norm, skip")
    result = experiment("12_depth", blocks=kinds, depths=(2, 16), iterations=100, seeds=1)
    gone, kept = (row["deltas"][16][0] / row["deltas"][16][-1] for row in result.values())
    assert gone < 1e-8
    assert 0.1 < kept < 1e3
    assert (result[kinds[0]]["deepest"], result[kinds[1]]["deepest"]) == (0, 16)
    assert has_figure(tmp_path)


@pytest.mark.soak
def test_image_layers(experiment, tmp_path):
    result = experiment("98_image_layers", batch=4, rounds=1, seconds=0.01)
    assert result["LeNet-5, a step"]["against autodiff"]["memory"] < 1
    assert result["depthwise2d(64, 3)"]["against a convolution of groups"]["speed"] > 0
    assert has_figure(tmp_path)


@pytest.mark.soak
def test_sequence_layers(experiment, tmp_path):
    result = experiment("99_sequence_layers", rounds=1, scale=0.125)
    assert (
        result["24 blocks"]["by hand, from inputs"]["memory"] < result["24 blocks"]["by hand"]["memory"] < 1
    )
    assert has_figure(tmp_path)


def test_four_steps(experiment, tmp_path):
    result = experiment("07_four_steps", y=2, seed=1)
    assert result["largest_difference"] < 1e-14
    assert result["J"].shape == (3, 3)
    assert has_figure(tmp_path)


@pytest.mark.parametrize("optimizer", ["sgd", pytest.param("adam", marks=pytest.mark.soak)])
def test_training_benchmark(experiment, tmp_path, optimizer):
    """All do the same work: from the same start and on the same data they reach the same loss."""
    frameworks = ("jaxbp.fit", "raw JAX", "NumPy", "torch eager")
    small = {"configs": ("b",), "optimizers": (optimizer,), "scale": 8, "rounds": 2, "seconds": 0.01}
    result = experiment("90_training_benchmark", frameworks=frameworks, **small)
    rows = result[f"b, {optimizer}"]["rows"]
    # One that is not installed is left out.
    assert set(rows) - {"torch eager"} == {"jaxbp.fit", "jaxbp.fit, its epochs", "raw JAX", "NumPy"}
    assert rows["jaxbp.fit"]["ratio"]["rounds"] == [1, 1]
    assert rows["raw JAX"]["loss"] == pytest.approx(rows["NumPy"]["loss"], rel=1e-4)
    assert rows["jaxbp.fit"]["loss"] == pytest.approx(rows["NumPy"]["loss"], rel=0.1)
    assert rows["NumPy"]["loss"] < 2.0
    assert has_figure(tmp_path)


@pytest.mark.parametrize(
    "net", [pytest.param(net, marks=pytest.mark.soak) for net in ("LeNet", "GPT", "LSTM")]
)
def test_frameworks_of_layers_do_the_same_work(net):
    """From our parameters, in the layout of each, autodiff of another library has the same losses."""
    pytest.importorskip("flax")
    pytest.importorskip("equinox")
    from experiments.peers import with_jax, with_layers, worker

    job = importlib.import_module("experiments.90_training_benchmark").job_of(net, "adam", 16)
    modules = {"with_jax": with_jax, "with_layers": with_layers}
    losses = {}
    for name, (module, function) in worker.LAYERED.items():
        train = getattr(modules[module], function)(job, *job.data())
        losses[name] = [train(1)["loss"], train(1)["loss"]]
    ours = losses.pop("jaxbp.fit")
    assert ours == pytest.approx(losses["raw JAX"], rel=0.2)  # it draws another order
    assert all(of == pytest.approx(losses["raw JAX"], rel=1e-4) for of in losses.values())
    assert ours[1] < ours[0]


@pytest.mark.soak
def test_training_scaling(experiment, tmp_path):
    result = experiment("91_training_scaling", only="nets", nets=(2,), rounds=1, seconds=0.01)
    assert set(result["nets"]) == {"jaxbp.sweep", "jaxbp.sweep, own orders", "jaxbp.fit"}
    assert result["nets"]["jaxbp.fit"][2]["seconds_per_epoch"]["median"] > 0
    assert has_figure(tmp_path)


def test_training_profile(experiment, tmp_path):
    spent = experiment("95_training_profile", configs=("b",), scale=8)["b"]["spent"]
    products = ("a_1 = f W^T", "a_2 = f W^T", "delta_W_1, delta_f_0", "delta_W_2, delta_f_1")
    assert {f"{what}: products" for what in products} | {"update", "loss"} <= set(spent)
    assert has_figure(tmp_path)


def test_training_memory(experiment, tmp_path):
    result = experiment("92_training_memory", width=64, depth=4, batch=128, activations=("relu", "gelu"))
    for row in result.values():
        assert row["ratio of MiB"] <= 1
        assert row["ratio of MFLOP"] <= 1
    assert has_figure(tmp_path)


@pytest.mark.soak
def test_precision(experiment, tmp_path):
    result = experiment("94_precision", width=32, depths=(2,), batch=16, seeds=1, epochs=4)
    assert result["float32"]["error"][2] < 1e-5
    assert 1e-4 < result["bfloat16, mixed"]["error"][2] < 0.1
    assert result["bfloat16, mixed"]["accuracy"][0] > 0.9
    assert has_figure(tmp_path)


@pytest.mark.soak
def test_streaming(experiment, tmp_path):
    result = experiment("93_streaming", only="64-128-10", scale=0.1, epochs=1, pairs=1)
    row = result["64-128-10 / 32"]
    assert row["data_MiB"] == pytest.approx(10 * row["budget_MiB"], rel=1e-3)
    assert row["streamed"]["median"] > 0
    assert has_figure(tmp_path)


@pytest.mark.soak
def test_many_processes_of_one(experiment, tmp_path):
    result = experiment("40_many_processes", epochs=10)
    assert (result["processes"], result["devices"]) == (1, 4)
    assert result["test_accuracy"] > 0.95
    assert has_figure(tmp_path)


@pytest.mark.soak
def test_check_cost(experiment):
    pytest.importorskip("flax")
    result = experiment("22_check_cost", inputs=100, blocks=1, calls=1, wrong_calls=1)
    assert all(row["first"] > 0 and len(row["further"]) == 1 for row in result.values())


@pytest.mark.soak
def test_cost_of_a_wrong_rule(experiment, tmp_path):
    """That it is wrong is asserted in the experiment; how much it costs, only an idle machine says."""
    result = experiment("22_check_cost", inputs=100, wrong_calls=1, only=("a sign", "not linear"))
    assert set(result) == {"a sign", "not linear"}
    assert all(row["times_a_right_one"] > 0 for row in result.values())
    assert has_figure(tmp_path)


def test_faults_in_jax(experiment):
    """The checker says wrong where, and only where, the closed form says it, of whatever release."""
    result = experiment("23_faults_in_jax", only=("logaddexp", "xlogy"))
    assert set(result) == {"logaddexp", "xlogy"}
    for row in result.values():
        assert (row["verdict"] == "wrong") == row["is_wrong"]
        assert bool(row["cause"]) == row["is_wrong"]


@pytest.mark.soak
def test_tables(experiment, tmp_path):
    pytest.importorskip("tyro")
    pytest.importorskip("sklearn")
    result = experiment("97_tables", sets=("iris",), seeds=1)
    assert set(result["iris"]) == {"jaxbp", "scikit_learn"}
    assert min(*result["iris"]["jaxbp"], *result["iris"]["scikit_learn"]) > 80
    assert has_figure(tmp_path)


@pytest.mark.soak
def test_public_benchmarks(experiment, tmp_path):
    programs = ("34311586", "48934338", "blobs dying 0", "blobs healthy 0")
    result = experiment("51_public_benchmarks", only=programs, each=1)
    questions, families = result["DeepLocalize"], result["AutoTrainer"]
    assert questions["34311586"]["found"] == ["size_one"]
    assert questions["48934338"]["words"] == ()
    assert families["blobs dying 0"]["named"]
    assert families["blobs healthy 0"]["found"] == []
    assert has_figure(tmp_path)


@pytest.mark.soak
def test_page_opening(experiment, tmp_path):
    """In how many milliseconds, only an idle machine says; every page is of the size that is promised."""
    pytest.importorskip("playwright")
    chromium = next(filter(shutil.which, ("chromium", "chromium-browser", "google-chrome")), None)
    if chromium is None:
        pytest.skip("no Chromium at hand")
    result = experiment("52_page_opening", times=1, only="3-5-5-4", chromium=chromium)
    row = result["explain, 3-5-5-4"]
    assert row["kB"] <= 500
    assert row["seen"]["median"] > 0
    assert row["open"]["median"] > 0
    assert row["CPU time"]["median"] > 0
    assert row["edit"]["median"] > 0
    assert has_figure(tmp_path)


@pytest.mark.soak
def test_observe_cost(experiment, tmp_path):
    small = {"only": ("recurrence",), "steps": 8, "batch": 8, "width": 16, "blocks": 1}
    result = experiment("50_observe_cost", rounds=2, seconds=0.001, compiles=1, **small)
    norms = result["recurrence"]["norms"]
    assert norms["cpu"]["median"] > 0
    assert norms["output"] < 4096
    assert norms["temporary"][0] <= 1.1 * norms["temporary"][1] + 2**20
    assert has_figure(tmp_path)
