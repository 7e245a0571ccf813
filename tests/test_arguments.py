"""The doors: every kind of value is taken as what it means, or refused in one sentence."""

import datetime
import math
import re
from decimal import Decimal
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbp import arguments

WORDED = r"^here: expected .+, got .+"


def refused(call, *words, error=(TypeError, ValueError)):
    """The call is refused in the house's words, and these are among them."""
    with pytest.raises(error, match=WORDED) as caught:
        call()
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value), str(caught.value)


MEANT = np.array([[1.5, 2.0], [3.0, 4.25], [5.0, 6.0]], np.float32)


class Foreign:
    """What a tensor of another library shows of itself."""

    def __init__(self, values, error=None):
        self.values, self.error = values, error

    def __array__(self, dtype=None, copy=None):
        if self.error:
            raise self.error
        return np.asarray(self.values, dtype)


class Own(np.ndarray):
    pass


def with_pandas(make):
    return lambda: make(pytest.importorskip("pandas"))


def with_polars(make):
    return lambda: make(pytest.importorskip("polars"))


def sparse(form):
    return lambda: getattr(pytest.importorskip("scipy.sparse"), form)(MEANT)


TAKEN = {
    "JAX": lambda: jnp.asarray(MEANT),
    "NumPy": lambda: MEANT,
    "float64": lambda: MEANT.astype(np.float64),
    "longdouble": lambda: MEANT.astype(np.longdouble),
    "big-endian float32": lambda: MEANT.astype(">f4"),
    "big-endian float64": lambda: MEANT.astype(">f8"),
    "column major": lambda: np.asfortranarray(MEANT),
    "a reversed view": lambda: MEANT[::-1].copy()[::-1],
    "read-only": lambda: np.frombuffer(MEANT.tobytes(), np.float32).reshape(3, 2),
    "lists": lambda: MEANT.tolist(),
    "tuples": lambda: tuple(map(tuple, MEANT.tolist())),
    "a list of arrays": lambda: list(MEANT),
    "a list of big-endian arrays": lambda: list(MEANT.astype(">f4")),
    "a list of JAX arrays": lambda: list(jnp.asarray(MEANT)),
    "a list of unmasked arrays": lambda: [np.ma.masked_array(row) for row in MEANT],
    "NumPy numbers": lambda: [[np.float32(v) for v in row] for row in MEANT],
    "objects": lambda: MEANT.astype(object),
    "an object array of rows": lambda: np.array([list(row) for row in MEANT.tolist()], object),
    "fractions": lambda: [[Fraction(v) for v in row] for row in MEANT.tolist()],
    "decimals": lambda: np.array([[Decimal(v) for v in row] for row in MEANT.tolist()]),
    "unmasked": lambda: np.ma.masked_array(MEANT, np.zeros_like(MEANT, bool)),
    "a class of its own": lambda: MEANT.view(Own),
    "another library's tensor": lambda: Foreign(MEANT),
    "CSR": sparse("csr_matrix"),
    "COO": sparse("coo_array"),
    "a pandas frame": with_pandas(lambda pd: pd.DataFrame(MEANT)),
    "a nullable frame": with_pandas(lambda pd: pd.DataFrame(MEANT).convert_dtypes()),
    "an object frame": with_pandas(lambda pd: pd.DataFrame(MEANT.astype(object))),
    "a categorical frame": with_pandas(lambda pd: pd.DataFrame(MEANT).astype("category")),
    "a mixed frame": with_pandas(
        lambda pd: pd.DataFrame({"a": MEANT[:, 0], "b": pd.array(MEANT[:, 1], "Float64")})
    ),
    "equal column names": with_pandas(lambda pd: pd.DataFrame(MEANT, columns=["a", "a"]).astype("Float64")),
    "a polars frame": with_polars(lambda pl: pl.DataFrame(MEANT, schema=["a", "b"])),
    "a list of series": with_pandas(lambda pd: [pd.Series(row, dtype="Float32") for row in MEANT]),
}


