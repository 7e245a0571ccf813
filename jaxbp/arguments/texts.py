"""The door for JSON: what a text says, or what is wrong with it and where."""

import json
from typing import Any

from jaxbp.errors import message

_DEEP = 50


def json_of(where: str, text: str | bytes) -> Any:
    """What a JSON text says; of a key that is there twice Python's own reader would take the last value.

    NaN and Infinity, which are no JSON, and numbers beyond the floats come back as the floats nan and inf:
    whoever needs finite numbers knows the names of the places, and refuses them with those.

    Args:
        where: the file or the function that asks.
        text: JSON, in UTF-8 if it is bytes; a byte order mark is passed over.

    Raises:
        ValueError: for what is no such text, with its line and column, and for a key that is there twice.

    Example:
        >>> json_of("net.json", '{"eta": 0.1, "x": [1, 0]}')
        {'eta': 0.1, 'x': [1, 0]}
        >>> json_of("net.json", '{"eta": 0.1, "eta": 0.5}')
        Traceback (most recent call last):
        ...
        ValueError: net.json: expected JSON with each key once, got 'eta' twice
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        held: dict[str, Any] = {}
        for key, value in pairs:
            if key in held:
                raise ValueError(message(where, "JSON with each key once", f"{key!r:.60} twice"))
            held[key] = value
        return held

    def whole(digits: str) -> int:
        try:
            return int(digits)
        except ValueError:  # Python reads no more than 4,300 digits
            raise ValueError(message(where, "JSON", f"a number of {len(digits)} digits")) from None

    try:
        if isinstance(text, bytes):
            text = text.decode()
        text = text.removeprefix("\ufeff")
        return json.loads(text, object_pairs_hook=once, parse_int=whole)
    except json.JSONDecodeError as error:
        got = f"{error.msg} in line {error.lineno}, column {error.colno}"
        raise ValueError(message(where, "JSON", got)) from None
    except UnicodeDecodeError as error:
        raise ValueError(message(where, "JSON in UTF-8", f"{error.reason} at byte {error.start}")) from None
    except RecursionError:
        raise ValueError(message(where, "JSON", "lists or objects nested too deeply")) from None


def lines_of(text: str) -> dict[str, int]:
    r"""The line of every value of a JSON text that can be read, by its way there; lists are counted from 1.

    What is more than `_DEEP` lists or objects deep is not looked into.

    Example:
        >>> lines_of('{"eta": 0.1,\n "x": [1,\n 0]}')
        {'': 1, 'eta': 1, 'x': 2, 'x[1]': 2, 'x[2]': 3}
    """
    decoder, found = json.JSONDecoder(), dict[str, int]()

    def past(at: int) -> int:
        """Past what stands between two values."""
        while text[at] in " \t\r\n,:\ufeff":
            at += 1
        return at

    def value(at: int, way: str, depth: int = 0) -> int:
        """Note a value and those within it; where it ends."""
        found[way] = text.count("\n", 0, at) + 1
        opening, i = text[at], 0
        if opening not in "{[" or depth > _DEEP:
            return decoder.raw_decode(text, at)[1]
        at = past(at + 1)
        while text[at] not in "}]":
            i += 1
            if opening == "{":
                key, at = decoder.raw_decode(text, at)
            inner = f"{way}[{i}]" if opening == "[" else f"{way}.{key}" if way else key
            at = past(value(past(at), inner, depth + 1))
        return at + 1

    value(past(0), "")
    return found
