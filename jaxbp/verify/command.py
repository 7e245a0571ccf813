"""``jaxbp check package.module:case``: the checker from a shell."""

import importlib
import json as encoder
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxbp.errors import message
from jaxbp.verify.check import check
from jaxbp.verify.report import Report


def run(target: str, json: bool = False) -> int:
    """Check the case that ``package.module:case`` names and print the report.

    ``case`` is a callable without arguments that returns ``(f, args)`` or ``(f, args, options)``, where
    ``options`` are keyword arguments of :func:`jaxbp.verify.check.check` (``declare``, ``order``) and of f.

    Args:
        target: the module and the case in it; the current folder is importable.
        json: print the report as JSON, for a program to read.

    Returns:
        Exit status: 0 when no rule is wrong, 1 when one is, 2 when the case could not be checked.
    """
    try:
        f, args, options = _case(target)
        report = check(f, *args, **options)
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    print(encoder.dumps(report.to_dict(), indent=2) if json else _shown(report))
    return 0 if report.ok else 1


def _case(target: str) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    name, colon, attribute = target.partition(":")
    if not (name and colon and attribute):
        raise ValueError(message("jaxbp check", "package.module:case", repr(target)))
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    case = getattr(importlib.import_module(name), attribute, None)
    if not callable(case):
        raise ValueError(message("jaxbp check", f"a callable {attribute} in {name}", repr(case)))
    made = case()
    if not isinstance(made, tuple) or len(made) not in (2, 3) or not isinstance(made[1], tuple | list):
        raise TypeError(
            message("jaxbp check", f"{target} to return (f, args) or (f, args, options)", repr(made)[:80])
        )
    f, args, *rest = made
    return f, tuple(args), dict(rest[0]) if rest else {}


def _shown(report: Report) -> str:
    """The report as a table where rich is installed, else as plain text."""
    try:
        from rich.console import Console
    except ImportError:
        return str(report)
    console = Console()
    with console.capture() as captured:
        console.print(report)
        for note in report.notes:
            console.print(f"note: {note}", markup=False)
    return captured.get().rstrip("\n")
