"""A run in a folder: read in another process bit for bit, or refused in words; nothing in it is run."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

import jaxbp
from jaxbp import Trained, load_run, recipes, save_run
from jaxbp.data import Schema, load
from tests.cases import NETS

CE, SE = jaxbp.softmax_cross_entropy, jaxbp.squared_error
NET = NETS["with dropout"][0]
X = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
OTHER_PROCESS = """
import sys, numpy, jaxbp
run = jaxbp.load_run(sys.argv[1])
numpy.savez(sys.argv[3], predicted=run.predict(sys.argv[2]), p=run.predict_proba(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def run():
    return Trained(
        NET,
        NET.init(jax.random.key(5)),
        CE,
        classes=("a", "b", "ü"),
        preprocess=StandardScaler().fit(X.astype(float) / 3),
        metrics={
            "loss": np.float32(0.1),
            "bad": float("nan"),
            "columns": np.arange(2),
            "stopped": "finished",
        },
        settings={"epochs": 3, "layers": (4, 8), "out": Path("runs")},
    )


@pytest.fixture
def folder(run, tmp_path):
    save_run(tmp_path / "a" / "run", run)
    return tmp_path / "a" / "run"


def refused(folder, *words, error=(ValueError, OSError)):
    with pytest.raises(error, match=r"expected .+, got .+") as caught:
        load_run(folder)
    for word in words:
        assert word in str(caught.value), str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_process_predicts_the_same_bits(run, folder, tmp_path):
    np.save(tmp_path / "x.npy", X)
    env = os.environ | {"PYTHONPATH": str(Path(jaxbp.__file__).parents[1])}
    args = [sys.executable, "-c", OTHER_PROCESS, folder, tmp_path / "x.npy", tmp_path / "out.npz"]
    subprocess.run(args, env=env, check=True)
    found = np.load(tmp_path / "out.npz")
    np.testing.assert_array_equal(found["predicted"], run.predict(X), strict=True)
    np.testing.assert_array_equal(found["p"], run.predict_proba(X), strict=True)


def test_all_of_a_run_comes_back(run, folder):
    again = load_run(str(folder))
    assert (again.classes, again.shape, repr(again.network)) == (run.classes, run.shape, repr(run.network))
    assert again.loss is not None
    assert again.metrics == {
        "loss": float(np.float32(0.1)),
        "bad": None,
        "columns": [0, 1],
        "stopped": "finished",
    }
    assert again.settings == {"epochs": 3, "layers": [4, 8], "out": "runs"}
    assert again.environment == json.loads(json.dumps(run.environment))
    assert jax.tree.all(jax.tree.map(np.array_equal, again.params, run.params))
    for one, other in zip(again.preprocess, run.preprocess, strict=True):
        np.testing.assert_array_equal(one, other, strict=True)
    save_run(folder, again)  # over itself
    np.testing.assert_array_equal(load_run(folder).predict_proba(X), run.predict_proba(X))
    assert sorted(f.name for f in folder.iterdir()) == ["params.npz", "run.json"]


def test_the_parameters_are_a_file_that_restore_reads(run, folder):
    again = jaxbp.train.restore(folder / "params.npz", run.params)
    assert jax.tree.all(jax.tree.map(np.array_equal, again, run.params))


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("nested residual", "bfloat16"),
        ("images", "float32"),
        ("no parameters", "float32"),
        ("bare layer", "float16"),
    ],
)
def test_every_kind_of_network_comes_back(name, dtype, tmp_path, key):
    net, shape = NETS[name]
    params = jax.tree.map(lambda p: p.astype(dtype), net.init(key))
    before = Trained(net, params, SE, shape=shape)
    save_run(tmp_path, before)
    after = load_run(tmp_path)
    assert jax.tree.map(lambda p: p.dtype, after.params) == jax.tree.map(lambda p: p.dtype, params)
    x = np.ones((3, *shape), np.float32)
    np.testing.assert_array_equal(after.predict(x), before.predict(x))


