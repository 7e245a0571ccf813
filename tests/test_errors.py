import pytest

from jaxbp import errors


def test_within_keeps_the_type_and_nests():
    with pytest.raises(TypeError) as caught, errors.within("a"), errors.within("b"):
        raise TypeError("c")
    assert str(caught.value) == "a: b: c"


def test_within_leaves_other_exceptions_alone():
    with pytest.raises(KeyError) as caught, errors.within("a"):
        raise KeyError("c")
    assert caught.value.args == ("c",)


def test_message_without_a_hint():
    assert errors.message("f", "1", "2") == "f: expected 1, got 2"
