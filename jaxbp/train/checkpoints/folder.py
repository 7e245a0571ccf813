"""The checkpoints of one run in one folder: which are written, which are kept, which one is read."""

import json
import math
import os
import re
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxbp.errors import message
from jaxbp.train.checkpoints import npz_engine, orbax_engine
from jaxbp.train.checkpoints.environment import differences, environment
from jaxbp.train.checkpoints.leaves import Leaf, match

_STRAY = re.compile(r"\.?epoch_(\d+)\.(npz\..*\.tmp|orbax-checkpoint-tmp.*)")


class _Engine(NamedTuple):
    suffix: str
    save: Callable[..., None]
    read_manifest: Callable[[Path], tuple[dict[str, Any], dict[str, Leaf]]]
    load: Callable[[Path, dict[str, Leaf], Any], Any]
    verify: Callable[[Path], None]


_ENGINES = {
    name: _Engine(suffix, module.save, module.read_manifest, module.load, module.verify)
    for name, suffix, module in (("npz", ".npz", npz_engine), ("orbax", "", orbax_engine))
}


@dataclass(frozen=True)
class Checkpoints:
    """Keep the last epochs of a run, and the best one, in a folder of their own.

    The files are ``epoch_000012.npz``, as `jaxbp.train.save` writes them. A folder belongs to one run: its
    epochs only ever grow, so that of two runs that write into one folder the slower is refused.

    Args:
        folder: where; it is made if need be.
        every: how many epochs lie between two checkpoints.
        keep: how many of the newest are kept.
        monitor: a column of the history; the best epoch by it is kept beside the newest.
        mode: whether less (``"min"``) or more (``"max"``) of it is better.
        engine: ``"npz"``, or ``"orbax"`` for arrays that are spread over many processes and too large for
            any one of them: each writes its own part. Orbax does not notice flipped bits.

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
        got eta was 0.1, is 0.2; go on with the same config, or give another folder
    """

    folder: str | os.PathLike[str]
    every: int = 1
    keep: int = 3
    monitor: str | None = None
    mode: Literal["min", "max"] = "min"
    engine: Literal["npz", "orbax"] = "npz"

    def __post_init__(self) -> None:
        if self.every < 1 or self.keep < 1:
            got = f"every={self.every}, keep={self.keep}"
            raise ValueError(message("Checkpoints", "every and keep of at least 1", got))
        if self.mode not in ("min", "max") or self.engine not in _ENGINES:
            got = f"mode={self.mode!r}, engine={self.engine!r}"
            raise ValueError(message("Checkpoints", "mode min or max, engine npz or orbax", got))

    def due(self, epoch: int) -> bool:
        """Whether this epoch is one of those to save."""
        return epoch % self.every == 0

    def save(
        self, epoch: int, tree: Any, meta: dict[str, Any] | None = None, value: float | None = None
    ) -> None:
        """Write the checkpoint of an epoch, then remove those that are no longer kept.

        In a run of many processes all of them call this.

        Args:
            epoch: its number, larger than any in the folder.
            tree: the state; see `jaxbp.train.save`.
            meta: JSON to go with it. ``meta["config"]`` must be that of the checkpoints in the folder;
                ``epoch``, ``best`` and ``environment`` are added.
            value: of the column ``monitor``; NaN is never the best.

        Raises:
            FileExistsError: the folder has a whole checkpoint of this epoch or a later one.
            ValueError: another config, or no value for ``monitor``. And what `jaxbp.train.save` raises.
        """
        path = self._path(epoch)
        meta = json.loads(npz_engine.as_json(meta or {})) | {"epoch": epoch, "environment": environment()}
        first = jax.process_index() == 0
        if first or self.engine == "orbax":  # the others of an .npz run may already see the new file
            before = self._before(epoch, meta.get("config"))
            meta["best"] = self._best(epoch, value, before.get("best"))
        try:
            _ENGINES[self.engine].save(path, tree, meta=meta)
        except FileNotFoundError as error:  # the temporary file
            raise FileExistsError(self._taken(epoch, f"{path.name} from elsewhere")) from error
        if first:
            self._clean(epoch, meta["best"])

    def latest(self, like: Any, *, config: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]] | None:
        """The tree and meta of the newest checkpoint that is whole; None where there is none at all.

        Damaged ones are passed over with a warning, as is a difference between the environment then and
        now: the run may go on elsewhere, but its last bits may differ.

        Args:
            like: what the tree must be; see `jaxbp.train.restore`.
            config: the config of this run, to be that of the checkpoint; None compares nothing.

        Raises:
            ValueError: another config, other leaves than ``like``, or checkpoints none of which is whole.
        """
        held = self._shared()
        for _, path, meta, leaves in self._manifests(held):
            if config is not None:
                self._assert_config(path, meta.get("config"), config)
            match(leaves, like, f"restore({path.name})")
            try:
                tree = _ENGINES[self.engine].load(path, leaves, like)
            except ValueError as error:
                _warn_damaged(path, error)
                continue
            if changed := "; ".join(differences(meta["environment"], environment())):
                warnings.warn(f"{path.name} was written elsewhere, bits may differ: {changed}", stacklevel=3)
            return tree, meta
        if held:
            names = ", ".join(path.name for _, path in held)
            raise ValueError(message(self._where(), "a whole checkpoint", f"only damaged ones: {names}"))
        return None

    def best(self, like: Any) -> tuple[Any, dict[str, Any]] | None:
        """The tree and meta of the best checkpoint by ``monitor``; None where there is none.

        Raises:
            ValueError: it is damaged, or has other leaves than ``like``.
        """
        meta: dict[str, Any] = next((meta for _, _, meta, _ in self._manifests(self._shared())), {})
        if not (best := meta.get("best")):
            return None
        engine, path = _ENGINES[self.engine], self._path(best["epoch"])
        meta, leaves = engine.read_manifest(path)
        match(leaves, like, f"restore({path.name})")
        return engine.load(path, leaves, like), meta

    def _where(self) -> str:
        return f"Checkpoints({os.fspath(self.folder)!r})"

    def _path(self, epoch: int) -> Path:
        return Path(self.folder) / f"epoch_{epoch:06}{_ENGINES[self.engine].suffix}"

    def _held(self) -> list[tuple[int, Path]]:
        """The epochs in the folder, the newest first."""
        name = re.compile(r"epoch_(\d+)" + re.escape(_ENGINES[self.engine].suffix))
        paths = Path(self.folder).glob("epoch_*")
        return sorted(((int(m[1]), path) for path in paths if (m := name.fullmatch(path.name))), reverse=True)

    def _manifests(
        self, held: list[tuple[int, Path]]
    ) -> Iterator[tuple[int, Path, dict[str, Any], dict[str, Leaf]]]:
        """Epoch, path, meta and leaves of each checkpoint, the newest first; damaged ones are passed over."""
        for epoch, path in held:
            try:
                yield epoch, path, *_ENGINES[self.engine].read_manifest(path)
            except ValueError as error:
                _warn_damaged(path, error)

    def _shared(self) -> list[tuple[int, Path]]:
        """The epochs in the folder, which all processes of the run must see."""
        if jax.process_count() == 1:
            return self._held()
        multihost_utils.sync_global_devices("Checkpoints")  # process 0 may still have been writing
        held = self._held()
        newest = multihost_utils.process_allgather(np.int32(held[0][0] if held else -1)).tolist()
        if len(set(newest)) > 1:
            got = f"epochs {newest} as the newest in processes 0 to {len(newest) - 1}"
            raise ValueError(message(self._where(), "one folder that all processes share", got))
        return held

    def _before(self, epoch: int, config: Any) -> dict[str, Any]:
        """The meta of the newest checkpoint, which must be of an epoch before this and of the same config."""
        for held, path, meta, _ in self._manifests(self._held()):
            if held >= epoch:
                try:
                    _ENGINES[self.engine].verify(path)
                except ValueError as error:
                    _warn_damaged(path, error)
                    continue
                raise FileExistsError(self._taken(epoch, path.name))
            self._assert_config(path, meta.get("config"), config)
            return meta
        return {}

    def _taken(self, epoch: int, got: str) -> str:
        hint = "does another run write here? Resume from latest(), or give another folder"
        return message(self._where(), f"no checkpoint from epoch {epoch} on", got, hint)

    def _assert_config(self, path: Path, then: Any, now: Any) -> None:
        if changed := "; ".join(differences(then, json.loads(npz_engine.as_json(now)))):
            hint = "go on with the same config, or give another folder"
            expected = f"the config of the run in {path.name}"
            raise ValueError(message(self._where(), expected, changed.lstrip(), hint))

    def _best(self, epoch: int, value: float | None, before: dict[str, Any] | None) -> dict[str, Any] | None:
        """The best epoch up to this one."""
        if self.monitor is None:
            return None
        if value is None:
            raise ValueError(message(self._where(), f"a value of {self.monitor}", "None"))
        if before is not None and before["monitor"] == self.monitor:
            sign = 1 if self.mode == "min" else -1
            if not sign * value < sign * before["value"]:
                return before
        elif math.isnan(value):
            return None
        return {"monitor": self.monitor, "epoch": epoch, "value": float(value)}

    def _clean(self, epoch: int, best: dict[str, Any] | None) -> None:
        """Remove checkpoints up to this epoch that are not kept, and what killed runs left of them."""
        past = [(held, path) for held, path in self._held() if held <= epoch]
        for held, path in past[self.keep :]:
            if best is None or held != best["epoch"]:
                _remove(path)
        for path in Path(self.folder).iterdir():
            if (stray := _STRAY.fullmatch(path.name)) and int(stray[1]) <= epoch:
                _remove(path)


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _warn_damaged(path: Path, error: ValueError) -> None:
    warnings.warn(f"{path} is passed over: {error}", stacklevel=4)
