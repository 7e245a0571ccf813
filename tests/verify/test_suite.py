"""The suite: every rule gets its verdict, and every wrong one its cause, in float32 and float64."""

import jax
import numpy as np
import pytest

from jaxbp.verify import check
from jaxbp.verify.causes.table import CAUSES

from .cases import CASES


def test_size():
    names = [(c.category, c.name) for c in CASES]
    assert len(set(names)) == len(names) >= 150
    assert sum(c.verdict == "wrong" for c in CASES) >= 80
    assert sum(c.verdict != "wrong" for c in CASES) >= 60


def _in_each_dtype():
    """Of each category and verdict the first case, and of the others one in five, each in one dtype, in turn.

    The rest by ``pytest -m soak``, and all of them by experiment 20. For each release of JAX the first ones.
    """
    first = {(c.category, c.verdict): c for c in reversed(CASES)}
    for i, case in enumerate(CASES):
        leads = case is first[case.category, case.verdict]
        for dtype in ("float32", "float64"):
            in_turn = i % 2 == (dtype == "float64")
            marks = [] if in_turn and (leads or i % 5 == 0) else [pytest.mark.soak]
            marks += [pytest.mark.jax_release] * leads
            yield pytest.param(case, dtype, marks=marks, id=f"{case.category}: {case.name}, {dtype}")


@pytest.mark.parametrize(("case", "dtype"), list(_in_each_dtype()))
def test_case(case, dtype):
    # Users have JAX's default, in which ranks are promoted.
    with jax.enable_x64(dtype == "float64"), jax.numpy_rank_promotion("allow"):
        report = check(case.f, *case.args(np.dtype(dtype)), declare=case.declare, order=case.order)
    assert report.verdict == case.verdict, str(report)
    if case.verdict == "wrong":
        assert {f.cause for f in report.wrong} & set(case.causes), str(report)
    assert {f.cause for f in report.findings} <= {"", *CAUSES}
    # Everything that is reported can be printed and stored.
    assert report.function in str(report)
    assert report._repr_html_().startswith("<p>")
    assert report.to_dict()["ok"] == report.ok
