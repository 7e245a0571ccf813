"""A full disk, a missing permission, something in the way: said in words, and the last whole epoch stays."""

import errno
import os
import re
import resource
import shutil
import sys
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

import jaxbp
from jaxbp.train import Checkpoints, restore, save
from jaxbp.train.checkpoints import lock

TREE = {"W": np.zeros(300), "step": 0}
posix = pytest.mark.skipif(sys.platform == "win32", reason="limits and users are those of POSIX")


def tree(epoch):
    return {"W": np.full(300, float(epoch)), "step": epoch}


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@contextmanager
def files_of_at_most(size):
    """The kernel ends every write there, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def as_nobody():
    """Without the rights of root, for whom every file is open."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.fixture
def folder():
    """One that everybody may enter; pytest's own are for one user."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o777)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@posix
def test_a_disk_that_is_full_at_any_offset_leaves_the_folder_as_it_was(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, tree(1))
    before = contents(tmp_path)
    size = len(before["epoch_000001.npz"])
    for offset in [*range(0, size - 40, max(size // 60, 1)), size - 40]:
        with (
            files_of_at_most(offset),
            pytest.raises(
                OSError, match=r"expected to write epoch_000002\.npz, got File too large; "
            ) as caught,
        ):
            checkpoints.save(2, tree(2))
        assert "epoch_000001.npz is whole and kept; raise the limit" in str(caught.value)
        assert (caught.value.errno, type(caught.value)) == (errno.EFBIG, OSError)
        assert contents(tmp_path) == before
    checkpoints.save(2, tree(2))
    assert checkpoints.latest(TREE)[0]["step"] == 2


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EACCES, errno.EROFS])
@pytest.mark.parametrize("call", ["fsync", "replace", "open"])
def test_what_the_system_refuses_in_the_middle_of_a_write(tmp_path, monkeypatch, call, code):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, tree(1))
    before = contents(tmp_path)

    place = Path if call == "open" else os
    allowed = getattr(place, call)

    def refuse(*args, **kw):
        if call == "open" and "xb" not in args:
            return allowed(*args, **kw)
        raise OSError(code, os.strerror(code), "/a/temporary.tmp")

    with monkeypatch.context() as patch:
        patch.setattr(place, call, refuse)
        said = r"expected to write epoch_000002\.npz, got [^;]*; epoch_000001\.npz is whole and kept; "
        with pytest.raises(OSError, match=said) as caught:
            checkpoints.save(2, tree(2))
    assert "temporary" not in str(caught.value)
    assert caught.value.errno == code
    assert isinstance(caught.value, PermissionError) == (code == errno.EACCES)
    assert contents(tmp_path) == before


def test_a_name_that_does_not_reach_the_disk_is_said_with_the_file_whole(tmp_path, monkeypatch):
    """The folder's own flush fails after the file was renamed."""
    checkpoints, flushed = Checkpoints(tmp_path), []
    fsync = os.fsync

    def second_fails(file):
        flushed.append(file)
        if len(flushed) == 2:
            raise OSError(errno.EIO, "Input/output error")
        fsync(file)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", second_fails)
        with pytest.raises(OSError, match="the folder has no earlier epoch"):
            checkpoints.save(1, tree(1))
    assert [path.name for path in tmp_path.iterdir()] == ["epoch_000001.npz"]
    assert checkpoints.latest(TREE)[0]["step"] == 1


def test_save_alone_names_its_file(tmp_path, monkeypatch):
    save(tmp_path / "a.npz", tree(1))

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        said = r"^save\(a\.npz\): expected to write .*, got No space left on device; nothing was changed"
        with pytest.raises(OSError, match=said):
            save(tmp_path / "a.npz", tree(2))
    assert restore(tmp_path / "a.npz", TREE)["step"] == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_paths_that_are_none_are_refused(tmp_path):
    for path in (None, b"a.npz", "", "a\0b", 3):
        for call in (lambda path: save(path, {}), lambda path: restore(path, {})):
            with pytest.raises((TypeError, ValueError), match=r"^(save|restore): expected path .*, got "):
                call(path)


def begin(folder, **options):
    with Checkpoints(folder, **options).prepare():
        raise AssertionError("not refused")


def test_what_lies_in_the_way_is_said_before_anything_is_computed(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "loop").symlink_to("loop")
    for folder, said in [
        (tmp_path / "file", "a file is in the way"),
        (tmp_path / "file" / "run", "a file is in the way"),
        (tmp_path / "loop" / "run", "a link leads to itself|a file is in the way"),
    ]:
        with pytest.raises(
            OSError, match=r"^Checkpoints\('.*'\): expected a folder that this run can write to"
        ) as caught:
            begin(folder)
        assert re.search(said, str(caught.value)), str(caught.value)
    assert (tmp_path / "file").read_text() == "mine"
    for name in ("n" * 300, "/".join(["n" * 200] * 25)):
        with pytest.raises(ValueError, match="expected folder as short as the system takes it"):
            begin(tmp_path / name)


