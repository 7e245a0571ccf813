"""Named sets: digits from scikit-learn, MNIST from verified files, downloads only when asked."""

import gzip
import hashlib
import os
import pickle
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from jaxbp.data import digits, fashion_mnist, load, mnist, sources

REAL = Path(os.environ.get("JAXBP_DATA", Path(__file__).parents[3] / "shared" / "data"))
needs_mnist = pytest.mark.skipif(not (REAL / "mnist").is_dir(), reason="no MNIST files; set JAXBP_DATA")


def test_digits_need_no_download():
    train, test = digits()
    x = np.concatenate([train.x, test.x])
    assert x.shape == (1797, 64)
    assert (x.dtype, train.y.dtype, x.min(), x.max()) == (np.float32, np.int32, 0, 1)
    assert set(np.unique(x * 16)) == set(range(17))
    assert (train.num_classes, test.num_classes, len(test)) == (10, 10, 359)
    assert np.bincount(test.y).tolist() == pytest.approx([36] * 10, abs=2)
    other, _ = digits(seed=1)
    assert not (other.x == train.x).all()


def test_digits_are_the_same_where_scikit_learn_keeps_them_elsewhere(monkeypatch):
    (read, _) = digits()
    monkeypatch.setattr(sources.importlib.util, "find_spec", lambda name: None)
    (imported, _) = digits()
    np.testing.assert_array_equal(read.x, imported.x)
    np.testing.assert_array_equal(read.y, imported.y)


def test_digits_do_not_import_scikit_learn():
    """That takes longer than to train on them."""
    look = "import sys, jaxbp; jaxbp.load('digits'); print({'sklearn', 'pandas'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_digits_without_scikit_learn_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"^digits: expected scikit-learn .*; pip install 'jaxbp\[data\]'"):
        digits()


@needs_mnist
@pytest.mark.parametrize("folder", ["", "mnist"])
def test_mnist_from_the_published_files(folder):
    train, test = mnist(REAL / folder)
    assert (train.x.shape, test.x.shape) == ((60_000, 784), (10_000, 784))
    assert (train.x.dtype, train.x.min(), train.x.max()) == (np.float32, 0, 1)
    assert train.y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert np.bincount(test.y).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@needs_mnist
