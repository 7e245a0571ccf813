"""What a checkpoint says of itself: its meta, its leaves, and one digest over everything."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxbp.errors import message
from jaxbp.train.checkpoints.leaves import Leaf, kind, listed

FORMAT = 2  # 1 had no digest, so that an exchanged array went unnoticed


class Manifest(NamedTuple):
    """The manifest of one checkpoint, as it was read.

    Args:
        meta: what was given beside the tree.
        leaves: of each path, what is stored.
        digest: sha256 over meta, leaves and arrays, in hexadecimal digits.
        complete: whether the digest covers the arrays; those spread over processes nobody can read whole.
    """

    meta: dict[str, Any]
    leaves: dict[str, Leaf]
    digest: str
    complete: bool


def as_json(value: Any) -> str:
    """The text, or a TypeError that says what to do with arrays."""
    try:
        return json.dumps(value)
    except (TypeError, ValueError, RecursionError) as error:
        hint = "arrays belong in the tree; .item() and .tolist() give plain numbers"
        raise TypeError(message("save", "meta that JSON can hold", str(error), hint)) from error


def plain(meta: Mapping[str, Any] | None) -> dict[str, Any]:
    """The meta as it will be read again: tuples as lists, every key a str."""
    if not isinstance(meta, Mapping | None):
        raise TypeError(message("save", "meta as a dict", type(meta).__name__))
    return json.loads(as_json(dict(meta or {})))


def with_members(leaves: dict[str, Leaf], members: Mapping[str, Any]) -> dict[str, Leaf]:
    """The leaves, each with the dtype and shape of the array that is stored for it."""
    return {
        name: leaf._replace(member=kind(name, members[name])) if name in members else leaf
        for name, leaf in leaves.items()
    }


def digest(meta: dict[str, Any], leaves: dict[str, Leaf], arrays: Mapping[str, np.ndarray]) -> str:
    """sha256 over the meta, the leaves with the dtypes and shapes of their arrays, and every array's bytes.

    Example:
        >>> one, other = ({"W": np.float32([w])} for w in (1, 2))
        >>> digest({}, {}, one)[:8], digest({}, {}, other)[:8]
        ('4512d83e', '79e6387b')
    """
    sha = hashlib.sha256(json.dumps([meta, leaves]).encode())
    for name in sorted(arrays):
        array = np.asarray(arrays[name], order="C")
        sha.update(array.data if array.dtype.kind in "biufc" else array.tobytes())
    return sha.hexdigest()


def to_json(manifest: Manifest) -> str:
    """The text of a manifest; `parsed` reads it."""
    return as_json({"format": FORMAT, **manifest._asdict()})


def parsed(text: bytes | str, where: str) -> Manifest:
    """The manifest in a text, every part of the type that it must have.

    Raises:
        ValueError: for another format, or another form.
    """
    try:
        stored = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(message(where, "a manifest in JSON", f"{error}")) from error
    if isinstance(stored, dict) and "format" not in stored and {"meta", "leaves"} <= stored.keys():
        hint = "it was written by an older jaxbp and has no digest; train anew, in another folder"
        raise ValueError(message(where, f"a checkpoint of format {FORMAT}", "one of format 1", hint))
    expected = f"a manifest of format {FORMAT}: " + ", ".join(Manifest._fields)
    if not isinstance(stored, dict) or stored.keys() != {"format", *Manifest._fields}:
        got = f"keys {listed(map(repr, stored))}" if isinstance(stored, dict) else type(stored).__name__
        raise ValueError(message(where, expected, got))
    if stored["format"] != FORMAT:
        hint = "a newer jaxbp may have written it"
        raise ValueError(message(where, expected, f"format {stored['format']!r:.20}", hint))
    for name, held in (("meta", dict), ("leaves", dict), ("digest", str), ("complete", bool)):
        if not isinstance(stored[name], held):
            raise ValueError(message(where, f"{name} as a {held.__name__}", type(stored[name]).__name__))
    for name, leaf in stored["leaves"].items():
        if not (
            isinstance(leaf, list)
            and len(leaf) == len(Leaf._fields)
            and isinstance(leaf[0], str)
            and isinstance(leaf[2], str | None)
        ):
            expected = f"of leaf {name:.40} its kind, its value and its array"
            raise ValueError(message(where, expected, f"{leaf!r:.60}"))
    leaves = {name: Leaf(*leaf) for name, leaf in stored["leaves"].items()}
    return Manifest(stored["meta"], leaves, stored["digest"], stored["complete"])


def assert_holds(manifest: Manifest, members: Mapping[str, Any], where: str) -> None:
    """Raise ValueError unless a file's arrays are those that its manifest names, bit for bit.

    Args:
        manifest: what the file says.
        members: what it holds, by path.
        where: who reads it.
    """
    stated = {name: leaf.member for name, leaf in manifest.leaves.items() if leaf.member is not None}
    if missing := [f"{name} {member}" for name, member in stated.items() if name not in members]:
        raise ValueError(message(where, f"the array {listed(missing)}", "none of that name in the file"))
    if extra := [name for name in members if name not in stated]:
        raise ValueError(message(where, f"only the {len(stated)} arrays it states", f"also {listed(extra)}"))
    found = {name: kind(name, array) for name, array in members.items()}
    if other := [name for name in stated if stated[name] != found[name]]:
        expected, got = (listed(f"{name} {kinds[name]}" for name in other) for kinds in (stated, found))
        raise ValueError(message(where, expected, got))
    covered = {name: members[name] for name in stated} if manifest.complete else {}
    if (now := digest(manifest.meta, manifest.leaves, covered)) != manifest.digest:
        hint = "a value was changed or exchanged after it was saved"
        raise ValueError(message(where, f"content of sha256 {manifest.digest:.16}", f"{now:.16}", hint))
