"""Are the four steps of back-propagation the chain rule, Jacobian by Jacobian?

A net with a residual block, softmax and cross-entropy, on one example:

    1. forward          a_l = W_l f_{l-1} + b_l, f_l = phi_l(a_l)
    2. output           mu = S(f), loss = -y^T log mu
    3. output delta     delta_f = delta_mu J_mu(f), which is mu^T - y^T
    4. backward         each delta is the one after it times one Jacobian, written out as a matrix

Then the whole Jacobian as the product of its factors, J_f(x) = J_k ... J_2 J_1, beside `jax.jacrev`, and that
of the residual block as I + J_branch.

    python -m experiments.07_four_steps

5 seconds on 2 CPU cores. Expected: loss 0.3652, and no difference above 3e-16.
"""

from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import jaxbp
from experiments.record import pictured, run, save, table


@dataclass(frozen=True)
class Config:
    x: tuple[float, float, float] = (0.5, -1.0, 2.0)
    y: int = 1
    """The class of the example: 0, 1 or 2."""
    seed: int = 0
    """Of the weights."""
    out: Path = Path("results/07_four_steps")


def factors(net: jaxbp.Layer, params: dict, x: jax.Array) -> list[tuple[str, np.ndarray]]:
    """The Jacobian of each part of a chain at what it receives, as a matrix."""
    f, l, found = x, 0, []
    for part in net.parts:
        l += part.has_params
        p = params[l] if part.has_params else {}
        found.append((f"{l}: {part.name}", np.asarray(part.jacobian(p, f).matrix())))
        f = part.apply(p, f)
    return found


def show(name: str, value: np.ndarray) -> None:
    print(f"  {name:28} {np.array2string(value, precision=4, suppress_small=True, prefix=' ' * 31)}")


def distance(u: np.ndarray, v: np.ndarray) -> float:
    return float(abs(u - v).max())


def main(config: Config = Config()) -> dict:
    branch = jaxbp.chain(jaxbp.dense(4, 4), jaxbp.tanh)
    net = jaxbp.chain(jaxbp.dense(3, 4), jaxbp.tanh, jaxbp.residual(branch), jaxbp.dense(4, 3))
    with jax.enable_x64(True):
        params, x = net.init(jax.random.key(config.seed)), jnp.array(config.x)
        bp = jaxbp.backprop(net, jaxbp.softmax_cross_entropy, params, x, jnp.array(config.y))
        chain = factors(net, params, x)
        drawn = pictured(jaxbp.plots.plot_jacobians, jaxbp.jacobian_chain(net, params, x))
        J_mu = np.asarray(jaxbp.softmax.jacobian({}, bp.trace.out).matrix())
        J_branch = np.asarray(branch.jacobian(params[2]["branch"], bp.trace.f[1]).matrix())
        J = np.asarray(jax.jacrev(lambda x: net.apply(params, x))(x))
        bp = jax.tree.map(np.asarray, bp)
    f, a, deltas = bp.trace.f, bp.trace.a, bp.deltas
    y = np.eye(3)[config.y]

    print(f"{net}\n1. forward")
    show("f_0 = x", f[0])
    for l in (1, 2, 3):
        if l in bp.trace.blocks:
            show(f"layer {l}, in its branch: a_1", bp.trace.blocks[l].a[1])
            show(f"layer {l}, in its branch: f_1", bp.trace.blocks[l].f[1])
        show(f"a_{l}", a[l])
        show(f"f_{l}", f[l])
    print("2. output")
    show("mu = S(f)", bp.mu)
    show("loss = -y^T log mu", bp.loss)
    print("3. output delta")
    delta_mu = -y / bp.mu
    show("delta_mu = -y^T / mu", delta_mu)
    show("J_mu(f) = diag(mu) - mu mu^T", J_mu)
    show("delta_f = delta_mu J_mu(f)", delta_mu @ J_mu)
    show("mu^T - y^T", bp.mu - y)

    print("4. backward")
    # What each part of the net receives is what the part before it gave: f or a of that layer.
    by_hand = (deltas.x, deltas.a[1], deltas.f[1], deltas.f[2])
    delta, rows = delta_mu @ J_mu, [("delta_f = mu^T - y^T", distance(delta_mu @ J_mu, bp.mu - y))]
    names = ("delta_x", "delta_a_1", "delta_f_1", "delta_f_2")
    product = np.eye(3)
    for name, hand, (part, factor) in reversed(list(zip(names, by_hand, chain, strict=True))):
        delta, product = delta @ factor, product @ factor
        show(f"J of {part.split('(')[0]}", factor)
        show(f"{name} = delta J", delta)
        rows.append((f"{name} = delta J", distance(delta, hand)))
    for l in (1, 3):
        expected = np.outer(deltas.a[l], f[l - 1])
        rows.append((f"delta_W_{l} = delta_a_{l}^T f_{l - 1}^T", distance(expected, deltas.params[l]["W"])))
    rows.append(("J_f(x) = J_4 J_3 J_2 J_1", distance(product, J)))
    rows.append(("residual block: J = I + J_branch", distance(np.eye(4) + J_branch, chain[2][1])))
    table("The chain rule against jaxbp and jax.jacrev", ("", "difference"), rows)
    result = {
        "loss": bp.loss,
        "mu": bp.mu,
        "J": J,
        "J_branch": J_branch,
        "differences": dict(rows),
        "largest_difference": max(difference for _, difference in rows),
    }
    return save(config, result, drawn)


if __name__ == "__main__":
    run(main, Config)