def test_mnist_unpacked_is_verified_too(tmp_path):
    for file in (REAL / "mnist").glob("*.gz"):
        (tmp_path / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
    _, test = mnist(tmp_path)
    assert test.y[:5].tolist() == [7, 2, 1, 0, 4]
    labels = tmp_path / "t10k-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-1] + b"\0")
    with pytest.raises(ValueError, match=r"^read_idx\(t10k-labels-idx1-ubyte\): expected sha256 ff7bcfd4"):
        mnist(tmp_path)


@needs_mnist
def test_mnist_files_are_not_taken_for_fashion_mnist():
    with pytest.raises(
        ValueError, match=r"expected sha256 3aede38d.*got 440fcabf.*the file is damaged or another"
    ):
        fashion_mnist(REAL / "mnist")


@needs_mnist
def test_optdigits_as_a_csv_file():
    train, test = load(REAL / "optdigits" / "optdigits.tra")
    assert (len(train) + len(test), train.x.shape[1], train.num_classes) == (3823, 64, 10)


@pytest.mark.parametrize("source", [mnist, fashion_mnist])
def test_missing_files_say_where_and_how(tmp_path, source):
    said = rf"^{source.__name__}: expected train-images-idx3-ubyte or .*; give data_dir=, or download=True"
    with pytest.raises(FileNotFoundError, match=said):
        source(tmp_path)


@pytest.fixture
def tiny(monkeypatch):
    """A set of four small files in MNIST's form, known by their digests."""
    rng, files, digests = np.random.default_rng(0), {}, {}
    for name, shape in (
        ("train-images-idx3-ubyte", (6, 2, 2)),
        ("train-labels-idx1-ubyte", (6,)),
        ("t10k-images-idx3-ubyte", (3, 2, 2)),
        ("t10k-labels-idx1-ubyte", (3,)),
    ):
        array = rng.integers(0, 10, shape, np.uint8)
        raw = bytes([0, 0, 8, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape) + array.tobytes()
        files[name] = array, raw, gzip.compress(raw, mtime=0)
        digests[name] = tuple(hashlib.sha256(content).hexdigest() for content in (files[name][2], raw))
    monkeypatch.setattr(sources, "_FASHION_MNIST", digests)
    return files


def test_packed_and_raw_files_are_read_from_either_folder(tmp_path, tiny):
    (tmp_path / "fashion_mnist").mkdir()
    for i, (name, (_, raw, packed)) in enumerate(tiny.items()):
        folder = tmp_path / "fashion_mnist" if i % 2 else tmp_path
        if i < 2:
            (folder / name).write_bytes(raw)
        else:
            (folder / f"{name}.gz").write_bytes(packed)
    train, test = load("fashion_mnist", data_dir=tmp_path)
    images = tiny["train-images-idx3-ubyte"][0]
    np.testing.assert_array_equal(train.x, images.reshape(6, 4) / np.float32(255))
    np.testing.assert_array_equal(test.y, tiny["t10k-labels-idx1-ubyte"][0])
    assert (train.x.dtype, test.y.dtype, test.name) == (np.float32, np.int32, "fashion_mnist test")


def test_download_fetches_verified_files_only_when_asked(tmp_path, tiny, monkeypatch):
    asked = []

    def retrieve(url, known_hash, fname, path):
        asked.append((url, known_hash, path))
        Path(path).mkdir(exist_ok=True)
        (Path(path) / fname).write_bytes(tiny[fname.removesuffix(".gz")][2])
        return str(Path(path) / fname)

    monkeypatch.setitem(sys.modules, "pooch", types.SimpleNamespace(retrieve=retrieve))
    with pytest.raises(FileNotFoundError):
        fashion_mnist(tmp_path)
    assert asked == []
    train, _ = fashion_mnist(tmp_path, download=True)
    assert len(train) == 6
    assert len(asked) == 4
    assert asked[0][0].startswith("https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/")
    assert asked[0][0].endswith("/train-images-idx3-ubyte.gz")
    digest = hashlib.sha256(tiny["train-images-idx3-ubyte"][2]).hexdigest()
    assert asked[0][1:] == (f"sha256:{digest}", tmp_path / "fashion_mnist")
    fashion_mnist(tmp_path, download=True)
    assert len(asked) == 4  # the files are there


def test_a_failed_download_and_a_missing_pooch_are_said(tmp_path, monkeypatch):
    def retrieve(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setitem(sys.modules, "pooch", types.SimpleNamespace(retrieve=retrieve))
    with pytest.raises(
        OSError, match=r"^mnist: expected to download https://.*no route to host; check the net"
    ):
        mnist(tmp_path, download=True)
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match=r"^mnist\(download=True\): expected pooch .*'jaxbp\[data\]'"):
        mnist(tmp_path, download=True)


def test_load_reads_npz_with_and_without_its_own_split(tmp_path):
    file, x = tmp_path / "toy.npz", np.random.default_rng(0).normal(size=(20, 3))
    np.savez(file, x=x, y=np.arange(20) % 2)
    train, test = load(file, test_fraction=0.25)
    assert (len(train), len(test), train.x.dtype, train.num_classes) == (15, 5, np.float32, 2)
    np.savez(file, x_train=x[:12], y_train=np.arange(12) % 3, x_test=x[12:], y_test=np.zeros(8, int))
    train, test = load(file)
    assert (len(train), len(test), test.num_classes, test.name) == (12, 8, 3, "toy.npz test")
    np.savez(file, x_train=x[:12], y_train=np.arange(12) % 3, x_test=x[12:], y_test=np.full(8, 3))
    said = r"^toy.npz test: expected 'y' to be one of the classes 0, 1, 2, got '3' for example 1"
    with pytest.raises(ValueError, match=said):
        load(file)
    np.savez(file, images=x)
    with pytest.raises(ValueError, match=r"^load\(toy.npz\): expected labels y beside x, got x alone$"):
        load(file)
    np.savez(file, images=x, outcome=x[:, 0])
    with pytest.raises(ValueError, match="got x alone; if 'outcome' are the labels, save them as y"):
        load(file)
    np.savez(file, arr_0=x)
    with pytest.raises(ValueError, match=r"^load\(toy.npz\): expected arrays x and y, or .*, got arr_0"):
        load(file)


def test_load_reads_a_csv_by_any_name(tmp_path):
    file = tmp_path / "toy.csv"
    file.write_text("a,b,class\n1,2,0\n3,4,1\n5,6,0\n7,8,1\n")
    train, test = load(file, test_fraction=0.5, seed=3)
    assert (len(train), len(test)) == (2, 2)
    file.write_text("1,2,0\n3,4,3\n5,6,0\n7,8,1\n5,6,3\n9,9,1\n")
    shutil.copy(file, tmp_path / "other.data")
    train, test = load(tmp_path / "other.data", test_fraction=0.5)
    assert (train.num_classes, train.schema.classes) == (3, ("0", "1", "3"))


def test_an_unknown_name_lists_the_known_ones():
    said = r"one of digits, mnist, fashion_mnist, emnist_balanced, .*, or the path .* got 'minst'"
    with pytest.raises(FileNotFoundError, match=said):
        load("minst")


def test_what_a_file_is_its_first_bytes_say(tmp_path):
    x = np.random.default_rng(0).normal(size=(20, 3))
    np.savez(tmp_path / "toy.npz", x=x, y=np.arange(20) % 2)
    shutil.copy(tmp_path / "toy.npz", tmp_path / "toy.csv")
    assert load(tmp_path / "toy.csv")[0].x.shape == (16, 3)
    (tmp_path / "toy.npz").write_text("1,2,0\n3,4,1\n5,6,0\n7,8,1\n")
    assert load(tmp_path / "toy.npz", test_fraction=0.5)[0].x.shape == (2, 2)
    (tmp_path / "images").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 1, 5]))
    with pytest.raises(ValueError, match="a table of numbers as text, got an IDX file; read_idx"):
        load(tmp_path / "images")
    (tmp_path / "frame.csv").write_bytes(pickle.dumps({"a": [1, 2]}))
    with pytest.raises(ValueError, match="a table of numbers as text, got a pickle"):
        load(tmp_path / "frame.csv")


