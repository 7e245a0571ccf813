"""The good values that every bad one is a neighbor of: a tiny net, six examples, files of them."""

import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxbp

X = np.array([[0, 1, 2], [1, 0, 1], [2, 2, 0], [1, 1, 1], [0, 2, 1], [2, 0, 2]], np.float32)
Y = np.array([0, 1, 1, 0, 1, 0], np.int32)
TARGETS = np.array([[0, 1], [1, 0], [1, 2], [0, 0.5], [2, 1], [1, 1]], np.float32)
BINARY = np.array([[0, 1], [1, 0], [1, 1], [0, 0], [1, 1], [0, 1]], np.float32)
SIGNS = np.array([1, -1, 1, 1, 1, -1], np.float32)  # of the second column
PROBABILITIES = np.array(
    [[0.25, 0.5], [0.5, 0.75], [0.5, 0.5], [0.25, 0.25], [0.75, 0.5], [0.5, 0.25]], np.float32
)

NET = jaxbp.mlp([3, 4, 2], jaxbp.tanh)
LOSS = jaxbp.softmax_cross_entropy
GRAD_FN = jaxbp.value_and_grad(NET, LOSS)
EVALUATE = jaxbp.make_evaluate(NET.apply, LOSS)
epochs_run = [0]  # of fit and sweep, counted by the callback


def params() -> Any:
    """Of NET; multiples of a quarter, which few bits hold."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(NET.init, jax.random.key(0))
    return jax.tree.map(lambda s: jnp.asarray(rng.integers(-4, 5, s.shape) / 4, jnp.float32), shapes)


def grad_fn(params: Any, x: Any, y: Any) -> Any:
    """The gradient function as one of another library looks: a plain function."""
    return GRAD_FN(params, x, y)


def evaluate(params: Any, x: Any, y: Any) -> Any:
    return EVALUATE(params, x, y)


def count(record: Any) -> None:
    """The callback that sees whether an epoch was trained before an error."""
    epochs_run[0] += 1


def folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="jaxbp-world-"))


def csv() -> Path:
    file = folder() / "a.csv"
    rows = [",".join(f"{v:g}" for v in row) + f",{y}" for row, y in zip(X, Y, strict=True)]
    file.write_text("\n".join(["a,b,c,label", *rows]) + "\n")
    return file


def npz() -> Path:
    file = folder() / "a.npz"
    np.savez(file, x=X, y=Y)
    return file


def npy() -> Path:
    file = folder() / "a.npy"
    np.save(file, X)
    return file


def idx() -> Path:
    file = folder() / "a-idx2-ubyte"
    file.write_bytes(bytes([0, 0, 8, 2, 0, 0, 0, 6, 0, 0, 0, 3]) + X.astype(np.uint8).tobytes())
    return file


def checkpoint() -> Path:
    file = folder() / "a.npz"
    jaxbp.train.save(file, params(), meta={"eta": 0.1})
    return file


def kept() -> Any:
    """Checkpoints of a folder with two epochs."""
    found = jaxbp.Checkpoints(folder(), monitor="loss")
    for epoch in (1, 2):
        found.save(epoch, params(), {"config": {"eta": 0.1}}, 1.0 / epoch)
    return found


def trained() -> Any:
    """NET, as it is kept."""
    return jaxbp.Trained(NET, params(), LOSS, (3,))


def kept_run() -> Path:
    """The folder of `trained`."""
    place = folder()
    jaxbp.save_run(place, trained())
    return place


def fit(**changes: Any) -> Any:
    """A short quiet run."""
    given = {
        "grad_fn": grad_fn, "params": params(), "data": (X, Y), "optimizer": optax.sgd(0.1),
        "key": jax.random.key(1), "batch_size": 3, "epochs": 2, "progress_bar": False,
    }  # fmt: skip
    return jaxbp.fit(**given | changes)


def explanation() -> Any:
    """Of the first example."""
    return jaxbp.explain(NET, LOSS, params(), X[0], Y[0])


def history() -> dict[str, np.ndarray]:
    return {"epoch": np.arange(1, 4), "seconds": np.ones(3), "loss": np.array([3.0, 2.0, 1.0])}