@posix
@pytest.mark.parametrize(
    ("mode", "below"), [(0o555, ""), (0o555, "run"), (0o444, ""), (0o000, ""), (0o000, "run")]
)
def test_a_folder_without_permission_is_said_before_anything_is_computed(folder, mode, below):
    folder.chmod(mode)
    with (
        as_nobody(),
        pytest.raises(PermissionError, match="got Permission denied; change the permissions there"),
    ):
        begin(folder / below)
    folder.chmod(0o777)
    assert not list(folder.iterdir())


@posix
def test_a_disk_that_is_full_from_the_start_is_said_before_anything_is_computed(tmp_path):
    with files_of_at_most(1000), pytest.raises(OSError, match="a folder that this run can write to"):
        begin(tmp_path)
    assert not list(tmp_path.iterdir())


@posix
def test_a_folder_that_cannot_be_read_is_not_taken_for_an_empty_one(folder):
    Checkpoints(folder).save(1, tree(1))
    folder.chmod(0o333)
    with as_nobody(), pytest.raises(PermissionError, match="expected to read the folder"):
        Checkpoints(folder).latest(TREE)


@posix
def test_a_file_that_cannot_be_read_is_passed_over_and_named(folder):
    checkpoints = Checkpoints(folder)
    for epoch in (1, 2):
        checkpoints.save(epoch, tree(epoch))
    (folder / "epoch_000001.npz").chmod(0o644)
    (folder / "epoch_000002.npz").chmod(0o000)
    with as_nobody(), pytest.warns(UserWarning, match="epoch_000002.npz is passed over: .*Permission denied"):
        assert checkpoints.latest(TREE)[0]["step"] == 1


def test_what_has_the_name_of_a_checkpoint_and_is_none(tmp_path):
    """A folder, a dangling link and a pipe beside whole files."""
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(1, tree(1))
    (tmp_path / "epoch_000003.npz").mkdir()
    (tmp_path / "epoch_000003.npz" / "mine.txt").write_text("mine")
    (tmp_path / "epoch_000004.npz").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "epoch_000005.npz")
    for epoch in (1, 2, 3, 4, 5):
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            assert checkpoints.latest(TREE)[0]["step"] == max(epoch - 1, 1)
            if epoch > 1:
                checkpoints.save(epoch, tree(epoch))
        assert epoch > 3 or any("epoch_000003.npz is passed over" in str(w.message) for w in seen)
    (moved,) = tmp_path.glob("epoch_000003.npz.moved-*")
    assert (moved / "mine.txt").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.glob("*.npz")) == ["epoch_000005.npz"]


def test_links_among_what_goes_are_not_followed(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine.txt").write_text("mine")
    folder = tmp_path / "run"
    folder.mkdir()
    for name in (".epoch_000001.npz.00.tmp", "epoch_000000.npz", ".epoch_000002.npz.00.tmp"):
        (folder / name).symlink_to(outside)
    (folder / ".epoch_000001.npz.11.tmp").mkdir()
    with pytest.warns(UserWarning, match="epoch_000000.npz is passed over"):
        Checkpoints(folder, keep=1).save(2, tree(2))
    assert sorted(path.name for path in folder.iterdir()) == [".epoch_000001.npz.11.tmp", "epoch_000002.npz"]
    assert (outside / "mine.txt").read_text() == "mine"


@posix
def test_an_old_file_that_cannot_be_removed_does_not_end_the_run(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(1, tree(1))

    def refuse(*args, **kw):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.warns(UserWarning, match="epoch_000001.npz is not removed: Operation not permitted"):
        checkpoints.save(2, tree(2))


def trained(folder, callbacks=(), **options):
    rng = np.random.default_rng(0)
    net = jaxbp.mlp([4, 3], jaxbp.tanh)
    return jaxbp.fit(
        jaxbp.value_and_grad(net, jaxbp.softmax_cross_entropy),
        net.init(jax.random.key(0)),
        (rng.standard_normal((12, 4)).astype(np.float32), np.arange(12) % 3),
        optimizer=optax.sgd(0.1),
        key=jax.random.key(1),
        batch_size=4,
        epochs=3,
        checkpoints=Checkpoints(folder, **options),
        callbacks=callbacks,
        progress_bar=False,
    )


def test_fit_is_refused_allowedthe_first_epoch(tmp_path):
    (tmp_path / "file").write_text("mine")
    seen = []
    with pytest.raises(OSError, match="a file is in the way"):
        trained(tmp_path / "file" / "run", [seen.append])
    assert not seen


def test_fit_in_a_folder_that_another_run_uses_is_refused_and_the_first_goes_on(tmp_path):
    seen = []

    def second(record):
        with pytest.raises(
            BlockingIOError, match=rf"in use by process {os.getpid()} on .*, since 2.*; wait until"
        ) as caught:
            trained(tmp_path, [seen.append])
        assert ": expected a folder that no other run uses, got " in str(caught.value)

    assert trained(tmp_path, [second]).stopped == "finished"
    assert not seen
    assert not (tmp_path / lock.NAME).exists()
    assert trained(tmp_path).stopped == "finished"
