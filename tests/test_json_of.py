"""The door for JSON: the same as Python's reader for what is JSON, and words for what is not."""

import json
import math

import pytest

from jaxbp import arguments

TEXTS = ["{}", "[1, 2.5, -3e2, null, true]", '{"a": {"a": [1]}, "b": "\\u00e4"}', "5", '"x"', " [ ] "]


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_json_is_read_as_python_reads_it(text):
    for given in (text, text.encode(), b"\xef\xbb\xbf" + text.encode()):
        assert arguments.json_of("here", given) == json.loads(text)


def test_numbers_beyond_the_floats_are_left_to_who_knows_their_names():
    found = arguments.json_of("here", "[NaN, -Infinity, 1e999, 1" + "0" * 400 + "]")
    assert math.isnan(found[0])
    assert found[1:] == [-math.inf, math.inf, 10**400]


WRONG = {
    "nothing": (b"", "got Expecting value in line 1, column 1"),
    "cut": ('{"a": [1,\n 2', "in line 2, column 3"),
    "two values": ("1 2", "Extra data in line 1"),
    "a key twice": ('{"a": 1, "b": {"c": 1, "c": 1}}', "each key once, got 'c' twice"),
    "a long key twice": ("{" + ", ".join([f'"{"k" * 5000}": 1'] * 2) + "}", "each key once"),
    "another encoding": ('{"a": "\u00e4"}'.encode("latin-1"), "in UTF-8, got .* at byte 7"),
    "UTF-16": ("{}".encode("utf-16"), "in UTF-8, got .* at byte 0"),
    "a number without end": ("[" + "9" * 10_000 + "]", "a number of 10000 digits"),
    "brackets": ("[" * 500_000, "nested too deeply"),
    "objects": ('{"a":' * 500_000, "nested too deeply"),
    "no whole escape": ('"\\u12"', "in line 1"),
    "a control character": ('"\x01"', "in line 1"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_json_is_named(kind):
    text, words = WRONG[kind]
    with pytest.raises(ValueError, match=f"^here: expected JSON.*{words}") as caught:
        arguments.json_of("here", text)
    assert len(str(caught.value)) < 300
