"""Which derivative rules of the installed JAX are wrong, and where?

Each row is a function of JAX at a point, the derivative that `jax.grad` gives there, the right one in closed
form, and what `jaxbp.check` says, which knows the function and the point and nothing else.

    python -m experiments.23_faults_in_jax

Half a minute on two CPU cores. Expected with jax 0.10.2: six rules are wrong at such a point, and the checker
finds each of the six: d/dx2 of logaddexp(inf, 3) is 20.0855 and of logaddexp2(inf, 3) is 8, where 0 is right;
d/da of hyp1f1(0, 1, 1) is 0, where 1.3179 is right; the derivatives of expn(0, 0.5), -3.63918, and of
xlogy and xlog1py where their first argument is 0 come out as NaN. Another release may have mended some.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.scipy.special as special

import jaxbp
from experiments.record import run, save, table


class Case(NamedTuple):
    """A function at a point, the argument to differentiate by, and the derivative."""

    function: Callable[..., Any]
    point: tuple[float, ...]
    by: int
    right: float


def expn_of_0(x: jax.Array) -> jax.Array:
    return special.expn(0.0, x)


CASES = {
    # the weight of x2 in a softmax with infinity
    "logaddexp": Case(jnp.logaddexp, (math.inf, 3.0), 1, 0.0),
    "logaddexp2": Case(jnp.logaddexp2, (math.inf, 3.0), 1, 0.0),
    # expn(0, x) = e^-x / x
    "expn": Case(expn_of_0, (0.5,), 0, -math.exp(-0.5) * (1 / 0.5 + 1 / 0.5**2)),
    # d/da (a)_k at 0 is (k - 1)!, so it is the sum of 1 / (k k!)
    "hyp1f1": Case(special.hyp1f1, (0.0, 1.0, 1.0), 0, sum(1 / k / math.factorial(k) for k in range(1, 20))),
    # x log y is 0 for every y where x is 0
    "xlogy": Case(special.xlogy, (0.0, 0.0), 1, 0.0),
    "xlog1py": Case(special.xlog1py, (0.0, -1.0), 1, 0.0),
}


@dataclass(frozen=True)
class Config:
    only: tuple[str, ...] = tuple(CASES)
    """Some of the functions."""
    out: Path = Path("results/23_faults_in_jax")


def main(config: Config = Config()) -> dict:
    result = {}
    for name in config.only:
        case = CASES[name]
        point = [jnp.array(value) for value in case.point]
        given = float(jax.grad(case.function, case.by)(*point))
        report = jaxbp.check(case.function, *point)
        result[name] = {
            "at": case.point,
            "given": given,
            "right": case.right,
            "is_wrong": not math.isclose(given, case.right, rel_tol=1e-4, abs_tol=1e-6),
            "verdict": report.verdict,
            "cause": ", ".join(finding.cause for finding in report.wrong),
        }
    columns = ("function", "at", "jax.grad", "right", "verdict", "cause")
    rows = []
    for name, row in result.items():
        at = ", ".join(f"{value:g}" for value in row["at"])
        rows.append((name, at, f"{row['given']:.6g}", f"{row['right']:.6g}", row["verdict"], row["cause"]))
    table(f"jax {jax.__version__}", columns, rows)
    return save(config, result)


if __name__ == "__main__":
    run(main, Config)