@pytest.mark.parametrize("kind", TAKEN)
@pytest.mark.parametrize("host", [False, True])
def test_array_takes_what_holds_floats(kind, host):
    got = arguments.array("here", "x", TAKEN[kind](), floats=True, host=host)
    assert isinstance(got, np.ndarray if host else jax.Array)
    assert type(got) is np.ndarray or not host
    assert got.dtype.isnative
    np.testing.assert_array_equal(got, MEANT)


WHOLE = np.array([3, 1, 2], np.int32)
TAKEN_WHOLE = {
    "int64": lambda: WHOLE.astype(np.int64),
    "big-endian": lambda: WHOLE.astype(">i8"),
    "uint8": lambda: WHOLE.astype(np.uint8),
    "a list": lambda: [3, 1, 2],
    "objects": lambda: WHOLE.astype(object),
    "Int64": with_pandas(lambda pd: pd.Series([3, 1, 2], dtype="Int64")),
    "category": with_pandas(lambda pd: pd.Series([3, 1, 2], dtype="category")),
    "a categorical": with_pandas(lambda pd: pd.Series(pd.Categorical([3, 1, 2]))),
    "a polars series": with_polars(lambda pl: pl.Series([3, 1, 2])),
    "an index": with_pandas(lambda pd: pd.Index([3, 1, 2])),
}


@pytest.mark.parametrize("kind", TAKEN_WHOLE)
@pytest.mark.parametrize("host", [False, True])
def test_array_keeps_whole_numbers_whole(kind, host):
    got = arguments.array("here", "y", TAKEN_WHOLE[kind](), host=host)
    assert got.dtype.kind in "iu"
    np.testing.assert_array_equal(got, WHOLE)


def masked():
    return np.ma.masked_array(MEANT, MEANT == 3)


