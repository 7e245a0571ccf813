"""Readers give the exact array or one clear ValueError: never a raw decoding error, never silence."""

import ast
import gzip
import hashlib
import io
import re
import struct
import warnings
import zipfile

import numpy as np
import pytest

from jaxbp.data import open_idx, read_csv, read_idx, read_npz

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 4, 3), np.uint8)


def idx_bytes(array):
    header = bytes([0, 0, CODES[array.dtype.str[1:]], array.ndim])
    return (
        header
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.astype(array.dtype.newbyteorder(">")).tobytes()
    )


def written(folder, content, name="images-idx3-ubyte"):
    file = folder / name
    file.write_bytes(content)
    return file


def mutated(content, rng):
    """One random damage: a flipped bit, a lost end, zeroed bytes, more bytes or a doubled piece."""
    damaged, kind, at = bytearray(content), rng.integers(5), int(rng.integers(len(content)))
    if kind == 0:
        damaged[at] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        del damaged[at:]
    elif kind == 2:
        damaged[at : at + 8] = bytes(len(damaged[at : at + 8]))
    elif kind == 3:
        damaged += rng.bytes(int(rng.integers(1, 20)))
    else:
        damaged[at:at] = damaged[at : at + int(rng.integers(1, 9))]
    return bytes(damaged)


def outcome(reader, file):
    """What the reader gives, or the message of its ValueError; any other error goes through."""
    try:
        return reader(file)
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["raw", "gzip"])
def test_idx_of_every_type_comes_back(tmp_path, dtype, pack):
    array = np.random.default_rng(1).normal(0, 50, (3, 2)).astype(dtype)
    read = read_idx(written(tmp_path, pack(idx_bytes(array))))
    assert read.dtype == array.dtype
    assert read.dtype.isnative
    np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize("files", [1000, pytest.param(50_000, marks=pytest.mark.soak)])
def test_damaged_gzipped_idx_is_never_silent_and_never_raw(tmp_path, files):
    rng, packed = np.random.default_rng(2), gzip.compress(idx_bytes(IMAGES))
    refused = 0
    for _ in range(files):
        read = outcome(read_idx, written(tmp_path, mutated(packed, rng)))
        if isinstance(read, str):
            assert read.startswith("read_idx(images-idx3-ubyte): expected ")
            refused += 1
        else:  # gzip's own header has bytes without meaning (time, system): the data are whole
            np.testing.assert_array_equal(read, IMAGES, strict=True)
    assert refused > 0.6 * files


def test_the_digest_guards_a_raw_file(tmp_path):
    rng, raw = np.random.default_rng(3), idx_bytes(IMAGES)
    digest = hashlib.sha256(raw).hexdigest()
    np.testing.assert_array_equal(read_idx(written(tmp_path, raw), sha256=digest), IMAGES)
    for _ in range(300):
        if (damaged := mutated(raw, rng)) != raw:
            with pytest.raises(ValueError, match=f"expected sha256 {digest}, got .*; the file is damaged"):
                read_idx(written(tmp_path, damaged), sha256=digest)


def strict_idx(content):
    """The array of a raw IDX file by a parser of its own, None for what it refuses."""
    dtypes = {code: np.dtype(f">{name}") for name, code in CODES.items()}
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in dtypes or not 1 <= content[3] <= 8:
        return None
    start = 4 + 4 * content[3]
    shape = [int.from_bytes(content[i : i + 4], "big") for i in range(4, start, 4)]
    size = int(np.prod(shape, dtype=object)) * dtypes[content[2]].itemsize
    if size == 0 or len(content) != start + size:
        return None
    return np.frombuffer(content[start:], dtypes[content[2]]).reshape(shape)


@pytest.mark.parametrize("reader", [read_idx, open_idx])
@pytest.mark.parametrize("files", [500, pytest.param(50_000, marks=pytest.mark.soak)])
def test_damaged_raw_idx_is_read_as_a_strict_parser_reads_it(tmp_path, reader, files):
    rng, raw = np.random.default_rng(4), idx_bytes(IMAGES)
    for _ in range(files):
        content = mutated(raw[:20], rng) + raw[20:] if rng.random() < 0.5 else mutated(raw, rng)
        expected, read = strict_idx(content), outcome(reader, written(tmp_path, content))
        if isinstance(read, str):
            assert read.startswith(f"{reader.__name__}(images-idx3-ubyte): expected ")
            assert expected is None, read
        else:
            np.testing.assert_array_equal(read, expected)