def test_float64_parameters_need_float64(tmp_path, key):
    net = jaxbp.mlp([4, 3])
    with jax.enable_x64(True):
        before = Trained(net, net.init(key), CE)
        save_run(tmp_path, before)
        assert load_run(tmp_path).params[1]["W"].dtype == np.float64
        np.testing.assert_array_equal(load_run(tmp_path).predict_proba(X), before.predict_proba(X))
    refused(tmp_path, "jax_enable_x64", "float64")


@pytest.mark.parametrize(
    "loss",
    [CE, SE, SE.sum, jaxbp.binary_cross_entropy, jaxbp.make_softmax_cross_entropy(0.1).sum],
    ids=repr,
)
def test_the_loss_comes_back(loss, tmp_path, key):
    save_run(tmp_path, Trained(NET, NET.init(key), loss))
    assert repr(load_run(tmp_path).loss) == repr(loss)


@pytest.fixture
def table():
    """A name of this test's own, which is forgotten after it."""
    names = set(recipes.table.TABLE)
    yield
    for name in set(recipes.table.TABLE) - names:
        entry = recipes.table.TABLE.pop(name)
        recipes.table.NAMES.pop(id(entry.given), None)
        recipes.table.NAMES.pop(id(entry.used), None)


def test_what_is_the_user_s_own_is_named_and_then_kept(table, tmp_path, key):
    softsign = jaxbp.elementwise(
        "softsign", lambda a: a / (1 + abs(a)), lambda f: (1 - abs(f)) ** 2, saves="output"
    )
    halved = lambda x: x / 2  # noqa: E731
    net = jaxbp.chain(jaxbp.dense(4, 3), softsign)
    own = Trained(net, net.init(key), CE, preprocess=halved)
    with pytest.raises(ValueError, match=r"softsign, parts\[1\]; jaxbp.register\('softsign', it\)"):
        save_run(tmp_path / "run", own)
    jaxbp.register("softsign", softsign)
    with pytest.raises(ValueError, match=r"preprocess: expected only .+ registered, got a lambda"):
        save_run(tmp_path / "run", own)
    assert not (tmp_path / "run").exists()  # refused before anything is written
    halved = jaxbp.register("halved", halved)
    save_run(tmp_path / "run", own)
    np.testing.assert_array_equal(load_run(tmp_path / "run").predict_proba(X), own.predict_proba(X))
    entry = recipes.table.TABLE.pop("softsign")
    refused(tmp_path / "run", "'softsign'", "jaxbp.register")
    recipes.table.TABLE["softsign"] = entry


def test_what_json_does_not_hold_is_refused_before_it_is_written(run, tmp_path):
    for settings in ({"a": object()}, {"a": {1: 2}}, {"a": [1j]}):
        with pytest.raises(TypeError, match=r"save_run: expected settings\.a"):
            save_run(tmp_path / "run", Trained(NET, run.params, CE, settings=settings))
    assert not (tmp_path / "run").exists()
    with pytest.raises(TypeError, match="run to be a Trained"):
        save_run(tmp_path / "run", run.params)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="save_run: expected to write"):
        save_run(tmp_path / "file", run)


def test_what_is_no_run_says_what_it_is(run, folder, tmp_path):
    refused(tmp_path / "nowhere", "not there")
    refused(folder / "run.json", "give its folder")
    refused(folder.parent, "runs in it", "run")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "run.json")
    checkpoints = jaxbp.Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(1, run.params, {"config": {}}, 0.1)
    refused(tmp_path / "checkpoints", "checkpoints; save_run")
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "config.json").write_text("{}")
    refused(tmp_path / "begun", "jaxbp train --resume")
    for bad in (None, 3, b"run", ""):
        with pytest.raises((TypeError, ValueError), match="load_run: expected"):
            load_run(bad)


