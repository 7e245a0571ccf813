"""Are the component-by-component way and the matrix way of back-propagation the same numbers?

The exercise of the lecture: a 2-2-1 net of sigmoids; its output, and one update for x = (1, 0), y = 1 with
binary cross-entropy, "directly" (component by component, in plain Python floats) and "matrix-based" (by the
layers' rules), by `jaxbp.explain`; and the gradient once more by `jax.grad`. The weights of the lecture's
figure are an input: give your own.

    python -m experiments.01_exercise_direct_and_matrix --help
    python -m experiments.01_exercise_direct_and_matrix --x 1 0 --y 1 --eta 0.5

3 seconds on 2 CPU cores. Expected with the default weights: mu = 0.546607 and loss 0.604025, after the update
mu = 0.643985 and loss 0.440079; the two ways differ by at most 5.6e-17, one rounding of a float64.
"""

from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import jaxbp
from experiments.record import pictured, run, save


@dataclass(frozen=True)
class Config:
    W1: tuple[tuple[float, float], tuple[float, float]] = ((0.5, -0.4), (0.3, 0.8))
    """((w11, w12), (w21, w22)); w_ij goes from input j to hidden unit i."""
    b1: tuple[float, float] = (0.1, -0.2)
    """(c1, c2), the biases of the hidden units."""
    W2: tuple[float, float] = (0.7, -0.6)
    """(v1, v2), from hidden unit j to the output."""
    b2: float = 0.05
    """b, the bias of the output."""
    x: tuple[float, float] = (1.0, 0.0)
    y: float = 1.0
    eta: float = 0.5
    """The learning rate."""
    out: Path = Path("results/01_exercise_direct_and_matrix")


NET, LOSS = jaxbp.mlp([2, 2, 1], jaxbp.sigmoid), jaxbp.binary_cross_entropy


def by_autodiff(params: dict, x: jax.Array, y: jax.Array) -> dict:
    """The deltas of the parameters from `jax.grad` of the plain network."""
    return jax.grad(lambda p: LOSS(NET.apply(p, x), y))(params)


def main(config: Config = Config()) -> dict:
    params = {1: {"W": config.W1, "b": config.b1}, 2: {"W": [config.W2], "b": [config.b2]}}
    explanation = jaxbp.explain(NET, LOSS, params, config.x, config.y, eta=config.eta)
    print(explanation)
    numbers = explanation.to_dict()
    with jax.enable_x64(True):
        arrays = {l: {leaf: jnp.array(value) for leaf, value in p.items()} for l, p in params.items()}
        grads = by_autodiff(arrays, jnp.array(config.x), jnp.array([config.y]))
        bp = jaxbp.backprop(NET, LOSS, arrays, jnp.array(config.x), jnp.array([config.y]))
    from_autodiff = max(
        float(abs(np.asarray(grads[l][leaf]) - numbers["deltas"][leaf][l - 1]).max())
        for l in (1, 2)
        for leaf in ("W", "b")
    )
    largest = max(numbers["differences"].values())
    print(f"largest difference of the two ways {largest:.1e}; to jax.grad {from_autodiff:.1e}")
    result = numbers | {"largest_difference": largest, "difference_to_jax_grad": from_autodiff}
    return save(config, result, pictured(jaxbp.plots.plot_network, bp, arrays))


if __name__ == "__main__":
    run(main, Config)
