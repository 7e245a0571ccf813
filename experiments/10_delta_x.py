"""What is delta_x for? Seeing what a network looks at, misleading it, hardening it, and making inputs.

1. The fast gradient sign method, x + eps sign(delta_x), against a linear softmax model and a network of relu
   units: the error on the test set, and how sure of themselves the wrong answers are. Beside it, random
   steps of the same size, and ten smaller steps (projected gradient ascent).
2. Adversarial training: half of the loss is that of the moved images.
3. Saliency, and digits made from the mean image: x climbs the class's output, no longer than an image is, and
   its total variation has a price. What a plain network likes looks like noise; what a network likes that
   was trained against steps in an L2 ball can be read.

The picture has a row of images for each; in the last rows the digits 0 to 9 as each network wants them.

    python -m experiments.10_delta_x
    python -m experiments.10_delta_x --data-dir FOLDER --epochs 20 --hidden 800 --seeds 1

The first is on scikit-learn's digits, minutes; the second on MNIST in FOLDER, tens of minutes: both are
estimates, and each seed prints what it took. Expected, the error in per cent of the test set and the
confidence of the wrong answers:

                                     digits, medians of 3 seeds       MNIST, one seed
                                     clean   FGSM       10 steps      clean   FGSM        10 steps
    softmax model                    8.4     99.7 (32)  100           7.3     100 (95)    100
    network                          2.2     99.7 (80)  100           1.4     95.4 (97)   99.8
    network, adversarial training    3.9     65.5 (42)  94.7          2.5     9.5 (70)    85.8

Goodfellow et al. 2014 (arXiv 1412.6572) have on MNIST, at eps 0.25: 99.9 (79.3) for a shallow softmax model,
and for a maxout network 89.4, after adversarial training 17.9. What was trained against one step is misled by
ten.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxbp
from experiments.record import figure, run, save, table
from jaxbp.data import digits, mnist

LOSS = jaxbp.softmax_cross_entropy


@dataclass(frozen=True)
class Config:
    data_dir: Path | None = None
    """The folder of MNIST's four files; scikit-learn's digits without it."""
    hidden: tuple[int, ...] = (128,)
    eps: float = 0.25
    """How far a pixel in [0, 1] may be moved."""
    epochs: int = 30
    batch_size: int = 64
    steps: int = 300
    """Of the descent that makes a digit."""
    smooth: float = 0.02
    """The weight of the total variation of a digit that is made."""
    radius: float = 1.5
    """Of the L2 ball around each image in which the network is attacked whose digits can be read."""
    seeds: int = 3
    out: Path = Path("results/10_delta_x")


def hardened(net: jaxbp.Layer, eps: float, **how: Any) -> Callable[..., Any]:
    """The gradient of 1/2 loss(x) + 1/2 loss(moved x), by default x + eps sign(delta_x)."""
    plain = jaxbp.value_and_grad(net, LOSS)

    def grad_fn(params: Any, x: jax.Array, y: jax.Array) -> Any:
        moved = jaxbp.adversarial(net, LOSS, params, x, y, eps=eps, box=(0, 1), **how)
        return jax.tree.map(lambda u, v: (u + v) / 2, plain(params, x, y), plain(params, moved, y))

    return grad_fn


def trained(net: jaxbp.Layer, grad_fn: Callable[..., Any], data: Any, config: Config, seed: int) -> Any:
    """The parameters after training by Adam, its rate decaying to 0."""
    iterations = config.epochs * -(-len(data.x) // config.batch_size)
    optimizer = optax.adam(optax.cosine_decay_schedule(2e-3, iterations))
    key_init, key_fit = jax.random.split(jax.random.key(seed))
    return jaxbp.fit(
        grad_fn, net.init(key_init), (data.x, data.y), optimizer=optimizer, key=key_fit,
        batch_size=config.batch_size, epochs=config.epochs, progress_bar=False,
    ).params  # fmt: skip


def judged(net: jaxbp.Layer, params: Any, x: Any, y: Any) -> dict[str, float]:
    """The error in per cent, and the mean confidence of the wrong answers."""
    mu = np.asarray(LOSS.mu(net.apply(params, jnp.asarray(x))))
    wrong = mu.argmax(-1) != np.asarray(y)
    sure = float(mu.max(-1)[wrong].mean()) if wrong.any() else float("nan")
    return {"error": 100 * float(wrong.mean()), "confidence": 100 * sure}


def attacks(net: jaxbp.Layer, params: Any, x: Any, y: Any, config: Config) -> dict[str, Any]:
    """The test images as they are, and moved in three ways."""
    noise = config.eps * np.sign(np.random.default_rng(0).normal(size=x.shape))

    def moved(**how: Any) -> Any:
        return jaxbp.adversarial(net, LOSS, params, x, y, eps=config.eps, box=(0, 1), **how)

    return {
        "clean": x,
        "random signs": np.clip(x + noise, 0, 1).astype(np.float32),
        "FGSM": moved(),
        "PGD, 10 steps": moved(steps=10),
    }


def made(net: jaxbp.Layer, params: Any, images: np.ndarray, config: Config) -> Any:
    """The digits 0 to 9 from the mean image, by ascent of the class's output, no longer than an image is."""
    side = round(images.shape[1] ** 0.5)
    length = 0.9 * float(np.median(np.linalg.norm(images, axis=1)))
    start = jnp.tile(jnp.asarray(images.mean(axis=0)), (10, 1))
    return jaxbp.generate(
        net, None, params, start, jnp.arange(10), steps=config.steps, box=(0, 1), norm=length,
        smooth=config.smooth, image=(side, side),
    )  # fmt: skip


