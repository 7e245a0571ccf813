"""Data sets by name: digits (no download), MNIST and Fashion-MNIST (verified files), or a file."""

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxbp import arguments
from jaxbp.data.checks import assert_data
from jaxbp.data.csv import read_csv
from jaxbp.data.dataset import Dataset, split
from jaxbp.data.examples import as_examples
from jaxbp.data.files import ZIP, kind
from jaxbp.data.readers import read_idx, read_npz
from jaxbp.errors import message, needs

CACHE = Path.home() / ".cache" / "jaxbp"

# file: (sha256 of the .gz, sha256 of the raw file)
_MNIST = {
    "train-images-idx3-ubyte": (
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    "train-labels-idx1-ubyte": (
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    "t10k-images-idx3-ubyte": (
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    "t10k-labels-idx1-ubyte": (
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
}
_FASHION_MNIST = {
    "train-images-idx3-ubyte": (
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    "train-labels-idx1-ubyte": (
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
    "t10k-images-idx3-ubyte": (
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    "t10k-labels-idx1-ubyte": (
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
}
_MNIST_URL = "https://storage.googleapis.com/cvdf-datasets/mnist/"
_FASHION_MNIST_URL = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/"
    "b2617bb6d3ffa2e429640350f613e3291e10b141/data/fashion/"
)


def digits(*, test_fraction: float = 0.2, seed: int = 0) -> tuple[Dataset, Dataset]:
    """scikit-learn's 1797 handwritten digits, 8x8 pixels in 0..1: no download.

    The split keeps the proportions of the ten classes. One row is one image, its 64 pixels row by row.

    Args:
        test_fraction: the part that is held out, in (0, 1).
        seed: of the split.

    Returns:
        (train, test); x (N, 64) float32 in 0..1 (the stored 0..16 over 16), y (N,) int32 in 0..9.

    Raises:
        ImportError: scikit-learn is not installed.

    Example:
        >>> digits()
        (digits: 1438 examples, x (1438, 64) float32, y (1438,) int32, 10 classes,
         digits: 359 examples, x (359, 64) float32, y (359,) int32, 10 classes)
    """
    _assert_split("digits", test_fraction, seed)
    with needs("scikit-learn", "data", "digits"):
        from sklearn.datasets import load_digits
    pixels, labels = load_digits(return_X_y=True)
    x, y = (pixels / 16).astype(np.float32), labels.astype(np.int32)
    train, test = split(Dataset(x, y, 10, "digits"), test_fraction, seed=seed, stratify=True)
    return train, test


def mnist(
    data_dir: str | os.PathLike[str] | None = None, *, download: bool = False
) -> tuple[Dataset, Dataset]:
    """MNIST: 60,000 and 10,000 handwritten digits, 28x28 pixels in 0..1.

    The four IDX files, raw or .gz, are looked for in ``data_dir`` and in its folder ``mnist``. Each
    must have the published sha256.

    Args:
        data_dir: the folder of the files; None is ~/.cache/jaxbp.
        download: fetch missing files (11 MB) into ``data_dir``/mnist with pooch.

    Returns:
        (train, test); x (N, 784) float32 in 0..1, y (N,) int32 in 0..9. For images,
        ``x.reshape(-1, 28, 28)``.

    Raises:
        FileNotFoundError: a file is missing and ``download`` is False.
        ImportError: ``download`` without pooch.
        OSError: the download failed.
        ValueError: a file has another digest or is damaged.
    """
    return _idx_source("mnist", _MNIST, _MNIST_URL, data_dir, download)


def fashion_mnist(
    data_dir: str | os.PathLike[str] | None = None, *, download: bool = False
) -> tuple[Dataset, Dataset]:
    """Fashion-MNIST: 60,000 and 10,000 articles of clothing, 28x28 pixels in 0..1.

    The files have the names of MNIST's; their digests tell them apart. Looked for in ``data_dir`` and
    in its folder ``fashion_mnist``.

    Args:
        data_dir: the folder of the files; None is ~/.cache/jaxbp.
        download: fetch missing files (30 MB) into ``data_dir``/fashion_mnist with pooch.

    Returns:
        (train, test); x (N, 784) float32 in 0..1, y (N,) int32 in 0..9.

    Raises:
        FileNotFoundError: a file is missing and ``download`` is False.
        ImportError: ``download`` without pooch.
        OSError: the download failed.
        ValueError: a file has another digest or is damaged.
    """
    return _idx_source("fashion_mnist", _FASHION_MNIST, _FASHION_MNIST_URL, data_dir, download)


def load(
    name_or_path: str | os.PathLike[str],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = False,
    test_fraction: float = 0.2,
    seed: int = 0,
    raw: bool = False,
    **reading: Any,
) -> tuple[Dataset, Dataset]:
    """(train, test) of "digits", "mnist", "fashion_mnist", an .npz file or a CSV file.

    What a file is, its first bytes say. A CSV file has its class label in the last column, or where
    ``label`` says. An .npz file holds x and y, or its own split as x_train, y_train, x_test and y_test. A
    file without a split of its own is split by ``test_fraction`` and ``seed``. Values of a file are taken
    as they are: scale them afterwards.

    Args:
        name_or_path: a name above, or the path of a file.
        data_dir: where the files of a named set are.
        download: fetch missing files of a named set.
        test_fraction: the part held out, where the set has no split of its own.
        seed: of that split.
        raw: x may be of any type of number, such as uint8 pixels, for ``fit(..., preprocess=)``.
        reading: keyword arguments of `read_csv` or `read_npz` for a file, such as ``label="species"``.

    Returns:
        (train, test).

    Raises:
        FileNotFoundError: neither a known name nor a file, or a named set's files are missing.
        TypeError: ``reading`` beside a name, or arguments that the file's reader does not have.
        ValueError: the file is malformed, its data fail the checks of `assert_data`, all labels are the same,
            whole-numbered labels are no classes, or a column's values become equal in float32.

    Example:
        >>> train, test = load("digits")
        >>> len(train), len(test)
        (1438, 359)
    """
    path = arguments.path("load", "name_or_path", name_or_path)
    _assert_split("load", test_fraction, seed)
    arguments.flag("load", "raw", raw)
    name = str(path)
    if name == "digits" or name in _IDX_SOURCES:
        if reading or raw:
            got = ", ".join([*reading, *["raw"] * raw])
            raise TypeError(message(f"load({name!r})", "no arguments for reading a file", got))
        if name == "digits":
            return digits(test_fraction=test_fraction, seed=seed)
        return _IDX_SOURCES[name](data_dir, download=download)
    if not os.path.isfile(path):
        known = ", ".join(["digits", *_IDX_SOURCES])
        hint = "of other sets in MNIST's form (EMNIST, KMNIST), jaxbp.data.read_idx reads the files"
        raise FileNotFoundError(
            message("load", f"one of {known}, or the path of an .npz or CSV file", f"{name!r}", hint)
        )
    where = f"load({path.name})"
    reader = read_npz if kind(path) == ZIP else read_csv
    known_arguments = list(inspect.signature(reader).parameters)[1:]
    if unknown := [argument for argument in reading if argument not in known_arguments]:
        expected = f"arguments of {reader.__name__}: {', '.join(known_arguments)}"
        raise TypeError(message(where, expected, ", ".join(unknown)))
    read = reader(path, **reading)
    if isinstance(read, tuple):
        return _split(as_examples(*read, raw=raw, where=path.name), test_fraction, seed)
    if {"x_train", "y_train", "x_test", "y_test"} <= read.keys():
        train = as_examples(read["x_train"], read["y_train"], raw=raw, where=f"{path.name} train")
        test = assert_data(
            read["x_test"], read["y_test"], num_classes=train.num_classes, raw=raw, where=f"{path.name} test"
        )
        return train, test
    if not {"x", "y"} <= read.keys():
        expected = "arrays x and y, or x_train, y_train, x_test and y_test"
        raise ValueError(message(where, expected, ", ".join(sorted(read)) or "no arrays"))
    return _split(as_examples(read["x"], read["y"], raw=raw, where=path.name), test_fraction, seed)


def _split(data: Dataset, test_fraction: float, seed: int) -> tuple[Dataset, Dataset]:
    train, test = split(data, test_fraction, seed=seed)
    return train, test


def _assert_split(where: str, test_fraction: float, seed: int) -> None:
    arguments.number(where, "test_fraction", test_fraction, low=0, high=1, open_low=True, open_high=True)
    arguments.whole(where, "seed", seed, low=0)


def _idx_source(
    name: str,
    digests: dict[str, tuple[str, str]],
    url: str,
    data_dir: str | os.PathLike[str] | None,
    download: bool,
) -> tuple[Dataset, Dataset]:
    """Both sets of an MNIST-like source, from verified files."""
    root = CACHE if data_dir is None else arguments.path(name, "data_dir", data_dir)
    arguments.flag(name, "download", download)
    arrays = {}
    for file, (packed, raw) in digests.items():
        found = [
            (path, digest)
            for folder in (root, root / name)
            for path, digest in ((folder / file, raw), (folder / f"{file}.gz", packed))
            if path.is_file()
        ]
        if not found and download:
            found = [(_download(f"{url}{file}.gz", packed, root / name, name), packed)]
        if not found:
            raise FileNotFoundError(
                message(
                    name,
                    f"{file} or {file}.gz in {root} or {root / name}",
                    "neither",
                    "give data_dir=, or download=True",
                )
            )
        path, digest = found[0]
        arrays[file] = read_idx(path, sha256=digest)
    images, labels, test_images, test_labels = arrays.values()
    return _image_set(images, labels, name), _image_set(test_images, test_labels, name)


def _image_set(images: np.ndarray, labels: np.ndarray, name: str) -> Dataset:
    """Pixels to 0..1 in one pass, an image to one row."""
    x = np.divide(images, 255, dtype=np.float32).reshape(len(images), -1)
    return Dataset(x, labels.astype(np.int32), 10, name)


def _download(url: str, sha256: str, folder: Path, name: str) -> Path:
    """Fetch one file into the folder and verify it; pooch is imported for this alone."""
    with needs("pooch", "data", f"{name}(download=True)"):
        import pooch
    try:
        return Path(pooch.retrieve(url, f"sha256:{sha256}", fname=url.rsplit("/", 1)[1], path=folder))
    except OSError as error:
        hint = "check the network, or put the file there and give data_dir="
        raise OSError(message(name, f"to download {url}", f"{error}", hint)) from error


PIXELS = {"digits": 16, "mnist": 255, "fashion_mnist": 255}
"""The most that a raw pixel of these sets is, by which it was divided."""

_IDX_SOURCES: dict[str, Callable[..., tuple[Dataset, Dataset]]] = {
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
}
