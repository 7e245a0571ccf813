"""Files that are whole as archives but are not what they say: refused in words, and passed over by a run."""

import io
import json
import os
import re
import shutil
import warnings
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbp.train import Checkpoints, read_meta, restore, save
from jaxbp.train.checkpoints.manifest import digest

STATE = {
    "W": jnp.arange(6.0).reshape(2, 3),
    "mu": jnp.ones((2, 3)),
    "nu": jnp.full((2, 3), 2.0),
    "half": jnp.ones(3, jnp.bfloat16),
    "key": jax.random.key(3),
    "step": 7,
    "eta": 0.5,
    "z": 1 + 2j,
    "none": None,
    "word": "adam",
}


def refusal(call):
    """The text of the ValueError in which a call ends, or None."""
    try:
        call()
    except ValueError as error:
        return str(error)
    return None


def npy(array):
    out = io.BytesIO()
    np.lib.format.write_array(out, np.asarray(array), allow_pickle=True)
    return out.getvalue()


def rewrite(file, change):
    """Write the members anew, as another program would, with right checksums."""
    with zipfile.ZipFile(file) as old:
        members = {member.filename: old.read(member) for member in old.infolist()}
    members = change(members)
    with zipfile.ZipFile(file, "w") as new, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two members of one name
        for name, body in members.items() if isinstance(members, dict) else members:
            new.writestr(name, body)


def member(name, array):
    """Put an array in the place of another, or beside all."""
    return lambda members: members | {f"{name}.npy": npy(array)}


def manifest(change):
    """Change the manifest's JSON: what the function returns, or the dict that it changed."""

    def rewritten(members):
        stored = json.loads(np.lib.format.read_array(io.BytesIO(members["jaxbp.npy"])).tobytes())
        new = change(stored)
        text = json.dumps(stored if new is None else new).encode()
        return members | {"jaxbp.npy": npy(np.frombuffer(text, np.uint8))}

    return rewritten


def text(content):
    """Put other bytes in the place of the manifest's."""
    return lambda members: members | {"jaxbp.npy": npy(np.frombuffer(content, np.uint8))}


def without(name):
    return lambda members: {key: body for key, body in members.items() if key != f"{name}.npy"}


def exchanged(one, other):
    def change(members):
        one_, other_ = f"{one}.npy", f"{other}.npy"
        return members | {one_: members[other_], other_: members[one_]}

    return change


def leaf(name, *values):
    def change(stored):
        stored["leaves"][name] = list(values)

    return manifest(change)


def entry(name, value):
    def change(stored):
        stored[name] = value

    return manifest(change)


def no_entry(name):
    def change(stored):
        del stored[name]

    return manifest(change)


CHECKSUM, SHA = r"expected .* of checksum \w{8}, got .* of checksum", "expected a manifest of sha256"

