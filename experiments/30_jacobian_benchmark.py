"""What does the structure of a Jacobian save? Time and memory against autodiff, two baselines each.

    python -m experiments.30_jacobian_benchmark [--only ntk] [--rounds 9] [--torch-python PATH]

Every quantity is computed three ways: by structure, by the naive autodiff formulation, and by the best
autodiff formulation known to us. The three are checked to agree, then each baseline is run between two runs
of ours, round after round; a ratio is the median of these paired ratios, which survives a busy machine.
Memory is what the compiler reserves for temporaries and results. With --torch-python, an interpreter that
has torch with backpack-for-pytorch and opacus measures their norms and second moments on the same shapes, in
a process of its own.

4 minutes on 2 CPU cores. Expected, against the naive and the best autodiff formulation, on a machine that
other work kept busy; MiB are those of the structured formulation; FLOPs and storage are exact:

    jacobian 784-256^3-10, same FLOPs         jacrev  1.0x      jacfwd        28x
    softmax 64-64-64-1000                     jacrev   18x      jacfwd   1.1-2.0x
    bottleneck 784-256-32-256-784             jacrev  2.4x      jacfwd       3.4x
    bottleneck 256^2-16-256^2                 jacrev  4.9x      jacfwd       6.3x
    bottleneck 128-512-8-512-8-512-128        jacrev  8.2x      jacfwd       7.5x
    squared norms           vmap(grad)   16x  lax.map           38x    0.5 MiB
    clipped mean            vmap(grad)   49x  two passes        11x    2.2 MiB, a plain backward pass 1.8
    second moment           vmap(grad)  152x  scan              24x    2.2 MiB
    NTK, N = 32             contraction 230x  NTK products     110x    2.0 MiB against 494
    GGN diagonal            vmap(jacrev) 340x scan              14x    14.7 MiB
    Laplace variance        vmap(jacrev)  84x lax.map           45x    5.8 MiB
    shared weights: Gram at T = 32, where forming takes 3.9x; formed at T = 256, where Gram takes 2.0x
    the parameter Jacobian's matrix is 359x larger than its factors
    BackPACK: norms 3.8x, second moment 2.6x; Opacus: norms (ghost) 4.1x, second moment 250x

The wide first bottleneck stays below 3x because half of its time is the writing of the result, 784 x 784 for
each example.
"""

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import jaxbp
from experiments.record import dots, run, save
from jaxbp.jacobians import jacobian_chain, parameter_jacobian, per_example


@dataclass(frozen=True)
class Config:
    batch: int = 128
    """Examples, of all but the softmax, bottleneck and NTK rows."""
    small_batch: int = 32
    """Examples of these."""
    scale: int = 1
    """Divides the size of every layer, for a quick run."""
    rounds: int = 9
    only: str = ""
    """The cases whose name contains this; all of them without it."""
    torch_python: str = ""
    """An interpreter with torch, backpack-for-pytorch and opacus."""
    out: Path = Path("results/30_jacobian_benchmark")


class Case:
    """One quantity: the function by structure, the baselines by name, and their arguments."""

    def __init__(self, ours: Callable, baselines: dict[str, Callable], *args: Any):
        self.ours, self.baselines, self.args = ours, baselines, args


def measure(case: Case, rounds: int) -> dict[str, Any]:
    """Median paired ratios, seconds, MiB and FLOPs."""
    compiled = {
        name: jax.jit(fn).lower(*case.args).compile()
        for name, fn in {"ours": case.ours, **case.baselines}.items()
    }
    results = {name: jax.block_until_ready(fn(*case.args)) for name, fn in compiled.items()}
    for name in case.baselines:
        jax.tree.map(partial(_agree, name), results["ours"], results[name])
    del results
    seconds: dict[str, list[float]] = {name: [] for name in compiled}
    ratios: dict[str, list[float]] = {"ours": [1.0], **{name: [] for name in case.baselines}}
    for name in case.baselines:
        seconds_of(compiled["ours"], case.args)
        for _ in range(rounds):
            # Between two runs of ours, so that neither side always follows the other.
            before, theirs, after = (seconds_of(compiled[way], case.args) for way in ("ours", name, "ours"))
            seconds["ours"] += [before, after]
            seconds[name].append(theirs)
            ratios[name].append(2 * theirs / (before + after))
    report: dict[str, Any] = {}
    for name, fn in compiled.items():
        memory, cost = fn.memory_analysis(), fn.cost_analysis()
        report[name] = {
            "ms": 1e3 * statistics.median(seconds[name]),
            "least_ms": 1e3 * min(seconds[name]),
            "ratio": statistics.median(ratios[name]),
            "MiB": (memory.temp_size_in_bytes + memory.output_size_in_bytes) / 2**20,
            "MFLOP": cost["flops"] / 1e6,
        }
    return report


