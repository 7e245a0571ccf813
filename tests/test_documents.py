"""What README and the pages of docs show is what the library prints, and the pages are whole."""

import doctest
import re
import shlex
import shutil
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


SHOWN = [pytest.param(*shown, id=f"{page.name}: {shown[0]}") for page in PAGES for shown in commands(page)]


@pytest.mark.parametrize(("command", "printed"), SHOWN)
def test_a_command_prints_what_is_shown(command, printed, tmp_path, capsys, monkeypatch):
    shutil.copy(ROOT / "docs" / "kernels.py", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.syspath_prepend(tmp_path)
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
    targets = re.findall(r"\]\(([^)#\s]+)", text)
    assert not [to for to in targets if "://" not in to and not (page.parent / to).exists()]
