"""Readers under random damage: what a strict parser refuses is refused, in the library's words."""

import contextlib
import csv
import gzip
import io
import itertools
import json
import re
import struct
import tempfile
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import jaxbp
from experiments.reliability.judge import said
from experiments.reliability.outcome import is_worded
from experiments.reliability.processes import hello_bytes
from experiments.reliability.row import Row, many
from experiments.reliability.task import run
from jaxbp.observe.explanation.json_reading import read_network
from jaxbp.train.checkpoints.leaves import Leaf, Member
from jaxbp.train.checkpoints.manifest import parsed, sealed, to_json
from jaxbp.train.processes import wire
from jaxbp.train.processes.wire import Hello, Lines, fault_of, hello, to_line

TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
NUMBER = re.compile(r"[ \t\v\f]*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?[ \t\v\f]*", re.ASCII)
NAMED = re.compile(r"[ \t]*[+-]?(nan|inf|infinity)[ \t]*", re.ASCII | re.IGNORECASE)
MEMORY = 20  # bytes of memory for a byte of a file, beside a mebibyte
LINE = 64  # and for a byte of a line, held whole: its cells as text (50 bytes and more) and as numbers
LONGEST = 2**22  # characters of a line; beyond it a file costs nothing more


def mutated(rng: np.random.Generator, content: bytes) -> bytes:
    """A few random changes: bits, bytes, cuts, insertions, repeats."""
    out = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        i, n = int(rng.integers(len(out) + 1)), int(rng.integers(1, 9))
        match rng.integers(7):
            case 0 if out:
                out[i % len(out)] ^= 1 << int(rng.integers(8))
            case 1 if out:
                out[i % len(out)] = int(rng.integers(256))
            case 2:
                del out[i : i + n]
            case 3:
                out[i:i] = rng.bytes(n)
            case 4:
                del out[i:]
            case 5:
                out[i:i] = out[i : i + 4 * n]
            case 6:
                out += rng.bytes(n)
    return bytes(out)


def idx(rng: np.random.Generator) -> bytes:
    code = int(rng.choice(list(TYPES)))
    shape = tuple(int(v) for v in rng.integers(1, 5, rng.integers(1, 4)))
    values = rng.integers(0, 100, shape).astype(TYPES[code])
    return bytes([0, 0, code, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + values.tobytes()


def strict_idx(content: bytes) -> np.ndarray | None:
    """The array, if every byte is accounted for."""
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in TYPES or not 1 <= content[3] <= 8:
        return None
    start = 4 + 4 * content[3]
    if len(content) < start:
        return None
    shape, dtype = struct.unpack(f">{content[3]}I", content[4:start]), np.dtype(TYPES[content[2]])
    size = dtype.itemsize
    for n in shape:
        size *= n
    if size == 0 or len(content) - start != size:
        return None
    return np.frombuffer(content, dtype, offset=start).reshape(shape)


def strict_gzip(content: bytes) -> bytes | None:
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error, struct.error):
        return None


CELLS = ["1", "-2.5", "3e2", ".5", "7.", "0", "1e-3", "+4", " 6", "8 ", "1e400"]
ODD = [
    '"',
    ",",
    "\n",
    "\r",
    "\r\n",
    " ",
    "\t",
    "x",
    "_",
    "\x0b",
    "\x0c",
    "\x1c",
    "\x1e",
    "\x85",
    "\u2028",
    "\0",
    "#",
    ";",
    "nan",
    "1_0",
    "0x1",
    "\u0661",
    "1j",
    "''",
    '""',
    "e",
    "-",
    "--1",
    "1 2",
    "\ufeff",
]


def table(rng: np.random.Generator) -> str:
    """A table of numbers, most of them as a program writes one, some as a hand or a disk made it."""
    columns, end = int(rng.integers(2, 5)), str(rng.choice(["\n", "\n", "\r\n"]))
    rows = [
        [str(rng.choice(CELLS[:-1])) for _ in range(columns - 1)] + [str(rng.integers(3))]
        for _ in range(rng.integers(1, 6))
    ]
    if rng.random() < 0.3:
        rows = [[f'"{cell}"' if rng.random() < 0.5 else cell for cell in row] for row in rows]
    if rng.random() < 0.4:
        rows = [[f"c{i}" for i in range(columns)], *rows]
    text = end.join(",".join(row) for row in rows) + (end if rng.random() < 0.8 else "")
    for _ in range(rng.integers(0, 3)):
        i = int(rng.integers(len(text) + 1))
        text = text[:i] + str(rng.choice(ODD)) + text[i + int(rng.integers(2)) :]
    return text


def strict_csv(content: bytes) -> list[list[float]] | None:
    """The numbers of a table by Python's csv in strict mode; None for what is none."""
    try:
        text = content.decode("utf-8-sig")
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error):
        return None
    rows = [row for row in lines if len(row) > 1 or (row and row[0].strip())]

    def numbers(row: list[str]) -> bool:
        return all(NUMBER.fullmatch(cell) or NAMED.fullmatch(cell) for cell in row)

    if rows and not any(NUMBER.fullmatch(cell) or NAMED.fullmatch(cell) for cell in rows[0]):
        rows = rows[1:]
    if not rows or len({len(row) for row in rows}) > 1:
        return None
    if len(rows[0]) > 1 and all(row[-1].strip(" \t") == "" for row in rows):  # a delimiter after each line
        rows = [row[:-1] for row in rows]
    if len(rows[0]) < 2 or not all(map(numbers, rows)):
        return None
    return [[float(cell) for cell in row] for row in rows]