def one_seed(config: Config, seed: int) -> tuple[dict, dict]:
    """The numbers of one seed, and what the picture shows."""
    train, test = mnist(config.data_dir) if config.data_dir else digits(seed=seed)
    x, y, d = jnp.asarray(test.x), jnp.asarray(test.y), test.x.shape[1]
    linear, net = jaxbp.mlp([d, 10]), jaxbp.mlp([d, *config.hidden, 10], jaxbp.relu)
    models = {
        "softmax model": (linear, jaxbp.value_and_grad(linear, LOSS)),
        "network": (net, jaxbp.value_and_grad(net, LOSS)),
        "network, adversarial training": (net, hardened(net, config.eps)),
    }
    numbers, params = {}, {}
    for name, (model, grad_fn) in models.items():
        params[name] = trained(model, grad_fn, train, config, seed)
        inputs = attacks(model, params[name], x, y, config)
        numbers[name] = {how: judged(model, params[name], z, y) for how, z in inputs.items()}
    in_a_ball = hardened(net, config.radius, norm="l2", steps=2)
    makers = {name: params[name] for name in ("network", "network, adversarial training")}
    makers["network, trained in an L2 ball"] = trained(net, in_a_ball, train, config, seed)
    drawn = {name: made(net, makers[name], np.asarray(train.x), config) for name in makers}
    plain, hard = params["network"], params["network, adversarial training"]
    first = jnp.array([int(np.flatnonzero(np.asarray(y) == c)[0]) for c in range(10)])
    shown = {
        "digits of the test set": x[first],
        f"the same, moved by eps = {config.eps:g} along sign(delta_x) of the network": jaxbp.adversarial(
            net, LOSS, plain, x[first], y[first], eps=config.eps, box=(0, 1)
        ),
        "saliency: delta_x of the class's output, network": jaxbp.saliency(
            net, None, plain, x[first], y[first]
        ),
        "the same, adversarial training": jaxbp.saliency(net, None, hard, x[first], y[first]),
        **{f"made from the mean image: {name}": images for name, images in drawn.items()},
    }
    for name, images in drawn.items():
        mu = LOSS.mu(net.apply(makers[name], images))
        numbers.setdefault(name, {"clean": judged(net, makers[name], x, y)})["made"] = {
            "error": 100 * float((mu.argmax(-1) != jnp.arange(10)).mean()),
            "confidence": 100 * float(mu.max(-1).mean()),
        }
    return numbers, shown


def draw(shown: dict[str, Any]):
    """A strip of ten images for each name, each in parts of its own largest entry."""
    drawn = figure(len(shown), 1, figsize=(8, 1.25 * len(shown)))
    if drawn:
        for axis, (name, rows) in zip(drawn[1], shown.items(), strict=True):
            rows = np.asarray(rows)
            side = round(rows.shape[1] ** 0.5)
            rows = rows / abs(rows).max(axis=1, keepdims=True).clip(1e-12)
            signed = rows.min() < 0
            style = {"cmap": "cividis", "vmin": -1} if signed else {"cmap": "gray_r", "vmin": 0}
            apart = np.pad(rows.reshape(-1, side, side), ((0, 0), (0, 0), (0, 1)), constant_values=np.nan)
            image = axis.imshow(np.concatenate(apart, axis=1)[:, :-1], vmax=1, **style)
            key = drawn[0].colorbar(image, ax=axis, ticks=[-1, 0, 1] if signed else [0, 1], aspect=8)
            key.set_label("share of the\nlargest |entry|", fontsize=7)
            axis.set_title(name, fontsize=9)
            axis.set(xticks=[], yticks=[])
    return drawn


def main(config: Config = Config()) -> dict:
    runs, seconds = [], []
    for seed in range(config.seeds):
        wall, cpu = time.perf_counter(), time.process_time()
        numbers, shown = one_seed(config, seed)
        runs.append(numbers)
        seconds.append({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu})
        took = "{wall:.0f} s, {cpu:.0f} s of CPU time".format(**seconds[-1])
        print(f"seed {seed + 1} of {config.seeds} done in {took}", flush=True)
    summary = {
        name: {
            how: {what: float(np.nanmedian([numbers[name][how][what] for numbers in runs])) for what in found}
            for how, found in ways.items()
        }
        for name, ways in runs[0].items()
    }
    table(
        f"Error on the test set and confidence of the wrong answers, %; eps {config.eps:g}, medians",
        ("", "inputs", "error", "confidence"),
        [
            (name, how, f"{found['error']:.1f}", f"{found['confidence']:.1f}")
            for name, ways in summary.items()
            for how, found in ways.items()
        ],
    )
    return save(config, {"summary": summary, "runs": runs, "seconds": seconds}, draw(shown))


if __name__ == "__main__":
    run(main, Config)
