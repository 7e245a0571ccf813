"""The ``check_rules`` fixture: a test fails with the report when a derivative rule is wrong."""

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def check_rules() -> Callable[..., Any]:
    """``check_rules(f, *args, declare=None, order=1, **kwargs)``: the report, or a failure that shows it."""
    from jaxbp.verify.check import check  # JAX is slow to import: only the tests that check pay for it

    def run(f: Callable[..., Any], *args: Any, **options: Any) -> Any:
        report = check(f, *args, **options)
        if not report.ok:
            pytest.fail(str(report), pytrace=False)
        return report

    return run
