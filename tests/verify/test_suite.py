"""The suite: every rule gets its verdict, and every wrong one its cause, in float32 and float64."""

import jax
import numpy as np
import pytest

from jaxbp.verify import check
from jaxbp.verify.causes.mistakes import CAUSES

from .cases import CASES


def test_size():
    names = [(c.category, c.name) for c in CASES]
    assert len(set(names)) == len(names) >= 150
    assert sum(c.verdict == "wrong" for c in CASES) >= 80
    assert sum(c.verdict != "wrong" for c in CASES) >= 60


def _in_each_dtype():
    """Every case in one dtype, in turn; in the other one by ``pytest -m soak``, and by experiment 20.

    For each release of JAX the first case of each category and verdict.
    """
    first = {(c.category, c.verdict): c for c in reversed(CASES)}
    for i, case in enumerate(CASES):
        for dtype in ("float32", "float64"):
            marks = [pytest.mark.soak] * (i % 2 == (dtype == "float32"))
            marks += [pytest.mark.jax_release] * (case is first[case.category, case.verdict])
            yield pytest.param(case, dtype, marks=marks, id=f"{case.category}: {case.name}, {dtype}")


@pytest.mark.parametrize(("case", "dtype"), list(_in_each_dtype()))
def test_case(case, dtype):
    with jax.enable_x64(dtype == "float64"):
        report = check(case.f, *case.args(np.dtype(dtype)), declare=case.declare, order=case.order)
    assert report.verdict == case.verdict, str(report)
    if case.verdict == "wrong":
        assert {f.cause for f in report.wrong} & set(case.causes), str(report)
    assert {f.cause for f in report.findings} <= {"", *CAUSES}
    # Everything that is reported can be printed and stored.
    assert report.function in str(report)
    assert report._repr_html_().startswith("<p>")
    assert report.to_dict()["ok"] == report.ok
