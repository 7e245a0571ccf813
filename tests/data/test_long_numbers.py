"""Whole numbers that floats do not hold, identifiers, are refused wherever they would become others."""

import jax
import numpy as np
import optax
import pandas as pd
import polars as pl
import pytest

import jaxbp
from jaxbp.data import load, read_csv

N = 20
EXACT = 2**53 + 2 * np.arange(N)  # floats of 64 bits hold them
LONG = EXACT + 1  # and not these
F, Y = np.linspace(0, 1, N), np.arange(N) % 2
NET = jaxbp.mlp([2, 2])
PARAMS = {1: {"W": np.ones((2, 2), np.float32), "b": np.zeros(2, np.float32)}}


def records(ids):
    made = np.zeros(N, [("id", ids.dtype), ("f", float), ("y", int)])
    made["id"], made["f"], made["y"] = ids, F, Y
    return made


FRAMES = {
    "int64": lambda ids: pd.DataFrame({"id": ids, "f": F, "y": Y}),
    "uint64": lambda ids: pd.DataFrame({"id": ids.astype(np.uint64), "f": F, "y": Y}),
    "negative": lambda ids: pd.DataFrame({"id": -ids, "f": F, "y": Y}),
    "nullable": lambda ids: pd.DataFrame({"id": pd.array(ids, "Int64"), "f": F, "y": Y}),
    "objects": lambda ids: pd.DataFrame({"id": pd.Series(ids.tolist(), dtype=object), "f": F, "y": Y}),
    "polars": lambda ids: pl.DataFrame({"id": ids, "f": F, "y": Y}),
    "polars, unsigned": lambda ids: pl.DataFrame({"id": ids.astype(np.uint64), "f": F, "y": Y}),
}
TABLES = FRAMES | {
    "nullable, missing": lambda ids: FRAMES["int64"](pd.array([None, *ids[1:]], "UInt64")),
    "polars, missing": lambda ids: pl.DataFrame({"id": [None, *ids[1:].tolist()], "f": F, "y": Y}),
    "polars, 128 bits": lambda ids: pl.DataFrame({"id": pl.Series(ids, dtype=pl.Int128), "f": F, "y": Y}),
    "decimals": lambda ids: pl.DataFrame({"id": pl.Series(ids).cast(pl.Decimal(20, 0)), "f": F, "y": Y}),
}


@pytest.mark.parametrize("kind", TABLES)
def test_a_column_that_floats_do_not_hold_is_refused(kind):
    train, _ = load(TABLES[kind](np.random.default_rng(0).permutation(EXACT)), label="y")
    assert train.x.shape[1] == 2
    with pytest.raises(ValueError, match=r"'id'\) with '-?9007.* lose digits .*; drop=\['id'\] leaves"):
        load(TABLES[kind](LONG), label="y")
    train, _ = load(TABLES[kind](LONG), label="y", drop="id")
    assert train.schema.features == 1


def test_so_it_is_in_files(tmp_path):
    np.save(tmp_path / "records.npy", records(LONG))
    rows = [f"{i},{f},{y}" for i, f, y in zip(LONG.tolist(), F, Y, strict=True)]
    (tmp_path / "table.csv").write_text("\n".join(["id,f,y", *rows]))
    (tmp_path / "bare.csv").write_text("\n".join(rows))
    for name, refused in (("records.npy", "'id'"), ("table.csv", "'id'"), ("bare.csv", "column 1")):
        with pytest.raises(ValueError, match=rf"{refused}.* with '9007.* lose digits .*; drop=\[.+\] leaves"):
            load(tmp_path / name, label=2)
    with pytest.raises(ValueError, match=r"column 1 with '9007199254740993' in line 1 .*drop=\[0\] leaves"):
        read_csv(tmp_path / "bare.csv")
    assert read_csv(tmp_path / "bare.csv", drop=0)[0].shape == (N, 1)
    (tmp_path / "exact.csv").write_text("\n".join(f"{i},{y}" for i, y in zip(EXACT.tolist(), Y, strict=True)))
    np.testing.assert_array_equal(read_csv(tmp_path / "exact.csv")[0][:, 0], EXACT)


@pytest.mark.parametrize("kind", FRAMES)
def test_beside_floats_fit_refuses_it_too(kind):
    frame = FRAMES[kind](LONG)[["id", "f"]]
    options = {"optimizer": optax.sgd(0.1), "key": jax.random.key(0), "epochs": 1, "progress_bar": False}
    with pytest.raises(ValueError, match=r"column 'id' of x to be exact in float64.* got -?9007.* row 0"):
        jaxbp.fit(jaxbp.value_and_grad(NET, jaxbp.softmax_cross_entropy), PARAMS, (frame, Y), **options)


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_an_array_of_them_is_refused_as_what_32_bits_do_not_hold(dtype):
    x = np.stack([LONG, LONG], 1).astype(dtype)
    with pytest.raises(ValueError, match=r"expected x to fit in u?int32, .* x\[0,0\] = 9007199254740993"):
        jaxbp.data.assert_data(x, Y)


def test_exact_ones_beside_floats_stay_as_they_are():
    x = jaxbp.data.assert_data(FRAMES["int64"](EXACT * 512)[["id", "f"]], Y, narrow=False).x
    np.testing.assert_array_equal(x[:, 0], EXACT * 512.0)
