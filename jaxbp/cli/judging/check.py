"""`jaxbp check`: every custom derivative rule in the functions of a module, judged."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from jaxbp import arguments
from jaxbp.cli.judging.formats import Line, Shown
from jaxbp.cli.judging.targets import judged, refused
from jaxbp.jaxprs.rules import beneath
from jaxbp.verify.causes.table import CAUSES
from jaxbp.verify.check import check
from jaxbp.verify.clock import limited
from jaxbp.verify.report import VERDICTS, Finding, Report, wrapped

WHERE = "jaxbp check"
# What a machine is told of besides what is wrong.
WARNED = ("inconclusive", "right in f")


def run(
    targets: Sequence[str],
    format: str = "text",
    strict: bool = False,
    require_rules: bool = False,
    seconds: float | None = None,
    total_seconds: float | None = None,
) -> int:
    """Check the cases that the targets name and print their reports.

    The options of a case are keyword arguments of :func:`jaxbp.verify.check.check` (``declare``, ``order``)
    and of f.

    Args:
        targets: as `jaxbp.cli.judging.targets.judged` has them.
        format: text, json, markdown, github or junit.
        strict: a rule that is wrong alone and right in f is not ok.
        require_rules: a case in which no rule is reached is not ok.
        seconds: the time for one rule, after which it is left open.
        total_seconds: the time for all of them.

    Returns:
        Exit status: 0 when all is ok, 1 when something is not, 2 when a case could not be checked.
    """
    try:
        for name, value in (("seconds", seconds), ("total_seconds", total_seconds)):
            if value is not None:
                arguments.number(WHERE, f"--{name.replace('_', '-')}", value, low=0.0, open_low=True)
    except (TypeError, ValueError) as error:
        return refused(error)

    idle = []

    def judge(target: str, f: Any, args: Sequence[Any], options: Mapping[str, Any]) -> Shown:
        report = check(f, *args, **options)
        reached = any(found.kind != "function" and found.verdict != "unreached" for found in report.findings)
        if require_rules and not reached:
            idle.append(target)
        return shown(report, report.strictly_ok if strict else report.ok)

    with limited(seconds, total_seconds):
        status = judged(WHERE, targets, format, judge)
    for target in idle:
        print(f"{target}: no rule was reached", file=sys.stderr)
    return max(status, int(bool(idle)))


def shown(report: Report, ok: bool) -> Shown:
    """A report as every format shows it."""
    header = ("verdict", "cause", "rule", "where", "finding")
    lines = tuple(map(_line, report.ordered()))
    return Shown(ok, str(report), report.to_dict(), report.summary(), header, lines, report.notes)


def _line(f: Finding) -> Line:
    told = f.verdict in WARNED
    said = f.values() + f.sentence
    return Line(
        "error" if f.verdict == "wrong" else "warning" if told
        else "skipped" if f.verdict == "unreached" else "good",
        f"{f.title()} {f.argument}".strip(),
        (f"{VERDICTS[f.verdict].mark} {f.verdict}", f.cause, f"`{f.title()}`", beneath(f.where), said),
        f"{f.title()}: {f.verdict}{f', {f.cause}' if f.cause else ''}",
        beneath(f.where or f.called),
        said,
        f.sentence if f.verdict == "wrong" else f"{f.verdict}: {f.sentence}",
        f.cause,
        str(f),
    )  # fmt: skip


def explain(word: str) -> int:
    """Print what a cause means, the usual mistake, what helps, and a minimal rule that has it.

    Returns:
        Exit status: 0, or 2 when there is no such cause.
    """
    try:
        cause = CAUSES[arguments.option(WHERE, "explain", word, tuple(CAUSES))]
    except (TypeError, ValueError) as error:
        return refused(error)
    print(f"{word}: {cause.meaning}\n")
    for title, said in (("usual mistake", cause.usual), ("remedy", cause.remedy)):
        print("\n".join([*wrapped(f"{title}: {said}", ""), ""]))
    print("a minimal rule that has it:\n")
    print("\n".join(f"    {line}".rstrip() for line in cause.example.strip().splitlines()))
    return 0
