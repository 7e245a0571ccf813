"""``jaxbp check TARGET ...``: the checker from a shell."""

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxbp import arguments
from jaxbp.errors import message
from jaxbp.verify.causes.table import CAUSES
from jaxbp.verify.check import check
from jaxbp.verify.clock import limited
from jaxbp.verify.formats import FORMATS
from jaxbp.verify.report import Report, wrapped

WHERE = "jaxbp check"
# What of a module is checked.
CASE = "_case"


def run(
    targets: Sequence[str],
    format: str = "text",
    strict: bool = False,
    require_rules: bool = False,
    seconds: float | None = None,
    total_seconds: float | None = None,
) -> int:
    """Check the cases that the targets name and print their reports.

    A target is ``package.module:case`` or ``package.module``, which stands for all of its callables named
    ``*_case``. A case is a callable without arguments that returns ``(f, args)`` or ``(f, args, options)``,
    where ``options`` are keyword arguments of :func:`jaxbp.verify.check.check` (``declare``, ``order``) and
    of f.

    Args:
        targets: modules and cases in them; the current folder is importable.
        format: text, json, markdown, github or junit.
        strict: a rule that is wrong alone and right in f is not ok.
        require_rules: a case in which no rule is reached is not ok.
        seconds: the time for one rule, after which it is left open.
        total_seconds: the time for all of them.

    Returns:
        Exit status: 0 when all is ok, 1 when something is not, 2 when a case could not be checked.
    """
    reports: dict[str, Report | str] = {}
    try:
        show = FORMATS[arguments.option(WHERE, "format", format, tuple(FORMATS))]
        if not targets:
            raise ValueError(message(WHERE, "package.module or package.module:case", "nothing"))
        for name, value in (("seconds", seconds), ("total_seconds", total_seconds)):
            if value is not None:
                arguments.number(WHERE, name, value, low=0.0, open_low=True)
    except (TypeError, ValueError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    with limited(seconds, total_seconds):
        for target in targets:
            try:
                for name, case in _cases(target):
                    reports[name] = _checked(name, case)
            except Exception as error:
                reports[target] = f"{type(error).__name__}: {error}"
    failed = [r for r in reports.values() if isinstance(r, str)]
    for why in failed:
        print(why, file=sys.stderr)
    done = {t: r for t, r in reports.items() if not isinstance(r, str)}
    if done or format != "text":
        print(show(done if format == "text" else reports))
    if failed:
        return 2
    idle = [t for t, r in done.items() if require_rules and not any(map(_is_reached, r.findings))]
    for target in idle:
        print(f"{target}: no rule was reached", file=sys.stderr)
    good = all(r.strictly_ok if strict else r.ok for r in done.values())
    return 0 if good and not idle else 1


def _is_reached(finding: Any) -> bool:
    return finding.kind != "function" and finding.verdict != "unreached"


def explain(word: str) -> int:
    """Print what a cause means, the usual mistake, what helps, and a minimal rule that has it.

    Returns:
        Exit status: 0, or 2 when there is no such cause.
    """
    try:
        cause = CAUSES[arguments.option(WHERE, "explain", word, tuple(CAUSES))]
    except (TypeError, ValueError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    print(f"{word}: {cause.meaning}\n")
    for title, said in (("usual mistake", cause.usual), ("remedy", cause.remedy)):
        print("\n".join([*wrapped(f"{title}: {said}", ""), ""]))
    print("a minimal rule that has it:\n")
    print("\n".join(f"    {line}".rstrip() for line in cause.example.strip().splitlines()))
    return 0


def _cases(target: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    """The cases of a target, each by its name."""
    name, colon, attribute = target.partition(":")
    if not name or (colon and not attribute):
        raise ValueError(message(WHERE, "package.module or package.module:case", repr(target)))
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    module = importlib.import_module(name)
    if colon:
        case = getattr(module, attribute, None)
        if not callable(case):
            raise ValueError(message(WHERE, f"a callable {attribute} in {name}", repr(case)))
        yield target, case
        return
    found = {k: v for k, v in vars(module).items() if k.endswith(CASE) and callable(v)}
    if not found:
        hint = f"name one: {name}:case"
        raise ValueError(message(WHERE, f"callables named *{CASE} in {name}", "none", hint))
    yield from ((f"{name}:{k}", v) for k, v in found.items())


def _checked(target: str, case: Callable[[], Any]) -> Report | str:
    try:
        made = case()
        if not isinstance(made, tuple) or len(made) not in (2, 3) or not isinstance(made[1], tuple | list):
            expected = f"{target} to return (f, args) or (f, args, options)"
            raise TypeError(message(WHERE, expected, repr(made)[:80]))
        f, args, *rest = made
        return check(f, *args, **(dict(rest[0]) if rest else {}))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
