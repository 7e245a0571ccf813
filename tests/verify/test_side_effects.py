"""A check changes nothing for anybody else: other threads, and whatever runs after it."""

import threading
import traceback
from contextlib import suppress

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbp.jaxprs.internals import LIBRARY
from jaxbp.verify import check

from .case import normal, rule

pytestmark = pytest.mark.jax_release

X = normal((3,))(np.float32)[0]


def switches():
    """What a check might leave switched."""
    config = ("jax_traceback_filtering", "jax_enable_x64", "jax_disable_jit")
    called = (jax.custom_vjp.__call__, jax.custom_jvp.__call__)
    return [getattr(jax.config, name) for name in config], np.geterr(), called, jnp.ones(2).dtype


def sine(factor, at=lambda: None):
    def back(a, y, c):
        at()
        return (factor * c * jnp.cos(a[0]),)

    return rule(jnp.sin, back)


def test_two_threads_at_once():
    """Each of several threads gets the report that it gets alone, whatever the others do meanwhile."""
    functions = [
        sine(1.0),
        sine(-1.0),
        lambda x: jax.vmap(sine(2.0))(x).sum(),
        lambda x: jax.vmap(jax.grad(sine(3.0)))(x),
    ]
    alone = [str(check(f, X)) for f in functions]
    together, start = [None] * len(functions), threading.Barrier(len(functions))

    def run(k):
        start.wait()
        together[k] = str(check(functions[k], X))

    threads = [threading.Thread(target=run, args=(k,)) for k in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


@pytest.mark.parametrize("place", ["in f", "in the rule"])
def test_other_threads_see_nothing_of_it(place):
    """While a check stands still in f or in its rule, all is as usual in another thread."""
    inside, go_on = threading.Event(), threading.Event()

    def pause():
        if threading.current_thread() is not threading.main_thread():
            inside.set()
            assert go_on.wait(60)

    act = sine(1.0, pause if place == "in the rule" else lambda: None)

    def f(x):
        if place == "in f":
            pause()
        return act(x).sum()

    before, raises = switches(), rule(jnp.sin, lambda a, y, c: (c * a[3],))
    worker = threading.Thread(target=lambda: check(f, X))
    worker.start()
    try:
        assert inside.wait(60)
        now = switches()
        with pytest.raises(IndexError) as told:
            jax.grad(lambda x: raises(x).sum())(X)
    finally:
        go_on.set()
        worker.join()
    # The calls of rules may be listened to, but not by this thread: they do what they always do.
    assert [now[k] for k in (0, 1, 3)] == [before[k] for k in (0, 1, 3)]
    assert not any(f.filename.startswith(LIBRARY) for f in traceback.extract_tb(told.value.__traceback__))
    assert switches() == before


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("place", ["in f", "in the rule", "when f is run once more"])
def test_nothing_stays_switched_after_an_exception(place, error):
    def stop(*_):
        raise error

    act = sine(1.0, stop if place == "in the rule" else lambda: None)

    def f(x):
        if place == "in f" or (place == "when f is run once more" and jax.config.jax_disable_jit):
            stop()
        return jax.vmap(jax.grad(act))(x) if place == "when f is run once more" else act(x)

    before = switches()
    with suppress(error):
        check(f, X)
    assert switches() == before
    with pytest.raises(TypeError):
        check(f, "no array")
    assert switches() == before