def test_a_folder_of_files_is_refused_where_nothing_would_look_there(tmp_path):
    with pytest.raises(TypeError, match=r"for digits no arguments of other data than .*, got data_dir="):
        load("digits", data_dir=tmp_path)


def test_pixels_of_bytes_are_loaded_for_preprocess(tmp_path):
    x, y = (
        np.random.default_rng(0).integers(0, 256, (20, 4, 4), np.uint8),
        (np.arange(20) % 2).astype(np.uint8),
    )
    np.savez(tmp_path / "images.npz", x_train=x, y_train=y, x_test=x[:4], y_test=y[:4])
    scaled, _ = load(tmp_path / "images.npz")
    np.testing.assert_array_equal(scaled.x, (x / 255).astype(np.float32))
    np.testing.assert_array_equal(scaled.schema.inputs(x), scaled.x.reshape(20, 16))
    train, test = load(tmp_path / "images.npz", raw=True)
    assert (train.x.dtype, train.num_classes, len(test)) == (np.uint8, 2, 4)


@pytest.mark.parametrize(
    ("row", "options", "said"),
    [
        (
            "{i},{i},0",
            {},
            "at least 2 classes, got label 0 in all 300 examples; if another column is .* label=",
        ),
        ("{i},7", {}, "got label 7 in all 300 examples"),
        ("0.5,{i}{i}.5", {"task": "classification"}, "classes, got 300 distinct numbers .*task='regression'"),
        ("0.5,{i}", {"task": "clustering"}, "task 'classification' or 'regression', got 'clustering'"),
        ("0.5,{i}", {"scale": "standardize"}, "scale 'standard', 'minmax' or 'none', .*mean 'standard'"),
        ("0.5,x{c}", {"task": "regression"}, "numbers as targets of a regression, got 'x0' in 'column 2'"),
        (
            "{t},{i},{c}",
            {"scale": "none"},
            "stay apart in float32, .*got 1700000000 and 1700000001 in 'column 1', equal as",
        ),
        ("3,{t}.5,{c}", {"scale": "none"}, "got 1700000000.5 and 1700000001.5 in 'column 2'"),
        ("{i},{c}", {"test_fraction": 1}, "test_fraction"),
        ("{i},{c}", {"test_fraction": np.nan}, "test_fraction"),
        ("{i},{c}", {"seed": -1}, "seed"),
        ("{i},{c}", {"raw": "no"}, "raw True or False"),
        ("{i},{c}", {"raw": True}, "no arguments of other data than .*, got raw="),
        ("{i},{c}", {"delimiter": ",", "decimal": ","}, "a delimiter that is not the decimal mark"),
    ],
)
def test_a_table_that_is_not_what_it_seems_is_refused(tmp_path, row, options, said):
    rows = (row.format(i=i, t=1_700_000_000 + i, c=i % 3) for i in range(300))
    (tmp_path / "toy.csv").write_text("\n".join(rows))
    with pytest.raises((ValueError, TypeError), match=rf"^(toy.csv|load|load\(toy.csv\)): expected .*{said}"):
        load(tmp_path / "toy.csv", **options)


def test_a_table_as_it_often_is_passes(tmp_path):
    """150 classes, a row of random decimals, and times that float32 can tell apart."""
    rng = np.random.default_rng(0)
    rows = [f"{1_700_000_000 + 3600 * i},{rng.normal()},{i % 150}" for i in range(600)]
    (tmp_path / "toy.csv").write_text("\n".join(rows))
    assert load(tmp_path / "toy.csv")[0].num_classes == 150


def test_reading_options_reach_the_reader(tmp_path):
    (tmp_path / "toy.csv").write_text("id;label;a\nx;0;1.5\ny;1;2.5\nz;1;3.5\nu;0;4.5\n")
    train, _ = load(tmp_path / "toy.csv", label="label", drop="id", test_fraction=0.5)
    assert (train.x.shape, train.num_classes) == ((2, 1), 2)
    with pytest.raises(
        TypeError, match=r"^load: expected for digits no arguments of other data than .*, scale, got label="
    ):
        load("digits", label=0)


@pytest.mark.parametrize("source", [load, digits, mnist, fashion_mnist])
def test_arguments_of_another_kind_are_refused(source):
    bad = {
        load: [((None,), {}), ((b"digits",), {}), (("",), {}), (("digits",), {"seed": 0.5})],
        digits: [((), {"seed": "0"}), ((), {"test_fraction": 0}), ((), {"test_fraction": [0.2]})],
    }.get(source, [((3,), {}), ((b".",), {}), ((".",), {"download": "yes"})])
    for args, options in bad:
        with pytest.raises((TypeError, ValueError), match=rf"^{source.__name__}: expected .*, got "):
            source(*args, **options)
