"""Whose an exception is: the rule's, JAX's, which refuses the rule, or the checker's own."""

import os
import re
import traceback
from pathlib import Path

from jaxbp.jaxprs.internals import LIBRARY

PACKAGE = Path(__file__).parent.parent
# The files whose faults are the checker's own; layers and losses are functions like the user's.
HERE = tuple(str(PACKAGE / place) + os.sep for place in ("jaxprs", "verify"))
# Here a user's functions are called directly; everywhere else JAX stands between.
BORDER = (str(PACKAGE / "verify" / "sites" / "call.py"), str(PACKAGE / "verify" / "plain.py"))
# A function of the rule's that could not even be called.
MISCALLED = re.compile(r"takes .*positional argument|missing \d+ required|unexpected keyword")


def is_here(file: str) -> bool:
    """Whether a file is one of the checker's."""
    return file.startswith(HERE)


def brief(error: Exception) -> str:
    """An exception in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


class Refusal(Exception):  # noqa: N818 -- a word to the caller, nobody's fault
    """The checker cannot do what was asked here, and says so."""


def is_own(error: Exception) -> bool:
    """Whether the checker raised it, or what it called itself, without JAX between."""
    files = [f.f_code.co_filename for f, _ in traceback.walk_tb(error.__traceback__)]
    last = max((k for k, name in enumerate(files) if name.startswith(HERE)), default=None)
    if last is None or isinstance(error, Refusal):
        return False
    beneath = files[last + 1 : last + 2]
    return not beneath or not (files[last] in BORDER or beneath[0].startswith(LIBRARY))


def raise_own(error: Exception) -> None:
    """Let a fault of the checker's pass where exceptions of any other origin have a meaning."""
    if is_own(error):
        raise error


def told(what: str, error: Exception) -> str:
    """``what`` and the exception in one line; a fault of the checker's is called that, with the way to it."""
    if not is_own(error):
        return f"{what}: {brief(error)}"
    way = " > ".join(
        f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)
    )
    return f"the checker itself failed, which says nothing of the rule; please report: {brief(error)} ({way})"


def refusal(error: Exception) -> str:
    """Who refuses, where it was raised on purpose: the rule, or JAX before it comes to the rule."""
    frames = traceback.extract_tb(error.__traceback__)
    outside = [f for f in frames if not f.filename.startswith(LIBRARY)]
    if isinstance(error, NameError) and frames[-1].filename.startswith(LIBRARY):
        return "asks for an axis that is not there where the rule runs alone"
    if not outside or outside[-1].filename.startswith(HERE):
        return "" if MISCALLED.search(str(error)) else "JAX does not run it"
    raised = frames[-1] is outside[-1] and (frames[-1].line or "").startswith("raise")
    return "raises on purpose" if raised or isinstance(error, NotImplementedError) else ""
