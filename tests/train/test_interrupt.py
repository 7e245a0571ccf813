"""Ctrl-C is answered at once, and a second one aborts."""

import signal
import threading

import pytest

from jaxbp.train.interrupt import asked_to_stop

SAID = "stopping after this epoch; press Ctrl-C again to abort"


def test_the_first_is_answered_at_once_and_the_second_raises():
    said, before = [], signal.getsignal(signal.SIGINT)
    with asked_to_stop(False, say=said.append) as asked:
        assert not asked()
        signal.raise_signal(signal.SIGINT)
        assert (asked(), said) == (True, [SAID])
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_sigterm_is_answered_where_it_counts():
    said, before = [], signal.getsignal(signal.SIGTERM)
    with asked_to_stop(True, say=said.append) as asked:
        signal.raise_signal(signal.SIGTERM)
        assert asked()
    assert said == ["stopping after this epoch, as SIGTERM asks"]
    with asked_to_stop(False):
        assert signal.getsignal(signal.SIGTERM) is before


def test_an_answer_that_cannot_be_shown_goes_to_standard_error(capfd):
    def busy(text):
        raise RuntimeError("reentrant call inside <_io.BufferedWriter name='<stderr>'>")

    with asked_to_stop(False, say=busy) as asked:
        signal.raise_signal(signal.SIGINT)
        assert asked()
    assert capfd.readouterr().err == SAID + "\n"


def test_without_a_way_to_say_it_standard_error_is_taken(capfd):
    with asked_to_stop(False):
        signal.raise_signal(signal.SIGINT)
    assert capfd.readouterr().err == SAID + "\n"


def test_another_thread_leaves_the_signals_alone():
    found = []

    def run():
        with asked_to_stop(True) as asked:
            found.append((asked(), signal.getsignal(signal.SIGINT)))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [(False, before)]
