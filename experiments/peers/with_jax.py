"""jaxbp.fit, JAX by hand, and the frameworks that stand on JAX."""

import time
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.peers.job import SYMBOLS, Deep, Job

Step = Callable[[tuple, tuple], tuple[tuple, jax.Array]]
"""(state, batch) -> (state, loss), an iteration."""


def optimizer_of(job: Job | Deep) -> optax.GradientTransformation:
    return {"sgd": optax.sgd, "adam": optax.adam}[job.optimizer](job.rate)


def begin(job: Job | Deep) -> tuple:
    """Our network, and the parameters that all begin with."""
    import jaxbp

    if isinstance(job, Job):
        net = jaxbp.mlp(job.sizes, getattr(jaxbp, job.activation))
        return net, {l: {"W": W, "b": b} for l, (W, b) in enumerate(job.params(), 1)}
    net = {
        "LeNet": jaxbp.lenet,
        "GPT": lambda: jaxbp.gpt(SYMBOLS, job.places, d=job.d),
        "LSTM": lambda: jaxbp.char_rnn(SYMBOLS, d=job.d),
    }[job.net]()
    return net, net.init(jax.random.key(job.seed))


def fit(job: Job | Deep, x: np.ndarray, y: np.ndarray):
    """As a user calls it: the history, and after each epoch the metrics of a held-out sixtieth."""
    import jaxbp

    data = (x, y)
    net, params = begin(job)
    grad_fn = jaxbp.value_and_grad(net, jaxbp.softmax_cross_entropy)
    held_out = tuple(v[: max(1, job.examples // 60)] for v in data)
    optimizer, learned = optimizer_of(job), params
    evaluate = jaxbp.make_evaluate(net.apply, jaxbp.softmax_cross_entropy)

    def train(epochs: int) -> dict:
        nonlocal learned
        start = time.perf_counter()
        learned = result = jaxbp.fit(
            grad_fn,
            learned,
            data,
            optimizer=optimizer,
            key=jax.random.key(job.seed),
            batch_size=job.batch,
            epochs=epochs,
            validation=held_out,
            evaluate=evaluate,
            mesh=jax.make_mesh((job.devices,), ("data",)) if job.devices > 1 else None,
        )
        seconds = time.perf_counter() - start - result.compile_seconds
        return {
            "loss": float(result.history["loss"][-1]),
            "seconds": seconds,
            "seconds_of_history": float(result.history["seconds"][-epochs:].sum()),
        }

    return train


def sweep(job: Job, x: np.ndarray, y: np.ndarray, order: Literal["shared", "own"] = "shared"):
    """As a user calls it: nets of as many seeds, each run from the start, evaluated as those of `fit`."""
    import jaxbp

    net = jaxbp.mlp(job.sizes, getattr(jaxbp, job.activation))
    grad_fn = jaxbp.value_and_grad(net, jaxbp.softmax_cross_entropy)
    held_out = tuple(v[: max(1, job.examples // 60)] for v in (x, y))

    def train(epochs: int) -> dict:
        result = jaxbp.sweep(
            grad_fn,
            net.init,
            (x, y),
            optimizer={"sgd": optax.sgd, "adam": optax.adam}[job.optimizer],
            hyperparameters={"learning_rate": [job.rate]},
            key=jax.random.key(job.seed),
            seeds=job.nets,
            batch_size=job.batch,
            epochs=epochs,
            validation=held_out,
            evaluate=jaxbp.make_evaluate(net.apply, jaxbp.softmax_cross_entropy),
            order=order,
        )
        return {"loss": float(result.history["loss"][:, -1].mean()), "seconds": result.seconds}

    return train


def sweep_own_orders(job: Job, x: np.ndarray, y: np.ndarray):
    return sweep(job, x, y, "own")


def adam(rate: float) -> optax.GradientTransformation:
    """optax.adam with the corrections of m and v drawn into two scalars: one division for each parameter."""

    def init(params: list) -> tuple:
        return jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.zeros_like, params), jnp.float32(0)

    def update(grads: list, state: tuple, params: list) -> tuple:
        m, v, t = state
        t = t + 1
        root = jnp.sqrt(1 - 0.999**t)
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, grads)
        scale, eps = -rate * root / (1 - 0.9**t), 1e-8 * root
        return jax.tree.map(lambda m, v: scale * m / (jnp.sqrt(v) + eps), m, v), (m, v, t)

    return optax.GradientTransformation(init, update)


def gradient(job: Job, params: list, x: jax.Array, y: jax.Array) -> tuple[jax.Array, list]:
    """Loss and gradient of a batch, written out: softmax and its delta share their exponentials, and
    there is no delta of x."""
    f = [x]
    for l, (W, b) in enumerate(params, 1):
        a = f[-1] @ W.T + b
        hidden = jax.nn.sigmoid if job.activation == "sigmoid" else lambda a: jnp.maximum(a, 0)
        f.append(a if l == len(params) else hidden(a))
    logits = f[-1] - f[-1].max(1, keepdims=True)
    e = jnp.exp(logits)
    total = e.sum(1, keepdims=True)
    one_hot = jax.nn.one_hot(y, job.sizes[-1], dtype=x.dtype)
    loss = (jnp.log(total[:, 0]) - (logits * one_hot).sum(1)).mean()
    delta, grads = (e / total - one_hot) / job.batch, []
    for l in range(len(params), 0, -1):
        W, h = params[l - 1][0], f[l - 1]
        # A small product is faster in XLA:CPU when its left side lies transposed in memory.
        transposed = jax.lax.optimization_barrier(delta.T) if job.batch * W.size < 1e6 else delta.T
        grads.insert(0, (transposed @ h, delta.sum(0)))
        if l > 1:
            delta = delta @ W
            delta = delta * h * (1 - h) if job.activation == "sigmoid" else jnp.where(h > 0, delta, 0)
    return loss, grads


def make_step(job: Job, optimizer: optax.GradientTransformation):
    def step(state: tuple, batch: tuple) -> tuple[tuple, jax.Array]:
        params, opt_state = state
        loss, grads = gradient(job, params, *batch)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), loss

    params = jax.tree.map(jnp.asarray, job.params())
    return step, (params, optimizer.init(params))


def take(batch: jax.Array, *data: jax.Array) -> tuple:
    return tuple(v.at[batch].get(mode="promise_in_bounds") for v in data)


def raw(job: Job, x: np.ndarray, y: np.ndarray):
    """The best formulation in JAX that is known to us."""
    optimizer = adam(job.rate) if job.optimizer == "adam" else optax.sgd(job.rate)
    return scans(job, x, y, *make_step(job, optimizer))


def raw_with_optax(job: Job, x: np.ndarray, y: np.ndarray):
    """The same with optax's own Adam."""
    return scans(job, x, y, *make_step(job, optimizer_of(job)))


def scans(job: Job | Deep, x: np.ndarray, y: np.ndarray, step: Step, state: tuple):
    """An epoch is a scan over chunks of some 1000 rows, gathered by all threads, and in each one over its
    batches, which are then at hand in the cache."""
    x, y = jnp.asarray(x), jnp.asarray(y)
    steps = job.examples // job.batch
    chunk = max(n for n in range(1, steps + 1) if steps % n == 0 and n * job.batch <= max(1000, job.batch))

    def epoch(state: tuple, order: np.ndarray, x: jax.Array, y: jax.Array) -> tuple[tuple, jax.Array]:
        def batches(state: tuple, rows: jax.Array) -> tuple[tuple, jax.Array]:
            taken = (v.reshape(chunk, job.batch, *v.shape[1:]) for v in take(rows, x, y))
            return jax.lax.scan(step, state, tuple(taken))

        return jax.lax.scan(batches, state, order.reshape(-1, chunk * job.batch))

    orders = job.orders()
    options = {"xla_cpu_prefer_vector_width": "512", "xla_cpu_copy_insertion_use_region_analysis": True}
    on_cpu = jax.default_backend() == "cpu"
    run = jax.jit(epoch, donate_argnums=0, compiler_options=options if on_cpu else None)
    order = next(orders)

    def train(epochs: int) -> dict:
        nonlocal state, order
        for _ in range(epochs):
            state, losses = run(state, order, x, y)
            order = next(orders)  # while the device works
            loss = np.asarray(losses).mean()
        return {"loss": float(loss)}

    return train


def per_step(job: Job, x: np.ndarray, y: np.ndarray):
    return dispatched(job, x, y, *make_step(job, optimizer_of(job)))


def dispatched(job: Job | Deep, x: np.ndarray, y: np.ndarray, step: Step, state: tuple):
    """Iterations dispatched one by one, as a loop in Python would have them."""
    x, y, orders = jnp.asarray(x), jnp.asarray(y), job.orders()
    call = jax.jit(lambda state, batch, x, y: step(state, take(batch, x, y)), donate_argnums=0)

    def train(epochs: int) -> dict:
        nonlocal state
        for _ in range(epochs):
            losses = []
            for batch in next(orders):
                state, loss = call(state, batch, x, y)
                losses.append(loss)
            loss = np.mean(jax.device_get(losses))
        return {"loss": float(loss)}

    return train


def flax_nnx(job: Job, x: np.ndarray, y: np.ndarray):
    from flax import nnx

    class Net(nnx.Module):
        def __init__(self, rngs: nnx.Rngs):
            self.layers = nnx.List(
                [nnx.Linear(i, o, rngs=rngs) for i, o in zip(job.sizes, job.sizes[1:], strict=False)]
            )

        def __call__(self, x: jax.Array) -> jax.Array:
            for layer in self.layers[:-1]:
                x = getattr(jax.nn, job.activation)(layer(x))
            return self.layers[-1](x)

    net = Net(nnx.Rngs(job.seed))
    for layer, (W, b) in zip(net.layers, job.params(), strict=True):
        layer.kernel[...], layer.bias[...] = jnp.asarray(W.T), jnp.asarray(b)
    optimizer = nnx.Optimizer(net, optimizer_of(job), wrt=nnx.Param)

    @nnx.jit
    def step(net: Net, optimizer: nnx.Optimizer, x: jax.Array, y: jax.Array) -> jax.Array:
        def loss_fn(net: Net) -> jax.Array:
            return optax.softmax_cross_entropy_with_integer_labels(net(x), y).mean()

        loss, grads = nnx.value_and_grad(loss_fn)(net)
        optimizer.update(net, grads)
        return loss

    orders = job.orders()

    def train(epochs: int) -> dict:
        for _ in range(epochs):
            loss = np.mean(jax.device_get([step(net, optimizer, x[i], y[i]) for i in next(orders)]))
        return {"loss": float(loss)}

    return train


def equinox(job: Job, x: np.ndarray, y: np.ndarray):
    import equinox as eqx

    net = eqx.nn.MLP(
        job.sizes[0],
        job.sizes[-1],
        job.sizes[1],
        len(job.sizes) - 2,
        getattr(jax.nn, job.activation),
        key=jax.random.key(job.seed),
    )
    where = lambda net: [p for layer in net.layers for p in (layer.weight, layer.bias)]  # noqa: E731
    net = eqx.tree_at(where, net, [jnp.asarray(p) for layer in job.params() for p in layer])
    optimizer = optimizer_of(job)
    opt_state = optimizer.init(eqx.filter(net, eqx.is_inexact_array))

    @eqx.filter_value_and_grad
    def loss_fn(net: eqx.nn.MLP, x: jax.Array, y: jax.Array) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(jax.vmap(net)(x), y).mean()

    @eqx.filter_jit(donate="all-except-first")
    def step(batch: tuple, net: eqx.nn.MLP, opt_state: optax.OptState) -> tuple:
        loss, grads = loss_fn(net, *batch)
        updates, opt_state = optimizer.update(grads, opt_state)
        return loss, eqx.apply_updates(net, updates), opt_state

    orders = job.orders()

    def train(epochs: int) -> dict:
        nonlocal net, opt_state
        for _ in range(epochs):
            losses = []
            for i in next(orders):
                loss, net, opt_state = step((x[i], y[i]), net, opt_state)
                losses.append(loss)
            loss = np.mean(jax.device_get(losses))
        return {"loss": float(loss)}

    return train


def keras_on_jax(job: Job, x: np.ndarray, y: np.ndarray):
    import keras

    net = keras.Sequential([keras.Input((job.sizes[0],))])
    for size in job.sizes[1:-1]:
        net.add(keras.layers.Dense(size, activation=job.activation))
    net.add(keras.layers.Dense(job.sizes[-1]))
    net.set_weights([p for W, b in job.params() for p in (W.T, b)])
    optimizer = {
        "sgd": lambda: keras.optimizers.SGD(job.rate),
        "adam": lambda: keras.optimizers.Adam(job.rate, epsilon=1e-8),
    }[job.optimizer]()
    net.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))

    def train(epochs: int) -> dict:
        history = net.fit(x, y, batch_size=job.batch, epochs=epochs, verbose=0)
        return {"loss": float(history.history["loss"][-1])}

    return train


def matmul(job: Job, x: np.ndarray, y: np.ndarray):
    """One product of square matrices, as much as the machine can do."""
    a, b = jax.random.uniform(jax.random.key(job.seed), (2, job.sizes[0], job.sizes[0]))
    product = jax.jit(jnp.matmul)

    def train(epochs: int) -> dict:
        for _ in range(epochs):
            c = product(a, b).block_until_ready()
        return {"loss": float(c[0, 0])}

    return train
