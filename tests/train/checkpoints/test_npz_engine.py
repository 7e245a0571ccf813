"""A checkpoint comes back exactly or not at all, whatever happens to the file, the run or the machine."""

import errno
import resource
import sys
from collections import namedtuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jaxbp.train import read_meta, restore, save

BUILTIN = ["bool", *(f"{s}{n}" for s in ("int", "uint") for n in (8, 16, 32, 64))]
BUILTIN += ["float16", "float32", "float64", "complex64", "complex128"]
FLOAT8 = ["e3m4", "e4m3", "e4m3b11fnuz", "e4m3fn", "e4m3fnuz", "e5m2", "e5m2fnuz", "e8m0fnu"]
REGISTERED = ["bfloat16", *(f"float8_{kind}" for kind in FLOAT8)]
SHORT = ["int2", "int4", "uint2", "uint4", "float4_e2m1fn"]  # less than a byte: only some bytes are values
Pair = namedtuple("Pair", "mu nu")


@st.composite
def arrays(draw):
    """An array of JAX or NumPy of any dtype, of random bits: NaN with payloads, -0.0 and subnormals too."""
    name = draw(st.sampled_from(BUILTIN + REGISTERED + SHORT))
    shape = tuple(draw(st.lists(st.integers(0, 3), max_size=3)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    dtype = np.dtype(name)
    if name in SHORT or name == "bool":
        array = rng.integers(0, 2, shape).astype(dtype)
    else:
        array = np.frombuffer(rng.bytes(int(np.prod(shape)) * dtype.itemsize), dtype).reshape(shape)
    if draw(st.booleans()) and jax.dtypes.canonicalize_dtype(dtype) == dtype:
        return jnp.asarray(array)
    return draw(st.sampled_from([array, array.T, array.reshape(-1)[::-1]]))


SCALARS = [st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text()]
SCALARS += [st.complex_numbers(allow_nan=False), st.builds(np.float32, st.floats(width=32, allow_nan=False))]
KEYS = st.builds(
    lambda seed, impl, n: jax.random.split(jax.random.key(seed, impl=impl), n),
    st.integers(0, 2**31),
    st.sampled_from(["threefry2x32", "rbg", "unsafe_rbg"]),
    st.integers(1, 2),
)
TREES = st.recursive(
    st.one_of(arrays(), KEYS, *SCALARS),
    lambda inner: st.one_of(
        st.dictionaries(st.text(), inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.builds(Pair, inner, inner),
    ),
    max_leaves=6,
)


def assert_same(got, expected):
    """Equal in structure, type, dtype, shape and every bit."""
    none = {"is_leaf": lambda leaf: leaf is None}
    assert jax.tree.structure(got, **none) == jax.tree.structure(expected, **none)
    for a, b in zip(jax.tree.leaves(got, **none), jax.tree.leaves(expected, **none), strict=True):
        assert type(a) is type(b)
        if not hasattr(b, "dtype"):
            assert repr(a) == repr(b)
            continue
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        if isinstance(b, jax.Array):
            assert (a.committed, a.sharding) == (b.committed, b.sharding)
            if jnp.issubdtype(b.dtype, jax.dtypes.prng_key):
                a, b = jax.random.key_data(a), jax.random.key_data(b)
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("checkpoint")


@settings(deadline=None, max_examples=60)
@given(TREES)
def test_every_tree_comes_back_bit_for_bit(folder, tree):
    file = folder / "any.npz"
    save(file, tree, meta={"epoch": 3})
    assert_same(restore(file, tree), tree)
    assert read_meta(file) == {"epoch": 3}
    assert [path.name for path in folder.iterdir()] == ["any.npz"]


@pytest.mark.parametrize("name", BUILTIN + REGISTERED + SHORT)
def test_every_dtype_of_jax_comes_back(folder, name):
    with jax.enable_x64(True):
        tree = {"W": jnp.array([[0, 1, 1], [1, 0, 1]]).astype(name)}
        save(folder / "dtype.npz", tree)
        assert_same(restore(folder / "dtype.npz", tree), tree)
        shapes = {"W": jax.ShapeDtypeStruct((2, 3), name)}
        assert_same(restore(folder / "dtype.npz", shapes), tree)


@pytest.mark.parametrize("name", [">f4", ">i8", ">c8", ">u2", "<f4"])
def test_every_byte_order_of_numpy_comes_back(folder, name):
    """IDX files, and what `open_idx` maps of them, are big-endian."""
    tree = {"W": np.arange(6).reshape(2, 3).astype(name), "n": np.ones(2, name)[0]}
    save(folder / "order.npz", tree)
    assert_same(restore(folder / "order.npz", tree), tree)


def test_the_same_tree_gives_the_same_bytes_and_numpy_reads_them(folder):
    tree = {"W": jnp.arange(6.0).reshape(2, 3)}
    for name in ("a.npz", "b.npz"):
        save(folder / name, tree)
    assert (folder / "a.npz").read_bytes() == (folder / "b.npz").read_bytes()
    with np.load(folder / "a.npz", allow_pickle=False) as file:
        np.testing.assert_array_equal(file["['W']"], tree["W"], strict=True)


def test_an_array_keeps_its_layout_and_its_weak_type(folder):
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    split, same = (NamedSharding(mesh, spec) for spec in (P("data"), P()))
    tree = {
        "split": jax.device_put(jnp.arange(8.0), split),
        "same": jax.device_put(jnp.arange(3), same),
        "key": jax.device_put(jax.random.key(1), same),
        "third": jax.device_put(jnp.ones(2), jax.devices()[2]),
        "weak": jnp.asarray(1.5),
        "weak matrix": jnp.full((2, 2), 3),
    }
    save(folder / "laid.npz", tree)
    back = restore(folder / "laid.npz", tree)
    assert_same(back, tree)
    assert [back[name].weak_type for name in ("split", "weak", "weak matrix")] == [False, True, True]
    whole = {name: leaf for name, leaf in tree.items() if name == "split"}
    save(folder / "laid.npz", whole)
    other = {"split": jax.ShapeDtypeStruct((8,), jnp.float32, sharding=same)}
    assert restore(folder / "laid.npz", other)["split"].sharding == same


STATE = {
    "W": jnp.zeros((2, 3)),
    "b": None,
    "opt": [jnp.zeros(3, jnp.bfloat16), 0.5],
    "key": jax.random.key(0),
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"V": jnp.zeros(1)}, r"expected leaves \['V'\], got none of that name among 5"),
        ({"b": ()}, r"expected only the 4 leaves of like, got also \['b'\]"),
        ({"W": jnp.zeros((3, 2))}, r"expected \['W'\] float32 \(3, 2\), got \['W'\] float32 \(2, 3\)"),
        ({"W": jnp.zeros((2, 3), int)}, r"expected \['W'\] int32 \(2, 3\), got \['W'\] float32 \(2, 3\)"),
        ({"opt": [jnp.zeros(3, jnp.uint16), 0.5]}, r"got \['opt'\]\[0\] bfloat16 \(3,\)"),
        ({"opt": [STATE["opt"][0], 1]}, r"expected \['opt'\]\[1\] int, got \['opt'\]\[1\] float"),
        ({"opt": [STATE["opt"][0], jnp.float32(1)]}, r"float32 \(\), got \['opt'\]\[1\] float"),
        ({"b": 0.0}, r"expected \['b'\] float, got \['b'\] NoneType"),
        (
            {"key": jax.random.key(0, impl="rbg")},
            r"expected \['key'\] key<rbg> \(\), got \['key'\] key<fry> \(\)",
        ),
        ({"key": jnp.zeros(2, jnp.uint32)}, r"got \['key'\] key<fry> \(\)"),
        ({"W": jax.ShapeDtypeStruct((2, 3), np.float64)}, r"got \['W'\] float32 \(2, 3\)"),
        ({f"v{i}": 0 for i in range(9)}, r"'v3'\], \['v4'\] and 4 more, got none"),
    ],
)
def test_another_leaf_is_named(folder, change, said):
    save(folder / "state.npz", STATE)
    with pytest.raises(ValueError, match=rf"^restore\(state\.npz\): .*{said}"):
        restore(folder / "state.npz", STATE | change)


