"""Named sets: digits from scikit-learn, MNIST from verified files, downloads only when asked."""

import gzip
import hashlib
import os
import shutil
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


def test_digits_without_scikit_learn_say_what_to_install(monkeypatch):
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
    assert (train.x.dtype, test.y.dtype, test.name) == (np.float32, np.int32, "fashion_mnist")


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
    with pytest.raises(
        ValueError, match=r"^toy.npz test: expected labels 0-2 \(3 classes\), got labels\[0\] is 3"
    ):
        load(file)
    np.savez(file, images=x)
    with pytest.raises(ValueError, match=r"^load\(toy.npz\): expected arrays x and y, or .*, got images"):
        load(file)


def test_load_checks_the_data_of_a_csv(tmp_path):
    file = tmp_path / "toy.csv"
    file.write_text("a,b,class\n1,2,0\n3,4,1\n5,6,0\n7,8,1\n")
    train, test = load(file, test_fraction=0.5, seed=3)
    assert (len(train), len(test)) == (2, 2)
    file.write_text("1,2,0\n3,4,3\n5,6,0\n7,8,1\n")
    with pytest.raises(
        ValueError, match=r"^toy.csv: expected every class 0-3 to occur.*labels are \{0,1,3\}"
    ):
        load(file)
    shutil.copy(file, tmp_path / "other.data")
    with pytest.raises(ValueError, match=r"^other.data: expected every class"):
        load(tmp_path / "other.data")


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(
        FileNotFoundError, match=r"one of digits, mnist, fashion_mnist, or the path .* got 'minst'"
    ):
        load("minst")