@pytest.mark.parametrize("reader", [read_idx, open_idx, read_npz])
@pytest.mark.parametrize("path", [None, b"images", "", "a\0b", 3])
def test_a_path_that_is_none_is_refused(reader, path):
    with pytest.raises(
        (ValueError, TypeError), match=f"^{reader.__name__}: expected path a file's or folder's"
    ):
        reader(path)


@pytest.mark.parametrize("reader", [read_idx, open_idx, read_npz, read_csv])
def test_a_folder_and_an_endless_name_are_no_files(tmp_path, reader):
    with pytest.raises(FileNotFoundError, match=r"expected an existing file, got .*, a folder"):
        reader(tmp_path)
    with pytest.raises(ValueError, match="path as short as the system takes it, got 5000 characters"):
        reader("x" * 5000)


@pytest.mark.parametrize(
    ("reader", "options"),
    [
        (read_idx, {"max_bytes": 0}),
        (read_idx, {"max_bytes": 1e9}),
        (read_idx, {"sha256": b"00"}),
        (read_npz, {"max_bytes": "10"}),
        (read_npz, {"names": "xy"}),
        (read_npz, {"names": 3}),
    ],
)
def test_an_option_of_another_kind_is_refused(tmp_path, reader, options):
    file = written(tmp_path, idx_bytes(IMAGES))
    with pytest.raises((ValueError, TypeError), match=rf"^{reader.__name__}\(images-idx3-ubyte\): expected "):
        reader(file, **options)


def test_a_small_file_that_opens_to_a_gibibyte_is_refused_unopened(tmp_path):
    # A gzip member of 1 MiB of zeros, repeated: some 1 MB packed, 1 GiB unpacked.
    mebibyte = gzip.compress(bytes(2**20), 9)
    for shape, said in (
        ((10,), "expected 10 bytes of data for dimensions (10,), got more"),
        ((2**30 - 8,), "expected 1 to 268435456 bytes of data, got dimensions (1073741816,)"),
        ((2**20, 2**20), "bytes; if the file is meant to be so large, give max_bytes="),
    ):
        header = gzip.compress(bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape))
        file = written(tmp_path, header + mebibyte * 1024)
        assert file.stat().st_size < 1.2e6
        with pytest.raises(ValueError, match=re.escape(said)):
            read_idx(file)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "an IDX header: 0, 0, a type code, 1 to 8 dimensions, got bytes "),
        (b"\0\0\x08", "got bytes 00 00 08"),
        (b"\0\0\x07\x01" + bytes(8), "got bytes 00 00 07 01"),
        (b"\x01\0\x08\x01" + bytes(8), "got bytes 01 00 08 01"),
        (b"\0\0\x08\0", "got bytes 00 00 08 00"),
        (b"\0\0\x08\x09" + bytes(40), "got bytes 00 00 08 09"),
        (b"\0\0\x08\x02\0\0\0\x02", "2 dimensions, got a header of 8 bytes"),
        (b"\0\0\x08\x01\0\0\0\0", r"1 to \d+ bytes of data, got dimensions \(0,\): 0 bytes"),
        (b"\0\0\x08\x01\0\0\0\x03ab", r"3 bytes of data for dimensions \(3,\), got 2"),
        (b"\0\0\x08\x01\0\0\0\x01ab", r"1 bytes of data for dimensions \(1,\), got more"),
        (gzip.compress(b"\0\0\x08\x01\0\0\0\x01a", mtime=0)[:-1], "a whole, undamaged file, got "),
    ],
)
def test_malformed_idx_is_named(tmp_path, content, said):
    with pytest.raises(ValueError, match=rf"^read_idx\(images-idx3-ubyte\): expected .*{said}"):
        read_idx(written(tmp_path, content))


def test_a_raw_file_beyond_the_limit_is_not_read(tmp_path):
    with pytest.raises(ValueError, match="at most 10 bytes, got a file of 76 bytes; if the file is meant"):
        read_idx(written(tmp_path, idx_bytes(IMAGES)), max_bytes=10)


