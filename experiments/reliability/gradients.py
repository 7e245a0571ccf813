"""Gradients by hand against 5-point differences in float64, for random nets of all layers and losses."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import jaxbp
from experiments.reliability.row import Row, many
from experiments.reliability.task import run

LIMIT = 1e-8  # of the largest entry
STEP = 2e-3
QUICK = {"xla_backend_optimization_level": 0}  # each net is compiled once and run once
WIDTHS = (1, 2, 3, 4)
ACTIVATIONS: tuple[Callable[[np.random.Generator], jaxbp.Layer], ...] = (
    *(
        lambda rng, layer=layer: layer
        for layer in (
            jaxbp.sigmoid,
            jaxbp.tanh,
            jaxbp.relu,
            jaxbp.leaky_relu,
            jaxbp.softplus,
            jaxbp.gelu,
            jaxbp.gelu_exact,
            jaxbp.silu,
            jaxbp.softmax,
            jaxbp.identity,
        )
    ),
    lambda rng: jaxbp.make_leaky_relu(float(rng.uniform(-0.5, 0.9))),
    lambda rng: jaxbp.dropout(float(rng.uniform(0.1, 0.6))),
    lambda rng: jaxbp.elementwise(
        "softsign", lambda a: a / (1 + abs(a)), lambda f: (1 - abs(f)) ** 2, saves="output"
    ),
    lambda rng: jaxbp.elementwise("sine", jnp.sin, jnp.cos, saves="input"),
)
LOSSES: tuple[tuple[jaxbp.Loss, str], ...] = (
    (jaxbp.squared_error, "real"),
    (jaxbp.binary_cross_entropy, "binary"),
    (jaxbp.binary_cross_entropy_on_probabilities, "probability"),
    (jaxbp.softmax_cross_entropy, "label"),
    (jaxbp.softmax_cross_entropy, "rows"),
    (jaxbp.make_softmax_cross_entropy(0.1), "label"),
    (jaxbp.make_softmax_cross_entropy(0.3), "rows"),
)


def block(rng: np.random.Generator, d: int, depth: int) -> tuple[list[jaxbp.Layer], int]:
    """Some layers from size d to the size given back."""
    layers: list[jaxbp.Layer] = []
    for _ in range(rng.integers(1, 4)):
        choice = rng.random()
        if choice < 0.45:
            out = int(rng.choice(WIDTHS))
            layers.append(jaxbp.dense(d, out, bias=bool(rng.random() < 0.8)))
            d = out
        elif choice < 0.8 or depth == 0:
            layers.append(ACTIVATIONS[rng.integers(len(ACTIVATIONS))](rng))
        else:
            inner, out = block(rng, d, depth - 1)
            skip = (
                []
                if out == d and rng.random() < 0.6
                else [jaxbp.dense(d, out, bias=bool(rng.random() < 0.5))]
            )
            layers.append(jaxbp.residual(jaxbp.chain(*inner), *skip))
            d = out
    return layers, d


def draw(seed: int) -> tuple[Any, ...]:
    """A net, a loss, parameters, x, y and a key."""
    rng = np.random.default_rng(seed)
    d, leading = int(rng.choice(WIDTHS)), [(), (1,), (3,), (2, 2)][rng.integers(4)]
    shape, layers = (d,), []
    if rng.random() < 0.15:
        shape, layers, d = (2, d), [jaxbp.flatten(2, d)], 2 * d
    inner, d = block(rng, d, 2)
    loss, targets = LOSSES[rng.integers(len(LOSSES))]
    layers += [*inner, jaxbp.dense(d, int(rng.choice(WIDTHS)))]
    C = int(layers[-1].name.rstrip(")").split(", ")[1].split(",")[0])
    if targets == "probability":
        layers.append(jaxbp.sigmoid)
    net = jaxbp.chain(*layers)
    shapes = jax.eval_shape(net.init, jax.random.key(0))
    params = jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s.shape) * 0.8), shapes)
    x = jnp.asarray(rng.normal(size=(*leading, *shape)))
    y: Any = rng.normal(size=(*leading, C))
    if targets in ("binary", "probability"):
        y = (
            rng.integers(0, 2, (*leading, C)).astype(float)
            if rng.random() < 0.7
            else rng.uniform(0.1, 0.9, (*leading, C))
        )
    elif targets == "label":
        y = rng.integers(0, C, leading)
    elif targets == "rows":
        y = np.exp(y) / np.exp(y).sum(-1, keepdims=True)
    loss = loss.sum if rng.random() < 0.3 else loss
    return net, loss, params, x, jnp.asarray(y), jax.random.key(int(seed))


def compared(seed: int) -> dict[str, Any]:
    """The largest difference of one net, by three ways, of the largest entry; or that a kink lay too near."""
    with jax.enable_x64(True):
        net, loss, params, x, y, key = draw(seed)
        flat, back = ravel_pytree((params, x))

        @partial(jax.jit, compiler_options=QUICK)
        def all_of_it(flat: Any) -> Any:
            params, x = back(flat)
            bp = jaxbp.backprop(net, loss, params, x, y, key=key)
            by_grad_fn = jaxbp.value_and_grad(net, loss)(params, x, y, key=key)[1]
            apply = jaxbp.with_hand_vjp(net)
            by_vjp = jax.grad(lambda p, x: loss(apply(p, x, key=key), y), argnums=(0, 1))(params, x)

            def value(flat: Any) -> Any:
                params, x = back(flat)
                return loss(net.apply(params, x, key=key), y)

            def slope(h: float) -> Any:
                def along(e: Any) -> Any:
                    at = jax.vmap(lambda s: value(flat + s * h * e))(jnp.array([-2.0, -1.0, 1.0, 2.0]))
                    return (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * h)

                return jax.vmap(along)(jnp.eye(flat.size))

            hand = [(bp.deltas.params, bp.deltas.x), (by_grad_fn, bp.deltas.x), by_vjp]
            return [ravel_pytree(g)[0] for g in hand], slope(STEP), slope(STEP / 2)

        hands, coarse, fine = jax.device_get(all_of_it(flat))
        scale = max(float(np.abs(fine).max()), 1e-3)
        if np.abs(coarse - fine).max() > LIMIT * scale:  # of a smooth function they agree to 1e-10
            return {"kink": True}
        worst = max(float(np.abs(hand - fine).max()) for hand in hands) / scale
        return {
            "worst": worst,
            "coordinates": int(flat.size),
            "net": repr(net),
            "loss": repr(loss),
            "seed": seed,
        }


def chunk(first: int, count: int) -> list[dict[str, Any]]:
    return [compared(seed) for seed in range(first, first + count)]


def measure(scale: float = 1.0, *, jobs: int = 2, seed: int = 0) -> Row:
    """The row of the scorecard: 1,000 nets at scale 1."""
    wanted, size = many(1000, scale), min(25, many(1000, scale))
    found: list[dict[str, Any]] = []
    faults: list[str] = []
    kinks, first = 0, seed * 10**6
    while len(found) < wanted and len(faults) < 10:
        asked = [[first + i * size, size] for i in range(-(-(wanted - len(found)) // size))]
        first += size * len(asked)
        for answer in run("gradients", "chunk", asked, jobs=jobs, timeout=600):
            if isinstance(answer, dict):
                faults.append(answer["died"])
                continue
            kinks += sum("kink" in item for item in answer)
            found += [item for item in answer if "worst" in item]
    found = found[:wanted]
    worst = max((item["worst"] for item in found), default=float("nan"))
    faults += [
        f"{i['worst']:.2e} {i['net']} {i['loss']} (draw({i['seed']}))"
        for i in found
        if not i["worst"] <= LIMIT
    ]
    coordinates = sum(item["coordinates"] for item in found)
    seen = f"{len(found):,} nets x 3 ways, {coordinates:,} coordinates, worst {worst:.1e}"
    return Row(
        "hand-written gradients against 5-point differences, float64",
        f"{wanted:,} nets, all coordinates, <= 1e-8",
        seen,
        not faults,
        f"mixed_precision; {kinks} nets drawn anew, a kink lay within the step of the differences",
        tuple(faults),
    )
