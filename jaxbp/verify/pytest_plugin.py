"""The ``check_rules`` fixture: a test fails with the report when a derivative rule is wrong."""

from collections.abc import Callable
from typing import Any

import pytest

from jaxbp.verify.check import check
from jaxbp.verify.report import Report


@pytest.fixture
def check_rules() -> Callable[..., Report]:
    """``check_rules(f, *args, declare=None, order=1, **kwargs)``: the report, or a failure that shows it."""

    def run(f: Callable[..., Any], *args: Any, **options: Any) -> Report:
        report = check(f, *args, **options)
        if not report.ok:
            pytest.fail(str(report), pytrace=False)
        return report

    return run
