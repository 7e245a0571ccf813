"""One run at a time in a folder, and no lock that outlives its process."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from jaxbp.train import Checkpoints
from jaxbp.train.checkpoints import lock

HOLDER = """
import sys
from pathlib import Path
from jaxbp.train.checkpoints.lock import locked
with locked(Path(sys.argv[1]), "a run"):
    print("holds", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], **pipes) as process:
        assert process.stdout.readline() == "holds\n"
        yield process
        process.kill()


def test_the_holder_is_named(holder, tmp_path):
    said = rf"^Checkpoints\('.*'\): expected a folder that no other run uses, got .* process {holder.pid} on"
    with pytest.raises(BlockingIOError, match=said), Checkpoints(tmp_path).prepare():
        raise AssertionError("not refused")


@pytest.mark.parametrize(
    "end", [signal.SIGKILL, signal.SIGTERM, None], ids=["killed", "terminated", "by itself"]
)
def test_a_lock_goes_with_its_process(holder, tmp_path, end):
    if end is None:
        holder.communicate("done\n", timeout=60)
        assert not (tmp_path / lock.NAME).exists()
    else:
        holder.send_signal(end)
        holder.wait(60)
    with Checkpoints(tmp_path).prepare():
        assert str(os.getpid()) in (tmp_path / lock.NAME).read_text()
    assert not list(tmp_path.iterdir())


def test_it_goes_after_an_error_too(tmp_path):
    for _ in range(2):
        with pytest.raises(KeyError, match="mine"), Checkpoints(tmp_path).prepare():
            raise KeyError("mine")


def test_a_link_at_the_place_of_the_lock_is_not_followed(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / lock.NAME).symlink_to(tmp_path / "mine.txt")
    with pytest.raises(OSError, match="a folder that this run can write to"), Checkpoints(folder).prepare():
        raise AssertionError("not refused")
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("content", [b"", b"\0\xff\x1b[2J", b"x" * 10_000])
def test_whatever_a_lock_says_the_message_is_clean(tmp_path, content):
    with lock.locked(tmp_path, "one"):
        (tmp_path / lock.NAME).write_bytes(content)
        with pytest.raises(BlockingIOError) as caught, lock.locked(tmp_path, "other"):
            raise AssertionError("not refused")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


def test_where_the_file_system_has_no_locks_this_is_said(tmp_path, monkeypatch):
    def refuse(file):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock, "_take", refuse)
    with (
        pytest.warns(UserWarning, match=r"cannot be locked \(No locks available\): see that one run alone"),
        lock.locked(tmp_path, "one"),
    ):
        pass
