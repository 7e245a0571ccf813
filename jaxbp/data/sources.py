"""Data sets by name: digits (no download), MNIST, Fashion-MNIST and EMNIST (from files)."""

import gzip
import importlib.util
import os
import string
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxbp import arguments
from jaxbp.data.dataset import Dataset, split
from jaxbp.data.emnist import SPLITS, emnist
from jaxbp.data.reading.readers import read_idx
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
    rows = _digits()
    x, y = (rows[:, :-1] / 16).astype(np.float32), rows[:, -1].astype(np.int32)
    train, test = split(Dataset(x, y, 10, "digits"), test_fraction, seed=seed, stratify=True)
    return train, test


def _digits() -> np.ndarray:
    """Pixels and label of each digit, from the file that scikit-learn comes with.

    It is read without scikit-learn where it stands as ever: to import that takes longer than to train.
    """
    found = importlib.util.find_spec("sklearn")
    for folder in (found and found.submodule_search_locations) or ():
        if (file := Path(folder, "datasets", "data", "digits.csv.gz")).is_file():
            with gzip.open(file, "rt", encoding="ascii") as lines:
                return np.loadtxt(lines, delimiter=",")
    with needs("scikit-learn", "data", "digits"):
        from sklearn.datasets import load_digits
    pixels, labels = load_digits(return_X_y=True)
    return np.column_stack([pixels, labels])


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


Arrays = tuple[np.ndarray, np.ndarray]


def _of_digits(*, test_fraction: float, seed: int, **_: Any) -> list[Arrays]:
    return [(part.x, part.y) for part in digits(test_fraction=test_fraction, seed=seed)]


def _of_images(source: Callable[..., Any], *, data_dir: Any, download: bool, **_: Any) -> list[Arrays]:
    return [(part.x, part.y) for part in source(data_dir, download=download)]


def _of_emnist(name: str, *, data_dir: Any, download: bool, **_: Any) -> list[Arrays]:
    return emnist(name, data_dir, download, CACHE)


class Source(NamedTuple):
    """A set that `load` knows.

    Args:
        classes: the names of its classes, one character each.
        read: gives the arrays of its training and of its test part.
        pixels: the most that a raw pixel is, by which it was divided.
        files: whether it is read from files in a folder.
    """

    classes: str
    read: Callable[..., list[Arrays]]
    pixels: int = 255
    files: bool = True


# Each set by its name.
SOURCES = {
    "digits": Source(string.digits, _of_digits, 16, files=False),
    "mnist": Source(string.digits, partial(_of_images, mnist)),
    "fashion_mnist": Source(string.digits, partial(_of_images, fashion_mnist)),
    **{f"emnist_{name}": Source(split.classes, partial(_of_emnist, name)) for name, split in SPLITS.items()},
}
