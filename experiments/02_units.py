"""When do the perceptron and the linear unit learn, and what changes from batch to iterative training?

1. The perceptron on data that a line separates with a margin: its mistakes, against Novikoff's bound; and on
   XOR, which no line separates.
2. The linear unit, gradient descent on E = 1/2 sum (t - o)^2: its E after the last epoch, beside that of
   least squares; and what happens with a learning rate above the bound 2 / lambda_max(X^T X).

    python -m experiments.02_units

10 seconds on 2 CPU cores. Expected: the perceptron converges in 8 epochs (iterative), 2 (mini-batch) and 6
(batch), with 57, 27 and 225 mistakes, all far below the bound of 999 for each example in the batch; on XOR
it does not, and four cancelling examples prove that none could. The linear unit comes from E = 175.3 to the
1.021 of least squares in batches, to 1.022 in mini-batches, and to 1.793 one example at a time: at a constant
rate the iterative form keeps jumping about the minimum. At 1.1 times the bound E grows to 8e16.
"""

from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from experiments.record import figure, run, save, table
from jaxbp.units import Unit, fit_linear_unit, fit_perceptron, margin, novikoff_bound

DASHES = {"iterative": "-", "mini-batch": "--", "batch": ":"}
CORNERS = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
XOR = np.array([-1.0, 1.0, 1.0, -1.0])


@dataclass(frozen=True)
class Config:
    points: int = 200
    margin: float = 0.05
    """The least distance of a point to the line."""
    noise: float = 0.1
    """The standard deviation of the linear unit's targets."""
    mini_batch: int = 20
    eta_share: float = 0.5
    """The linear unit's learning rate, as a share of the bound below which it converges."""
    epochs: int = 100
    seed: int = 0
    out: Path = Path("results/02_units")


def separable(config: Config) -> tuple[np.ndarray, np.ndarray, Unit]:
    """Points of the square [-1, 1]^2 off a line, their side of it, and the line as a unit."""
    rng = np.random.default_rng(config.seed)
    line = Unit(np.array([0.8, -0.6], np.float32), np.float32(0.1))
    x = rng.uniform(-1, 1, (20 * config.points, 2)).astype(np.float32)
    distance = x @ line.w + line.w_0
    x = x[abs(distance) > config.margin][: config.points]
    return x, np.sign(x @ line.w + line.w_0), line


def regression(config: Config) -> tuple[np.ndarray, np.ndarray]:
    """t = 2 x_1 - x_2 + 1/2 + noise."""
    rng = np.random.default_rng(config.seed + 1)
    x = rng.uniform(-1, 1, (config.points, 2))
    return x, x @ [2.0, -1.0] + 0.5 + config.noise * rng.normal(size=config.points)


def forms(config: Config) -> dict[str, int]:
    """The batch size of each form of training."""
    return {"iterative": 1, "mini-batch": config.mini_batch, "batch": config.points}


