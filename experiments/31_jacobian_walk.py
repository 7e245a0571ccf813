"""What do the Jacobians of a trained network look like, factor by factor, and what does their product keep?

A net with a residual block learns scikit-learn's digits. For one image of the test set, the one that it is
worst at, the chain from the
loss back to the pixels is printed with its plan; then, over many images, the singular values of each factor
and of the running product J_{f_L}(v) from the output back to each v, before and after training. Where the
largest and the smallest drift apart, a delta that flows back keeps only a few directions.

The picture has a column for each factor: its heat map, the delta that it is multiplied by, and the singular
values of the product up to and with it; in the last column the image and its delta_x.

    python -m experiments.31_jacobian_walk

20 seconds on 2 CPU cores. Expected: 0.978 of the test set; with the loss the product is cheapest in reverse,
5,864 FLOPs against 114,432 forward; training lifts the largest singular value of J_{f_3}(x) from 2.2 to 23
and the smallest from 0.21 to 0.57 only.
"""

from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxbp
from experiments.record import figure, run, save, table
from jaxbp.data import digits
from jaxbp.jacobians import JacobianChain, jacobian_chain


@dataclass(frozen=True)
class Config:
    hidden: int = 32
    bottleneck: int = 8
    """Of the residual block's branch: below half of hidden, I + J_branch stays low rank."""
    epochs: int = 30
    example: int | None = None
    """Of the test set, whose chain is shown; by default the one of the largest loss: its deltas are not 0."""
    images: int = 64
    """Over which singular values are taken; their median is shown."""
    seed: int = 0
    out: Path = Path("results/31_jacobian_walk")


def network(config: Config) -> jaxbp.Layer:
    h, b = config.hidden, config.bottleneck
    block = jaxbp.residual(jaxbp.chain(jaxbp.dense(h, b), jaxbp.tanh, jaxbp.dense(b, h)))
    return jaxbp.chain(jaxbp.dense(64, h), jaxbp.tanh, block, jaxbp.relu, jaxbp.dense(h, 10))


def singular_values(net: jaxbp.Layer, params: dict, x: jax.Array) -> tuple[dict, dict]:
    """The median over the images, of each factor and of the running product, by symbol."""
    named = jacobian_chain(net, params, x[0])

    @jax.vmap
    def values(x: jax.Array) -> tuple[list, list]:
        chain = jacobian_chain(net, params, x)
        svd = lambda M: jnp.linalg.svd(M, compute_uv=False)  # noqa: E731
        factors = [svd(factor.J.matrix()) for factor in chain.factors]
        return factors, [svd(product) for _, product in chain.running()]

    factors, products = jax.tree.map(lambda s: np.median(s, axis=0), jax.jit(values)(x))
    names = [factor.symbol for factor in named.factors]
    running = [symbol for symbol, _ in named.running()]
    return dict(zip(names, factors, strict=True)), dict(zip(running, products, strict=True))


def draw(chain: JacobianChain, x: jax.Array, spectra: dict[str, dict]) -> tuple | None:
    """A column for each factor: the factor, the delta before it, the running product's singular values."""
    drawn = figure(3, len(chain.factors), figsize=(3 * len(chain.factors), 8.5))
    if drawn is None:
        return None
    axes = drawn[1]
    deltas = chain.running()
    for column, factor, (symbol, delta) in zip(axes.T, chain.factors[1:], deltas[:-1], strict=False):
        heat_map(drawn[0], column[0], factor.J.matrix(), f"${factor.symbol}$\n{factor.means}")
        column[1].bar(1 + np.arange(delta.size), np.asarray(delta[0]), color="0.4")
        column[1].set_title(f"${symbol}$".replace("delta", r"\delta"), fontsize=9)
        column[1].set(xlabel="entry", ylabel="delta")
        for when, (_, products) in spectra.items():
            name = f"J_{{f_3}}({factor.at})"
            style = {"untrained": "--s", "trained": "-o"}[when]
            column[2].semilogy(1 + np.arange(len(products[name])), products[name], style, ms=3, label=when)
        column[2].set(xlabel="number", ylabel="singular value")
        column[2].yaxis.set_minor_formatter("")
        column[2].set_title(f"singular values of ${name}$", fontsize=9)
    heat_map(drawn[0], axes[0, -1], np.asarray(x).reshape(8, 8), "x", "gray_r")
    heat_map(drawn[0], axes[1, -1], chain.pull().x.reshape(8, 8), r"$\delta_x$")
    axes[2, -1].set_axis_off()
    axes[2, -1].legend(*axes[2, 0].get_legend_handles_labels(), loc="center")
    return drawn


def heat_map(figure, axis, M, title: str, cmap: str = "cividis") -> None:
    M = np.asarray(M)
    low = 0 if cmap == "gray_r" else -abs(M).max()
    drawn = axis.imshow(M, cmap=cmap, vmin=low, vmax=abs(M).max(), aspect="auto", interpolation="nearest")
    figure.colorbar(drawn, ax=axis, label="entry", shrink=0.8)
    axis.set_title(title, fontsize=9)


def main(config: Config = Config()) -> dict:
    train, test = digits(seed=config.seed)
    net, loss = network(config), jaxbp.softmax_cross_entropy
    untrained = net.init(jax.random.key(config.seed))
    trained = jaxbp.fit(
        jaxbp.value_and_grad(net, loss), untrained, train, optimizer=optax.adam(3e-3),
        key=jax.random.key(config.seed + 1), epochs=config.epochs, progress_bar=False,
    ).params  # fmt: skip
    accuracy = float((net.apply(trained, jnp.asarray(test.x)).argmax(-1) == test.y).mean())
    print(f"{accuracy:.4f} of the test set\n")
    losses = loss.values(net.apply(trained, jnp.asarray(test.x)), jnp.asarray(test.y))
    example = int(losses.argmax()) if config.example is None else config.example
    print(f"image {example} of the test set, loss {losses[example]:.4g}")
    x, y = jnp.asarray(test.x[example]), jnp.asarray(test.y[example])
    chain = jacobian_chain(net, trained, x, loss=loss, y=y)
    print(chain)
    plans = {"with the loss": chain.plan(), "without": jacobian_chain(net, trained, x).plan()}
    for name, plan in plans.items():
        print(f"\nthe product {name}\n{plan}")
    spectra = {
        when: singular_values(net, params, jnp.asarray(test.x[: config.images]))
        for when, params in (("untrained", untrained), ("trained", trained))
    }
    rows = [
        (kind, symbol, when, float(values[0]), float(values[-1]), int((values > 1e-3 * values[0]).sum()))
        for kind, which in (("factor", 0), ("running product", 1))
        for when, both in spectra.items()
        for symbol, values in both[which].items()
    ]
    columns = ("", "symbol", "", "largest", "smallest", "above 1e-3 of it")
    table(f"singular values, medians over {config.images} images", columns, rows)
    result = {
        "accuracy": accuracy,
        "plans": {name: plan.to_dict() for name, plan in plans.items()},
        "singular_values": [
            dict(zip(("kind", "symbol", "when", "largest", "smallest", "rank"), row, strict=True))
            for row in rows
        ],
        "difference_to_jax_grad": float(
            abs(chain.pull().x - jax.grad(lambda x: loss(net.apply(trained, x), y))(x)).max()
        ),
    }
    return save(config, result, draw(chain, x, spectra))


if __name__ == "__main__":
    run(main, Config)
