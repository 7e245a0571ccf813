"""Reports for people and for machines: text, JSON, a table of Markdown, notes on GitHub, JUnit's XML."""

import json
from collections.abc import Callable, Mapping
from typing import Any
from xml.etree import ElementTree

from jaxbp.jaxprs.rules import beneath
from jaxbp.verify.report import VERDICTS, Finding, Report

# What a machine is told of besides what is wrong.
WARNED = ("inconclusive", "right in f")


def text(reports: Mapping[str, Report | str]) -> str:
    """Each report as it prints, under the name of its target where there are several."""
    parts = [str(r) if len(reports) == 1 else f"{target}\n{r}" for target, r in reports.items()]
    return "\n\n".join(parts)


def as_json(reports: Mapping[str, Report | str]) -> str:
    """The report of one target; of several, an object with ``ok`` and all ``reports``."""
    each = [{"target": target, **_plain(r)} for target, r in reports.items()]
    all_ = each[0] if len(each) == 1 else {"ok": all(r["ok"] for r in each), "reports": each}
    return json.dumps(all_, indent=2, allow_nan=False)


def _plain(report: Report | str) -> dict[str, Any]:
    return {"ok": False, "error": report} if isinstance(report, str) else report.to_dict()


def markdown(reports: Mapping[str, Report | str]) -> str:
    """A table for each target, for a comment on a pull request."""
    lines = []
    for target, report in reports.items():
        if isinstance(report, str):
            lines += [f"**{target}**: {_cell(report)}", ""]
            continue
        lines += [f"**{target}**: {_cell(report.summary())}", ""]
        if report.findings:
            lines += ["| verdict | cause | rule | where | finding |", "|---|---|---|---|---|"]
        for f in report.ordered():
            said = f"{VERDICTS[f.verdict].mark} {f.verdict}"
            cells = (said, f.cause, f"`{f.title()}`", beneath(f.where), f.values() + f.sentence)
            lines.append(f"| {' | '.join(map(_cell, cells))} |")
        lines += ["", *(f"- {_cell(note)}" for note in report.notes), ""]
    return "\n".join(lines).rstrip()


def _cell(words: str) -> str:
    return words.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def github(reports: Mapping[str, Report | str]) -> str:
    """Commands that GitHub Actions shows as notes on the lines of a pull request."""
    lines = []
    for target, report in reports.items():
        if isinstance(report, str):
            lines.append(f"::error title={_property(target)}::{_data(report)}")
            continue
        for f in report.ordered():
            level = "error" if f.verdict == "wrong" else "warning" if f.verdict in WARNED else ""
            if level:
                file, _, line = beneath(f.where or f.called).rpartition(":")
                place = f"file={_property(file)},line={line}," if file else ""
                title = _property(f"{f.title()}: {f.verdict}{f', {f.cause}' if f.cause else ''}")
                lines.append(f"::{level} {place}title={title}::{_data(f.values() + f.sentence)}")
        lines.append(report.summary())
    return "\n".join(lines)


def _data(words: str) -> str:
    return words.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(words: str) -> str:
    return _data(words).replace(":", "%3A").replace(",", "%2C")


def junit(reports: Mapping[str, Report | str]) -> str:
    """JUnit's XML: a suite for each target, a test for each finding; GitLab and most servers read it."""
    root = ElementTree.Element("testsuites")
    for target, report in reports.items():
        found: list[Finding] = [] if isinstance(report, str) else report.ordered()
        wrong = sum(f.verdict == "wrong" for f in found)
        suite = ElementTree.SubElement(
            root, "testsuite", name=target, tests=str(max(len(found), 1)), failures=str(wrong),
            errors=str(int(isinstance(report, str))),
        )  # fmt: skip
        if isinstance(report, str):
            test = ElementTree.SubElement(suite, "testcase", name=target, classname=target)
            ElementTree.SubElement(test, "error", message=report)
        for f in found:
            name = f"{f.title()} {f.argument}".strip()
            test = ElementTree.SubElement(suite, "testcase", name=name, classname=target)
            if f.verdict == "wrong":
                failure = ElementTree.SubElement(test, "failure", message=f.sentence, type=f.cause)
                failure.text = str(f)
            elif f.verdict in (*WARNED, "unreached"):
                ElementTree.SubElement(test, "skipped", message=f"{f.verdict}: {f.sentence}")
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, "unicode")


FORMATS: dict[str, Callable[[Mapping[str, Report | str]], str]] = {
    "text": text, "json": as_json, "markdown": markdown, "github": github, "junit": junit,
}  # fmt: skip
