"""What does every step of forward and back-propagation through the lecture's 3-5-5-4 net look like?

x^(l+1) = sigmoid(W^(l) x^(l)) with every shape and number; then the deltas in both conventions: the older
*error*, delta^(4) = (y - x^(4)) x^(4) (1 - x^(4)) and so on back, computed in NumPy from the lecture's
formulas, beside the gradients delta_a of `jaxbp`, which are its negative; then one update both ways,
W + eta delta x^T against W - eta delta_W.

    python -m experiments.04_forward_3_5_5_4

3 seconds on 2 CPU cores. Expected: E = 0.574670 before the update and 0.523894 after it, 60 parameters;
error + delta_a is 0 and the two updates are equal, to 2e-16.
"""

from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxbp
from experiments.record import pictured, run, save, table


@dataclass(frozen=True)
class Config:
    x: tuple[float, float, float] = (0.5, -1.0, 2.0)
    y: tuple[float, float, float, float] = (0.0, 1.0, 0.0, 0.0)
    eta: float = 0.5
    """The learning rate."""
    seed: int = 0
    """Of the weights."""
    out: Path = Path("results/04_forward_3_5_5_4")


def show(name: str, value: np.ndarray) -> None:
    shape = "x".join(map(str, value.shape)) if value.ndim > 1 else f"{value.size}x1"
    numbers = np.array2string(value, precision=4, suppress_small=True, prefix=" " * 24)
    print(f"  {name:14} {shape:>5}   {numbers}")


def errors_by_the_lecture(W: dict[int, np.ndarray], x: dict[int, np.ndarray], y: np.ndarray) -> dict:
    """delta^(4) = (y - x^(4)) x^(4) (1 - x^(4)), delta^(l) = W^(l)T delta^(l+1) x^(l) (1 - x^(l))."""
    delta = {4: (y - x[4]) * x[4] * (1 - x[4])}
    for l in (3, 2):
        delta[l] = W[l].T @ delta[l + 1] * x[l] * (1 - x[l])
    return delta


def main(config: Config = Config()) -> dict:
    net = jaxbp.mlp([3, 5, 5, 4], jaxbp.sigmoid, output=jaxbp.sigmoid, bias=False)
    with jax.enable_x64(True):
        params = net.init(jax.random.key(config.seed))
        x, y = jnp.array(config.x), jnp.array(config.y)
        bp = jax.tree.map(np.asarray, jaxbp.backprop(net, jaxbp.squared_error, params, x, y))
        updates, _ = optax.sgd(config.eta).update(bp.deltas.params, optax.sgd(config.eta).init(params))
        new = optax.apply_updates(params, updates)
        loss_after = jaxbp.squared_error(net.apply(new, x), y).item()
        params, new = jax.tree.map(np.asarray, (params, new))

    # The lecture counts the layers of units from 1, this library the layers of weights: x^(l+1) = f_l.
    W = {l: params[l]["W"] for l in (1, 2, 3)}
    f = {l + 1: f_l for l, f_l in bp.trace.f.items()}
    print("Forward propagation, x^(l+1) = sigmoid(W^(l) x^(l))")
    show("x^(1)", f[1])
    for l in (1, 2, 3):
        show(f"W^({l})", W[l])
        show(f"W^({l}) x^({l})", bp.trace.a[l])
        show(f"x^({l + 1})", f[l + 1])
    print(f"  E = 1/2 sum (y - x^(4))^2 = {bp.loss:.6f}")

    error = errors_by_the_lecture(W, f, np.array(config.y))
    print("\nBack-propagation: the error of the lecture's formulas, and the gradient delta_a = dE/da")
    for l in (4, 3, 2):
        show(f"delta^({l})", error[l])
        show(f"delta_a_{l - 1}", bp.deltas.a[l - 1])
    show("delta_x", bp.deltas.x)

    print(f"\nOne update, eta = {config.eta:g}")
    by_errors = {l: W[l] + config.eta * np.outer(error[l + 1], f[l]) for l in (1, 2, 3)}
    for l in (1, 2, 3):
        show(f"Delta W^({l})", config.eta * np.outer(error[l + 1], f[l]))
        show(f"new W^({l})", new[l]["W"])
    rows = [
        (
            l,
            f"{W[l].shape[0]}x{W[l].shape[1]}",
            float(abs(error[l + 1] + bp.deltas.a[l]).max()),
            float(abs(by_errors[l] - new[l]["W"]).max()),
        )
        for l in (1, 2, 3)
    ]
    table("Both conventions", ("l", "W^(l)", "|error + delta_a|", "|W by errors - W by gradients|"), rows)
    count = jaxbp.count_parameters(params)
    small = jaxbp.chain(jaxbp.dense(4, 4, bias=False), jaxbp.sigmoid, jaxbp.dense(4, 1))
    count_4_4_1 = jaxbp.count_parameters(jax.eval_shape(small.init, jax.random.key(0)))
    print(f"parameters: 3·5 + 5·5 + 5·4 = {count}; of the lecture's 4-4-1 net 4·4 + 4 + 1 = {count_4_4_1}")
    print(f"E before {bp.loss:.6f}, after {loss_after:.6f}")
    result = {
        "f": bp.trace.f,
        "a": bp.trace.a,
        "loss": bp.loss,
        "loss_after": loss_after,
        "delta_a": bp.deltas.a,
        "error": error,
        "delta_W": {l: bp.deltas.params[l]["W"] for l in (1, 2, 3)},
        "delta_x": bp.deltas.x,
        "parameters": count,
        "parameters_4_4_1": count_4_4_1,
        "largest_difference_of_errors": max(row[2] for row in rows),
        "largest_difference_of_updates": max(row[3] for row in rows),
    }
    return save(config, result, pictured(jaxbp.plots.plot_network, bp, params))


if __name__ == "__main__":
    run(main, Config)
