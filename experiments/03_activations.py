"""What do the activations look like: their values, ranges and slopes?

Every slope is the one that trains, the activation's hand-written backward pass on a row of ones; its distance
to `jax.grad` is shown beside it.

    python -m experiments.03_activations

5 seconds on 2 CPU cores. Expected: sigmoid within (0, 1) with a slope of at most 0.25, tanh within (-1, 1)
with a slope of at most 1; both slopes are nearly zero at a = 6 (0.0025 and 2.5e-05: saturated), where relu's
is 1. relu'(0) = 0, leaky_relu'(0) = 1; gelu and silu dip to -0.17 and -0.28, their slopes rise to 1.13 and
1.10. No slope is further than 4e-15 from that of `jax.grad`.
"""

from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import jaxbp
from experiments.record import figure, run, save, table

ACTIVATIONS = (
    jaxbp.identity,
    jaxbp.sigmoid,
    jaxbp.tanh,
    jaxbp.relu,
    jaxbp.leaky_relu,
    jaxbp.softplus,
    jaxbp.gelu,
    jaxbp.gelu_exact,
    jaxbp.silu,
)


@dataclass(frozen=True)
class Config:
    a_max: float = 6.0
    """Shown for a from -a_max to a_max."""
    points: int = 1201
    """An odd number, so that a = 0 is one of them."""
    out: Path = Path("results/03_activations")


def main(config: Config = Config()) -> dict:
    a = np.linspace(-config.a_max, config.a_max, config.points)
    at_zero, at_end = config.points // 2, -1
    curves, summary = {}, {}
    with jax.enable_x64(True):
        for phi in ACTIVATIONS:
            f, saved = phi.forward({}, jnp.asarray(a))
            slope = np.asarray(phi.backward({}, saved, jnp.ones_like(f))[1])
            by_autodiff = np.asarray(jax.grad(lambda a, phi=phi: phi.apply({}, a).sum())(jnp.asarray(a)))
            curves[phi.name] = np.asarray(f), slope
            summary[phi.name] = {
                "least": f.min().item(),
                "greatest": f.max().item(),
                "value_at_0": f[at_zero].item(),
                "slope_at_0": slope[at_zero].item(),
                "slope_at_a_max": slope[at_end].item(),
                "greatest_slope": slope.max().item(),
                "difference_to_jax_grad": abs(slope - by_autodiff).max().item(),
            }
    end = f"f'({config.a_max:g})"
    table(
        f"Activations for a in [-{config.a_max:g}, {config.a_max:g}]",
        ("f", "min f", "max f", "f(0)", "f'(0)", end, "max f'", "to jax.grad"),
        [(name, *(f"{v:.3g}" for v in row.values())) for name, row in summary.items()],
    )

    drawn = figure(3, 3, figsize=(9, 8), sharex=True)
    if drawn:
        for axis, (name, (f, slope)) in zip(drawn[1].flat, curves.items(), strict=True):
            axis.plot(a, f, label="f(a)")
            axis.plot(a, slope, "--", label="f'(a)")
            axis.set(title=name, ylim=(-1.5, 2.5))
            axis.grid(alpha=0.3)
        drawn[1].flat[0].legend()
    return save(config, summary, drawn)


if __name__ == "__main__":
    run(main, Config)