def perceptrons(config: Config) -> tuple[dict, dict]:
    x, t, line = separable(config)
    fits = {
        form: fit_perceptron(x, t, batch_size=size, epochs=config.epochs)
        for form, size in forms(config).items()
    }
    bound = novikoff_bound(line, x, t)
    rows = {
        form: {
            "batch_size": size,
            "iterations_per_epoch": -(-config.points // size),
            "converged": fits[form].converged,
            "epochs": len(fits[form].mistakes),
            "mistakes": int(fits[form].mistakes.sum()),
            # With B examples at a time the bound is B times that of one at a time.
            "bound": size * bound,
        }
        for form, size in forms(config).items()
    }
    print(f"margin of the line that made the data {margin(line, x, t):.4f}")
    table(
        "Perceptron on separable data; iterations of one epoch, Novikoff's bound on the mistakes",
        ("form", "batch size", "iterations", "converged", "epochs", "mistakes", "bound"),
        [(form, *list(row.values())[:-1], f"{row['bound']:.0f}") for form, row in rows.items()],
    )
    for form, fit in fits.items():
        print(f"{form}: {fit.verdict}")
    return rows, fits


def xor(config: Config):
    fit = fit_perceptron(CORNERS, XOR, epochs=config.epochs)
    print(f"\nXOR: {fit.verdict}\nmistakes of the first epochs: {fit.mistakes[:10].tolist()}")
    return fit


def linear_units(config: Config) -> tuple[dict, dict]:
    x, t = regression(config)
    rows = np.column_stack([np.ones(len(x)), x])
    least = 0.5 * float(((t - rows @ np.linalg.lstsq(rows, t)[0]) ** 2).sum())
    fits, summary = {}, {}
    for form, size in forms(config).items():
        # The bound is the same for every eta; a first epoch asks for it.
        bound = fit_linear_unit(x, t, eta=1e-6, epochs=1, batch_size=size).eta_bound
        fit = fit_linear_unit(
            x, t, eta=config.eta_share * bound, epochs=config.epochs, batch_size=size,
            key=jax.random.key(config.seed),
        )  # fmt: skip
        fits[form] = fit
        summary[form] = {
            "batch_size": size,
            "eta": config.eta_share * bound,
            "E_first": fit.errors[0].item(),
            "E_last": fit.errors[-1].item(),
            "E_least_squares": least,
            "w": [fit.unit.w_0.item(), *fit.unit.w.tolist()],
        }
    table(
        f"Linear unit, E over all {config.points} examples",
        ("form", "batch size", "eta", "E before", f"E after {config.epochs} epochs", "least squares"),
        [(form, *list(row.values())[:-1]) for form, row in summary.items()],
    )
    bound = fits["batch"].eta_bound
    beyond = fit_linear_unit(x, t, eta=1.1 * bound, epochs=config.epochs)
    print(f"eta at 1.1 times the bound: {beyond.verdict}")
    summary["beyond the bound"] = {"eta": 1.1 * bound, "diverged": beyond.diverged, "verdict": beyond.verdict}
    return summary, fits


def draw(config: Config, perceptron_fits: dict, xor_fit, linear_fits: dict):
    drawn = figure(1, 3, figsize=(13, 4))
    if drawn:
        x, t, _ = separable(config)
        left, middle, right = drawn[1]
        for side, marker in ((1, "o"), (-1, "x")):
            left.scatter(*x[t == side].T, marker=marker, s=10, label=f"t = {side}")
        for form, fit in perceptron_fits.items():
            across = np.array([-1.0, 1.0])
            line = -(fit.unit.w_0 + fit.unit.w[0] * across) / fit.unit.w[1]
            left.plot(across, line, DASHES[form], color="black", label=form)
        left.set(title="perceptron: data and its lines", xlim=(-1, 1), ylim=(-1, 1))
        left.set(xlabel="x_1", ylabel="x_2")
        for form, fit in perceptron_fits.items():
            middle.plot(1 + np.arange(len(fit.mistakes)), fit.mistakes, DASHES[form], label=form)
        middle.plot(1 + np.arange(len(xor_fit.mistakes)), xor_fit.mistakes, "-.", label="XOR")
        middle.set(title="perceptron: mistakes of an epoch", xlabel="epoch", ylabel="mistakes")
        middle.set(xscale="log", yscale="symlog", ylim=(0, None))
        for form, fit in linear_fits.items():
            right.plot(fit.errors, DASHES[form], label=form)
        right.set(title="linear unit: E over all examples", xlabel="epoch", ylabel="E", yscale="log")
        for axis in drawn[1]:
            axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=3, fontsize=8)
    return drawn


def main(config: Config = Config()) -> dict:
    perceptron_rows, perceptron_fits = perceptrons(config)
    xor_fit = xor(config)
    linear_rows, linear_fits = linear_units(config)
    result = {
        "perceptron": perceptron_rows,
        "xor": {"converged": xor_fit.converged, "cancelling": xor_fit.cancelling, "verdict": xor_fit.verdict},
        "linear_unit": linear_rows,
    }
    return save(config, result, draw(config, perceptron_fits, xor_fit, linear_fits))


if __name__ == "__main__":
    run(main, Config)
