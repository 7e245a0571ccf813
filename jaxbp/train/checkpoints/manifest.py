"""What a checkpoint says of itself: its meta, its leaves, and one digest over everything."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxbp.errors import message
from jaxbp.train.checkpoints.leaves import Leaf, Member, listed

FORMAT = 2  # 1 had no checksums in its manifest: an exchanged array went unnoticed


class Manifest(NamedTuple):
    """The manifest of one checkpoint.

    Args:
        meta: what was given beside the tree.
        leaves: of each path, what is stored.
        digest: see `digest`.
    """

    meta: dict[str, Any]
    leaves: dict[str, Leaf]
    digest: str


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


def sealed(meta: dict[str, Any], leaves: dict[str, Leaf], members: Mapping[str, Member]) -> Manifest:
    """The manifest of what was written."""
    leaves = {name: leaf._replace(member=members.get(name)) for name, leaf in leaves.items()}
    return Manifest(meta, leaves, digest(meta, leaves))


def digest(meta: dict[str, Any], leaves: dict[str, Leaf]) -> str:
    """sha256 over the meta and the leaves, and so over every array by its CRC32.

    The file has those checksums in any case, and so the digest costs nothing. It tells when parts of two
    files were mixed; neither it nor a sha256 of the arrays would stop somebody who forges a file on purpose.

    Example:
        >>> one, other = ({"W": Leaf("float32 (2,)", None, Member("float32 (2,)", crc))} for crc in (1, 2))
        >>> digest({}, one)[:8], digest({}, other)[:8]
        ('12f44370', '5f309350')
    """
    return hashlib.sha256(json.dumps([meta, leaves]).encode()).hexdigest()


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
        hint = "it was written by an older jaxbp and has no checksums; train anew, in another folder"
        raise ValueError(message(where, f"a checkpoint of format {FORMAT}", "one of format 1", hint))
    expected = f"a manifest of format {FORMAT}: " + ", ".join(Manifest._fields)
    if not isinstance(stored, dict) or stored.keys() != {"format", *Manifest._fields}:
        got = f"keys {listed(map(repr, stored))}" if isinstance(stored, dict) else type(stored).__name__
        raise ValueError(message(where, expected, got))
    if stored["format"] != FORMAT:
        hint = "a newer jaxbp may have written it"
        raise ValueError(message(where, expected, f"format {stored['format']!r:.20}", hint))
    for name, held in (("meta", dict), ("leaves", dict), ("digest", str)):
        if not isinstance(stored[name], held):
            raise ValueError(message(where, f"{name} as a {held.__name__}", type(stored[name]).__name__))
    leaves = {name: _leaf(name, leaf, where) for name, leaf in stored["leaves"].items()}
    if (now := digest(stored["meta"], leaves)) != stored["digest"]:
        hint = "the manifest was changed after it was written"
        raise ValueError(message(where, f"a manifest of sha256 {stored['digest']:.16}", f"{now:.16}", hint))
    return Manifest(stored["meta"], leaves, stored["digest"])


def _leaf(name: str, stored: Any, where: str) -> Leaf:
    """A leaf from its JSON."""
    match stored:
        case [str(kind), extra, None]:
            return Leaf(kind, extra)
        case [str(kind), extra, [str(member), int() | None as crc]]:
            return Leaf(kind, extra, Member(member, crc))
    raise ValueError(
        message(where, f"of leaf {name:.40} its kind, its value and its array", f"{stored!r:.60}")
    )


def assert_holds(manifest: Manifest, found: Mapping[str, Member], where: str) -> None:
    """Raise ValueError unless a file's arrays are those that its manifest names.

    Args:
        manifest: what the file says.
        found: what it holds, by path.
        where: who reads it.
    """
    stated = {name: leaf.member for name, leaf in manifest.leaves.items() if leaf.member is not None}
    if missing := [f"{name} {member.kind}" for name, member in stated.items() if name not in found]:
        raise ValueError(message(where, f"the array {listed(missing)}", "none of that name in the file"))
    if extra := [name for name in found if name not in stated]:
        raise ValueError(message(where, f"only the {len(stated)} arrays it states", f"also {listed(extra)}"))
    if other := [name for name in stated if stated[name].kind != found[name].kind]:
        expected, got = (listed(f"{name} {kinds[name].kind}" for name in other) for kinds in (stated, found))
        raise ValueError(message(where, expected, got))
    known = [name for name in stated if None not in (stated[name].crc, found[name].crc)]
    if other := [name for name in known if stated[name].crc != found[name].crc]:
        expected, got = (
            listed(f"{name} of checksum {crcs[name].crc:08x}" for name in other) for crcs in (stated, found)
        )
        hint = "values were changed or exchanged after they were saved"
        raise ValueError(message(where, expected, got, hint))