CRAFTED = {
    "array missing": (without("['W']"),
        r"expected the array \['W'\] float32 \(2, 3\), got none of that name"),
    "every array missing": (lambda m: {"jaxbp.npy": m["jaxbp.npy"]}, "expected the array"),
    "array too many": (member("['x']", np.zeros(3)),
        r"expected only the 5 arrays it states, got also \['x'\]"),
    "array of no name": (member("", np.zeros(3)), "got also"),
    "array with a path": (member("../../evil", np.zeros(3)), r"got also \.\./\.\./evil"),
    "scalar as an array": (member("['step']", np.int64(7)), r"got also \['step'\]"),
    "another shape": (member("['W']", np.zeros((3, 2), "f4")),
        r"\['W'\] float32 \(2, 3\), got \['W'\] float32 \(3, 2\)"),
    "an axis more": (member("['W']", np.zeros((1, 2, 3), "f4")), r"got \['W'\] float32 \(1, 2, 3\)"),
    "one number": (member("['W']", np.float32(1)), r"got \['W'\] float32 \(\)"),
    "no number": (member("['W']", np.zeros((0, 3), "f4")), r"got \['W'\] float32 \(0, 3\)"),
    "float64": (member("['W']", np.zeros((2, 3))), r"got \['W'\] float64 \(2, 3\)"),
    "integers": (member("['W']", np.zeros((2, 3), "i4")), r"got \['W'\] int32 \(2, 3\)"),
    "big-endian": (member("['W']", np.zeros((2, 3), ">f4")), CHECKSUM),
    "complex": (member("['W']", np.zeros((2, 3), "c8")), "complex64"),
    "text": (member("['W']", np.full((2, 3), "a")), "<U1"),
    "objects": (member("['W']", np.full((2, 3), None)), "expected"),
    "bits of a half as floats": (member("['half']", np.ones(3, "f2")), r"expected \['half'\] uint16"),
    "key as one number": (member("['key']", np.zeros(1, "u4")), r"got \['key'\] uint32 \(1,\)"),
    "other values": (member("['W']", np.ones((2, 3), "f4")), CHECKSUM),
    "NaN": (member("['W']", np.full((2, 3), np.nan, "f4")), CHECKSUM),
    "one bit": (member("['W']", np.arange(6, dtype="f4").reshape(2, 3) + np.float32(1e-7)),
        CHECKSUM),
    "minus zero": (member("['W']", np.float32([[-0.0, 1, 2], [3, 4, 5]])), CHECKSUM),
    "another key": (member("['key']", np.array([0, 4], "u4")), CHECKSUM),
    "mu for nu": (exchanged("['mu']", "['nu']"), CHECKSUM),
    "W for mu": (exchanged("['W']", "['mu']"), CHECKSUM),
    "an array twice": (lambda m: [*m.items(), ("['W'].npy", npy(np.ones((2, 3), "f4")))], "expected"),
    "an array by two names": (lambda m: m | {"['W']": m["['W'].npy"]}, "expected"),
    "a manifest twice": (lambda m: [("jaxbp.npy", npy(np.zeros(2, "u1"))), *m.items()], "expected"),
    "a folder": (lambda m: m | {"folder/": b""}, "expected"),
    "a file of no array": (lambda m: m | {"notes.txt": b"hello"}, "expected"),
    "no manifest": (without("jaxbp"), "expected arrays jaxbp, got none named jaxbp"),
    "manifest of floats": (lambda m: m | {"jaxbp.npy": npy(np.zeros(3))}, "expected a manifest"),
    "manifest of no bytes": (text(b""), "expected a manifest in JSON"),
    "manifest cut": (text(b'{"meta": {'), "expected a manifest in JSON"),
    "manifest of another code": (text("{}".encode("utf-16")), "expected a manifest"),
    "manifest of bad bytes": (text(b'"\xff\xfe"'), "expected a manifest in JSON"),
    "manifest too deep": (text(b"[" * 100_000), "expected a manifest in JSON"),
    "manifest with a number too long": (text(b'{"format": ' + b"9" * 5000 + b"}"), "expected a manifest"),
    "manifest a list": (manifest(lambda s: [s]), "expected a manifest of format 2: .*, got list"),
    "manifest null": (text(b"null"), "got NoneType"),
    "manifest empty": (manifest(lambda s: {}), "expected a manifest of format 2"),
    "older format": (manifest(lambda s: {"meta": s["meta"], "leaves": {"['W']": ["float32 (2, 3)", None]}}),
        "a checkpoint of format 2, got one of format 1; it was written by an older jaxbp"),
    "newer format": (entry("format", 3), "got format 3; a newer jaxbp may have written it"),
    "format of text": (entry("format", "2"), "got format '2'"),
    "no digest": (no_entry("digest"), "expected a manifest of format 2: .*, got keys"),
    "digest null": (entry("digest", None), "expected digest as a str, got NoneType"),
    "digest empty": (entry("digest", ""), SHA),
    "another digest": (entry("digest", "0" * 64), SHA),
    "no checksum": (leaf("['W']", "float32 (2, 3)", None, ["float32 (2, 3)", None]), SHA),
    "checksum of text": (leaf("['W']", "float32 (2, 3)", None, ["float32 (2, 3)", "0"]), "expected of leaf"),
    "an entry too many": (entry("signed", True), "expected a manifest of format 2"),
    "meta changed": (entry("meta", {"epoch": 4}), SHA),
    "meta a list": (entry("meta", []), "expected meta as a dict, got list"),
    "leaves a list": (entry("leaves", []), "expected leaves as a dict, got list"),
    "no leaves": (entry("leaves", {}), SHA),
    "leaf a word": (manifest(lambda s: s["leaves"].update({"['W']": "float32"})), "expected of leaf"),
    "leaf of one part": (leaf("['W']", "float32 (2, 3)"), r"expected of leaf \['W'\] its kind, its value"),
    "leaf of another kind": (leaf("['W']", "float32 (3, 2)", None, ["float32 (3, 2)", 1]), SHA),
    "leaf without its array": (leaf("['W']", "float32 (2, 3)", None, None), SHA),
    "leaf of a number": (leaf("['W']", 3, None, None), r"expected of leaf \['W'\]"),
    "another scalar": (leaf("['step']", "int", 8, None), SHA),
    "scalar of another type": (leaf("['step']", "int", "7", None), SHA),
    "leaf not asked for": (leaf("['v']", "int", 8, None), SHA),
    "another generator": (leaf("['key']", "key<fry> ()", "rbg", ["uint32 (2,)", 1]), SHA),
    "no zip": (None, "expected"),
}  # fmt: skip