REFUSED = {
    "None": (lambda: None, "None"),
    "text": (lambda: "abc", "text"),
    "a list of text": (lambda: ["a", "b"], "text"),
    "numbers as text": (lambda: [["1", "2"]], "text"),
    "text among objects": (lambda: np.array([1, "a"], object), "x[1]", "'a'"),
    "bytes": (lambda: b"12", "text"),
    "dates": (lambda: np.array(["2020-01-01"], "M8[D]"), "dates"),
    "spans": (lambda: np.array([1], "m8[D]"), "dates"),
    "a list of dates": (lambda: [datetime.date(2020, 1, 1)], "x[0]", "date"),
    "records": (lambda: np.zeros(2, [("a", float), ("b", int)]), "fields a, b"),
    "ragged": (lambda: [[1.0], [2.0, 3.0]], "rectangular"),
    "ragged objects": (lambda: np.array([[1.0], [2.0, 3.0]], object), "rectangular"),
    "a dict": (lambda: {"a": 1}, "a dict of 1"),
    "a set": (lambda: {1, 2}, "list(x)"),
    "a generator": (lambda: (i for i in range(2)), "list(x)"),
    "a function": (lambda: len, "the function len"),
    "a class": (lambda: np.ndarray, "the class ndarray"),
    "masked": (masked, "x[1,0] is masked", "filled"),
    "a masked row in a list": (lambda: list(masked()), "x[1][0] is masked"),
    "None among numbers": (lambda: [[1.0, None]], "x[0,1] is missing", "fill"),
    "a missing float": (
        with_pandas(lambda pd: pd.DataFrame({"a": pd.array([1.0, None], "Float64")})),
        "column 'a' of x, row 1, is missing",
    ),
    "a missing integer": (with_pandas(lambda pd: pd.Series([1, None], dtype="Int64")), "row 1, is missing"),
    "a missing category": (with_pandas(lambda pd: pd.Series([1, None], dtype="category")), "missing"),
    "pd.NA in a list": (with_pandas(lambda pd: [1, pd.NA]), "x[1] is missing"),
    "pd.NA in a nested list": (with_pandas(lambda pd: [[1, 2], [3, pd.NA]]), "x[1,1] is missing"),
    "text in a frame": (with_pandas(lambda pd: pd.DataFrame({"a": [1.0], "b": ["u"]})), "column 'b'", "text"),
    "text categories": (with_pandas(lambda pd: pd.Series(["u", "v"], dtype="category")), "text"),
    "time stamps": (with_pandas(lambda pd: pd.Series(pd.to_datetime(["2020-01-01"]))), "dates"),
    "time stamps of a zone": (with_pandas(lambda pd: pd.Series(pd.to_datetime(["2020-01-01"], utc=True))),),
    "a polars null": (with_polars(lambda pl: pl.Series([1.0, None])), "row 1, is missing"),
    "a polars frame's null": (with_polars(lambda pl: pl.DataFrame({"a": [1, None]})), "column 'a'"),
    "polars text": (with_polars(lambda pl: pl.Series(["u"])), "text"),
    "2**32 as int64": (lambda: np.array([1, 2**32]), "x[1] = 4294967296 becomes 0"),
    "2**40 in a list": (lambda: [2**40], "becomes"),
    "2**70": (lambda: [2**70], "64 bits"),
    "uint64": (lambda: np.array([2**63], np.uint64), "becomes"),
    "1e300": (lambda: np.array([[1.0, 1e300]]), "x[0,1] = 1e+300 becomes inf"),
    "1e300 in a list": (lambda: [1e300], "becomes inf"),
    "longdouble": (lambda: np.array([np.finfo(np.longdouble).max]), "becomes inf", "float64"),
    "a tensor that needs detaching": (lambda: Foreign(0, RuntimeError("call detach()\nfirst")), "detach"),
    "a key": (lambda: jax.random.key(0), "numbers in x"),
    "a list of keys": (lambda: [jax.random.key(0)], "numbers in x"),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("host", [False, True])
def test_array_refuses_what_would_be_lost(kind, host):
    make, *words = REFUSED[kind]
    value = make()
    if kind == "longdouble" and np.finfo(np.longdouble).max == np.finfo(np.float64).max:
        pytest.skip("no longer float here")
    words = [word for word in words if kind != "longdouble" or word == "float64"]
    refused(lambda: arguments.array("here", "x", value, host=host), *words)


def test_a_deleted_array_is_refused():
    x = jnp.ones(3)
    x.delete()
    refused(lambda: arguments.array("here", "x", x), "deleted", "copy")
    refused(lambda: arguments.params("here", {"w": x}), "deleted", "['w']")


NO_FLOATS = {
    "int32": (jnp.array([1, 0]), "int32", "astype(float)", "1.0"),
    "int64": (np.array([1, 0]), "astype(float)"),
    "bytes": (np.array([1, 0], np.uint8), "/ 255"),
    "bool": (np.array([True]), "bool"),
    "a list of bool": ([True, False], "bool"),
    "complex": (np.array([1j]), "x.real"),
    "a list of complex": ([1j], "x.real"),
}


@pytest.mark.parametrize("kind", NO_FLOATS)
def test_array_asks_for_floats(kind):
    value, *words = NO_FLOATS[kind]
    refused(lambda: arguments.array("here", "x", value, floats=True), *words, error=TypeError)
    assert arguments.array("here", "x", value).shape == np.shape(value)


@pytest.mark.parametrize("value", [1, [1, 0], (1, 2), [[1], [2]], range(3), np.int64(4), 2.0, [1, 0.5]])
def test_numbers_that_are_written_are_floats(value):
    got = arguments.array("here", "x", value, floats=True)
    assert got.dtype == jnp.float32
    assert not got.weak_type
    np.testing.assert_array_equal(got, value)


def test_tracers_pass_and_cost_nothing():
    seen = []

    def f(x):
        seen.append(arguments.array("here", "x", x, floats=True) is x)
        return x

    jaxpr = jax.make_jaxpr(jax.vmap(jax.grad(lambda x: f(x).sum())))(jnp.ones((2, 3)))
    assert seen == [True]
    assert "convert" not in str(jaxpr)
    listed = jax.jit(lambda a: arguments.array("here", "x", [a, 1.0]))(jnp.float32(2))
    np.testing.assert_array_equal(listed, [2, 1])
    refused(lambda: jax.jit(lambda a: arguments.array("here", "x", a, host=True))(1.0), "traced")


@pytest.mark.parametrize("parts", [lambda x: (x, x[0]), lambda x: [x[0], x[:, 0]], lambda x: (x, None)])
def test_traced_arrays_that_are_no_one_array(parts):
    def inner(x):
        return arguments.array("here", "x", parts(x)).sum()

    refused(lambda: jax.jit(inner)(jnp.ones((2, 3))), "here", "x as one array", error=(TypeError, ValueError))


def test_nothing_is_copied_that_need_not_be():
    x = np.ones((4, 2))
    assert np.shares_memory(arguments.array("here", "x", x, host=True), x)
    mapped = np.ma.masked_array(x)
    assert np.shares_memory(arguments.array("here", "x", mapped, host=True), x)
    on_device = jnp.ones(3)
    assert arguments.array("here", "x", on_device) is on_device


def test_64_bits_are_kept_where_jax_keeps_them():
    with jax.enable_x64(True):
        assert int(arguments.array("here", "x", [2**40])[0]) == 2**40
        assert float(arguments.array("here", "x", [1e300])[0]) == 1e300


def test_inf_and_nan_are_numbers():
    got = arguments.array("here", "x", np.array([np.inf, -np.inf, np.nan]))
    np.testing.assert_array_equal(got, [np.inf, -np.inf, np.nan])


def test_empty_arrays_pass():
    assert arguments.array("here", "x", np.zeros((0, 3))).shape == (0, 3)
    assert arguments.array("here", "x", [], floats=True).shape == (0,)


class Mode(str):
    pass


@pytest.mark.parametrize(
    ("value", "near"),
    [
        ("MIN", "'min'"),
        ("Min ", "'min'"),
        ("minimum", "'min'"),
        ("maxi", "'max'"),
        ("mni", "'min'"),
        ("x", ""),
    ],
)
def test_option_names_the_near_word(value, near):
    def call():
        arguments.option("here", "mode", value, ("min", "max"))

    refused(call, "mode 'min' or 'max'", *([f"did you mean {near}?"] if near else []), error=ValueError)


@pytest.mark.parametrize("value", [None, 1, True, ["min"], b"min", len])
def test_option_takes_words(value):
    refused(lambda: arguments.option("here", "mode", value, ("min", "max")), error=TypeError)


def test_option_returns_the_word():
    assert arguments.option("here", "mode", Mode("min"), {"min": 1, "max": 2}) == "min"


NUMBERS = [
    0.5,
    1,
    np.float32(0.5),
    np.int8(1),
    np.array(0.5),
    jnp.array(0.5),
    jnp.bfloat16(0.5),
    Fraction(1, 2),
]


@pytest.mark.parametrize("value", [*NUMBERS, Decimal("0.5"), np.array(0.5, object), np.ma.array(0.5)])
def test_number_takes_numbers(value):
    got = arguments.number("here", "rate", value, low=0, high=1)
    assert type(got) is float
    assert got == float(value)


NO_NUMBERS = [
    None,
    "0.5",
    b"1",
    True,
    np.True_,
    jnp.array(True),
    1j,
    [0.5],
    np.array([0.5]),
    len,
    np.array("1"),
]
NO_NUMBERS += [np.ma.masked_array(0.5, True), np.datetime64("2020"), {}, jnp.ones((1, 1)), jax.random.key(0)]


@pytest.mark.parametrize("value", NO_NUMBERS, ids=lambda v: arguments.described(v))
def test_number_and_whole_refuse_what_is_none(value):
    refused(lambda: arguments.number("here", "rate", value), "rate", error=TypeError)
    refused(lambda: arguments.whole("here", "epochs", value), "epochs", error=TypeError)


@pytest.mark.parametrize(
    ("bounds", "outside", "words"),
    [
        ({}, [math.nan, math.inf, -math.inf, 10**400, np.float32(np.inf)], "a finite number"),
        ({"low": 0}, [-1e-9, -math.inf, math.nan], "of at least 0"),
        ({"low": 0, "open_low": True}, [0, -0.0, -1], "above 0"),
        ({"high": 2}, [2.1, math.inf], "of at most 2"),
        ({"high": 2, "open_high": True}, [2], "below 2"),
        ({"low": 0, "high": 1, "open_high": True}, [1, -0.1, math.nan], "in [0, 1)"),
        ({"low": 0, "high": 1, "open_low": True}, [0, 1.1], "in (0, 1]"),
    ],
)
def test_number_holds_its_bounds(bounds, outside, words):
    for value in outside:
        refused(lambda v=value: arguments.number("here", "rate", v, **bounds), words, error=ValueError)


def test_number_takes_what_was_measured():
    """A loss may be NaN; a whole number beyond the floats is none of them, and text is no number."""
    for value in (math.nan, -math.inf, np.float32(np.inf), jnp.float32(np.nan), 0.5, 2):
        got = arguments.number("here", "loss", value, finite=False)
        assert got == float(value) or math.isnan(got)
    for value in (10**400, -(10**400), Decimal("1e999")):
        refused(lambda v=value: arguments.number("here", "loss", v, finite=False), "loss", error=ValueError)
    refused(lambda: arguments.number("here", "loss", math.inf, high=1, finite=False), error=ValueError)


@pytest.mark.parametrize("value", [2, np.int64(2), np.uint8(2), np.array(2), jnp.array(2)])
def test_whole_takes_whole_numbers(value):
    got = arguments.whole("here", "epochs", value, low=1, high=2)
    assert type(got) is int
    assert got == 2


def test_whole_refuses():
    refused(lambda: arguments.whole("here", "epochs", 2.0), "write 2", error=TypeError)
    refused(lambda: arguments.whole("here", "epochs", jnp.float32(2.5)), error=TypeError)
    refused(lambda: arguments.whole("here", "epochs", "3"), "quotes", error=TypeError)
    refused(lambda: arguments.whole("here", "epochs", 0, low=1), "of at least 1", error=ValueError)
    refused(lambda: arguments.whole("here", "epochs", 9, low=1, high=5), "in [1, 5]", error=ValueError)


def test_traced_numbers_are_said_to_be_traced():
    refused(lambda: jax.jit(lambda v: arguments.number("here", "rate", v))(0.5), "traced", error=TypeError)
    refused(lambda: jax.jit(lambda v: arguments.whole("here", "n", v))(5), "traced", error=TypeError)


def test_flag():
    assert arguments.flag("here", "bias", np.True_) is True
    for value in (0, 1, "no", None, [], np.array(True)):
        refused(lambda v=value: arguments.flag("here", "bias", v), "True or False", error=TypeError)


def test_key_takes_typed_and_raw_keys():
    for key in (jax.random.key(1), jax.random.PRNGKey(1), np.asarray(jax.random.PRNGKey(1))):
        assert jax.random.normal(arguments.key("here", key)) == jax.random.normal(jax.random.key(1))
    big = np.asarray(jax.random.PRNGKey(1)).astype(">u4")
    assert jax.random.normal(arguments.key("here", big)) == jax.random.normal(jax.random.key(1))
    seen = jax.vmap(lambda k: jax.random.normal(arguments.key("here", k)))(
        jax.random.split(jax.random.key(0))
    )
    assert seen.shape == (2,)


NO_KEYS = {
    "0": (0, "the int 0", "jax.random.key(0)"),
    "7": (np.int64(7), "jax.random.key(7)"),
    "-1": (-1, "jax.random.key(0)"),
    "True": (True, "True"),
    "None": (None, "None"),
    "text": ("0", "'0'"),
    "two keys": (lambda: jax.random.split(jax.random.key(0)), "2 keys", "keys[0]"),
    "two raw keys": (lambda: jax.random.split(jax.random.PRNGKey(0)), "2 keys"),
    "int32": (np.zeros(2, np.int32), "int32 of shape (2,)"),
    "three words": (np.zeros(3, np.uint32), "shape (3,)"),
    "a generator": (lambda: np.random.default_rng(0), "Generator"),
    "a list": ([0, 1], "a list of 2"),
}


@pytest.mark.parametrize("kind", NO_KEYS)
def test_key_refuses_what_is_none(kind):
    value, *words = NO_KEYS[kind]
    value = value() if callable(value) else value
    refused(lambda: arguments.key("here", value), *words, error=TypeError)


def test_instance():
    assert arguments.instance("here", "net", 3, (str, int)) == 3
    refused(
        lambda: arguments.instance("here", "net", jnp.tanh, int), "net to be an int", "tanh", error=TypeError
    )
    refused(lambda: arguments.instance("here", "net", int, int), "the class int", error=TypeError)


class Affine(NamedTuple):
    w: jax.Array
    b: jax.Array


class Callback:
    def __call__(self, a, b=1, *, key=None):
        return a


async def later(a): ...


def one_by_one(a):
    yield a


async def both(a):
    yield a


@pytest.mark.parametrize(
    ("value", "positional", "keywords"),
    [
        (lambda a, b: 0, 2, ()),
        (lambda *a: 0, 5, ()),
        (lambda a, **kw: 0, 1, ("key",)),
        (Callback(), 1, ("key",)),
        (Callback(), 2, ()),
        (partial(lambda a, b: 0, 1), 1, ()),
        (jax.jit(lambda a: a), 1, ()),
        (max, 2, ()),
        (jnp.float32, 1, ()),
        (np.float16, None, ()),
        (lambda a, b, *, key: 0, None, ("key",)),
    ],
)
def test_function_takes_what_can_be_called_so(value, positional, keywords):
    assert arguments.function("here", "f", value, positional=positional, keywords=keywords) is value


@pytest.mark.parametrize(
    ("value", "positional", "keywords", "words"),
    [
        (3, None, (), ["the int 3"]),
        ("relu", None, (), ["'relu'"]),
        (lambda a: 0, 2, (), ["2 arguments", "(a)"]),
        (lambda: 0, 1, (), ["1 argument,", "()"]),
        (lambda a: 0, 1, ("key",), ["key="]),
        (lambda a: 0, None, ("key",), ["key="]),
        (Callback(), 3, (), ["3 arguments"]),
        (dict, 1, (), ["the class dict", "give a function"]),
        (Affine, 2, (), ["the class Affine"]),
        (Callback, None, (), ["the class Callback"]),
        (later, 1, (), ["the coroutine function later"]),
        (one_by_one, 1, (), ["the generator function one_by_one"]),
        (both, None, (), ["the generator function both"]),
    ],
)
def test_function_refuses_the_rest(value, positional, keywords, words):
    refused(
        lambda: arguments.function("here", "f", value, positional=positional, keywords=keywords),
        *words,
        error=TypeError,
    )


def test_params_pass_as_they_are():
    params = {1: {"W": jnp.ones((2, 2)), "b": jnp.ones(2, jnp.bfloat16)}, 2: {}, 3: None}
    got = arguments.params("here", params)
    assert jax.tree.structure(got) == jax.tree.structure(params)
    assert all(a is b for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(params), strict=True))


