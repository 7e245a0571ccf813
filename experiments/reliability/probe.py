"""What a user sees of a result: a layer's outputs, a loss's values, the content of a written file."""

import inspect
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxbp
from experiments.reliability import world
from experiments.reliability.outcome import plain


def probe(function: str, result: Any, goods: dict[str, Any]) -> Any:
    """Of a result of this function, called with good values but for one."""
    short = function.rpartition(".")[2]
    if short == "save_run":
        return plain(jaxbp.load_run(goods["folder"]).predict(world.X))
    if function == "train.save":
        return _content(Path(goods["path"]))
    if short.startswith("plot_"):  # where what is drawn lies, and that it is written
        file = goods.get("path")
        size = file is None or Path(file).stat().st_size > 1000
        return plain([size, [[*axes.get_xlim(), *axes.get_ylim()] for axes in result.axes]])
    if short in ("EarlyStopping", "Dataset"):
        data = (
            {"data": result, "grad_fn": world.GRAD_FN}
            if short == "Dataset"
            else {"early_stopping": result, "epochs": 3}
        )
        validated = {"validation": (world.X, world.Y), "evaluate": world.evaluate}
        ran = world.fit(**(validated if short == "EarlyStopping" else {}) | data)
        return plain([ran.params, ran.history, ran.best_epoch, ran.stopped])
    if isinstance(result, jaxbp.Checkpoints):
        if result.monitor is not None:  # fit knows the columns
            world.fit(checkpoints=result, epochs=4)
        for epoch in range(1, 5) if result.monitor is None else ():
            if result.due(epoch):
                result.save(epoch, world.params(), {}, 1.0 / epoch)
        where = Path(goods["folder"])
        return sorted(file.name for file in where.iterdir())
    if isinstance(result, jaxbp.Trained):
        return plain([result.predict(world.X), result.predict_proba(world.X)])
    if short in ("Classifier", "Regressor"):  # scikit-learn's estimators look at their settings in `fit`
        y = world.Y if short == "Classifier" else world.TARGETS
        ran = result.fit(world.X, y)
        return plain([ran.params_, ran.history_])
    if isinstance(result, jaxbp.verify.Report):
        return plain([result.ok, [(finding.verdict, finding.cause) for finding in result.findings]])
    return plain(_seen(short, result))


def _ids() -> Any:
    return jnp.array([[0, 1], [1, 1]])


def _series() -> Any:
    return jnp.asarray(world.X).reshape(2, 3, 3)


def _of(*shape: int) -> Any:
    return lambda: jnp.linspace(-1, 1, int(np.prod(shape))).reshape(shape)


# What the layers of a function take, where it is not rows of three numbers.
INPUTS = {
    **dict.fromkeys(("conv1d", "depthwise1d", "max_pool1d", "avg_pool1d"), _of(2, 6, 4)),
    **dict.fromkeys(("conv2d", "depthwise2d", "max_pool2d", "avg_pool2d"), _of(2, 6, 6, 4)),
    **dict.fromkeys(("global_avg_pool", "squeeze_scale", "group_norm"), _of(2, 3, 3, 4)),
    **dict.fromkeys(("batch_norm", "layer_norm", "rms_norm", "fixed"), _of(6, 4)),
    **dict.fromkeys(("lenet", "resnet"), _of(2, 28, 28, 1)),
    "attend": lambda: jnp.linspace(-1, 1, 144).reshape(2, 3, 24),
    "gate": lambda: jnp.linspace(-1, 1, 12).reshape(3, 4),
    **dict.fromkeys(("elman", "gru", "lstm"), _series),
    **dict.fromkeys(("embedding", "gpt", "char_rnn"), _ids),
}


def _seen(short: str, result: Any) -> Any:
    if isinstance(result, jaxbp.Layer):
        held = result.init(jax.random.key(0))
        x = INPUTS.get(short, lambda: jnp.asarray(world.X))()
        out, saved = result.forward(held, x, key=jax.random.key(2))
        back = result.backward(held, saved, jnp.ones_like(out))
        # Integers have no derivative, what a batch couples none of one example; a network has its parts'.
        alone = not jnp.issubdtype(x.dtype, jnp.integer) and "training" not in result.given
        alone = alone and short not in ("lenet", "resnet")
        return [held, result.apply(held, x), out, back, result.jacobian(held, x[0]) if alone else None]
    if isinstance(result, jaxbp.Loss):
        f, y = jnp.asarray(world.TARGETS), jnp.asarray(world.BINARY)
        return [result(f, y), result.delta(f, y), result.sum(f, y), result.mu(f)]
    if isinstance(result, jaxbp.units.Unit):
        return jaxbp.units.linear_unit(result, jnp.asarray(world.X))
    if callable(result) and not isinstance(result, type):
        try:
            names = list(inspect.signature(result).parameters)
        except (TypeError, ValueError):
            return result
        x, y = jnp.asarray(world.X), jnp.asarray(world.Y)
        given = {"params": world.params(), "x": x, "f": x, "y": y}
        if {"params", "x", "y"} <= set(names) or {"params", "f"} <= set(names):
            return result(*(given[name] for name in names if name in given))
    return result


def _content(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name != "jaxbp.npy"]
    with np.load(path) as held:
        return {name: plain(held[name.removesuffix(".npy")]) for name in sorted(names)}