def is_plain(content: bytes) -> bool:
    """A table that every program reads: digits, points, signs, commas and line ends, the labels whole.

    A first line 0,1,2 may be the names that pandas gives, and one with other names than columns is wrong.
    """
    line = rb"[0-9.eE+\-]+(,[0-9.eE+\-]+)+"
    if not re.fullmatch(rb"([a-z][a-z0-9,]*\r?\n)?" + line + rb"(\r?\n" + line + rb")*(\r?\n)?", content):
        return False
    cells = [row.split(b",") for row in content.split()[:2]]
    numbered = cells[0] == [b"%d" % i for i in range(len(cells[0]))]
    return not numbered and len({len(row) for row in cells}) == 1 and b"" not in cells[0]


def has_labels(rows: list[list[float]]) -> bool:
    """Whether the last column holds whole numbers."""
    return all(row[-1] == int(row[-1]) and abs(row[-1]) < 2**53 for row in rows)


def told(call: Callable[[], Any]) -> tuple[Any, str]:
    """The result, or None; and what is wrong with the error, if it is no worded one."""
    try:
        return call(), ""
    except Exception as error:
        return None, "" if is_worded(error) else f"raw {said(error)}"


def same(found: Any, wanted: Any) -> bool:
    found, wanted = np.asarray(found), np.asarray(wanted)
    return found.shape == wanted.shape and bool(
        np.array_equal(found, wanted, equal_nan=found.dtype.kind == "f")
    )


def one_idx(rng: np.random.Generator, file: Path, packed: bool) -> tuple[str, bytes]:
    content = idx(rng)
    content = mutated(rng, gzip.compress(content) if packed else content)
    file.write_bytes(content)
    raw = strict_gzip(content) if content[:2] == b"\x1f\x8b" else content
    wanted = None if raw is None else strict_idx(raw)
    for read in (jaxbp.data.read_idx, *([] if packed else [jaxbp.data.open_idx])):
        found, fault = told(lambda read=read: read(file))
        if fault:
            return f"{read.__name__}: {fault}", content
        if found is not None and (wanted is None or not same(found, wanted)):
            return f"silent: {read.__name__} took what a strict parser refuses or reads otherwise", content
        if (
            found is None
            and wanted is not None
            and not (read is jaxbp.data.open_idx and content[:2] == b"\x1f\x8b")
        ):
            return f"refused: {read.__name__} a whole file", content
    return "", content


def one_npz(rng: np.random.Generator, file: Path) -> tuple[str, bytes]:
    held = {
        f"a{i}": rng.normal(size=tuple(rng.integers(1, 4, rng.integers(0, 3))))
        for i in range(rng.integers(1, 4))
    }
    body = io.BytesIO()
    (np.savez if rng.random() < 0.5 else np.savez_compressed)(body, **held)  # type: ignore[operator]
    content = mutated(rng, body.getvalue())
    file.write_bytes(content)
    found, fault = told(lambda: jaxbp.data.read_npz(file))
    if fault:
        return fault, content
    if found is not None and not (found.keys() == held.keys() and all(same(found[k], held[k]) for k in held)):
        return "silent: read_npz gave other arrays", content
    return "", content


def one_csv(rng: np.random.Generator, file: Path) -> tuple[str, bytes]:
    content = table(rng).encode("utf-8", "surrogatepass")
    if rng.random() < 0.3:
        content = mutated(rng, content)
    file.write_bytes(content)
    wanted = strict_csv(content)
    found, fault = told(lambda: jaxbp.data.read_csv(file))
    if fault:
        return fault, content
    if found is not None:
        together = np.column_stack([np.asarray(found[0], float), np.asarray(found[1], float)])
        if wanted is None or not same(together, wanted):
            return f"silent: read as {together.tolist()}, strictly {wanted}", content
    elif wanted is not None and is_plain(content) and np.isfinite(wanted).all() and has_labels(wanted):
        return "refused: a plain table", content
    return "", content


