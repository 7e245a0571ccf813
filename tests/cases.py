"""Every layer, loss and network of the library as a row: a new one is tested by being named here."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbp
from jaxbp import Layer, Loss

LEADING = [(), (3,), (2, 3)]


def half(*axes: Sequence[Any]) -> list[Any]:
    """Every second of all combinations, where any two values of two axes meet; the rest are soak tests."""
    return [
        pytest.param(
            *(value for _, value in choice),
            marks=[pytest.mark.soak] * (sum(i for i, _ in choice) % 2),
            id="-".join(str(value) for _, value in choice),
        )
        for choice in product(*(enumerate(axis) for axis in axes))
    ]


LAYERS: dict[str, tuple[Layer, tuple[int, ...]]] = {
    "dense": (jaxbp.dense(4, 3), (4,)),
    "dense without bias": (jaxbp.dense(4, 3, bias=False), (4,)),
    "identity": (jaxbp.identity, (5,)),
    "sigmoid": (jaxbp.sigmoid, (5,)),
    "tanh": (jaxbp.tanh, (5,)),
    "relu": (jaxbp.relu, (5,)),
    "leaky_relu": (jaxbp.leaky_relu, (5,)),
    "leaky_relu(0.3)": (jaxbp.make_leaky_relu(0.3), (5,)),
    "softplus": (jaxbp.softplus, (5,)),
    "gelu": (jaxbp.gelu, (5,)),
    "gelu_exact": (jaxbp.gelu_exact, (5,)),
    "silu": (jaxbp.silu, (5,)),
    "softmax": (jaxbp.softmax, (5,)),
    "flatten": (jaxbp.flatten(2, 3), (2, 3)),
    "dropout": (jaxbp.dropout(0.4), (5,)),
    "chain": (jaxbp.chain(jaxbp.dense(4, 6), jaxbp.tanh, jaxbp.dense(6, 2), jaxbp.softmax), (4,)),
    "residual": (jaxbp.residual(jaxbp.chain(jaxbp.dense(4, 6), jaxbp.sigmoid, jaxbp.dense(6, 4))), (4,)),
    "residual with a projection": (jaxbp.residual(jaxbp.dense(4, 3), jaxbp.dense(4, 3, bias=False)), (4,)),
    "residual without parameters": (jaxbp.residual(jaxbp.tanh), (4,)),
}

NETS: dict[str, tuple[Layer, tuple[int, ...]]] = {
    "one unit": (jaxbp.mlp([3, 1]), (3,)),
    "mlp": (jaxbp.mlp([4, 6, 5, 3], jaxbp.sigmoid), (4,)),
    "sigmoid output": (jaxbp.mlp([4, 6, 3], jaxbp.tanh, output=jaxbp.sigmoid), (4,)),
    "relu, no bias": (jaxbp.mlp([4, 6, 3], jaxbp.relu, bias=False), (4,)),
    "two activations": (jaxbp.chain(jaxbp.dense(4, 5), jaxbp.tanh, jaxbp.softplus, jaxbp.dense(5, 3)), (4,)),
    "images": (jaxbp.chain(jaxbp.flatten(2, 2), jaxbp.dense(4, 5), jaxbp.gelu, jaxbp.dense(5, 3)), (2, 2)),
    "activation first": (jaxbp.chain(jaxbp.tanh, jaxbp.dense(4, 3)), (4,)),
    "with dropout": (jaxbp.chain(jaxbp.dense(4, 8), jaxbp.relu, jaxbp.dropout(0.5), jaxbp.dense(8, 3)), (4,)),
    "nested residual": (
        jaxbp.chain(
            jaxbp.dense(4, 5),
            jaxbp.tanh,
            jaxbp.residual(
                jaxbp.chain(
                    jaxbp.dense(5, 6),
                    jaxbp.silu,
                    jaxbp.residual(jaxbp.chain(jaxbp.dense(6, 6), jaxbp.gelu_exact)),
                    jaxbp.dense(6, 5),
                ),
                skip=jaxbp.dense(5, 5, bias=False),
            ),
            jaxbp.softmax,
            jaxbp.dense(5, 3),
        ),
        (4,),
    ),
    "bare layer": (jaxbp.dense(4, 3), (4,)),
    "bare residual": (jaxbp.residual(jaxbp.dense(4, 4)), (4,)),
    "no parameters": (jaxbp.chain(jaxbp.softmax, jaxbp.tanh), (4,)),
}


@dataclass(frozen=True)
class LossCase:
    loss: Loss
    f: str  # where outputs may lie
    y: str  # what the targets are


LOSSES: dict[str, LossCase] = {
    "squared_error": LossCase(jaxbp.squared_error, "any", "real"),
    "squared_error.sum": LossCase(jaxbp.squared_error.sum, "any", "real"),
    "binary_cross_entropy": LossCase(jaxbp.binary_cross_entropy, "any", "binary"),
    "binary_cross_entropy.sum": LossCase(jaxbp.binary_cross_entropy.sum, "any", "binary"),
    "on_probabilities": LossCase(jaxbp.binary_cross_entropy_on_probabilities, "open unit", "probability"),
    "on_probabilities, 0 or 1": LossCase(jaxbp.binary_cross_entropy_on_probabilities, "open unit", "binary"),
    "softmax_cross_entropy": LossCase(jaxbp.softmax_cross_entropy, "any", "label"),
    "softmax_cross_entropy.sum": LossCase(jaxbp.softmax_cross_entropy.sum, "any", "label"),
    "softmax_cross_entropy, rows": LossCase(jaxbp.softmax_cross_entropy, "any", "simplex"),
    "smoothed": LossCase(jaxbp.make_softmax_cross_entropy(0.1), "any", "label"),
    "smoothed, rows": LossCase(jaxbp.make_softmax_cross_entropy(0.1), "any", "simplex"),
}


def draw(shape: tuple[int, ...], dtype, *, seed: int = 0):
    """Standard normal entries."""
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def draw_params(layer: Layer, dtype, *, seed: int = 1):
    """Parameters of the layer's shapes, of which none is zero."""
    shapes = jax.eval_shape(layer.init, jax.random.key(0))
    leaves, tree = jax.tree.flatten(shapes)
    return tree.unflatten([draw(leaf.shape, dtype, seed=seed + i) / 2 for i, leaf in enumerate(leaves)])


def draw_inputs(shape: tuple[int, ...], dtype):
    """Inputs a little away from 0, where relu and leaky_relu have their kink."""
    f = draw(shape, dtype)
    return jnp.where(abs(f) < 0.05, f + 0.5, f).astype(dtype)  # no two alike: a pool would have a tie


def draw_outputs(f: str, shape: tuple[int, ...], dtype):
    if f == "open unit":
        return jnp.asarray(np.random.default_rng(3).uniform(0.2, 0.8, shape), dtype)
    return 2 * draw(shape, dtype)


def draw_targets(y: str, shape: tuple[int, ...], dtype):
    rng = np.random.default_rng(7)
    if y == "label":
        return jnp.asarray(rng.integers(0, shape[-1], shape[:-1]))
    if y == "binary":
        return jnp.asarray(rng.integers(0, 2, shape), dtype)
    if y == "probability":
        return jnp.asarray(rng.uniform(0.1, 0.9, shape), dtype)
    targets = draw(shape, dtype, seed=7)
    return jax.nn.softmax(targets) if y == "simplex" else targets