def edited(folder, **changes):
    """run.json with other entries, and the digest of them."""
    said = json.loads((folder / "run.json").read_text()) | changes
    said.pop("sha256")
    said = {key: value for key, value in said.items() if value is not ...}
    said["sha256"] = jaxbp.runs.folder._digest(said)
    (folder / "run.json").write_text(json.dumps(said))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 2}, ["update jaxbp"]),
        ({"format": "1"}, ["format 1"]),
        ({"format": ...}, ["format"]),
        ({"network": ...}, ["others: network"]),
        ({"more": 1}, ["others: more"]),
        ({"network": []}, ["network as save_run wrote it"]),
        ({"network": {"format": 3}}, ["update jaxbp"]),
        ({"network": {"format": 1, "make": "transformer", "with": {}}}, ["'transformer'", "jaxbp.register"]),
        ({"network": {"format": 1, "make": "os.system", "with": {"command": "true"}}}, ["os.system"]),
        ({"network": jaxbp.mlp([5, 3]).to_dict()}, ["[2]['W']"]),
        ({"network": jaxbp.mlp([4, 8, 4]).to_dict()}, ["[2]['W']"]),
        ({"loss": jaxbp.relu.to_dict()}, ["Loss"]),
        ({"classes": ["a", "b"]}, ["3 classes"]),
        ({"classes": [1.5, 2.5, 3.5]}, ["classes"]),
        ({"shape": [5]}, ["last axis 4"]),
        ({"shape": [-4]}, ["shape[0]"]),
        ({"preprocess": {"format": 1, "make": "scaling", "with": {"shift": 1}}}, ["scale of scaling"]),
        ({"preprocess": {"format": 1, "make": "pixels", "with": {"most": 0}}}, ["most"]),
        ({"preprocess": CE and {"format": 1, "make": "softmax_cross_entropy", "with": {}}}, ["preprocess"]),
        ({"schema": {"format": 1, "columns": []}}, ["Schema.to_dict"]),
        ({"params": "0" * 64}, ["another run"]),
        ({"metrics": None}, ["metrics"]),
    ],
    ids=lambda value: "-".join(value)[:30] if isinstance(value, dict) else None,
)
def test_a_crafted_description_is_refused_in_words(folder, changes, words):
    edited(folder, **changes)
    refused(folder, *words, error=(ValueError, TypeError))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: text.replace("0.5", "0.6", 1),
        lambda text: text.replace('"a"', '"b"', 1),
        lambda text: text.replace("{", '{"format": 1,', 1),
        lambda text: text.replace('"epochs": 3', '"epochs": NaN', 1),
        lambda text: "[" * 100_000,
        lambda text: text.encode("utf-16"),
        lambda text: pickle.dumps(print),
    ],
)
def test_a_damaged_run_json_is_refused_in_words(folder, spoil):
    text = (folder / "run.json").read_text(encoding="utf-8")
    bad = spoil(text)
    assert bad != text
    (folder / "run.json").write_bytes(bad if isinstance(bad, bytes) else bad.encode())
    refused(folder, "run.json", error=ValueError)


def test_damaged_parameters_are_refused_in_words(run, folder, tmp_path, key):
    file = folder / "params.npz"
    whole = file.read_bytes()
    for at in range(0, len(whole), 97):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            again = load_run(folder)
        except (ValueError, OSError) as error:
            assert "expected" in str(error)  # noqa: PT017
        else:  # a bit that no reader looks at
            np.testing.assert_array_equal(again.predict_proba(X), run.predict_proba(X))
    file.write_bytes(whole[:-40])
    refused(folder, "params.npz")
    file.unlink()
    refused(folder, "params.npz")
    save_run(tmp_path / "other", Trained(NET, NET.init(key), CE))
    file.write_bytes((tmp_path / "other" / "params.npz").read_bytes())
    refused(folder, "it is of another run")
    np.savez(file, **{"[1]['W']": np.array([print], object)})
    refused(folder, "params.npz")


TABLE = "age;city;income;bought\n" + "".join(
    f"{20 + i % 40};{('Bern', 'Basel', 'Genf')[i % 3]};{1000 * (i % 7)};{'yes' if i % 40 > 20 else 'no'}\n"
    for i in range(120)
)


