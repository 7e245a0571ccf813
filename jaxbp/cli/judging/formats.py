"""Reports for people and for machines: text, JSON, a table of Markdown, notes on GitHub, JUnit's XML."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple
from xml.etree import ElementTree


class Line(NamedTuple):
    """One finding of a report.

    Args:
        level: an error fails, of a warning and of what is skipped a machine is told besides.
        title: its name.
        cells: of a table of Markdown.
        note: the title of a note beside the line.
        where: file:line, as it is seen from the current folder.
        said: the finding in a sentence.
        message: that of a failed or a skipped test.
        cause: in one word.
        text: all of it.
    """

    level: Literal["error", "warning", "skipped", "good"]
    title: str
    cells: tuple[str, ...]
    note: str
    where: str
    said: str
    message: str
    cause: str
    text: str


class Shown(NamedTuple):
    """A report, as every format shows it.

    Args:
        ok: whether nothing is wrong.
        text: as it prints.
        plain: as plain data.
        summary: one line.
        header: of the table of its lines.
        lines: its findings.
        notes: what else is said.
    """

    ok: bool
    text: str
    plain: dict[str, Any]
    summary: str
    header: tuple[str, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...]


Reports = Mapping[str, Shown | str]


def text(reports: Reports) -> str:
    """Each report as it prints, under the name of its target where there are several."""
    said = {target: r if isinstance(r, str) else r.text for target, r in reports.items()}
    return "\n\n".join(said.values() if len(said) == 1 else (f"{target}\n{t}" for target, t in said.items()))


def as_json(reports: Reports) -> str:
    """The report of one target; of several, an object with ``ok`` and all ``reports``."""
    each = [{"target": target, **_plain(r)} for target, r in reports.items()]
    all_ = each[0] if len(each) == 1 else {"ok": all(r["ok"] for r in each), "reports": each}
    return json.dumps(all_, indent=2, allow_nan=False)


def _plain(report: Shown | str) -> dict[str, Any]:
    return {"ok": False, "error": report} if isinstance(report, str) else report.plain


def markdown(reports: Reports) -> str:
    """A table for each target, for a comment on a pull request."""
    lines = []
    for target, report in reports.items():
        if isinstance(report, str):
            lines += [f"**{target}**: {_cell(report)}", ""]
            continue
        lines += [f"**{target}**: {_cell(report.summary)}", ""]
        if report.lines:
            lines += [f"| {' | '.join(report.header)} |", "|---" * len(report.header) + "|"]
        lines += [f"| {' | '.join(map(_cell, line.cells))} |" for line in report.lines]
        lines += ["", *(f"- {_cell(note)}" for note in report.notes), ""]
    return "\n".join(lines).rstrip()


def _cell(words: str) -> str:
    return words.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def github(reports: Reports) -> str:
    """Commands that GitHub Actions shows as notes on the lines of a pull request."""
    lines = []
    for target, report in reports.items():
        if isinstance(report, str):
            lines.append(f"::error title={_property(target)}::{_data(report)}")
            continue
        for line in report.lines:
            if line.level in ("error", "warning"):
                file, _, number = line.where.rpartition(":")
                place = f"file={_property(file)},line={number}," if file else ""
                lines.append(f"::{line.level} {place}title={_property(line.note)}::{_data(line.said)}")
        lines.append(report.summary)
    return "\n".join(lines)


def _data(words: str) -> str:
    return words.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(words: str) -> str:
    return _data(words).replace(":", "%3A").replace(",", "%2C")


def junit(reports: Reports) -> str:
    """JUnit's XML: a suite for each target, a test for each finding; GitLab and most servers read it."""
    root = ElementTree.Element("testsuites")
    for target, report in reports.items():
        found: tuple[Line, ...] = () if isinstance(report, str) else report.lines
        wrong = sum(line.level == "error" for line in found)
        suite = ElementTree.SubElement(
            root, "testsuite", name=target, tests=str(max(len(found), 1)), failures=str(wrong),
            errors=str(int(isinstance(report, str))),
        )  # fmt: skip
        if isinstance(report, str):
            test = ElementTree.SubElement(suite, "testcase", name=target, classname=target)
            ElementTree.SubElement(test, "error", message=report)
        for line in found:
            test = ElementTree.SubElement(suite, "testcase", name=line.title, classname=target)
            if line.level == "error":
                failure = ElementTree.SubElement(test, "failure", message=line.message, type=line.cause)
                failure.text = line.text
            elif line.level != "good":
                ElementTree.SubElement(test, "skipped", message=line.message)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, "unicode")


FORMATS: dict[str, Callable[[Reports], str]] = {
    "text": text, "json": as_json, "markdown": markdown, "github": github, "junit": junit,
}  # fmt: skip