def test_what_cannot_be_stored_is_refused_and_leaves_nothing(tmp_path):
    for leaf, said in [
        (max, r"leaf \['f'\]: .*builtin_function"),
        (np.array([None]), "ndarray of dtype object"),
        (b"bytes", "got bytes"),
    ]:
        with pytest.raises(TypeError, match=said):
            save(tmp_path / "a.npz", {"f": leaf})
    with pytest.raises(TypeError, match="arrays belong in the tree"):
        save(tmp_path / "a.npz", {}, meta={"history": np.zeros(2)})
    assert not list(tmp_path.iterdir())


def test_float64_is_not_rounded_where_jax_has_only_float32(folder):
    save(folder / "double.npz", {"W": np.array([1 + 2.0**-40])})
    assert restore(folder / "double.npz", {"W": np.zeros(1)})["W"] == 1 + 2.0**-40
    with pytest.raises(
        ValueError, match=r"JAX to hold \['W'\] float64, got float32 alone; try .*jax_enable_x64"
    ):
        restore(folder / "double.npz", {"W": jax.ShapeDtypeStruct((1,), np.float64)})


@pytest.mark.parametrize("name", ["missing.npz", "folder.npz", "empty.npz", "foreign.npz", "text.npz"])
def test_no_checkpoint(tmp_path, name):
    np.savez(tmp_path / "foreign.npz", x=np.zeros(3))
    (tmp_path / "text.npz").write_text("epoch 3")
    (tmp_path / "empty.npz").touch()
    (tmp_path / "folder.npz").mkdir()
    error = FileNotFoundError if name in ("missing.npz", "folder.npz") else ValueError
    for read in (read_meta, lambda file: restore(file, 0)):
        with pytest.raises(error, match=rf"read_npz\({name}\): expected"):
            read(tmp_path / name)


