"""The checkpoints of one run in one folder: which are written, which are kept, which one is read."""

import math
import os
import secrets
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxbp import arguments
from jaxbp.errors import message
from jaxbp.train.checkpoints import contents
from jaxbp.train.checkpoints.disk import move_aside, worded
from jaxbp.train.checkpoints.engines import ENGINES, Engine
from jaxbp.train.checkpoints.environment import by_entry, differences, environment
from jaxbp.train.checkpoints.leaves import listed, match
from jaxbp.train.checkpoints.lock import locked
from jaxbp.train.checkpoints.manifest import plain
from jaxbp.train.programs.metrics import Mode, mode_of


@dataclass(frozen=True)
class Checkpoints:
    """Keep the last epochs of a run, and the best one, in a folder of their own.

    The files are ``epoch_000012.npz``, as `jaxbp.train.save` writes them. A folder belongs to one run, whose
    id is in each of its files. While the run goes on (`prepare`) it holds a lock, and its epochs only ever
    grow, so that of two runs that write into one folder one is refused.

    Args:
        folder: where; it is made if need be.
        every: how many epochs lie between two checkpoints.
        keep: how many of the newest are kept.
        monitor: a column of the history; the best epoch by it is kept beside the newest.
        mode: as in `EarlyStopping`.
        engine: ``"npz"``, or ``"orbax"`` for arrays that are spread over many processes and too large for
            any one of them: each writes its own part. Flipped bits in such arrays are not noticed.
        accept: entries of the run's config that may differ from those of the checkpoints in the folder, such
            as ``("optimizer",)``; the run then goes on from them, and says what differs.

    Raises:
        TypeError, ValueError: for an argument that is none of these.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> checkpoints = Checkpoints(folder, keep=2, monitor="val_loss")
        >>> for epoch, loss in enumerate([0.9, 0.4, 0.5, 0.6, 0.7], 1):
        ...     checkpoints.save(epoch, {"W": np.full(2, loss)}, {"config": {"eta": 0.1}}, loss)
        >>> sorted(file.name for file in folder.iterdir())
        ['epoch_000002.npz', 'epoch_000004.npz', 'epoch_000005.npz']
        >>> tree, meta = checkpoints.latest({"W": np.zeros(2)})
        >>> tree["W"], meta["epoch"], meta["best"]
        (array([0.7, 0.7]), 5, {'monitor': 'val_loss', 'epoch': 2, 'value': 0.4})
        >>> checkpoints.latest({"W": np.zeros(2)}, config={"eta": 0.2})
        Traceback (most recent call last):
        ...
        ValueError: Checkpoints(...): expected the config of the run in epoch_000005.npz,
        got eta was 0.1, is 0.2; go on with the same config, give another folder,
        or take what differs with Checkpoints(..., accept=('eta',))
    """

    folder: str | os.PathLike[str]
    every: int = 1
    keep: int = 3
    monitor: str | None = None
    mode: Mode = "auto"
    engine: Literal["npz", "orbax"] = "npz"
    accept: tuple[str, ...] = ()
    _said: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        where = "Checkpoints"
        arguments.instance(where, "accept", self.accept, (tuple, list), "e.g. accept=('optimizer',)")
        for name in (*self.accept, *([] if self.monitor is None else [self.monitor])):
            arguments.instance(where, "each name in accept, and monitor,", name, str)
        checked = {
            "folder": arguments.path(where, "folder", self.folder),
            "every": arguments.whole(where, "every", self.every, low=1),
            "keep": arguments.whole(where, "keep", self.keep, low=1),
            "mode": mode_of(where, "loss" if self.monitor is None else self.monitor, self.mode),
            "engine": arguments.option(where, "engine", self.engine, ENGINES),
            "accept": tuple(self.accept),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @contextmanager
    def prepare(self) -> Iterator[None]:
        """Hold the folder for one run: make it, lock it, and try to write there, before anything is computed.

        `fit` does all its work within this. In a run of many processes all of them call it; process 0 holds
        the lock. Whoever calls `save` alone need not.

        Raises:
            BlockingIOError: another run holds the folder; the message says which process on which computer.
            OSError: the folder cannot be made, locked or written.
            ImportError: the engine is not installed.
        """
        with ExitStack() as stack:
            fault: Exception | None = None
            if jax.process_index() == 0:
                try:
                    self._hold(stack)
                except (OSError, ImportError) as error:
                    fault = error
            if jax.process_count() > 1:
                failed = multihost_utils.process_allgather(np.bool_(fault is not None)).any()
                if failed and fault is None:
                    got = "an error there, which its message says"
                    raise OSError(message(self._where(), "process 0 to hold the folder", got))
            if fault is not None:
                raise fault
            yield

    def _hold(self, stack: ExitStack) -> None:
        folder = Path(self.folder)
        with worded(self._where(), f"a folder that this run can write to at {folder.absolute()}"):
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(folder, self._where()))
            trial = (
                folder / f".epoch_000000.npz.{secrets.token_hex(4)}.tmp"
            )  # cleaned up, should this be killed
            try:
                trial.write_bytes(bytes(4096))
            finally:
                trial.unlink(missing_ok=True)
        self._engine.assert_installed()

    @property
    def writes_alone(self) -> bool:
        """Whether `save` in this process keeps an epoch by itself, whatever became of other processes."""
        return jax.process_count() == 1 or (self.engine == "npz" and jax.process_index() == 0)

    def due(self, epoch: int) -> bool:
        """Whether this epoch is one of those to save."""
        return arguments.whole(f"{self._where()}.due", "epoch", epoch, low=0) % self.every == 0

    def save(
        self, epoch: int, tree: Any, meta: dict[str, Any] | None = None, value: float | None = None
    ) -> None:
        """Write the checkpoint of an epoch, then remove those that are no longer kept.

        In a run of many processes all of them call this.

        Args:
            epoch: its number, larger than any in the folder.
            tree: the state; see `jaxbp.train.save`.
            meta: JSON to go with it. ``meta["config"]`` must be that of the checkpoints in the folder;
                ``epoch``, ``run``, ``best`` and ``environment`` are added.
            value: of the column ``monitor``; NaN is never the best.

        Raises:
            FileExistsError: the folder has a whole checkpoint of this epoch or a later one.
            OSError: the disk is full, or the file cannot be written; the message names what is kept.
            ValueError: another config, or no value for ``monitor``. And what `jaxbp.train.save` raises.
        """
        epoch = arguments.whole(f"{self._where()}.save", "epoch", epoch, low=0)
        path, engine = self._path(epoch), self._engine
        meta = plain(meta) | {"epoch": epoch, "environment": environment()}
        before = None
        first = jax.process_index() == 0
        if first or self.engine == "orbax":  # the others of an .npz run may already see the new file
            before = self._before(epoch, meta.get("config"))
            last: dict[str, Any] = {"run": secrets.token_hex(8), "best": None}
            last = before.manifest.meta if before else last
            meta |= {"run": last["run"], "best": self._best(epoch, value, last["best"])}
        kept = f"{before.path.name} is whole and kept" if before else "the folder has no earlier epoch"
        try:
            with worded(self._where(), f"to write {path.name}", kept):
                if first and path.exists() and path.is_dir() != engine.folders:
                    move_aside(path)
                engine.write(path, tree, meta=meta)
        except FileNotFoundError as error:  # the temporary file
            if not path.parent.is_dir():
                raise
            raise FileExistsError(self._taken(epoch, f"{path.name} from elsewhere")) from error
        if first:
            best = meta["best"]["epoch"] if meta["best"] else None
            contents.clean(path.parent, engine, self._where(), epoch, self.keep, best)

    def latest(self, like: Any, *, config: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]] | None:
        """The tree and meta of the newest checkpoint that is whole; None where there is none at all.

        Passed over with a warning are damaged files, those whose arrays are not the ones that their
        manifest names, those of another epoch than their name says, and what is no file at all. A difference
        between the environment then and now is a warning, too: the run may go on elsewhere, but its last
        bits may differ.

        Args:
            like: what the tree must be; see `jaxbp.train.restore`.
            config: what describes this run, by name, to be that of the checkpoint; None compares nothing.

        Raises:
            ValueError: another config (each entry that differs is named), other leaves than ``like``, files
                of more than one run, files none of which is whole, or an ``accept`` that the config lacks.
        """
        if config is not None:
            for name in self.accept:
                arguments.option("Checkpoints", "each name in accept", name, config)
        names = self._shared()
        held = list(contents.whole(names, self._engine, self._pass_over))
        contents.assert_one_run(held, self._where())
        for _, path, manifest in held:
            if config is not None:
                self._assert_config(path, manifest.meta.get("config"), config, said=True)
            match(manifest.leaves, like, f"restore({path.name})")
            try:
                tree = self._engine.load(path, manifest, like)
            except (ValueError, OSError) as error:
                self._pass_over(path, error)
                continue
            if changed := "; ".join(differences(manifest.meta["environment"], environment())):
                warnings.warn(f"{path.name} was written elsewhere, bits may differ: {changed}", stacklevel=3)
            return tree, manifest.meta
        if names:
            got = f"none among {listed(path.name for _, path in names)}"
            hint = "to begin anew, move them away or give another folder"
            raise ValueError(message(self._where(), "a whole checkpoint", got, hint))
        return None

    def best(self, like: Any) -> tuple[Any, dict[str, Any]] | None:
        """The tree and meta of the best checkpoint by ``monitor``; None where there is none.

        Raises:
            ValueError: it is damaged, of another epoch or run, or has other leaves than ``like``.
        """
        newest = next(contents.whole(self._shared(), self._engine, self._pass_over), None)
        if newest is None or not (best := newest.manifest.meta["best"]):
            return None
        path = self._path(best["epoch"])
        manifest = contents.manifest_of(best["epoch"], path, self._engine)
        contents.assert_one_run([newest, contents.Held(best["epoch"], path, manifest)], self._where())
        match(manifest.leaves, like, f"restore({path.name})")
        return self._engine.load(path, manifest, like), manifest.meta

    def _where(self) -> str:
        return f"Checkpoints({os.fspath(self.folder)!r})"

    @property
    def _engine(self) -> Engine:
        return ENGINES[self.engine]

    def _path(self, epoch: int) -> Path:
        return contents.path_of(Path(self.folder), self._engine, epoch)

    def _names(self) -> list[tuple[int, Path]]:
        return contents.named(Path(self.folder), self._engine, self._where())

    def _shared(self) -> list[tuple[int, Path]]:
        """The epochs in the folder, which all processes of the run must see."""
        if jax.process_count() == 1:
            return self._names()
        multihost_utils.sync_global_devices("Checkpoints")  # process 0 may still have been writing
        names = self._names()
        newest = multihost_utils.process_allgather(np.int32(names[0][0] if names else -1)).tolist()
        if len(set(newest)) > 1:
            got = f"epochs {newest} as the newest in processes 0 to {len(newest) - 1}"
            raise ValueError(message(self._where(), "one folder that all processes share", got))
        return names

    def _before(self, epoch: int, config: Any) -> contents.Held | None:
        """The newest checkpoint, which must be of an epoch before this and of the same config."""
        for held in contents.whole(self._names(), self._engine, partial(self._pass_over, again=False)):
            if held.epoch >= epoch:
                try:
                    self._engine.verify(held.path)
                except (ValueError, OSError) as error:
                    self._pass_over(held.path, error, again=False)
                    continue
                raise FileExistsError(self._taken(epoch, held.path.name))
            self._assert_config(held.path, held.manifest.meta.get("config"), config)
            return held
        return None

    def _pass_over(self, path: Path, error: Exception, again: bool = True) -> None:
        """Say that a checkpoint is not used, and why; with ``again`` also where it was said before."""
        said = f"{path} is passed over: {error}"
        if again or said not in self._said:
            self._said.add(said)
            warnings.warn(said, stacklevel=4)

    def _taken(self, epoch: int, got: str) -> str:
        hint = "does another run write here? Resume from latest(), or give another folder"
        return message(self._where(), f"no checkpoint from epoch {epoch} on", got, hint)

    def _assert_config(self, path: Path, then: Any, now: Any, said: bool = False) -> None:
        """Raises where an entry differs that is not accepted; ``said`` warns of those that are."""
        changed = by_entry(then or {}, plain(now))
        if refused := {name: text for name, text in changed.items() if name not in self.accept}:
            hint = "go on with the same config, give another folder, or take what differs with "
            hint += f"Checkpoints(..., accept={(*self.accept, *refused)!r})"
            expected = f"the config of the run in {path.name}"
            raise ValueError(message(self._where(), expected, "; ".join(refused.values()), hint))
        if changed and said:
            text = f"{path.name} is gone on from as accept= says, although {'; '.join(changed.values())}"
            warnings.warn(text, stacklevel=4)

    def _best(self, epoch: int, value: float | None, before: dict[str, Any] | None) -> dict[str, Any] | None:
        """The best epoch up to this one."""
        if self.monitor is None:
            return None
        if value is None:
            raise ValueError(message(self._where(), f"a value of {self.monitor}", "None"))
        value = arguments.number(self._where(), self.monitor, value, finite=False)
        if before is not None and before["monitor"] == self.monitor:
            sign = 1 if self.mode == "min" else -1
            if not sign * value < sign * before["value"]:
                return before
        elif math.isnan(value):
            return None
        return {"monitor": self.monitor, "epoch": epoch, "value": value}
