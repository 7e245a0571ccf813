"""What README and the pages of docs show is what the library prints, and the pages are whole."""

import ast
import doctest
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jaxbp import cli

pytest.importorskip("tyro")
pytest.importorskip("sklearn")

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def commands(page):
    """The commands of a page's console blocks, each with what it is said to print."""
    for block in re.findall(r"^```console\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        for part in block.split("$ ")[1:]:
            command, _, printed = part.partition("\n")
            if printed:
                yield command, printed


SLOW = {"jaxbp experiments 23": pytest.mark.soak}
SHOWN = [
    pytest.param(*shown, id=f"{page.name}: {shown[0]}", marks=SLOW.get(shown[0], ()))
    for page in PAGES
    for shown in commands(page)
]


@pytest.mark.parametrize(("command", "printed"), SHOWN)
def test_a_command_prints_what_is_shown(command, printed, tmp_path, capsys, monkeypatch):
    shutil.copy(ROOT / "docs" / "kernels.py", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "kernels", raising=False)
    program, *args = shlex.split(command, comments=True)
    assert program == "jaxbp"
    cli.main(args)
    got = capsys.readouterr().out
    same = doctest.OutputChecker().check_output(printed, got, FLAGS)
    assert same, got


def test_readme_s_first_screen_has_four_doors():
    screen = (ROOT / "README.md").read_text().partition("## Install")[0]
    assert len(screen.splitlines()) <= 60
    shown = [command.split()[1] for command, _ in commands(ROOT / "README.md")]
    assert shown == ["explain", "check", "train"]
    assert screen.count("```python") == 1


def test_the_picture_is_what_explain_draws(tmp_path, capsys):
    assert cli.main(["explain", "--svg", str(tmp_path / "drawn.svg")]) == 0
    drawn = (tmp_path / "drawn.svg").read_text(encoding="utf-8")
    assert (ROOT / "docs" / "explain.svg").read_text(encoding="utf-8") == drawn


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    targets = [to for to in re.findall(r"\]\(([^)#\s]+)", text) if not to.startswith("generated/")]
    assert not [to for to in targets if "://" not in to and not (page.parent / to).exists()]


@pytest.fixture
def generated(monkeypatch):
    """The module that writes pages from the source."""
    monkeypatch.syspath_prepend(ROOT / "docs")
    return importlib.import_module("generated")


def shown_messages():
    """The messages that the examples of the docstrings end with, but for those that are cut short."""
    package = ROOT / "jaxbp"
    for path in package.rglob("*.py"):
        if path.parent == package / "arguments" or path == package / "errors.py":
            continue  # their callers are made up
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                for example in doctest.DocTestParser().get_examples(ast.get_docstring(node) or ""):
                    message = " ".join((example.exc_msg or "").split()).partition(": ")[2]
                    if ": expected " in message and "..." not in message:
                        yield message


def test_every_message_that_the_docstrings_show_is_found(generated):
    shown = list(shown_messages())
    assert len(shown) >= 10
    telling = [m for m in generated.messages() if len(re.findall(r"\w{3,}", m.text)) > 2]  # not expected, got
    patterns = [message.pattern() for message in telling]
    assert [text for text in shown if not any(pattern.search(text) for pattern in patterns)] == []


def test_the_pages_from_the_source_have_what_they_promise(generated):
    pages = generated.pages()
    groups = generated.groups()
    assert len(pages) == 2 + len(groups)
    assert all(f"jaxbp.{name}" in "".join(pages.values()) for _, names in groups.values() for name in names)
    index = (ROOT / "docs" / "index.md").read_text()
    assert {f"generated/{name}" for name in pages} <= set(index.split())
    errors = pages["errors"]
    assert "- `mlp: expected at least two sizes, [d_0, ..., d_L], got …; write mlp([d_0, d_1])` (" in errors
    assert "- `dropout: expected rate in [0, 1), got …` (" in errors


@pytest.mark.parametrize("execution", ["off", pytest.param("force", marks=pytest.mark.soak)])
def test_the_site_is_built_without_a_warning(tmp_path, execution):
    """With ``force`` the notebook is executed, too; a line for each epoch needs no further package there."""
    for package in ("sphinx", "myst_nb", "sphinx_book_theme"):
        pytest.importorskip(package)
    mode = f"nb_execution_mode={execution}"
    build = [sys.executable, "-m", "sphinx", "-W", "-q", "-D", mode, "docs", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    page = re.sub("<[^>]+>", "", (tmp_path / "generated" / "errors.html").read_text())
    assert "mlp: expected at least two sizes, [d_0, ..., d_L], got" in page
    assert "rectangular" in (tmp_path / "searchindex.js").read_text()
    notebook = (tmp_path / "tutorial.html").read_text()
    assert ("epoch 10/10" in notebook) == (execution == "force")
    assert "ipywidgets" not in notebook
