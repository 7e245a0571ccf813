"""Are the component-by-component way and the matrix way of back-propagation the same numbers?

The exercise of the lecture: a 2-2-1 net of sigmoids; its output, and one update for x = (1, 0), y = 1 with
binary cross-entropy, "directly" (in plain Python floats, every line shown) and "matrix-based" (`jaxbp`). The
weights of the lecture's figure are an input: give your own.

    python -m experiments.01_exercise_direct_and_matrix --help
    python -m experiments.01_exercise_direct_and_matrix --x 1 0 --y 1 --eta 0.5

3 seconds on 2 CPU cores. Expected with the default weights: mu = 0.546607 and loss 0.604025, after the update
mu = 0.6440 and loss 0.4401; the two ways differ by at most 5.6e-17, one rounding of a float64.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import jaxbp
from experiments.record import run, save, table


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


def sigmoid(a: float) -> float:
    return 1 / (1 + math.exp(-a))


def output(W1, b1, W2, b2, x) -> tuple[float, ...]:
    """Forward, component by component: (a1, a2, f1, f2, a, mu)."""
    (w11, w12), (w21, w22) = W1
    a1 = w11 * x[0] + w12 * x[1] + b1[0]
    a2 = w21 * x[0] + w22 * x[1] + b1[1]
    f1, f2 = sigmoid(a1), sigmoid(a2)
    a = W2[0] * f1 + W2[1] * f2 + b2
    return a1, a2, f1, f2, a, sigmoid(a)


def cross_entropy(mu: float, y: float) -> float:
    return -(y * math.log(mu) + (1 - y) * math.log(1 - mu))


def directly(c: Config) -> dict[str, np.ndarray]:
    """Every component by its own formula, printed as it would stand on the board."""
    (w11, w12), (w21, w22) = c.W1
    (c1, c2), (v1, v2), b, (x1, x2), y, eta = c.b1, c.W2, c.b2, c.x, c.y, c.eta
    a1, a2, f1, f2, a, mu = output(c.W1, c.b1, c.W2, b, c.x)
    loss = cross_entropy(mu, y)

    print("\nDirectly\n1. forward")
    print(f"  a1 = w11 x1 + w12 x2 + c1 = {w11:g}·{x1:g} + {w12:g}·{x2:g} + {c1:g} = {a1:.6f}")
    print(f"  a2 = w21 x1 + w22 x2 + c2 = {w21:g}·{x1:g} + {w22:g}·{x2:g} + {c2:g} = {a2:.6f}")
    print(f"  f1 = 1 / (1 + e^-a1) = {f1:.6f}")
    print(f"  f2 = 1 / (1 + e^-a2) = {f2:.6f}")
    print(f"  a  = v1 f1 + v2 f2 + b = {v1:g}·{f1:.6f} + {v2:g}·{f2:.6f} + {b:g} = {a:.6f}")
    print("2. output")
    print(f"  mu = 1 / (1 + e^-a) = {mu:.6f}")
    print(f"  loss = -(y ln mu + (1 - y) ln(1 - mu)) = {loss:.6f}   with y = {y:g}")

    delta_mu = (1 - y) / (1 - mu) - y / mu
    delta_a = delta_mu * mu * (1 - mu)
    print("3. delta of the output")
    print(f"  dloss/dmu = (1 - y) / (1 - mu) - y / mu = {delta_mu:.6f}")
    print(f"  dloss/da  = dloss/dmu · mu (1 - mu) = {delta_a:.6f}   (= mu - y = {mu - y:.6f})")

    delta_v1, delta_v2, delta_b = delta_a * f1, delta_a * f2, delta_a
    delta_f1, delta_f2 = delta_a * v1, delta_a * v2
    delta_a1, delta_a2 = delta_f1 * f1 * (1 - f1), delta_f2 * f2 * (1 - f2)
    delta_w11, delta_w12 = delta_a1 * x1, delta_a1 * x2
    delta_w21, delta_w22 = delta_a2 * x1, delta_a2 * x2
    delta_x1 = delta_a1 * w11 + delta_a2 * w21
    delta_x2 = delta_a1 * w12 + delta_a2 * w22
    print("4. backward")
    print(f"  dloss/dv1 = dloss/da · f1 = {delta_a:.6f}·{f1:.6f} = {delta_v1:.6f}")
    print(f"  dloss/dv2 = dloss/da · f2 = {delta_a:.6f}·{f2:.6f} = {delta_v2:.6f}")
    print(f"  dloss/db  = dloss/da = {delta_b:.6f}")
    print(f"  dloss/df1 = dloss/da · v1 = {delta_a:.6f}·{v1:g} = {delta_f1:.6f}")
    print(f"  dloss/df2 = dloss/da · v2 = {delta_a:.6f}·{v2:g} = {delta_f2:.6f}")
    print(f"  dloss/da1 = dloss/df1 · f1 (1 - f1) = {delta_f1:.6f}·{f1 * (1 - f1):.6f} = {delta_a1:.6f}")
    print(f"  dloss/da2 = dloss/df2 · f2 (1 - f2) = {delta_f2:.6f}·{f2 * (1 - f2):.6f} = {delta_a2:.6f}")
    print(
        f"  dloss/dw11 = dloss/da1 · x1 = {delta_w11:.6f}     dloss/dw12 = dloss/da1 · x2 = {delta_w12:.6f}"
    )
    print(
        f"  dloss/dw21 = dloss/da2 · x1 = {delta_w21:.6f}     dloss/dw22 = dloss/da2 · x2 = {delta_w22:.6f}"
    )
    print(f"  dloss/dx1 = dloss/da1 · w11 + dloss/da2 · w21 = {delta_x1:.6f}")
    print(f"  dloss/dx2 = dloss/da1 · w12 + dloss/da2 · w22 = {delta_x2:.6f}")

    W1_new = [
        [w11 - eta * delta_w11, w12 - eta * delta_w12],
        [w21 - eta * delta_w21, w22 - eta * delta_w22],
    ]
    b1_new = [c1 - eta * delta_a1, c2 - eta * delta_a2]
    W2_new, b2_new = [v1 - eta * delta_v1, v2 - eta * delta_v2], b - eta * delta_b
    mu_new = output(W1_new, b1_new, W2_new, b2_new, c.x)[-1]
    print(f"Update, w := w - {eta:g} dloss/dw")
    for name, old, new in (("w11", w11, W1_new[0][0]), ("w12", w12, W1_new[0][1]), ("w21", w21, W1_new[1][0]),
                           ("w22", w22, W1_new[1][1]), ("c1", c1, b1_new[0]), ("c2", c2, b1_new[1]),
                           ("v1", v1, W2_new[0]), ("v2", v2, W2_new[1]), ("b", b, b2_new)):  # fmt: skip
        print(f"  {name:4}{old:10.6f} -> {new:.6f}")
    return {
        "a_1": np.array([a1, a2]), "f_1": np.array([f1, f2]), "a_2": np.array([a]), "mu": np.array([mu]),
        "loss": np.array(loss),
        "delta_a_2": np.array([delta_a]), "delta_W_2": np.array([[delta_v1, delta_v2]]),
        "delta_b_2": np.array([delta_b]), "delta_f_1": np.array([delta_f1, delta_f2]),
        "delta_a_1": np.array([delta_a1, delta_a2]),
        "delta_W_1": np.array([[delta_w11, delta_w12], [delta_w21, delta_w22]]),
        "delta_b_1": np.array([delta_a1, delta_a2]), "delta_x": np.array([delta_x1, delta_x2]),
        "new W_1": np.array(W1_new), "new b_1": np.array(b1_new), "new W_2": np.array([W2_new]),
        "new b_2": np.array([b2_new]), "new mu": np.array([mu_new]),
        "new loss": np.array(cross_entropy(mu_new, y)),
    }  # fmt: skip


def as_params(c: Config) -> dict:
    return {
        1: {"W": jnp.array(c.W1), "b": jnp.array(c.b1)},
        2: {"W": jnp.array([c.W2]), "b": jnp.array([c.b2])},
    }


def matrix_based(c: Config) -> dict[str, np.ndarray]:
    """The same with W_1, b_1, W_2, b_2 and the four steps of `jaxbp.backprop`."""
    net = jaxbp.mlp([2, 2, 1], jaxbp.sigmoid, output=jaxbp.sigmoid)
    loss = jaxbp.binary_cross_entropy_on_probabilities
    params = as_params(c)
    x, y = jnp.array(c.x), jnp.array([c.y])
    bp = jaxbp.backprop(net, loss, params, x, y)
    new = jax.tree.map(lambda p, delta: p - c.eta * delta, params, bp.deltas.params)
    after = jaxbp.backprop(net, loss, new, x, y)
    trace, deltas = bp.trace, bp.deltas
    values = {
        "a_1": trace.a[1], "f_1": trace.f[1], "a_2": trace.a[2], "mu": bp.mu, "loss": bp.loss,
        "delta_a_2": deltas.a[2], "delta_W_2": deltas.params[2]["W"], "delta_b_2": deltas.params[2]["b"],
        "delta_f_1": deltas.f[1], "delta_a_1": deltas.a[1], "delta_W_1": deltas.params[1]["W"],
        "delta_b_1": deltas.params[1]["b"], "delta_x": deltas.x,
        "new W_1": new[1]["W"], "new b_1": new[1]["b"], "new W_2": new[2]["W"], "new b_2": new[2]["b"],
        "new mu": after.mu, "new loss": after.loss,
    }  # fmt: skip
    return jax.tree.map(np.asarray, values)


FORMULAS = {
    "a_1": "W_1 x + b_1", "f_1": "sigmoid(a_1)", "a_2": "W_2 f_1 + b_2", "mu": "sigmoid(a_2)",
    "loss": "-y ln mu - ...", "delta_a_2": "delta_mu J_mu(a_2)", "delta_W_2": "delta_a_2^T f_1^T",
    "delta_b_2": "delta_a_2", "delta_f_1": "delta_a_2 W_2", "delta_a_1": "delta_f_1 J_f_1(a_1)",
    "delta_W_1": "delta_a_1^T x^T", "delta_b_1": "delta_a_1", "delta_x": "delta_a_1 W_1",
    "new W_1": "W_1 - eta delta_W_1", "new b_1": "b_1 - eta delta_b_1", "new W_2": "W_2 - eta delta_W_2",
    "new b_2": "b_2 - eta delta_b_2", "new mu": "", "new loss": "",
}  # fmt: skip


def by_autodiff(c: Config) -> dict[str, np.ndarray]:
    """The deltas of the parameters from `jax.grad`, with the sigmoid of the output within the loss."""
    net = jaxbp.mlp([2, 2, 1], jaxbp.sigmoid)

    def loss(params):
        return jaxbp.binary_cross_entropy(net.apply(params, jnp.array(c.x)), jnp.array([c.y]))

    grads = jax.grad(loss)(as_params(c))
    return {f"delta_{leaf}_{l}": np.asarray(grads[l][leaf]) for l in (1, 2) for leaf in ("W", "b")}


def largest_difference(one: dict, other: dict) -> dict[str, float]:
    return {name: float(abs(one[name] - other[name]).max()) for name in one}


def main(config: Config = Config()) -> dict:
    with jax.enable_x64(True):
        direct, matrix, autodiff = directly(config), matrix_based(config), by_autodiff(config)
    differences = largest_difference(direct, matrix)
    table(
        "Matrix-based, and the difference to the direct way",
        ("", "formula", "shape", "value", "difference"),
        [
            # + 0.0 makes -0 a 0.
            (name, formula, matrix[name].shape, " ".join(f"{v + 0.0:.4f}" for v in matrix[name].ravel()),
             differences[name])
            for name, formula in FORMULAS.items()
        ],
    )  # fmt: skip
    from_autodiff = max(largest_difference(autodiff, matrix).values())
    largest = max(differences.values())
    print(f"largest difference {largest:.1e}; to jax.grad, on logits, {from_autodiff:.1e}")
    result = {
        "direct": direct,
        "matrix": matrix,
        "differences": differences,
        "largest_difference": largest,
        "difference_to_jax_grad": from_autodiff,
    }
    return save(config, result)


if __name__ == "__main__":
    run(main, Config)