@pytest.mark.parametrize(
    "value",
    [np.array([1.5, 2]), np.array([1.5, 2], ">f8"), [1.5, 2], (1.5, 2.0), np.array([1.5, 2], object)],
    ids=str,
)
def test_params_become_arrays(value):
    got = arguments.params("here", {"w": value, "n": [Affine(value, 2.0)]})
    for leaf in (got["w"], got["n"][0].w):
        assert isinstance(leaf, jax.Array)
        np.testing.assert_array_equal(leaf, [1.5, 2])
    assert got["n"][0].b.shape == ()


BAD_LEAVES = {
    "int32": (jnp.ones(2, int), "[1]['W'] int32", "try jnp.asarray(W, float)"),
    "NumPy int64": (np.ones(2, int), "[1]['W'] int64", "jnp.asarray(W, float)"),
    "bool": (np.ones(2, bool), "[1]['W'] bool"),
    "complex": (jnp.ones(2, complex), "[1]['W'] complex64", "real and imaginary"),
    "an int": (3, "[1]['W'] the int 3", "3.0"),
    "True": (True, "[1]['W'] True"),
    "text": ("abc", "[1]['W'] 'abc'"),
    "text array": (np.array(["a"]), "[1]['W'] <U1"),
    "a function": (jnp.tanh, "tanh", "partition"),
    "a masked array": (np.ma.masked_array([1.0], [True]), "params[1]['W'][0] is masked"),
    "1e300": (np.array([1e300]), "params[1]['W'][0] = 1e+300 becomes inf"),
    "a key": (lambda: jax.random.key(0), "[1]['W'] key<fry>"),
}