def seconds_of(fn: Callable, args: tuple) -> float:
    start = time.perf_counter()
    jax.block_until_ready(fn(*args))
    return time.perf_counter() - start


def _agree(name: str, u: jax.Array, v: jax.Array) -> None:
    error = float(jnp.abs(u - v).max() / jnp.abs(v).max())
    if not error < 2e-3:
        raise AssertionError(f"{name} differs by {error:.1e} of the largest entry")


def random_net(sizes: list[int], activation: jaxbp.Layer, output: jaxbp.Layer = jaxbp.identity) -> Any:
    net = jaxbp.mlp(sizes, activation, output=output)
    return net, net.init(jax.random.key(0))


def input_jacobian(sizes: list[int], batch: int, output: jaxbp.Layer = jaxbp.identity) -> Case:
    net, params = random_net(sizes, jaxbp.tanh, output)
    x = jax.random.normal(jax.random.key(1), (batch, sizes[0]))

    def by(mode: Callable) -> Callable:
        return lambda params, x: jax.vmap(mode(lambda x: net.apply(params, x)))(x)

    ours = lambda params, x: jax.vmap(lambda x: jacobian_chain(net, params, x).matrix())(x)  # noqa: E731
    return Case(ours, {"vmap(jacrev)": by(jax.jacrev), "vmap(jacfwd)": by(jax.jacfwd)}, params, x)


