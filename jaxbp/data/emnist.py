"""EMNIST, handwritten letters and digits in MNIST's form, upright; its files are there or are downloaded."""

import os
import string
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxbp import arguments
from jaxbp.data.reading.readers import read_idx
from jaxbp.errors import message, needs

_URL = "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip"
_MD5 = "58c8d27c78d21e728a6bc7b3cc06412e"  # of the archive; its members have the checksums of gzip
_ALIKE = set("cijklmopsuvwxyz")  # letters whose small form is counted as the capital one
_ALL = string.digits + string.ascii_uppercase + string.ascii_lowercase
_MERGED = "".join(c for c in _ALL if c not in _ALIKE)


class Split(NamedTuple):
    """The classes in the order of their labels, and the first label."""

    classes: str
    first: int = 0


SPLITS = {
    "balanced": Split(_MERGED),
    "byclass": Split(_ALL),
    "bymerge": Split(_MERGED),
    "digits": Split(string.digits),
    "letters": Split(string.ascii_lowercase, 1),
    "mnist": Split(string.digits),
}


def emnist(
    split: str, data_dir: str | os.PathLike[str] | None, download: bool, cache: Path
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Both parts of a split of EMNIST: images (N, 784) in 0..1, upright, and the character that each shows.

    Args:
        split: a key of SPLITS.
        data_dir: the folder of the files, or of the archive's folder gzip; None is the cache.
        download: fetch the archive (536 MB) where a file is missing.
        cache: the folder that None stands for.

    Raises:
        FileNotFoundError: a file is missing and ``download`` is False.
        ImportError: ``download`` without pooch.
        OSError: the download failed.
        ValueError: a file is damaged, or its images and labels are not those of this split.
    """
    where = f"emnist_{split}"
    root = cache if data_dir is None else arguments.path(where, "data_dir", data_dir)
    arguments.flag(where, "download", download)
    parts = []
    for part in ("train", "test"):
        images, labels = (
            read_idx(_found(f"emnist-{split}-{part}-{kind}-ubyte", root, download, where))
            for kind in ("images-idx3", "labels-idx1")
        )
        characters, first = SPLITS[split]
        numbers = labels.astype(int) - first
        if images.shape[1:] != (28, 28) or labels.shape != images.shape[:1]:
            got = f"images of shape {images.shape} and labels of shape {labels.shape}"
            raise ValueError(message(where, "images of 28 by 28 pixels, and as many labels", got))
        if numbers.min() < 0 or numbers.max() >= len(characters):
            expected = f"labels {first} to {first + len(characters) - 1}"
            raise ValueError(message(where, expected, f"{labels.min()} to {labels.max()}"))
        upright = images.transpose(0, 2, 1)  # the files have each image column by column
        x = np.divide(upright, 255, dtype=np.float32).reshape(len(images), -1)
        parts.append((x, np.array(list(characters), object)[numbers]))
    return parts


def _found(name: str, root: Path, download: bool, where: str) -> Path:
    """The file, packed or not, in a folder where the archive, torchvision or a person leaves it."""
    folders = [root / a / b for a in ("", "emnist", "EMNIST/raw") for b in ("", "gzip")]
    paths = [folder / f"{name}{end}" for folder in folders for end in ("", ".gz")]
    if (found := next((path for path in paths if path.is_file()), None)) is not None:
        return found
    if not download:
        hint = f"give data_dir=, or download=True; the archive is {_URL}"
        raise FileNotFoundError(
            message(where, f"{name} or {name}.gz in {root}, or a folder there", "neither", hint)
        )
    with needs("pooch", "data", f"{where}(download=True)"):
        import pooch
    splits = [f"gzip/emnist-{split}-{part}-{kind}-ubyte.gz" for split in SPLITS for part in ("train", "test")
              for kind in ("images-idx3", "labels-idx1")]  # fmt: skip
    try:
        unpack = pooch.Unzip(members=splits, extract_dir=".")
        pooch.retrieve(_URL, f"md5:{_MD5}", fname="gzip.zip", path=root / "emnist", processor=unpack)
    except OSError as error:
        hint = "check the network, or put the files there and give data_dir="
        raise OSError(message(where, f"to download {_URL}", f"{error}", hint)) from error
    return _found(name, root, False, where)