@pytest.mark.parametrize("dtype", CODES)
def test_a_mapped_idx_is_the_array_that_is_read(tmp_path, dtype):
    array = np.random.default_rng(1).normal(0, 50, (3, 2)).astype(dtype)
    mapped = open_idx(written(tmp_path, idx_bytes(array)))
    assert isinstance(mapped, np.memmap)
    assert not mapped.flags.writeable
    np.testing.assert_array_equal(mapped, array)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gzip.compress(idx_bytes(IMAGES)), "a raw IDX file, got a gzipped one; unpack it, or read_idx"),
        (b"", "an IDX header: 0, 0, a type code, 1 to 8 dimensions, got bytes "),
        (b"\0\0\x08\x02\0\0\0\x02", "2 dimensions, got a header of 8 bytes"),
        (b"\0\0\x08\x01\0\0\0\0", r"1 bytes of data for dimensions \(0,\), got 0"),
        (idx_bytes(IMAGES)[:-1], r"60 bytes of data for dimensions \(5, 4, 3\), got 59"),
        (idx_bytes(IMAGES) + b"a", r"60 bytes of data for dimensions \(5, 4, 3\), got 61"),
    ],
    ids=["gzip", "nothing", "no header", "no data", "truncated", "trailing"],
)
def test_an_idx_that_cannot_be_mapped_is_named(tmp_path, content, said):
    with pytest.raises(ValueError, match=rf"^open_idx\(images-idx3-ubyte\): expected {said}$"):
        open_idx(written(tmp_path, content))


@pytest.mark.parametrize("reader", [read_idx, open_idx, read_csv, read_npz])
def test_a_missing_file_is_said(tmp_path, reader):
    with pytest.raises(FileNotFoundError, match=rf"^{reader.__name__}\(none\): expected an existing file"):
        reader(tmp_path / "none")


def test_npz_without_pickle_and_bounded(tmp_path):
    file = tmp_path / "data.npz"
    np.savez_compressed(file, x=IMAGES, y=np.arange(5))
    arrays = read_npz(file)
    np.testing.assert_array_equal(arrays["x"], IMAGES, strict=True)
    assert arrays["y"].tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match=r"at most 100 bytes unpacked, got \d+ bytes; if the file is meant"):
        read_npz(file, max_bytes=100)
    np.savez(file, x=np.array([{}, {}], object))
    with pytest.raises(ValueError, match=r"\['x'\]: expected an array without pickled objects.*astype"):
        read_npz(file)


def test_npz_reads_the_named_arrays_alone(tmp_path):
    file = tmp_path / "toy.npz"
    np.savez(file, x=IMAGES, y=np.arange(5))
    assert list(read_npz(file, names=["y"], max_bytes=200)) == ["y"]
    with pytest.raises(ValueError, match=r"read_npz\(toy\.npz\): expected arrays y, z, got none named z"):
        read_npz(file, names=["z", "y"])


@pytest.mark.parametrize("files", [1000, pytest.param(50_000, marks=pytest.mark.soak)])
def test_damaged_npz_is_never_silent_and_never_raw(tmp_path, files):
    file, rng = tmp_path / "data.npz", np.random.default_rng(5)
    np.savez_compressed(file, x=IMAGES, y=np.arange(5))
    whole = file.read_bytes()
    refused = 0
    for _ in range(files):
        file.write_bytes(mutated(whole, rng))
        arrays = outcome(read_npz, file)
        if isinstance(arrays, str):
            assert arrays.startswith("read_npz(data.npz): expected ")
            refused += 1
        else:
            assert arrays.keys() == {"x", "y"}
            np.testing.assert_array_equal(arrays["x"], IMAGES, strict=True)
            np.testing.assert_array_equal(arrays["y"], np.arange(5), strict=True)
    assert refused > files / 3


def npy(header, body=b"", version=1):
    """The bytes of an .npy file with a header of any text."""
    text = header.encode("latin-1") + b"\n"
    return (
        b"\x93NUMPY"
        + bytes([version, 0])
        + struct.pack("<H" if version == 1 else "<I", len(text))
        + text
        + body
    )


def zipped(folder, **members):
    """A whole .npz file, its checksums right, with these members."""
    with zipfile.ZipFile(folder / "data.npz", "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return folder / "data.npz"


HEADER = "{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}"


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (HEADER.replace("(3,)", "(True,)"), "whole numbers as its shape|integers"),
        (HEADER.replace("(3,)", "(3.0,)"), ""),
        (HEADER.replace("(3,)", "(-3,)"), "whole numbers as its shape"),
        (HEADER.replace("(3,)", "(10**12,)"), ""),
        (HEADER.replace("(3,)", "(4,)"), r"16 bytes of float32 of shape \(4,\), got 12 bytes"),
        (HEADER.replace("(3,)", "(2,)"), r"8 bytes of float32 of shape \(2,\), got 12 bytes"),
        (HEADER.replace("(3,)", f"({2**62},)"), "bytes of float32 of shape"),
        (HEADER.replace("(3,)", "3"), ""),
        (HEADER.replace("<f4", "|O"), "an array without pickled objects, got dtype object; .* x.astype"),
        (HEADER.replace("'<f4'", "[('a', '|O')]"), "an array without pickled objects"),
        (HEADER.replace("<f4", "<q9"), ""),
        (HEADER.replace("<f4", "|S0"), ""),
        (HEADER.replace("'<f4'", "('<f4', (2,))"), ""),
        (HEADER.replace("False", "'no'"), ""),
        (HEADER.replace(", 'shape'", ", 'shapes'"), ""),
        ("[" * 5000, ""),
        ("{'descr': __import__('os')}", ""),
        ("(" * 60, ""),
        ("\t1\n 2", ""),
        ("", ""),
    ],
)
def test_a_crafted_array_in_a_whole_archive_is_refused(tmp_path, header, said):
    with pytest.raises(ValueError, match=rf"^read_npz\(data.npz\).*: expected .*{said}"):
        read_npz(zipped(tmp_path, x=npy(header, bytes(12)), y=npy(HEADER, bytes(12))))