def plain(config: Config, batch: int) -> Any:
    s, w = config.scale, 256 // config.scale
    net, params = random_net([784 // s, w, w, w, 10], jaxbp.relu)
    x = jax.random.normal(jax.random.key(1), (batch, 784 // s))
    return net, params, x, jnp.arange(batch) % 10


def gradient_case(config: Config, ours: Callable, naive: Callable, best: Callable, best_name: str) -> Case:
    net, params, x, y = plain(config, config.batch)
    loss = jaxbp.softmax_cross_entropy

    def value(params: Any, x: Any, y: Any) -> Any:
        return loss(net.apply(params, x), y)

    grads = jax.vmap(jax.grad(value), in_axes=(None, 0, 0))
    return Case(
        lambda params, x, y: ours(per_example(net, loss, params, x, y)),
        {
            "vmap(grad)": lambda params, x, y: naive(grads(params, x, y)),
            best_name: lambda params, x, y: best(value, params, x, y),
        },
        params,
        x,
        y,
    )


def norms_of(grads: Any) -> jax.Array:
    return sum((g**2).reshape(len(g), -1).sum(1) for g in jax.tree.leaves(grads))


def norms_by_scan(value: Callable, params: Any, x: Any, y: Any) -> jax.Array:
    grad = jax.grad(value)
    one = lambda xy: sum((g**2).sum() for g in jax.tree.leaves(grad(params, *xy)))  # noqa: E731
    return jax.lax.map(one, (x, y))


def _weighted(grads: Any, w: jax.Array) -> Any:
    return jax.tree.map(lambda g: jnp.tensordot(w, g, 1) / len(w), grads)


def clipped_of(grads: Any) -> Any:
    return _weighted(grads, jnp.minimum(1, 1 / jnp.sqrt(norms_of(grads))))


def clipped_in_two_passes(value: Callable, params: Any, x: Any, y: Any) -> Any:
    """The norms, then the gradient of the weighted losses: no per-example gradient is kept."""
    grads = jax.vmap(jax.grad(value), in_axes=(None, 0, 0))(params, x, y)
    w = jnp.minimum(1, 1 / jnp.sqrt(norms_of(grads)))
    losses = jax.vmap(value, in_axes=(None, 0, 0))
    return jax.grad(lambda params: (w * losses(params, x, y)).mean())(params)


def moment_by_scan(value: Callable, params: Any, x: Any, y: Any) -> Any:
    def add(so_far: Any, one: Any) -> Any:
        g = jax.grad(value)(params, *one)
        return jax.tree.map(lambda s, g: s + g**2 / len(x), so_far, g), None

    return jax.lax.scan(add, jax.tree.map(jnp.zeros_like, params), (x, y))[0]


def ntk_case(config: Config) -> Case:
    net, params, x, _ = plain(config, config.small_batch)

    def contraction(params: Any, x: Any) -> jax.Array:
        J = jax.jacrev(net.apply)(params, x)
        return sum(
            jnp.tensordot(*[j.reshape(*j.shape[:2], -1)] * 2, ((2,), (2,))) for j in jax.tree.leaves(J)
        )

    def vector_products(params: Any, x: Any) -> jax.Array:
        out, pull = jax.vjp(lambda params: net.apply(params, x), params)
        push = jax.linearize(lambda params: net.apply(params, x), params)[1]
        rows = jnp.eye(out.size).reshape(out.size, *out.shape)
        return jax.lax.map(lambda row: push(pull(row)[0]), rows, batch_size=32).reshape(
            *out.shape, *out.shape
        )

    ours = lambda params, x: parameter_jacobian(net, params, x).ntk()  # noqa: E731
    baselines = {"jacobian contraction": contraction, "NTK-vector products": vector_products}
    return Case(ours, baselines, params, x)


def ggn_case(config: Config) -> Case:
    net, params, x, _ = plain(config, config.batch)
    loss = jaxbp.softmax_cross_entropy

    def root(f: jax.Array) -> jax.Array:
        """S with S S^T = diag(mu) - mu mu^T."""
        mu = jax.nn.softmax(f)
        return jnp.diag(jnp.sqrt(mu)) - jnp.outer(mu, jnp.sqrt(mu))

    def by_jacrev(params: Any, x: Any) -> Any:
        def one(x: Any) -> Any:
            J, S = jax.jacrev(net.apply)(params, x), root(net.apply(params, x))
            return jax.tree.map(lambda j: (jnp.tensordot(S.T, j, 1) ** 2).sum(0), J)

        return jax.tree.map(lambda d: d.mean(0), jax.vmap(one)(x))

    def by_scan(params: Any, x: Any) -> Any:
        """A scan over the examples and within it over the rows: no more than one row's gradient at a time."""

        def add(so_far: Any, x: Any) -> Any:
            f, pull = jax.vjp(lambda params: net.apply(params, x), params)
            row = lambda so_far, s: (jax.tree.map(lambda t, g: t + g**2, so_far, pull(s)[0]), None)  # noqa: E731
            return jax.lax.scan(row, so_far, root(f).T)[0], None

        total = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, params), x)[0]
        return jax.tree.map(lambda d: d / len(x), total)

    ours = lambda params, x: parameter_jacobian(net, params, x).ggn_diagonal(loss)  # noqa: E731
    return Case(ours, {"vmap(jacrev)": by_jacrev, "scan of vjps": by_scan}, params, x)


def laplace_case(config: Config) -> Case:
    net, params, x, _ = plain(config, config.batch)
    sigma = jax.tree.map(lambda p: p**2 + 0.1, params)

    def weigh(J: Any, sigma: Any) -> jax.Array:
        return sum(
            jnp.tensordot(j**2, s, s.ndim) for j, s in zip(*map(jax.tree.leaves, (J, sigma)), strict=True)
        )

    def weigh_row(g: Any, sigma: Any) -> jax.Array:
        return sum((v**2 * s).sum() for v, s in zip(*map(jax.tree.leaves, (g, sigma)), strict=True))

    def by_jacrev(params: Any, sigma: Any, x: Any) -> jax.Array:
        return jax.vmap(lambda x: weigh(jax.jacrev(net.apply)(params, x), sigma))(x)

    def by_map(params: Any, sigma: Any, x: Any) -> jax.Array:
        def one(x: Any) -> jax.Array:
            f, pull = jax.vjp(lambda params: net.apply(params, x), params)
            return jax.lax.map(lambda row: weigh_row(pull(row)[0], sigma), jnp.eye(f.size))

        return jax.lax.map(one, x)

    ours = lambda params, sigma, x: parameter_jacobian(net, params, x).predictive_variance(sigma)  # noqa: E731
    return Case(ours, {"vmap(jacrev)": by_jacrev, "lax.map of vjps": by_map}, params, sigma, x)


def shared_case(T: int, d_in: int, d_out: int, batch: int) -> Case:
    """Squared norms of one weight at T positions; the baselines are its two ways, each forced."""
    params = {"W": jax.random.normal(jax.random.key(0), (d_in, d_out)) / d_in**0.5}
    x = jax.random.normal(jax.random.key(1), (batch, T, d_in))
    y = jnp.zeros((batch, d_out))

    def apply(params: Any, x: Any) -> jax.Array:
        return jnp.tanh(x @ params["W"]).sum(0)

    def factors(params: Any, x: Any, y: Any) -> tuple[jax.Array, jax.Array]:
        (block,) = per_example(apply, jaxbp.squared_error, params, x, y).jacobian.blocks
        return block.delta[:, 0], block.f

    def gram(params: Any, x: Any, y: Any) -> jax.Array:
        delta, f = factors(params, x, y)
        return (jnp.einsum("nto,nso->nts", delta, delta) * jnp.einsum("nti,nsi->nts", f, f)).sum((1, 2))

    def materialise(params: Any, x: Any, y: Any) -> jax.Array:
        return (jnp.einsum("nto,nti->noi", *factors(params, x, y)) ** 2).sum((1, 2))

    ours = lambda *args: per_example(apply, jaxbp.squared_error, *args).squared_norms()  # noqa: E731
    return Case(ours, {"materialise": materialise, "Gram": gram}, params, x, y)


def cases(config: Config) -> dict[str, Callable[[], Case]]:
    s, B = config.scale, config.small_batch
    w = 256 // s
    a, b, c = [[max(1, size // s) for size in sizes] for sizes in BOTTLENECKS]
    return {
        "jacobian 784-256^3-10": lambda: input_jacobian([784 // s, w, w, w, 10], config.batch),
        "softmax 64-64-64-1000": lambda: input_jacobian(
            [64 // s, 64 // s, 64 // s, 1000 // s], B, jaxbp.softmax
        ),
        "bottleneck 784-256-32-256-784": lambda: input_jacobian(a, B),
        "bottleneck 256^2-16-256^2": lambda: input_jacobian(b, B),
        "bottleneck 128-512-8-512-8-512-128": lambda: input_jacobian(c, B),
        "squared norms": lambda: gradient_case(
            config, lambda g: g.squared_norms(), norms_of, norms_by_scan, "lax.map of grad"
        ),
        "clipped mean": lambda: gradient_case(
            config, lambda g: g.clipped_mean(1.0), clipped_of, clipped_in_two_passes, "two passes"
        ),
        "second moment": lambda: gradient_case(
            config,
            lambda g: g.second_moment(),
            lambda grads: jax.tree.map(lambda g: (g**2).mean(0), grads),
            moment_by_scan,
            "scan of grads",
        ),
        "ntk": lambda: ntk_case(config),
        "ggn diagonal": lambda: ggn_case(config),
        "laplace variance": lambda: laplace_case(config),
        "shared T=32 512-512": lambda: shared_case(32, 512 // s, 512 // s, 32),
        "shared T=256 128-128": lambda: shared_case(256 // s, 128 // s, 128 // s, 32),
    }


BOTTLENECKS = ([784, 256, 32, 256, 784], [256, 256, 16, 256, 256], [128, 512, 8, 512, 8, 512, 128])


def backward_memory(config: Config) -> float:
    """MiB of a plain backward pass, which the norms and the clipped mean are held against."""
    net, params, x, y = plain(config, config.batch)
    fn = jax.jit(jaxbp.value_and_grad(net, jaxbp.softmax_cross_entropy))
    memory = fn.lower(params, x, y).compile().memory_analysis()
    return (memory.temp_size_in_bytes + memory.output_size_in_bytes) / 2**20


def storage(config: Config) -> float:
    """How many times the parameter Jacobian's matrix is larger than its factors; exact."""
    net, params, x, _ = plain(config, config.batch)
    J = jax.eval_shape(lambda params, x: parameter_jacobian(net, params, x), params, x)
    held = sum(leaf.size for leaf in J.held)
    N, C, P = J.shape
    return N * C * P / held


TORCH = """
import json, sys, time, torch
from torch import nn
rounds, batch, w, d, threads = map(int, sys.argv[1:])
torch.manual_seed(0)
torch.set_num_threads(threads)
def net():
    return nn.Sequential(nn.Linear(d, w), nn.ReLU(), nn.Linear(w, w), nn.ReLU(), nn.Linear(w, w), nn.ReLU(),
                         nn.Linear(w, 10))
x, y = torch.randn(batch, d), torch.arange(batch) % 10
def least(fn):
    for _ in range(3): fn()
    times = []
    for _ in range(rounds):
        start = time.perf_counter(); fn(); times.append(time.perf_counter() - start)
    return 1e3 * min(times)
out = {}
try:
    from backpack import backpack, extend
    from backpack.extensions import BatchL2Grad, SumGradSquared
    model, loss = extend(net()), extend(nn.CrossEntropyLoss())
    def run(extension, collect):
        model.zero_grad()
        with backpack(extension()):
            loss(model(x), y).backward()
        return [collect(p) for p in model.parameters()]
    out["BackPACK norms"] = least(lambda: sum(run(BatchL2Grad, lambda p: p.batch_l2)))
    out["BackPACK second moment"] = least(lambda: run(SumGradSquared, lambda p: p.sum_grad_squared))
except ImportError: pass
try:
    import warnings; warnings.simplefilter("ignore")
    from opacus import GradSampleModule
    from opacus.grad_sample import GradSampleModuleFastGradientClipping as Ghost
    fast = Ghost(net(), max_grad_norm=1.0, use_ghost_clipping=True)
    each = nn.CrossEntropyLoss(reduction="none")
    def norms():
        fast.zero_grad(); each(fast(x), y).sum().backward()
        return fast.get_norm_sample()
    out["Opacus norms (ghost)"] = least(norms)
    sample = GradSampleModule(net())
    def moment():
        sample.zero_grad(); each(sample(x), y).sum().backward()
        return [(p.grad_sample ** 2).mean(0) for p in sample.parameters()]
    out["Opacus second moment"] = least(moment)
except ImportError: pass
print(json.dumps(out))
"""


def torch_ms(config: Config) -> dict[str, float]:
    """Milliseconds of BackPACK and Opacus, in a process of their own: the least over the runs and threads.

    Processes cannot be paired run by run, so that here the least time stands for a machine at rest.
    """
    results = []
    for threads in {1, os.cpu_count() or 1}:
        sizes = [4 * config.rounds, config.batch, 256 // config.scale, 784 // config.scale, threads]
        command = [config.torch_python, "-c", TORCH, *map(str, sizes)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        results.append(json.loads(done.stdout.splitlines()[-1]))
    return {name: min(result[name] for result in results) for name in results[0]}


def main(config: Config = Config()) -> dict[str, Any]:
    result: dict[str, Any] = {"cases": {}}
    print(f"{'quantity':<36}{'formulation':<22}{'ms':>10}{'ratio':>8}{'MiB':>10}{'MFLOP':>10}")
    for name, make in cases(config).items():
        if config.only in name:
            result["cases"][name] = measured = measure(make(), config.rounds)
            for way, row in measured.items():
                numbers = f"{row['ms']:>10.2f}{row['ratio']:>8.2f}{row['MiB']:>10.2f}{row['MFLOP']:>10.1f}"
                print(f"{name if way == 'ours' else '':<36}{way:<22}{numbers}", flush=True)
    result["plain_backward_MiB"] = backward_memory(config)
    result["storage_ratio"] = storage(config)
    print(f"a plain backward pass takes {result['plain_backward_MiB']:.2f} MiB")
    print(f"parameter Jacobian: its matrix is {result['storage_ratio']:.0f}x larger than its factors")
    if config.torch_python:
        result["torch_ms"] = torch_ms(config)
        for name, ms in result["torch_ms"].items():
            ours = result["cases"].get("second moment" if "moment" in name else "squared norms")
            print(f"{name:<58}{ms:>10.2f}" + (f"{ms / ours['ours']['least_ms']:>8.2f}" if ours else ""))
    drawn = dots(
        {
            name: {way: [row["ratio"]] * 3 for way, row in measured.items() if way != "ours"}
            for name, measured in result["cases"].items()
        },
        "times as long as by structure, median of paired runs",
        "What the structure of a Jacobian saves",
        one=1,
        log=True,
    )
    return save(config, result, drawn)


if __name__ == "__main__":
    run(main, Config)
