"""Cases by their names, and what a command that judges them prints and returns."""

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxbp import arguments
from jaxbp.cli.judging.formats import FORMATS, Shown
from jaxbp.errors import message

# What of a module is judged.
CASE = "_case"


def judged(where: str, targets: Sequence[str], format: str, judge: Callable[..., Shown]) -> int:
    """Judge the cases that the targets name, print what was found, and return the exit status.

    A target is ``package.module:case`` or ``package.module``, which stands for all of its callables named
    ``*_case``. A case is a callable without arguments that returns ``(f, args)`` or ``(f, args, options)``.

    Args:
        where: the command, for its errors.
        targets: modules and cases in them; the current folder is importable.
        format: text, json, markdown, github or junit.
        judge: ``(target, f, args, options) -> Shown``.

    Returns:
        0 when all is ok, 1 when something is not, 2 when a case could not be judged.
    """
    reports: dict[str, Shown | str] = {}
    try:
        show = FORMATS[arguments.option(where, "format", format, tuple(FORMATS))]
        if not targets:
            raise ValueError(message(where, "package.module or package.module:case", "nothing"))
    except (TypeError, ValueError) as error:
        return refused(error)
    for target in targets:
        try:
            for name, case in _cases(where, target):
                reports[name] = _judged(where, name, case, judge)
        except (Exception, SystemExit) as error:
            reports[target] = _said(target, error)
    failed = [r for r in reports.values() if isinstance(r, str)]
    for why in failed:
        print(why, file=sys.stderr)
    done = {t: r for t, r in reports.items() if not isinstance(r, str)}
    if done or format != "text":
        print(show(done if format == "text" else reports))
    if failed:
        return 2
    return 0 if all(r.ok for r in done.values()) else 1


def refused(error: Exception) -> int:
    """Say what was asked for wrongly; the exit status of that."""
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
    return 2


def _cases(where: str, target: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    """The cases of a target, each by its name."""
    name, colon, attribute = target.partition(":")
    if not name or (colon and not attribute):
        raise ValueError(message(where, "package.module or package.module:case", repr(target)))
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    module = importlib.import_module(name)
    if colon:
        case = getattr(module, attribute, None)
        if not callable(case):
            raise ValueError(message(where, f"a callable {attribute} in {name}", repr(case)))
        yield target, case
        return
    found = {k: v for k, v in vars(module).items() if k.endswith(CASE) and callable(v)}
    if not found:
        hint = f"name one: {name}:case"
        raise ValueError(message(where, f"callables named *{CASE} in {name}", "none", hint))
    yield from ((f"{name}:{k}", v) for k, v in found.items())


def _judged(where: str, target: str, case: Callable[[], Any], judge: Callable[..., Shown]) -> Shown | str:
    try:
        made = case()
        if not isinstance(made, tuple) or len(made) not in (2, 3) or not isinstance(made[1], tuple | list):
            expected = f"{target} to return (f, args) or (f, args, options)"
            raise TypeError(message(where, expected, repr(made)[:80]))
        f, args, *rest = made
        return judge(target, f, args, dict(rest[0]) if rest else {})
    except (Exception, SystemExit) as error:
        return _said(target, error)


def _said(target: str, error: BaseException) -> str:
    """What kept a case from being judged; a sentence of this library names the case itself."""
    text = f"{type(error).__name__}: {error}"
    return text if target in text else f"{target}: {text}"
