"""What every framework is given: the shape of the network, the data, and where the parameters start."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np


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
        """A generator of random orders, the rows being batches of indices, one an epoch."""
        rng = np.random.default_rng(self.seed + 2)
        while True:
            yield rng.permutation(self.examples).astype(np.int32).reshape(-1, self.batch)

    @property
    def flops(self) -> int:
        """Of the products of one example: forward, delta_W, and delta_f of all layers but the first."""
        products = [i * o for i, o in zip(self.sizes, self.sizes[1:], strict=False)]
        return 6 * sum(products) - 2 * products[0]