def test_two_members_of_one_name_and_other_versions_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as archive:
        for name in ("x.npy", "x"):
            archive.writestr(name, npy(HEADER, bytes(12)))
    with pytest.raises(
        ValueError, match=r"^read_npz\(data.npz\): expected a name for each array, got 'x' twice"
    ):
        read_npz(tmp_path / "data.npz")
    assert read_npz(zipped(tmp_path, x=npy(HEADER, bytes(12), 2)))["x"].tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match=r"version 1 or 2 of the format .npy, got 3.0"):
        read_npz(zipped(tmp_path, x=npy(HEADER, bytes(12), 3)))


@pytest.mark.parametrize("dtype", ["<f4", ">f4", ">i8", ">u2", ">c8", "|u1", "?", "<U3", ">f8"])
@pytest.mark.parametrize("order", "CF")
def test_every_array_comes_back_native_and_writable(tmp_path, dtype, order):
    array = np.asarray(np.arange(6).reshape(2, 3), dtype, order=order)
    np.savez(tmp_path / "data.npz", x=array, empty=array[:0], scalar=array[0, 0])
    read = read_npz(tmp_path / "data.npz")
    np.testing.assert_array_equal(read["x"], array)
    assert all(a.dtype.isnative and a.flags.writeable for a in read.values())
    assert (read["empty"].shape, read["scalar"].shape) == ((0, 3), ())


def strict_npy(content):
    """The array of an .npy file by a parser of its own, None for what it refuses."""
    if content[:8] not in (b"\x93NUMPY\x01\0", b"\x93NUMPY\x02\0"):
        return None
    width = 2 if content[6] == 1 else 4
    start = 8 + width + int.from_bytes(content[8 : 8 + width], "little")
    try:
        warnings.simplefilter("ignore")  # an old name of a type is a name; within the catch of pytest
        header = ast.literal_eval(content[8 + width : start].decode("latin-1").strip(" \t"))
        shape, dtype = header["shape"], np.dtype(header["descr"])
        n = int(np.prod([int(k) for k in shape], dtype=object))
    except Exception:
        return None
    body = content[start:]
    if {*header} != {"descr", "fortran_order", "shape"} or type(header["fortran_order"]) is not bool:
        return None
    if any(type(k) is not int or k < 0 for k in shape) or dtype.hasobject or n * dtype.itemsize != len(body):
        return None
    return np.frombuffer(body, dtype).reshape(shape, order="F" if header["fortran_order"] else "C")


@pytest.mark.parametrize("files", [1500, pytest.param(50_000, marks=pytest.mark.soak)])
def test_arrays_damaged_before_they_were_packed_are_read_as_a_strict_parser_reads_them(tmp_path, files):
    """The checksums are right: what is left is the header of the array."""
    rng, read, buffer = np.random.default_rng(6), 0, io.BytesIO()
    np.save(buffer, np.arange(6, dtype=np.int16).reshape(2, 3))
    for _ in range(files):
        content = (
            mutated(buffer.getvalue()[:128], rng)[: int(rng.integers(120, 140))] + buffer.getvalue()[128:]
        )
        expected, found = strict_npy(content), outcome(read_npz, zipped(tmp_path, x=content))
        if isinstance(found, str):
            assert found.startswith("read_npz(data.npz)")
            assert expected is None, (content, found)
        else:
            np.testing.assert_array_equal(found["x"], expected)
            read += 1
    assert read > files / 100


def test_a_zip_of_something_else_is_said(tmp_path):
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as archive:
        archive.writestr("readme.txt", "no array")
    with pytest.raises(ValueError, match=r"^read_npz\(data.npz\): expected an .npz file, got a zip archive"):
        read_npz(tmp_path / "data.npz")
