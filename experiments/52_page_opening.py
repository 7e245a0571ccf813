"""How soon is a page open, and how soon does it have the numbers of an edit?

    python -m experiments.52_page_opening

Writes pages as `jaxbp explain --html` does, of a small network, of the lecture's and of the widest that a
page takes, and the page of a run as `jaxbp report` does, and opens each in a headless Chromium, each time in
a new profile (playwright and a Chromium are needed). "open" is the time from the start of loading to the
end, when the script has computed and drawn everything; "seen" is the first contentful paint, "CPU time" what
the page's thread has worked by then, which other work on the machine does not change much; "edit" is the time
in which the script answers a new number of x. Milliseconds, median and range. A minute on 2 CPU cores.
Expected: every page is open in less than a second, of at most 500 kB, and 5 MB for a run.
"""

import shutil
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import jax
import numpy as np

import jaxbp
from experiments.record import dots, run, save, table
from jaxbp import cli
from jaxbp.report.page import write_page


@dataclass(frozen=True)
class Config:
    times: int = 9
    only: str = ""
    """Pages whose names have this in them."""
    epochs: int = 5
    """Of the run that has a page."""
    chromium: str = "chromium"
    out: Path = Path("results/52_page_opening")


EDIT = """() => {
  const field = document.querySelector('[id="x[1]"]');
  if (!field) return null;
  const start = performance.now();
  field.value = String(Number(field.value) + 0.125);
  field.dispatchEvent(new Event('input', { bubbles: true }));
  document.body.getBoundingClientRect();  // with its layout
  return performance.now() - start;
}"""
OPENED = """() => new Promise((done) => {
  const told = () => {
    const [all] = performance.getEntriesByType('navigation');
    const seen = performance.getEntriesByName('first-contentful-paint')[0];
    if (all.loadEventEnd && seen) done([all.loadEventEnd, seen.startTime]);
    else setTimeout(told, 5);
  };
  told();
})"""


def explained(sizes: list[int], activation: jaxbp.Layer) -> str:
    net = jaxbp.mlp(sizes, activation)
    params = net.init(jax.random.key(0))
    return write_page(
        jaxbp.explain(net, jaxbp.softmax_cross_entropy, params, np.linspace(-1, 1, sizes[0]), 0)
    )


def of_a_run(epochs: int) -> str:
    """The page of a network that has learned scikit-learn's digits."""
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()):
        page = Path(folder) / "page.html"
        train = ["train", "--epochs", str(epochs), "--watch", "1", "--no-check", "--out", folder]
        assert cli.main(train) == 0
        (made,) = Path(folder).glob("*/config.json")
        assert cli.main(["report", str(made.parent), "--html", str(page)]) == 0
        return page.read_text(encoding="utf-8")


def pages(config: Config) -> Iterator[tuple[str, str]]:
    makers = {
        "explain, 2-2-2": lambda: explained([2, 2, 2], jaxbp.sigmoid),
        "explain, 3-5-5-4": lambda: explained([3, 5, 5, 4], jaxbp.tanh),
        "explain, 16-16-16-10": lambda: explained([16, 16, 16, 10], jaxbp.gelu),
        "report, digits": lambda: of_a_run(config.epochs),
    }
    yield from ((name, make()) for name, make in makers.items() if config.only in name)


def opened(browser: Any, file: Path) -> dict[str, float]:
    """Milliseconds, in a profile that has seen nothing."""
    context = browser.new_context()
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.goto(file.as_uri())
    open_, seen = page.evaluate(OPENED)
    metrics = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
    edit = page.evaluate(EDIT)
    context.close()
    found = {"seen": seen, "open": open_, "CPU time": 1000 * metrics["ThreadTime"]}
    return found | ({} if edit is None else {"edit": edit})


def main(config: Config = Config()) -> dict[str, Any]:
    from playwright.sync_api import sync_playwright

    result: dict[str, Any] = {}
    with sync_playwright() as driver, tempfile.TemporaryDirectory() as folder:
        browser = driver.chromium.launch(
            executable_path=shutil.which(config.chromium), args=["--no-sandbox", "--disable-gpu"]
        )
        for name, text in pages(config):
            file = Path(folder) / "page.html"
            file.write_text(text, encoding="utf-8")
            opened(browser, file)
            each = [opened(browser, file) for _ in range(config.times)]
            result[name] = {"kB": len(text.encode()) / 1000} | {
                what: {"least": min(ms), "median": statistics.median(ms), "most": max(ms)}
                for what in each[0]
                if (ms := [one[what] for one in each])
            }
        browser.close()

    def cell(row: dict[str, Any], what: str) -> str:
        found = row.get(what)
        return f"{found['median']:.0f} ({found['least']:.0f} to {found['most']:.0f})" if found else ""

    columns = ("seen", "open", "CPU time", "edit")
    table(
        "pages in a headless Chromium, milliseconds",
        ("page", "kB", *columns),
        [(name, f"{row['kB']:.0f}", *(cell(row, what) for what in columns)) for name, row in result.items()],
    )
    spans = {
        name: {
            what: [row[what][k] for k in ("least", "median", "most")] for what in columns if what in row
        }
        for name, row in result.items()
    }
    title = "How soon a page is open, and answers an edit"
    drawn = dots(spans, "milliseconds: median and range", title, log=True)
    return save(config, result, drawn)


if __name__ == "__main__":
    run(main, Config)
