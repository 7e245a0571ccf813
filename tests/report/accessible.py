"""What axe, the accessibility checker, says of an open page; it is put into the page by the test alone."""

from typing import Any

import pytest


def violations(page: Any) -> list[tuple[str, str, str]]:
    """Rule, impact and the first place of each; skips the test where axe is not installed."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = axe.run(page).response["violations"]
    return [(rule["id"], rule["impact"], rule["nodes"][0]["html"]) for rule in found]
