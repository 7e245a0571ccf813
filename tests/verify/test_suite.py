"""The suite: every rule gets its verdict, and every wrong one its cause, in float32 and float64."""

import jax
import numpy as np
import pytest

from jaxbp.verify import check

from . import (
    cases_apart,
    cases_arrays,
    cases_contract,
    cases_elementwise,
    cases_hard,
    cases_models,
    cases_more,
)

MODULES = (cases_elementwise, cases_arrays, cases_models, cases_hard, cases_more, cases_contract, cases_apart)
CASES = [c for module in MODULES for c in module.CASES]


def test_size():
    names = [(c.category, c.name) for c in CASES]
    assert len(set(names)) == len(names) >= 150
    assert sum(c.verdict == "wrong" for c in CASES) >= 80
    assert sum(c.verdict != "wrong" for c in CASES) >= 60


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.category}: {c.name}")
def test_case(case):
    for dtype in (np.float32, np.float64):
        with jax.enable_x64(dtype == np.float64):
            report = check(case.f, *case.args(dtype), declare=case.declare, order=case.order)
        assert report.verdict == case.verdict, str(report)
        if case.verdict == "wrong":
            assert {f.cause for f in report.wrong} & set(case.causes), str(report)
        # Everything that is reported can be printed and stored.
        assert report.function in str(report)
        assert report._repr_html_().startswith("<p>")
        assert report.to_dict()["ok"] == report.ok