def flipped(content, rng):
    content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))


def cut(content, rng):
    del content[int(rng.integers(len(content))) :]


def zeroed(content, rng):
    at = int(rng.integers(len(content) - 512))
    content[at : at + 512] = bytes(512)


@pytest.mark.parametrize("damage", [flipped, cut, zeroed])
def test_damage_never_gives_another_tree(tmp_path, damage):
    """Of 60 files all are refused, but for one at most, hit where nothing is read from, which is exact."""
    rng = np.random.default_rng(0)
    tree = {f"W{i}": rng.normal(size=(50, 100)).astype(np.float32) for i in range(12)}  # 0.24 MB
    save(tmp_path / "whole.npz", tree)
    whole, refused = (tmp_path / "whole.npz").read_bytes(), 0
    for _ in range(60):
        content = bytearray(whole)
        damage(content, rng)
        (tmp_path / "damaged.npz").write_bytes(content)
        try:
            found = restore(tmp_path / "damaged.npz", tree)
        except ValueError:
            refused += 1
        else:
            assert all(found[name].tobytes() == tree[name].tobytes() for name in tree)
    assert refused >= 59


def test_a_bit_flipped_in_any_byte_never_gives_another_tree(tmp_path):
    """Names, headers and directory too; only bytes that nothing depends on, such as dates, may differ."""
    rng = np.random.default_rng(1)
    tree = {"W": np.arange(4, dtype=np.float32), "n": 3}
    save(tmp_path / "a.npz", tree, meta={"epoch": 1})
    whole, refused = (tmp_path / "a.npz").read_bytes(), 0
    for at in range(len(whole)):
        content = bytearray(whole)
        content[at] ^= 1 << int(rng.integers(8))
        (tmp_path / "b.npz").write_bytes(content)
        try:
            assert_same(restore(tmp_path / "b.npz", tree), tree)
        except ValueError:
            refused += 1
    assert refused > 400


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are POSIX")
def test_a_full_disk_leaves_the_last_file_and_nothing_else(tmp_path):
    """The kernel ends the file at 64 kB."""
    file = tmp_path / "a.npz"
    save(file, {"W": np.zeros(100)})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, hard))
    try:
        with pytest.raises(OSError) as caught:
            save(file, {"W": np.ones(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
    np.testing.assert_array_equal(restore(file, {"W": np.ones(100)})["W"], 0.0)


def test_a_deleted_array_is_refused_by_its_name(tmp_path):
    tree = {"W": jnp.ones(3)}
    tree["W"].delete()
    with pytest.raises(ValueError, match=r"leaf \['W'\]: expected an array with values, got .*deleted"):
        save(tmp_path / "a.npz", tree)
    assert list(tmp_path.iterdir()) == []
