import pytest

from jaxbp import errors


def test_within_keeps_the_type_and_nests():
    with pytest.raises(TypeError) as caught, errors.within("a"), errors.within("b"):
        raise TypeError("c")
    assert str(caught.value) == "a: b: c"


def test_within_names_the_place_of_any_error():
    with pytest.raises(KeyError) as caught, errors.within("a"):
        raise KeyError("c", 1)
    assert caught.value.args == ("a: c", 1)
    with pytest.raises(KeyError) as caught, errors.within("a"):
        raise KeyError(3)  # no text to put it before
    assert caught.value.args == (3,)


def test_message_without_a_hint():
    assert errors.message("f", "1", "2") == "f: expected 1, got 2"