@pytest.mark.parametrize("kind", BAD_LEAVES)
def test_params_name_the_first_bad_leaf(kind):
    value, *words = BAD_LEAVES[kind]
    value = value() if kind == "a key" else value
    good = {"b": jnp.ones(2), "W": value}
    refused(lambda: arguments.params("here", {1: good}), *words)


def test_params_with_keys_of_two_types():
    refused(lambda: arguments.params("here", {1: jnp.ones(2), "a": jnp.ones(2)}), "sorted", error=TypeError)


def test_params_that_are_one_leaf():
    assert arguments.params("here", 2.0).shape == ()
    refused(lambda: arguments.params("here", jnp.ones(2, int)), "params int32", error=TypeError)


def test_params_are_traced_without_an_operation():
    traced = jax.make_jaxpr(lambda p: arguments.params("here", p))({"W": jnp.ones(2)})
    assert not traced.eqns


def test_path():
    assert arguments.path("here", "path", "a/b") == Path("a/b")
    assert arguments.path("here", "path", Path("a")) == Path("a")
    for value, word in ((None, "None"), (b"a", "fsdecode"), (3, "the int 3"), (["a"], "a list of 1")):
        refused(lambda v=value: arguments.path("here", "path", v), word, error=TypeError)
    refused(lambda: arguments.path("here", "path", ""), error=ValueError)
    refused(lambda: arguments.path("here", "path", "a\0b"), error=ValueError)
    for long in ("x" * 300, "a/" * 4000, "a/" + "b" * 300 + "/c"):
        words = f"{len(long)} characters", "as short as the system takes it"
        refused(lambda v=long: arguments.path("here", "path", v), *words, error=ValueError)
    with open(__file__) as file:
        refused(lambda: arguments.path("here", "path", file), "give its name", error=TypeError)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "the int 0"),
        (2.5, "the float 2.5"),
        (np.float32(2.5), "the float32 2.5"),
        ("MIN", "'MIN'"),
        (None, "None"),
        (True, "True"),
        (math.nan, "the float nan"),
        (refused, "the function refused"),
        (lambda: 0, "a lambda"),
        (Path, "the class Path"),
        (math, "the module math"),
        (np.zeros((3, 2), np.float32), "float32 of shape (3, 2)"),
        ([1, 2, 3], "a list of 3"),
        ((), "a tuple of 0"),
        ({"a": 1}, "a dict of 1"),
        (Affine(0, 1), "an Affine"),
        (Callback(), "a Callback"),
        ("x" * 1000, "'" + "x" * 59 + "..."),
        (10**5000, "the int of 16610 bits"),
    ],
    ids=lambda v: v if isinstance(v, str) and len(v) < 70 else "",
)
def test_described(value, text):
    assert arguments.described(value) == text


def test_described_calls_no_repr():
    class Loud:
        def __repr__(self):
            raise AssertionError

    assert arguments.described(Loud()) == "a Loud"
    assert re.match(r"a list of 1$", arguments.described([Loud()]))
