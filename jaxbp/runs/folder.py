"""The folder that keeps a run: run.json, which says all of it, and params.npz."""

import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxbp import arguments, errors, recipes
from jaxbp.data import Scaling, Schema
from jaxbp.errors import message
from jaxbp.layers import Layer
from jaxbp.losses import Loss
from jaxbp.runs.trained import Trained
from jaxbp.train.checkpoints import npz_engine, restore
from jaxbp.train.checkpoints.disk import worded, written_whole
from jaxbp.train.checkpoints.leaves import by_path
from jaxbp.typing import Params

FORMAT = 1
RUN, PARAMS = "run.json", "params.npz"
_KEYS = {
    "format": int,
    "network": dict,
    "loss": dict,
    "shape": list,
    "schema": dict | None,
    "classes": list | None,
    "preprocess": dict | None,
    "metrics": dict,
    "settings": dict,
    "environment": dict,
    "params": str,
    "sha256": str,
}
_LARGEST = 2**28  # bytes of a run.json

recipes.own("scaling")(Scaling)


def save_run(folder: str | os.PathLike[str], run: Trained) -> None:
    """Keep a trained network in a folder, for `load_run` in any process.

    ``params.npz`` has the parameters, as `jaxbp.train.save` writes them. ``run.json`` has the rest: the
    descriptions of the network (`Layer.to_dict`), its loss and what scales its inputs, the schema of its
    table, the labels, metrics, settings and the environment, and a digest of all this and of params.npz.
    Each is written under another name and then renamed. Nothing is pickled.

    Args:
        folder: where; it is made if need be, and a run that is there is replaced.
        run: what to keep.

    Raises:
        TypeError: for metrics or settings that are no JSON.
        ValueError: for a layer, a loss or a ``preprocess`` that is not registered (`jaxbp.register`).
        OSError: the folder cannot be written.
    """
    folder = arguments.path("save_run", "folder", folder)
    arguments.instance("save_run", "run", run, Trained, "e.g. Trained(net, result.params, loss)")
    said = {
        "format": FORMAT,
        "network": run.network.to_dict(),
        "loss": recipes.to_dict(run.loss, "save_run: loss"),
        "shape": list(run.shape or ()),
        "schema": None if run.schema is None else run.schema.to_dict(),
        "classes": None if run.classes is None else list(run.classes),
        "preprocess": None
        if run.preprocess is None
        else recipes.to_dict(run.preprocess, "save_run: preprocess"),
        **{name: _plain(getattr(run, name), name) for name in ("metrics", "settings", "environment")},
    }
    with worded("save_run", f"to write into {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        npz_engine.write(folder / PARAMS, run.params)
        said["params"] = npz_engine.read_manifest(folder / PARAMS).digest
        if jax.process_index() == 0:
            text = json.dumps(said | {"sha256": _digest(said)}, indent=1, allow_nan=False)
            with written_whole(folder / RUN) as file:
                file.write(f"{text}\n".encode())


def load_run(folder: str | os.PathLike[str]) -> Trained:
    """The trained network that `save_run` or `jaxbp train` kept: the same predictions, bit for bit.

    Layers and functions of your own must be registered (`jaxbp.register`) before. Nothing in the folder is
    run: the network is made by the functions that are registered, of the arguments that run.json has.

    Args:
        folder: of the run.

    Raises:
        FileNotFoundError: there is no such folder, or it keeps no run.
        ValueError: run.json or params.npz is damaged or was changed, of a newer format, or they are not of
            one run; a layer or a function is not registered; float64 parameters where JAX holds 32 bits.
    """
    folder = arguments.path("load_run", "folder", folder)
    _assert_there(folder)
    file = folder / RUN
    where = f"load_run({file})"
    said = _parsed(_read(file, where), where)
    with errors.within(where):
        network = Layer.from_dict(said["network"])
        loss = arguments.instance("loss", "it", recipes.from_dict(said["loss"]), Loss)
        preprocess = None if said["preprocess"] is None else recipes.from_dict(said["preprocess"])
        if type(preprocess) is Scaling:
            preprocess = Scaling(*map(np.asarray, preprocess))
        return Trained(
            network,
            _params(folder / PARAMS, network, said["params"]),
            loss,
            shape=tuple(said["shape"]),
            schema=None if said["schema"] is None else Schema.from_dict(said["schema"]),
            classes=None if said["classes"] is None else tuple(said["classes"]),
            preprocess=preprocess,
            **{name: said[name] for name in ("metrics", "settings", "environment")},
        )


def _plain(value: Any, name: str) -> Any:
    """Numbers, texts, lists and dicts of them; null for numbers that are not finite."""
    match value:
        case None | bool() | str():
            return value
        case int() | np.integer() | np.bool_():
            return value.item() if isinstance(value, np.generic) else value
        case float() | np.floating():
            return float(value) if math.isfinite(value) else None
        case dict() if all(isinstance(key, str) for key in value):
            return {key: _plain(item, f"{name}.{key}") for key, item in value.items()}
        case list() | tuple():
            return [_plain(item, f"{name}[{i}]") for i, item in enumerate(value)]
        case np.ndarray() | jax.Array():
            return _plain(np.asarray(value).tolist(), name)
        case os.PathLike():
            return os.fspath(value)
    raise TypeError(message("save_run", f"{name} that JSON can hold", arguments.described(value)))


def _digest(said: dict[str, Any]) -> str:
    """sha256 of what run.json says."""
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _assert_there(folder: Path) -> None:
    """Raise a FileNotFoundError, with what a folder without a run.json may be."""
    if (folder / RUN).is_file():
        return
    hint, got = "", f"{folder}, without one"
    if not folder.is_dir():
        got = f"{folder}, a file" if folder.exists() else f"{folder}, which is not there"
        hint = (
            f"give its folder, {str(folder.parent)!r}"
            if folder.name in (RUN, PARAMS) and folder.exists()
            else ""
        )
    elif (folder / "config.json").is_file():
        hint = f"it is not finished, or of an older jaxbp; to go on: jaxbp train --resume {folder}"
    elif any(folder.glob("epoch_*")):
        hint = "it keeps checkpoints; save_run(folder, Trained(net, result.params, loss)) keeps a run"
    elif inner := sorted(f.name for f in folder.iterdir() if (f / RUN).is_file()):
        hint = f"there are runs in it, {', '.join(inner[:3])}"
    raise FileNotFoundError(message("load_run", f"the folder of a run, with {RUN}", got, hint))


def _read(file: Path, where: str) -> bytes:
    with worded(where, f"to read {file}"):
        if (size := file.stat().st_size) > _LARGEST:
            raise ValueError(message(where, f"at most {_LARGEST} bytes", f"{size}"))
        return file.read_bytes()


def _parsed(text: bytes, where: str) -> dict[str, Any]:
    """What run.json says, every part of the type that it must have."""
    said = arguments.json_of(where, text)
    if not isinstance(said, dict) or "format" not in said:
        raise ValueError(message(where, f"a run of format {FORMAT}", "JSON without its format"))
    if said["format"] != FORMAT or isinstance(said["format"], bool):
        newer = isinstance(said["format"], int) and said["format"] > FORMAT
        hint = "a newer jaxbp wrote it: update jaxbp" if newer else ""
        raise ValueError(message(where, f"a run of format {FORMAT}", f"format {said['format']!r:.20}", hint))
    if other := sorted(said.keys() ^ _KEYS.keys()):
        raise ValueError(message(where, f"the keys {', '.join(_KEYS)}", f"others: {', '.join(other)}"[:200]))
    for key, kind in _KEYS.items():
        if not isinstance(said[key], kind):
            raise ValueError(message(where, f"{key} as save_run wrote it", arguments.described(said[key])))
    if (stated := said.pop("sha256")) != (now := _digest(said)):
        hint = "it was changed after it was written"
        raise ValueError(message(where, f"what has the sha256 {stated:.16}", f"{now:.16}", hint))
    return said


def _params(file: Path, network: Layer, digest: str) -> Params:
    """The parameters of the network, from a file with this digest."""
    manifest = npz_engine.read_manifest(file)
    if manifest.digest != digest:
        hint = "it is of another run"
        raise ValueError(message(file.name, f"the digest {digest:.16}", f"{manifest.digest:.16}", hint))

    def stored(name: str, leaf: Any) -> jax.ShapeDtypeStruct:
        """As the network has it, in the dtype that was kept."""
        kept = manifest.leaves.get(name)
        dtype = leaf.dtype if kept is None else kept.kind.partition(" ")[0]
        return jax.ShapeDtypeStruct(leaf.shape, jax.numpy.dtype(dtype))  # type: ignore[no-untyped-call]

    init = jax.eval_shape(network.init, jax.random.key(0))
    like = jax.tree.unflatten(jax.tree.structure(init), [stored(*item) for item in by_path(init).items()])
    return restore(file, like)
