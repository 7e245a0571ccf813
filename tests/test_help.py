"""What `help` says: of the package, of each layer and loss, and of what the functions return."""

import doctest
import inspect
import pydoc
import re
import typing

import jax
import jax.numpy as jnp
import pytest

import jaxbp

PUBLIC = {name: getattr(jaxbp, name) for name in jaxbp.__all__}
RECORDS = {name: thing for name, thing in PUBLIC.items() if isinstance(thing, jaxbp.Layer | jaxbp.Loss)}
ROOMS = [jaxbp, *(thing for thing in PUBLIC.values() if inspect.ismodule(thing))]


def test_help_of_the_package_lists_every_name_in_its_group():
    groups = re.findall(r"^(\w.*): .+\n((?:    .+\n)+)", jaxbp.__doc__, re.MULTILINE)
    names = [name for _, listed in groups for name in re.findall(r"\w+", listed)]
    assert names == jaxbp.__all__


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_thing_explains_itself(name):
    thing = PUBLIC[name]
    said = pydoc.render_doc(thing, renderer=pydoc.plaintext)
    assert inspect.getdoc(thing).splitlines()[0] in said
    if name in RECORDS:
        assert inspect.getdoc(thing) != inspect.getdoc(type(thing))
        assert type(thing).__doc__.splitlines()[0] not in said


@pytest.mark.parametrize("name", RECORDS)
def test_the_examples_in_its_words_hold(name):
    names = {"jax": jax, "jnp": jnp, "jaxbp": jaxbp}
    test = doctest.DocTestParser().get_doctest(RECORDS[name].__doc__, names, name, None, None)
    assert doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test).failed == 0


def test_a_layer_of_one_s_own_says_what_it_was_told():
    phi, slope = (lambda a: a / (1 + abs(a))), (lambda f: (1 - abs(f)) ** 2)
    softsign = jaxbp.elementwise("softsign", phi, slope, saves="output", doc="f = a / (1 + |a|).")
    assert "f = a / (1 + |a|)." in pydoc.render_doc(softsign)
    assert "class Layer" in pydoc.render_doc(jaxbp.chain(softsign), renderer=pydoc.plaintext)
    with pytest.raises(TypeError, match="Loss none: expected doc to be a str"):
        jaxbp.Loss("none", jnp.subtract, jnp.subtract, mu=jnp.abs, doc=3)


def functions():
    """Every public function, and every public method of a public class."""
    for name, thing in PUBLIC.items():
        if inspect.isfunction(thing):
            yield name, thing
        elif inspect.isclass(thing):
            for inner, method in vars(thing).items():
                method = getattr(method, "fget", getattr(method, "__func__", method))
                if not inner.startswith("_") and inspect.isfunction(method):
                    yield f"{name}.{inner}", method


def classes(hint):
    if inspect.isclass(hint):
        yield hint
    for inner in typing.get_args(hint):
        yield from classes(inner)


def test_what_a_function_returns_can_be_imported():
    hidden = {
        f"{name} -> {kind}"
        for name, function in functions()
        for kind in classes(typing.get_type_hints(function)["return"])
        if kind.__module__.startswith("jaxbp.")
        and not any(getattr(room, kind.__name__, None) is kind for room in ROOMS)
    }
    assert hidden == set()
