"""What every framework is given: the network, the data, and where the parameters start."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np


def orders(seed: int, examples: int, batch: int) -> Iterator[np.ndarray]:
    """A generator of random orders, the rows being batches of indices, one an epoch."""
    rng = np.random.default_rng(seed + 2)
    while True:
        yield rng.permutation(examples).astype(np.int32).reshape(-1, batch)


@dataclass(frozen=True)
class Job:
    """One configuration; training is softmax cross-entropy on integer labels, in float32."""

    sizes: tuple[int, ...]
    activation: Literal["sigmoid", "relu"]
    batch: int
    examples: int
    optimizer: Literal["sgd", "adam"]
    rate: float
    seed: int = 0
    nets: int = 1
    """Trained at once, each on all the examples."""
    devices: int = 1
    """That share each batch."""

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """x in [-1/2, 1/2], a faint picture of its class under noise; y the classes."""
        rng = np.random.default_rng(self.seed)
        pictures = rng.random((self.sizes[-1], self.sizes[0]), dtype=np.float32)
        y = rng.integers(self.sizes[-1], size=self.examples).astype(np.int32)
        x = rng.random((len(y), self.sizes[0]), dtype=np.float32)
        x *= 0.9
        x += 0.1 * pictures[y]
        x -= 0.5
        return x, y

    def params(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """(W, b) of each layer, W of shape (out, in) from Glorot's uniform distribution: the same for all."""
        rng = np.random.default_rng(self.seed + 1)
        return [
            (rng.uniform(-1, 1, (o, i)).astype(np.float32) * np.float32(6 / (i + o)) ** 0.5, np.zeros(o, "f"))
            for i, o in zip(self.sizes, self.sizes[1:], strict=False)
        ]

    def orders(self) -> Iterator[np.ndarray]:
        return orders(self.seed, self.examples, self.batch)

    @property
    def flops(self) -> int:
        """Of the products of one example: forward, delta_W, and delta_f of all layers but the first."""
        products = [i * o for i, o in zip(self.sizes, self.sizes[1:], strict=False)]
        return 6 * sum(products) - 2 * products[0]


SYMBOLS = 65
"""Of the texts."""


@dataclass(frozen=True)
class Deep:
    """A network of layers, trained by Adam in float32 on what it can learn."""

    net: Literal["LeNet", "GPT", "LSTM"]
    batch: int
    examples: int
    places: int = 1
    """Of a text."""
    d: int = 128
    """The numbers at a place."""
    rate: float = 1e-3
    seed: int = 0
    optimizer: Literal["adam"] = "adam"
    nets: int = 1
    devices: int = 1

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Faint pictures of ten classes; or texts that walk through the symbols by steps of 0, 1 or 2."""
        if self.net == "LeNet":
            x, y = Job((784, 10), "relu", self.batch, self.examples, "adam", self.rate, self.seed).data()
            return x.reshape(-1, 28, 28, 1), y
        rng = np.random.default_rng(self.seed)
        steps = rng.integers(3, size=(self.examples, self.places + 1))
        ids = (steps.cumsum(1) % SYMBOLS).astype(np.int32)
        return ids[:, :-1], ids[:, 1:]

    def orders(self) -> Iterator[np.ndarray]:
        return orders(self.seed, self.examples, self.batch)

    @property
    def flops(self) -> int:
        """Of the products of one example: forward, delta_W and delta_f; of attention over all places."""
        convolutions = 28 * 28 * 25 * 6, 10 * 10 * 150 * 16
        d, V = self.d, SYMBOLS
        products = {
            "LeNet": sum(convolutions) + 400 * 120 + 120 * 84 + 84 * 10,
            "GPT": self.places * (4 * (12 * d * d + 2 * self.places * d) + V * d),
            "LSTM": self.places * (8 * d * d + V * d),
        }[self.net]
        return 6 * products - 2 * convolutions[0] * (self.net == "LeNet")
