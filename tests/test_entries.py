"""Arrays of Python objects, queries that were not run, and columns that are there twice."""

import datetime

import numpy as np
import pytest

from jaxbp import arguments
from jaxbp.arguments.arrays import array

DATES = [
    np.datetime64("2020-01-01"),
    np.timedelta64(3, "s"),
    datetime.date(2020, 1, 1),
    datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC),
    datetime.timedelta(1),
    datetime.time(3),
]


@pytest.mark.parametrize("date", DATES)
@pytest.mark.parametrize("made", [list, lambda values: np.array(values, object), lambda v: [[x] for x in v]])
def test_a_date_among_numbers_is_refused_with_its_place(date, made):
    with pytest.raises(TypeError, match=r"fit: expected numbers in x, got (x\[1.* is a date|dtype .*dates)"):
        array("fit", "x", made([1.0, date, 2.0]))


def test_a_query_that_was_not_run_is_refused():
    pl = pytest.importorskip("polars")
    lazy = pl.DataFrame({"a": [1.0, 2.0]}).lazy()
    with pytest.raises(TypeError, match=r"fit: expected x as an array, got a LazyFrame; x\.collect\(\)"):
        array("fit", "x", lazy)
    assert arguments.array("fit", "x", lazy.collect()).shape == (2, 1)
