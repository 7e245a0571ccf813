"""The ``check_rules`` fixture: a test fails with the report when a derivative rule is wrong.

It stands outside of the package, so that pytest imports JAX only for tests that use the fixture.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from jaxbp.verify import Report


@pytest.fixture
def check_rules() -> "Callable[..., Report]":
    """``check_rules(f, *args, declare=None, order=1, **kwargs)``: the report, or a failure that shows it."""
    from jaxbp.verify import check

    def run(f: Callable[..., Any], *args: Any, **options: Any) -> "Report":
        report = check(f, *args, **options)
        if not report.ok:
            pytest.fail(str(report), pytrace=False)
        return report

    return run