def craft(file, change):
    if change is None:
        file.write_bytes(b"PK\x03\x04 epoch 3")
    else:
        rewrite(file, change)


@pytest.mark.parametrize(("change", "said"), CRAFTED.values(), ids=CRAFTED)
def test_a_crafted_file_is_refused_in_words(tmp_path, change, said):
    file = tmp_path / "a.npz"
    save(file, STATE, meta={"epoch": 3})
    craft(file, change)
    text = refusal(lambda: restore(file, STATE))
    assert re.match(r"(restore|read_npz)\(a\.npz\)(\[.*\])?: expected .*, got ", text), text
    assert re.search(said, text), text


@pytest.mark.parametrize("name", CRAFTED)
def test_a_run_passes_a_crafted_file_over_and_names_it(tmp_path, name):
    checkpoints = Checkpoints(tmp_path)
    for epoch in (1, 2):
        checkpoints.save(epoch, STATE | {"step": epoch})
    craft(tmp_path / "epoch_000002.npz", CRAFTED[name][0])
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        found = checkpoints.latest(STATE)
    assert (found[0]["step"], found[1]["epoch"]) == (1, 1)
    assert any("epoch_000002.npz is passed over: " in str(warning.message) for warning in seen)


def resealed(file, name, kind, extra):
    """Change a leaf and seal the manifest again, as only somebody can who means to."""

    def change(stored):
        stored["leaves"][name][:2] = [kind, extra]
        stored["digest"] = digest(stored["meta"], stored["leaves"])

    rewrite(file, manifest(change))


@pytest.mark.parametrize(
    ("name", "kind", "extra"),
    [
        ("['step']", "int", "7"),
        ("['step']", "int", None),
        ("['eta']", "float", 1),
        ("['z']", "complex", 3),
        ("['z']", "complex", [1, 2, 3]),
        ("['z']", "complex", ["a", "b"]),
        ("['word']", "str", 3),
        ("['none']", "NoneType", 0),
        ("['key']", "key<fry> ()", "rbg"),
        ("['key']", "key<fry> ()", 3),
        ("['key']", "key<fry> ()", None),
        ("['key']", "key<fry> ()", "no such"),
    ],
)
def test_a_forged_leaf_with_the_right_digest_is_refused_in_words(tmp_path, name, kind, extra):
    file = tmp_path / "a.npz"
    save(file, STATE)
    resealed(file, name, kind, extra)
    with pytest.raises(ValueError, match=r"^restore\(a\.npz\): expected .*, got "):
        restore(file, STATE)


@pytest.mark.parametrize("lacks", ["epoch", "run", "environment", "best"])
def test_a_whole_file_that_no_run_wrote_is_passed_over(tmp_path, lacks):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, STATE)
    meta = read_meta(tmp_path / "epoch_000001.npz") | {"epoch": 2}
    save(tmp_path / "epoch_000002.npz", STATE, meta={k: v for k, v in meta.items() if k != lacks})
    with pytest.warns(UserWarning, match=rf"passed over: .* got none of that kind for {lacks}"):
        assert checkpoints.latest(STATE)[1]["epoch"] == 1


