"""``jaxbp explain``: back-propagation on paper, in a page or as a worksheet, from a shell."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from tyro.conf import Positional

from jaxbp import arguments, errors
from jaxbp.layers import mlp, sigmoid
from jaxbp.losses import binary_cross_entropy, squared_error
from jaxbp.observe import Explanation, explain
from jaxbp.observe.explanation.json_reading import ACTIVATIONS, LOSSES, Network, read_network
from jaxbp.report.page import write_page


@dataclass(frozen=True)
class Explain:
    """Write out back-propagation for one example, every formula with its numbers.

    Without arguments it is the lecture's exercise: x = (1, 0), y = 1, sigmoid units, binary cross-entropy.
    """

    network: Positional[Path | None] = None
    """A NET.json: {"layers": [{"W": [[0.5]], "b": [0], "phi": "tanh"}], "loss": "...", "x": [1], "y": [0]}"""

    net: tuple[int, ...] = ()
    """Or sizes d_0 ... d_L, such as 3 5 5 4, with random weights of two decimals."""

    activation: str = "sigmoid"
    """Of the hidden layers of --net."""

    output: str = "identity"
    """The activation of the last layer of --net."""

    loss: str = "softmax_cross_entropy"
    """Of --net."""

    seed: int = 0
    """Of the weights and the x of --net."""

    mazur: bool = False
    """Matt Mazur's worked example of 2015; its biases stay as they are."""

    x: tuple[float, ...] = ()
    """Another input."""

    y: tuple[float, ...] = ()
    """Another target: a number for each output."""

    eta: float | None = None
    """How far the step of gradient descent goes."""

    layers: tuple[int, ...] = ()
    """The layers whose steps to write out, counted from 1; by default all."""

    units: tuple[int, ...] = ()
    """The units of each layer to write out, counted from 1; by default the first 8."""

    digits: int | None = None
    """Significant digits; by default 6."""

    blank: bool = False
    """A worksheet: dots in place of the numbers, and the answers at the end."""

    chain: bool = False
    """Also every Jacobian, and the product from the loss back to x."""

    markdown: bool = False
    """Print Markdown with the formulas in LaTeX."""

    json: bool = False
    """Print the numbers as JSON; a NET.json, too."""

    html: Path | None = None
    """Write a page that recomputes as one changes a number."""

    svg: Path | None = None
    """Write a picture of the network, with values forward and deltas back."""


_OF_NET = ("activation", "output", "loss", "seed")
_PRINTED = ("blank", "markdown", "json")


@dataclass(frozen=True)
class _Example:
    """A network with what `explain` takes besides."""

    network: Network
    frozen: tuple[str, ...] = ()
    digits: int = 6


def run(config: Explain) -> int:
    """Print or write what is asked for.

    Returns:
        Exit status: 0, or 1 with a sentence for what cannot be explained.
    """
    try:
        explanation = _explained(config)
        for path, text in _files(config, explanation):
            path.write_text(text, encoding="utf-8")
            print(f"written: {path}", file=sys.stderr)
        print(_printed(config, explanation))
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _files(config: Explain, explanation: Explanation) -> Iterator[tuple[Path, str]]:
    if config.html:
        yield config.html, write_page(explanation)
    if config.svg:
        yield config.svg, explanation.svg()


def _printed(config: Explain, explanation: Explanation) -> str:
    if config.json:
        return json.dumps(explanation.to_dict(), indent=1)
    if config.blank:
        return explanation.worksheet()
    text = explanation.markdown() if config.markdown else str(explanation)
    return text + (f"\n\n{explanation.jacobians()}" if config.chain else "")


def _explained(config: Explain) -> Explanation:
    kinds = {"NET.json": bool(config.network), "--net": bool(config.net), "--mazur": config.mazur}
    asked = [name for name, is_asked in kinds.items() if is_asked]
    if len(asked) > 1:
        raise ValueError(errors.message("jaxbp explain", f"one of {', '.join(kinds)}", " and ".join(asked)))
    defaults = Explain()
    of_net = [name for name in _OF_NET if getattr(config, name) != getattr(defaults, name)]
    if of_net and not config.net:
        expected = f"--net beside --{of_net[0]}, which is of its network"
        raise ValueError(errors.message("jaxbp explain", expected, asked[0] if asked else "none"))
    printed = [f"--{name}" for name in _PRINTED if getattr(config, name)]
    if len(printed) > 1:
        expected = f"one of --{', --'.join(_PRINTED)}"
        raise ValueError(errors.message("jaxbp explain", expected, " and ".join(printed)))
    if config.html is not None and config.html == config.svg:
        expected = "two files for --html and --svg"
        raise ValueError(errors.message("jaxbp explain", expected, f"{config.svg} twice"))
    for name, path in (("--html", config.html), ("--svg", config.svg)):
        if path is not None and path.is_dir():
            raise ValueError(errors.message("jaxbp explain", f"a file for {name}", f"{path}, a folder"))
    example = _example(config)
    network = example.network
    return explain(
        network.net,
        network.loss,
        network.params,
        config.x or network.x,
        config.y or network.y,
        eta=network.eta if config.eta is None else config.eta,
        layers=config.layers or None,
        units=config.units or None,
        frozen=example.frozen,
        digits=example.digits if config.digits is None else config.digits,
    )


def _example(config: Explain) -> _Example:
    if config.network:
        return _Example(read_network(config.network))
    if config.net:
        return _Example(_random(config))
    return MAZUR if config.mazur else EXERCISE


def _random(config: Explain) -> Network:
    """A network of the sizes asked for, with weights and an x that one can write on a board."""
    for flag, name in (("--activation", config.activation), ("--output", config.output)):
        if name not in ACTIVATIONS:
            raise ValueError(
                errors.message(f"jaxbp explain {flag}", f"one of {', '.join(ACTIVATIONS)}", repr(name))
            )
    if config.loss not in LOSSES:
        raise ValueError(
            errors.message("jaxbp explain --loss", f"one of {', '.join(LOSSES)}", repr(config.loss))
        )
    arguments.whole("jaxbp explain", "--seed", config.seed, low=0)
    net = mlp(config.net, ACTIVATIONS[config.activation], output=ACTIVATIONS[config.output])
    params = jax.tree.map(
        lambda p: np.round(np.asarray(p, np.float64), 2), net.init(jax.random.key(config.seed))
    )
    x = np.random.default_rng(config.seed).standard_normal(config.net[0]).round(1)
    y = [1.0] + [0.0] * (config.net[-1] - 1)
    return Network(net, LOSSES[config.loss], params, x.tolist(), y, 0.5)


EXERCISE = _Example(
    Network(
        mlp([2, 2, 1], sigmoid),
        binary_cross_entropy,
        {1: {"W": [[0.5, -0.4], [0.3, 0.8]], "b": [0.1, -0.2]}, 2: {"W": [[0.7, -0.6]], "b": [0.05]}},
        [1.0, 0.0],
        [1.0],
        0.5,
    )
)
"""The lecture's exercise; the weights of its figure are lost, these stand in for them."""

MAZUR = _Example(
    Network(
        mlp([2, 2, 2], sigmoid, output=sigmoid),
        squared_error,
        {
            1: {"W": [[0.15, 0.2], [0.25, 0.3]], "b": [0.35, 0.35]},
            2: {"W": [[0.4, 0.45], [0.5, 0.55]], "b": [0.6, 0.6]},
        },
        [0.05, 0.1],
        [0.01, 0.99],
        0.5,
    ),
    frozen=("b",),
    digits=9,
)
"""mattmazur.com/2015/03/17/a-step-by-step-backpropagation-example."""