def one_load(rng: np.random.Generator, file: Path) -> tuple[str, bytes]:
    """`load`, which reads and checks: no raw error; what it gives is of the right form."""
    n = int(rng.integers(2, 8))
    body = io.BytesIO()
    np.savez(body, x=rng.normal(size=(n, 2)), y=rng.integers(0, 2, n))
    content = mutated(rng, body.getvalue() if rng.random() < 0.5 else table(rng).encode())
    file = file.with_suffix(".npz" if content[:2] == b"PK" else ".csv")
    file.write_bytes(content)
    found, fault = told(lambda: jaxbp.load(file))
    if fault:
        return fault, content
    if found is not None and not all(
        np.isfinite(part.x).all() and len(part.x) == len(part.y) for part in found
    ):
        return "silent: load gave data that are not finite", content
    return "", content


def strict_json(content: bytes) -> Any:
    """What the JSON says, if no key is there twice; None for what is none."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a key twice")
        return dict(pairs)

    try:
        return json.loads(content.decode("utf-8-sig"), object_pairs_hook=once)
    except (ValueError, RecursionError):
        return None


def network(rng: np.random.Generator) -> bytes:
    """A NET.json, as `jaxbp explain` takes it."""
    d, layers = [int(v) for v in rng.integers(1, 4, 3)], []
    for d_in, d_out in itertools.pairwise(d):
        W = rng.integers(-9, 10, (d_out, d_in)) / 4
        layers.append({"W": W.tolist(), "b": W[:, 0].tolist(), "phi": str(rng.choice(["tanh", "relu"]))})
    held = {"layers": layers, "loss": "squared_error", "x": [0.5] * d[0], "y": [1] * d[-1], "eta": 0.25}
    return json.dumps(held).encode()


def one_network(rng: np.random.Generator, file: Path) -> tuple[str, bytes]:
    """The numbers of a NET.json are those that it says, or it is refused."""
    content = mutated(rng, network(rng))
    file.write_bytes(content)
    found, fault = told(lambda: read_network(file))
    if fault:
        return fault, content
    if found is not None:
        said = strict_json(content)
        if not isinstance(said, dict):
            return "silent: read_network took what a strict parser refuses", content
        dense = [layer for layer in said["layers"] if "W" in layer]
        given = [layer[name] for layer in dense for name in ("W", "b") if name in layer]
        given += [said["x"], said["y"], said.get("eta", 0.1)]
        held = [p[name] for _, p in sorted(found.params.items()) for name in ("W", "b") if name in p]
        held += [found.x, found.y, found.eta]
        if len(given) != len(held) or not all(map(same, held, given)):
            return "silent: read_network gave other numbers", content
    return "", content


def one_manifest(rng: np.random.Generator, file: Path) -> tuple[str, bytes]:
    """The manifest of a checkpoint: what it seals is read back, or it is refused."""
    members = {f"['{i}']": Member("float32 (2,)", int(rng.integers(2**32))) for i in range(2)}
    leaves = {name: Leaf("float32 (2,)", None) for name in members}
    wanted = sealed({"eta": float(rng.integers(9)), "rows": [{"loss": 0.5}]}, leaves, members)
    content = mutated(rng, to_json(wanted).encode())
    found, fault = told(lambda: parsed(content, "restore(a)"))
    if fault:
        return fault, content
    return "silent: another manifest" if found is not None and found != wanted else "", content


def one_hello(rng: np.random.Generator, file: Path) -> tuple[str, bytes]:
    """What comes over a port, in parts: a hello as it was said, or nothing."""
    good = Hello(int(rng.integers(4)), 4, "0.10.2", "pid 7 on here")
    content = hello_bytes(int(rng.integers(2**31))) if rng.random() < 0.5 else b""
    content = content or mutated(rng, to_line(**good._asdict()))
    lines, heard = Lines(), []
    try:
        for i in range(0, len(content), 1024):
            heard += lines.add(content[i : i + 1024])
    except ValueError:  # too long: the connection is closed
        return "", content[:200]
    for line in heard:
        try:
            found, fault = hello(line), fault_of(wire.parsed(line))
        except Exception as error:
            return f"raw {said(error)}", content
        strict = strict_json(line)
        if found is not None and (
            not isinstance(strict, dict)
            or (found.process_id, found.num_processes, found.jax)
            != tuple(strict[key] for key in ("process_id", "num_processes", "jax"))
            or any(type(strict[key]) is not int for key in ("process_id", "num_processes"))
        ):
            return f"silent: {found}", content
        if fault is not None and not (isinstance(strict, dict) and "fault" in strict):
            return f"silent: {fault!r}", content
    return "", content


BOMBS = 14  # files of `bombs`
FORMS: dict[str, Callable[[np.random.Generator, Path], tuple[str, bytes]]] = {
    "IDX": lambda rng, file: one_idx(rng, file, packed=False),
    "IDX, gzipped": lambda rng, file: one_idx(rng, file, packed=True),
    "npz": one_npz,
    "CSV": one_csv,
    "load": one_load,
    "JSON of a network": one_network,
    "JSON of a checkpoint": one_manifest,
    "hello of connect": one_hello,
}


def chunk(form: str, seed: int, count: int) -> dict[str, Any]:
    """How many files were read, and what was wrong."""
    rng, faults = np.random.default_rng([seed, list(FORMS).index(form)]), []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(count):
            fault, content = FORMS[form](rng, Path(folder) / "a")
            if fault:
                faults.append(f"{form}: {fault} | {content[:160]!r}")
    return {"count": count, "faults": faults}


def bombs() -> list[str]:
    """Small files that open to much, and large ones: refused, or read in bounded memory."""
    zeros = bytes(2**25)

    def archive() -> bytes:
        body = io.BytesIO()
        np.savez_compressed(body, x=np.zeros(2**26))
        return body.getvalue()

    header = bytes([0, 0, 8, 1, 20, 0, 0, 0])
    lines = ("a CSV of one line of 1 MB", "a CSV of one line of 32 MB")
    files: list[tuple[str, Callable[[Path], Any], bytes]] = [
        ("a gzip that opens to 320 MiB", jaxbp.data.read_idx, gzip.compress(header + zeros * 10, 1)),
        (
            "a gzip longer than it states",
            jaxbp.data.read_idx,
            gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 9]) + zeros * 8, 1),
        ),
        ("an npz that opens to 512 MiB", jaxbp.data.read_npz, archive()),
        ("IDX dimensions of 2**32", jaxbp.data.read_idx, bytes([0, 0, 8, 8]) + b"\xff" * 32 + b"x"),
        ("a CSV of 2 MB", jaxbp.data.read_csv, b"1.5,2.25,3,1\n" * 160_000),
        (lines[0], jaxbp.data.read_csv, b"1," * 500_000 + b"1\n"),
        (lines[1], jaxbp.data.read_csv, b"1," * 2**24 + b"1\n"),
        ("a CSV of 1 MB of line ends", jaxbp.data.read_csv, b"\n" * 1_000_000),
        ("a CSV of one open quote", jaxbp.data.read_csv, b'1,2\n"' + b"3,4\n" * 250_000),
        ("a CSV of one long number", jaxbp.data.read_csv, b"1" * 1_000_000 + b",2\n"),
        ("a CSV of words, 1 MB", jaxbp.data.read_csv, b"red,green,1\n" * 80_000),
        ("a JSON of brackets", read_network, b"[" * 1_000_000),
        ("a JSON of objects", read_network, b'{"layers":' * 200_000),
        ("a JSON of one long number", read_network, b'{"eta": ' + b"9" * 1_000_000 + b"}"),
    ]
    assert len(files) == BOMBS
    faults = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bomb"
        for name, read, content in files:
            file.write_bytes(content)
            tracemalloc.start()
            with contextlib.suppress(MemoryError):
                _, fault = told(lambda read=read: read(file))
            most = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            if fault:
                faults.append(f"{name}: {fault}")
            allowed = LINE * min(len(content), LONGEST) if name in lines else MEMORY * len(content)
            if most > allowed + 2**20:
                faults.append(
                    f"memory: {name}: {most / 2**20:.0f} MiB for a file of {len(content) / 2**20:.2f} MiB"
                )
    return faults


def measure(scale: float = 1.0, *, jobs: int = 2, seed: int = 0) -> Row:
    """The row of the scorecard: 50,000 files at scale 1."""
    each, size = many(50_000 / len(FORMS), scale), 500
    asked = [
        [form, seed * 10**6 + i, min(size, each - i * size)]
        for form in FORMS
        for i in range(-(-each // size))
    ]
    count, faults = 0, bombs()
    for answer in run("fuzz", "chunk", asked, jobs=jobs, timeout=600):
        count += answer.get("count", 0)
        faults += answer.get("faults", [answer.get("died")] if "died" in answer else [])
    kinds = {
        word: sum(f": {word}" in f or f.startswith(word) for f in faults)
        for word in ("silent", "raw", "refused", "memory")
    }
    summed = ", ".join(f"{n} {word}" for word, n in kinds.items())
    return Row(
        "reader fuzz (IDX, gzip, npz, CSV, load, JSON, hello of connect)",
        "0 silent, 0 raw in 50,000; bounded memory",
        f"{count:,} files and {BOMBS} bombs: {summed}",
        not faults,
        "config.json of `jaxbp train`; Orbax's own files",
        tuple(faults),
    )