def test_an_older_file_under_a_newer_name_is_passed_over_and_written_anew(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for epoch in (1, 2):
        checkpoints.save(epoch, STATE | {"step": epoch})
    shutil.copy(tmp_path / "epoch_000001.npz", tmp_path / "epoch_000003.npz")
    with pytest.warns(
        UserWarning, match=r"3\.npz is passed over: .*expected epoch 3, as its name says, got epoch 1"
    ):
        assert checkpoints.latest(STATE)[0]["step"] == 2
    checkpoints.save(3, STATE | {"step": 3})  # it was said above, and is not said again
    assert checkpoints.latest(STATE)[0]["step"] == 3


def test_a_file_of_another_run_is_refused_by_name(tmp_path):
    for name, epochs in (("one", (1, 2)), ("other", (7,))):
        for epoch in epochs:
            Checkpoints(tmp_path / name, monitor="loss").save(epoch, STATE, {}, 1 / epoch)
    shutil.copy(tmp_path / "other" / "epoch_000007.npz", tmp_path / "one")
    one = Checkpoints(tmp_path / "one", monitor="loss")
    said = (
        r"of one run, got run \w+ in epoch_000007\.npz; run \w+ in epoch_000002\.npz, epoch_000001\.npz; move"
    )
    with pytest.raises(ValueError, match=said):
        one.latest(STATE)
    os.replace(tmp_path / "one" / "epoch_000007.npz", tmp_path / "one" / "epoch_000001.npz")
    with pytest.warns(UserWarning, match="expected epoch 1, as its name says, got epoch 7"):
        assert one.latest(STATE)[1]["epoch"] == 2


def test_a_renamed_file_is_not_the_best(tmp_path):
    checkpoints = Checkpoints(tmp_path, monitor="loss")
    for epoch, loss in ((1, 0.1), (2, 0.3)):
        checkpoints.save(epoch, STATE, {}, loss)
    shutil.copy(tmp_path / "epoch_000002.npz", tmp_path / "epoch_000001.npz")
    with pytest.raises(ValueError, match="expected epoch 1, as its name says, got epoch 2"):
        checkpoints.best(STATE)


def mutated(whole, other, rng):
    """The bytes after one or two random changes."""
    content = bytearray(whole)
    for _ in range(int(rng.integers(1, 3))):
        size = len(content)
        at, to = (int(i) for i in rng.integers(max(size, 1), size=2))
        n = int(rng.integers(1, 100))
        match int(rng.integers(10)) if size else 5:
            case 0:
                content[at] ^= 1 << int(rng.integers(8))
            case 1:
                content[at] = int(rng.integers(256))
            case 2:
                content[at : at + n] = bytes(n)
            case 3:
                del content[at:]
            case 4:
                del content[at : at + n]
            case 5:
                content.extend(rng.bytes(n))
            case 6:
                content[at:at] = rng.bytes(n)
            case 7:
                content[at : at + 4 * n] = other[at : at + 4 * n]
            case 8:
                content[:at] = other[:at]
            case 9:
                content[at : at + n] = content[to : to + n]
    return bytes(content)


@pytest.mark.parametrize("many", [2_000, pytest.param(20_000, marks=pytest.mark.soak)])
def test_no_mutation_gives_another_tree_or_a_raw_error(tmp_path, many):
    """What comes back is one of the two trees that were saved, with its own meta."""
    rng = np.random.default_rng(many)
    trees = {
        2: {"W": np.arange(60, dtype=np.float32)[::-1], "mu": np.ones(60, np.float32), "step": 2},
        3: {"W": np.arange(60, dtype=np.float32), "mu": np.zeros(60, np.float32), "step": 3},
    }
    file, refused = tmp_path / "a.npz", 0
    contents = {}
    for epoch, tree in trees.items():
        save(file, tree, meta={"epoch": epoch})
        contents[epoch] = file.read_bytes()
    for _ in range(many):
        file.write_bytes(mutated(contents[3], contents[2], rng))
        if said := refusal(lambda: restore(file, trees[3])):
            assert ": expected " in said
            assert ", got " in said
            refused += 1
            continue
        back, whole = restore(file, trees[3]), trees[read_meta(file)["epoch"]]
        for name, value in whole.items():
            np.testing.assert_array_equal(back[name], value)
    assert refused > many * 3 / 4  # else it was in bytes that nothing depends on, such as dates
