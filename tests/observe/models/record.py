"""What a model of the suite is, and the small parts that many of them share."""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

WORDS = (
    "saturated", "dead", "vanishing", "exploding", "nan_forward", "nan_backward", "overflow", "underflow",
    "clipped", "unused", "cut", "detached_state", "identical", "constant_input", "duplicate_input",
    "unscaled", "wrong_axis", "size_one", "double_squash", "broadcast", "ignored_examples", "output_range",
    "mask", "tiny_denominator", "reduction", "one_class", "label_range", "dominated",
)  # fmt: skip
OPEN, ASIDE = "open", "aside"


class Model(NamedTuple):
    """A small network with a known sickness, or with none.

    `make()` returns (f, params, batch) such that jax.value_and_grad(f)(params, *batch) works. `also` are
    the words that are truly also there. Thresholds are set on the half "open", judged on the half "aside".
    """

    name: str
    framework: str
    make: Callable[[], tuple]
    sickness: str | None
    also: tuple[str, ...]
    half: str
    why: str


def registering(framework, models):
    """Two decorators that put a maker into the list `models`: as a sick one, and as a healthy one."""

    def entry(sickness, half, why, also):
        def put(make):
            name = f"{framework}_{make.__name__}"
            models.append(Model(name, framework, make, sickness, tuple(also), half, why))
            return make

        return put

    def sick(word, half, why, also=()):
        return entry(word, half, why, also)

    def healthy(half, why):
        return entry(None, half, why, ())

    return sick, healthy


def normal(seed, *shape, scale=1.0):
    """Normal numbers, float32."""
    return jnp.asarray(scale * np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def uniform(seed, *shape, low=0.0, high=1.0):
    """Uniform numbers, float32."""
    return jnp.asarray(np.random.default_rng(seed).uniform(low, high, shape), jnp.float32)


def integers(seed, high, *shape):
    """Whole numbers 0..high-1; each of them occurs if there is room."""
    n = int(np.prod(shape))
    return jnp.asarray(np.random.default_rng(seed).permutation(np.arange(n) % high).reshape(shape), jnp.int32)


def dense(seed, *sizes, scale=1.0):
    """Weights (in, out) of variance scale² / in, and zero biases, of a chain of dense layers."""
    pairs = list(itertools.pairwise(sizes))
    return [
        {"W": normal(seed + i, m, n, scale=scale / m**0.5), "b": jnp.zeros(n)}
        for i, (m, n) in enumerate(pairs)
    ]


def forward(layers, x, phi):
    """A chain of dense layers; no activation after the last."""
    for layer in layers[:-1]:
        x = phi(x @ layer["W"] + layer["b"])
    return x @ layers[-1]["W"] + layers[-1]["b"]


def mse(prediction, y):
    return jnp.mean((prediction - y) ** 2)


def cross_entropy(logits, y):
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


def binary_cross_entropy(logits, y):
    return optax.sigmoid_binary_cross_entropy(logits, y).mean()


def linen_case(module, loss, x, *rest):
    """A Linen module whose output on x goes to loss(output, *rest)."""
    params = jax.jit(module.init)(jax.random.key(0, impl="rbg"), x)["params"]

    def f(params, x, *rest):
        return loss(module.apply({"params": params}, x), *rest)

    return f, params, (x, *rest)


def rngs_of(seed):
    """NNX's streams of random numbers, of the generator that compiles fastest."""
    return nnx.Rngs(jax.random.key(seed, impl="rbg"))


def nnx_case(model, loss, x, *rest):
    """An NNX module whose output on x goes to loss(output, *rest)."""
    graphdef, params, others = nnx.split(model, nnx.Param, ...)

    def f(params, x, *rest):
        return loss(nnx.merge(graphdef, params, others)(x), *rest)

    return f, params, (x, *rest)


def equinox_case(model, loss, x, *rest):
    """An Equinox module, for one example, whose outputs on the batch x go to loss(outputs, *rest)."""
    params, static = eqx.partition(model, eqx.is_inexact_array)

    def f(params, x, *rest):
        return loss(jax.vmap(eqx.combine(params, static))(x), *rest)

    return f, params, (x, *rest)