@pytest.fixture(scope="module", params=["bought", "income"])
def of_a_table(request, tmp_path_factory):
    """A run on a table, with the folder it is kept in; classes by their names, or an income."""
    folder = tmp_path_factory.mktemp("table")
    (folder / "table.csv").write_text(TABLE)
    train, test = load(
        folder / "table.csv", label=request.param, task="regression" if request.param == "income" else None
    )
    net = jaxbp.mlp([train.schema.features, 3, 2 if train.num_classes else 1], jaxbp.tanh)
    run = Trained(net, net.init(jax.random.key(0)), CE if train.num_classes else SE, schema=train.schema)
    save_run(folder / "run", run)
    return run, folder, test


def test_a_run_of_a_table_takes_what_a_user_has_of_it(of_a_table):
    before, folder, _ = of_a_table
    run = load_run(folder / "run")
    assert run.schema == before.schema
    expected = before.predict(folder / "table.csv")
    assert set(expected) <= ({"yes", "no"} if run.schema.classes else set(expected))
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    frame = pd.read_csv(folder / "table.csv", sep=";")
    records = frame.to_dict("records")
    label = run.schema.label.name
    bare = [{name: value for name, value in record.items() if name != label} for record in records]
    for source in (
        str(folder / "table.csv"), frame, pl.DataFrame(frame.to_dict("list")), frame[frame.columns[::-1]],
        frame.drop(columns=label), frame.to_numpy(), frame.to_numpy().tolist(), records, bare,
        frame.to_dict("list"), frame.assign(more=1), frame.to_records(index=False),
    ):  # fmt: skip
        np.testing.assert_array_equal(run.predict(source), expected)
    for one in (records[3], bare[3], frame.iloc[3], frame.to_numpy()[3], frame.to_numpy().tolist()[3]):
        assert run.predict(one) == expected[3]
        assert run.predict(one).shape == ()


def test_a_run_of_a_table_is_evaluated_in_its_units(of_a_table):
    run, folder, test = of_a_table
    pd = pytest.importorskip("pandas")
    frame = pd.read_csv(folder / "table.csv", sep=";")
    label = run.schema.label.name
    said = run.evaluate(folder / "table.csv").to_dict()
    assert run.evaluate(frame).to_dict() == said
    by_hand = run.evaluate(frame, frame[label]).to_dict()
    for name, value in by_hand["metrics"].items():
        assert value == pytest.approx(said["metrics"][name], rel=1e-4)
    of_test = run.evaluate(test)
    assert len(of_test.truth) == len(test)
    if run.schema.classes is None:
        assert set(np.round(of_test.truth, 2)) <= set(frame[label].astype(float))
    else:
        assert set(of_test.truth) <= {"yes", "no"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda frame: frame.drop(columns="age"), ["'age'"]),
        (lambda frame: frame.rename(columns={"age": "years"}), ["'age'"]),
        (lambda frame: frame.assign(age="old"), ["age", "'old'"]),
        (lambda frame: frame.to_numpy()[:, :2], ["columns", "2"]),
        (lambda frame: [{"age": 3, "city": "Bern"}, {"age": 3}], ["'city'"]),
    ],
)
def test_columns_that_are_not_there_are_named(of_a_table, change, words):
    run, folder, _ = of_a_table
    frame = pytest.importorskip("pandas").read_csv(folder / "table.csv", sep=";")
    with pytest.raises(ValueError, match=r"expected .+, got .+") as caught:
        run.predict(change(frame))
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_features_of_another_table_are_refused(of_a_table, tmp_path):
    run, _, _ = of_a_table
    (tmp_path / "other.csv").write_text(TABLE.replace("20;", "99;"))
    task = None if run.schema.classes else "regression"
    other, _ = load(tmp_path / "other.csv", label=run.schema.label.name, task=task)
    for call in (run.predict, run.evaluate):
        with pytest.raises(ValueError, match="features are those of the run"):
            call(other)


def test_a_schema_has_the_classes_and_the_shape(of_a_table):
    run, _, _ = of_a_table
    assert isinstance(run.schema, Schema)
    for given in ({"classes": ("a", "b")}, {"shape": (99,)}):
        with pytest.raises(ValueError, match="schema"):
            Trained(run.network, run.params, run.loss, schema=run.schema, **given)
    assert jnp.isfinite(run.export().call(np.zeros((3, *run.shape), np.float32))).all()
