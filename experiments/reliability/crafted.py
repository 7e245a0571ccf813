"""Checkpoint files that are whole, with right checksums, and hold something else; and foreign ones."""

import io
import json
import warnings
import zipfile
from typing import Any

import numpy as np

Members = list[tuple[str, bytes]]


def members(content: bytes) -> Members:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return [(m.filename, archive.read(m)) for m in archive.infolist()]


def packed(held: Members, compression: int = zipfile.ZIP_STORED) -> bytes:
    body = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(body, "w", compression) as archive:
        warnings.simplefilter("ignore")  # a name that is there twice
        for name, content in held:
            archive.writestr(name, content)
    return body.getvalue()


def npy(array: np.ndarray) -> bytes:
    body = io.BytesIO()
    np.lib.format.write_array(body, array, allow_pickle=True)
    return body.getvalue()


def array(content: bytes) -> np.ndarray:
    return np.lib.format.read_array(io.BytesIO(content))


def crafted(good: bytes, old: bytes) -> dict[str, bytes]:
    """Files that are whole, with right checksums, and hold something else."""
    held, older = members(good), dict(members(old))
    arrays = [i for i, (name, _) in enumerate(held) if name != "jaxbp.npy"]
    out: dict[str, bytes] = {}

    def put(name: str, i: int, content: bytes) -> None:
        out[name] = packed([*held[:i], (held[i][0], content), *held[i + 1 :]])

    for i in arrays:
        name, content = held[i]
        value = array(content)
        out[f"{name} left out"] = packed([*held[:i], *held[i + 1 :]])
        out[f"{name} renamed"] = packed([*held[:i], ("['x'].npy", content), *held[i + 1 :]])
        out[f"{name} twice"] = packed([*held, (name, npy(value[::-1].copy() if value.ndim else value))])
        out[f"{name} also without its ending"] = packed(
            [*held, (name.removesuffix(".npy"), npy(np.zeros_like(value)))]
        )
        put(f"{name} of the older epoch", i, older[name])
        put(f"{name} flat", i, npy(value.ravel()[None]))
        put(f"{name} one entry less", i, npy(value[:-1]))
        put(f"{name} empty", i, npy(value[:0]))
        put(f"{name} as int64", i, npy(value.astype(np.int64)))
        put(f"{name} as float64", i, npy(value.astype(np.float64) + (value.dtype == np.float64)))
        put(f"{name} big-endian, reversed", i, npy(value[::-1].astype(value.dtype.newbyteorder(">"))))
        put(f"{name} of zeros", i, npy(np.zeros_like(value)))
        put(
            f"{name} of the largest",
            i,
            npy(
                np.full_like(value, 2 ** (8 * value.itemsize - 1) - 1 if value.dtype.kind == "u" else np.nan)
            ),
        )
        put(f"{name} one entry changed", i, npy(_bump(value)))
        put(f"{name} in another order", i, npy(value[::-1].copy()))
        put(f"{name} of objects", i, npy(value.astype(object)))
        put(f"{name} of text", i, npy(value.astype(str)))
        put(f"{name} bytes behind", i, content + b"more")
        put(f"{name} a byte short", i, content[:-1])
        put(f"{name} no array", i, b"nothing of the kind")
        put(f"{name} of a shape of flags", i, content.replace(b"'shape': (", b"'shape': (True, ", 1))
    a, b = (i for i in arrays if held[i][0] in ("['W'].npy", "['nu'].npy"))
    swapped = list(held)
    swapped[a], swapped[b] = (held[a][0], held[b][1]), (held[b][0], held[a][1])
    out["two arrays exchanged"] = packed(swapped)
    out["compressed"] = packed(held, zipfile.ZIP_DEFLATED)
    out["in another order"] = packed(held[::-1])
    out["an array too many"] = packed([*held, ("['more'].npy", npy(np.ones(3)))])
    out["a text too many"] = packed([*held, ("note.txt", b"hello")])
    out["the older file"] = old
    at = [name for name, _ in held].index("jaxbp.npy")
    manifest = json.loads(array(held[at][1]).tobytes())

    def say(name: str, value: Any) -> None:
        text = value if isinstance(value, bytes) else json.dumps(value).encode()
        put(f"manifest {name}", at, npy(np.frombuffer(text, np.uint8)))

    for value in (
        None,
        [],
        5,
        "x",
        {},
        [manifest],
        {"meta": None},
        {"leaves": {}},
        {"meta": {}, "leaves": []},
    ):
        say(f"is {value!r:.30}", value)
    for key in manifest:
        say(f"without {key}", {k: v for k, v in manifest.items() if k != key})
        for value in (None, [], 5, "x"):
            say(f"with {key} {value!r}", manifest | {key: value})
    for epoch in (1, 3, -1, "2", 2.5, None, True, 10**30):
        say(f"of epoch {epoch!r}", manifest | {"meta": manifest["meta"] | {"epoch": epoch}})
    say("with other rows", manifest | {"meta": manifest["meta"] | {"rows": [{"epoch": 1, "loss": 9.0}]}})
    for name in manifest.get("leaves", {}):
        leaves = manifest["leaves"]
        say(f"without leaf {name}", manifest | {"leaves": {k: v for k, v in leaves.items() if k != name}})
        for value in (None, 5, ["float32 (2,)", None], [], [None, None], {"kind": "x"}):
            say(f"with leaf {name} {value!r:.24}", manifest | {"leaves": leaves | {name: value}})
    say("of brackets", b"[" * 100_000)
    say("of braces", b'{"a":' * 20_000)
    say("cut", json.dumps(manifest).encode()[:-9])
    say("no UTF-8", b"\xff" + json.dumps(manifest).encode())
    say("with a key twice", json.dumps(manifest).encode()[:-1] + b', "leaves": {}}')
    say("of a huge number", b'{"meta": ' + b"9" * 5000 + b', "leaves": {}}')
    put("manifest of floats", at, npy(np.ones(9)))
    put("manifest empty", at, npy(np.zeros(0, np.uint8)))
    out |= foreign()
    return out


def foreign() -> dict[str, bytes]:
    """Files of other programs under a checkpoint's name."""
    plain = io.BytesIO()
    np.savez(plain, W=np.ones((2, 3)))
    text = io.BytesIO()
    with zipfile.ZipFile(text, "w") as archive:
        archive.writestr("data.pkl", b"\x80\x04N.")
        archive.writestr("version", b"3\n")
    empty = io.BytesIO()
    zipfile.ZipFile(empty, "w").close()
    return {
        "foreign: np.savez": plain.getvalue(),
        "foreign: of torch": text.getvalue(),
        "foreign: empty zip": empty.getvalue(),
        "foreign: nothing": b"",
        "foreign: JSON": b'{"a": 1}',
        "foreign: PNG": b"\x89PNG\r\n\x1a\n" + bytes(99),
        "foreign: HDF5": b"\x89HDF\r\n\x1a\n" + bytes(99),
        "foreign: pickle": b"\x80\x04N.",
        "foreign: npy": npy(np.ones(3)),
        "foreign: gzip": b"\x1f\x8b" + bytes(30),
        "foreign: text": b"hello\n" * 9,
        "foreign: zeros": bytes(4096),
    }


def _bump(value: np.ndarray) -> np.ndarray:
    out = value.copy()
    out.flat[0] = out.flat[0] + 1
    return out
