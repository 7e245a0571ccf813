"""Output on consoles that are not UTF-8, such as a pipe on Windows: marks in ASCII instead of an error."""

import codecs
import sys
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Those of a verdict keep their width: they stand in columns.
_MARKS = {
    "✓": "+",
    "✗": "X",
    "◐": "o",
    "≈": "~",
    "∠": "<",
    "·": ".",
    "…": "...",
    "→": "->",
    "−": "-",
    "≤": "<=",
    "≥": ">=",
}
_HANDLER = "jaxbp_in_ascii"


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    """What stands in the place of characters that the console has not: a word, the name of a Greek letter."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(in_ascii, error.object[error.start : error.end])), error.end


def in_ascii(character: str) -> str:
    """One character in ASCII.

    Example:
        >>> "".join(map(in_ascii, "✓ δ_1 ö ─│┏ 你"))
        '+ delta_1 o -|+ ?'
    """
    name = unicodedata.name(character, "")
    if character.isascii() or character in _MARKS:
        return _MARKS.get(character, character)
    if name.startswith("GREEK SMALL LETTER "):
        return name.split()[-1].lower()
    if name.startswith("BOX DRAWINGS"):
        directions = {"HORIZONTAL": "-", "VERTICAL": "|"}
        return directions.get(name.split()[-1], "+") if " AND " not in name else "+"
    return unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode() or "?"


def _say(
    message: Warning | str, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    """A warning in one line, without the line of code that gave it."""
    print(f"warning: {message}", file=sys.stderr)


@contextmanager
def any_console() -> Iterator[None]:
    """Within it nothing that is printed fails for the console's encoding; a warning is one line."""
    codecs.register_error(_HANDLER, _in_ascii)
    streams = [(s, s.errors) for s in (sys.stdout, sys.stderr) if hasattr(s, "reconfigure")]
    for stream, _ in streams:
        stream.reconfigure(errors=_HANDLER)
    shown, warnings.showwarning = warnings.showwarning, _say
    try:
        yield
    finally:
        warnings.showwarning = shown
        for stream, errors in streams:
            if not stream.closed:
                stream.reconfigure(errors=errors)
