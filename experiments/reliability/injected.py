"""NaN and overflow put into a run at a known iteration: it ends there, names it, and keeps what was."""

import re
import time
import warnings
from typing import Any
from unittest.mock import patch

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxbp
from experiments.reliability.judge import said
from experiments.reliability.row import Row, many
from experiments.reliability.task import run
from jaxbp.train.engines import resident

N, BATCH, EPOCHS = 40, 8, 6
COST, PAIRS = 0.03, 15
EACH = N // BATCH  # iterations an epoch
KINDS = (
    "loss NaN",
    "loss inf",
    "gradient NaN",
    "gradient inf",
    "parameters overflow",
    "optimizer's state overflows",
)
ENGINES = ("resident", "streamed", "two devices", "early stopping", "callbacks")
X = np.random.default_rng(0).normal(size=(N, 3)).astype(np.float32)
Y = (X @ np.array([[1.0], [-2.0], [0.5]], np.float32)).astype(np.float32)


def grad_fn(params: Any, x: Any, y: Any) -> Any:
    """Least squares; n counts the iterations, at iteration ``at`` comes the fault of the kind ``which``."""

    def value(w: Any) -> Any:
        return ((x @ w - y) ** 2).mean()

    loss, slope = jax.value_and_grad(value)(params["w"])
    here = params["n"] + 1 == params["at"]
    by_kind = jnp.array([0, 0, jnp.nan, jnp.inf, 3e38, 1e30], jnp.float32)[params["which"].astype(int)]
    spoiled = jnp.where(params["which"] < 2, slope, jnp.full_like(slope, by_kind))
    bad_loss = jnp.array([jnp.nan, jnp.inf, 0, 0, 0, 0], jnp.float32)[params["which"].astype(int)]
    loss = jnp.where(here & (params["which"] < 2), bad_loss, loss)
    slope = jnp.where(here, spoiled, slope)
    zero = jnp.zeros(())
    return loss, {"w": slope, "n": -jnp.ones(()), "at": zero, "which": zero}


def _optimizer(of: optax.GradientTransformation) -> optax.GradientTransformation:
    """``of`` for w, while the others only count."""

    def update(grads: Any, state: Any, params: Any = None) -> Any:
        step, state = of.update(grads, state, params)
        return {name: -grads[name] for name in grads} | {"w": step["w"]}, state

    return optax.GradientTransformation(of.init, update)


def _late(factor: float) -> optax.GradientTransformation:
    """SGD, steep only for a gradient beyond 1e30: it then overflows the parameters, and never by itself."""

    def update(grads: Any, state: Any, params: Any = None) -> Any:
        return jax.tree.map(lambda g: jnp.where(jnp.abs(g) > 1e30, -g * factor, -0.01 * g), grads), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


STEEP, PLAIN, ADAM = _optimizer(_late(1e3)), _optimizer(optax.sgd(0.01)), _optimizer(optax.adam(0.01))


def start(at: int, which: int) -> dict[str, Any]:
    return {"w": jnp.zeros((3, 1)), "n": jnp.zeros(()), "at": jnp.float32(at), "which": jnp.float32(which)}


def evaluate(params: Any, x: Any, y: Any) -> Any:
    return {"loss": ((x @ params["w"] - y) ** 2).mean()}


def no_callback(record: Any) -> None: ...


def one(seed: int) -> str:
    """One injection: '' where the exact iteration is named and the parameters are those from before it."""
    rng = np.random.default_rng(seed)
    which, engine = int(rng.integers(len(KINDS))), ENGINES[rng.integers(len(ENGINES))]
    at = int(rng.integers(1, EACH * EPOCHS + 1))
    optimizer = {4: STEEP, 5: ADAM}.get(which, PLAIN)
    options: dict[str, Any] = {
        "streamed": {"memory_budget": 400},
        "two devices": {"mesh": jax.make_mesh((2,), ("data",))},
        "early stopping": {
            "validation": (X, Y),
            "evaluate": evaluate,
            "early_stopping": jaxbp.EarlyStopping(50),
        },
        "callbacks": {"callbacks": [no_callback]},
    }.get(engine, {})
    where = f"{KINDS[which]} at iteration {at}, {engine}"
    try:
        result = jaxbp.fit(
            grad_fn,
            start(at, which),
            (X, Y),
            optimizer=optimizer,
            key=jax.random.key(seed),
            batch_size=BATCH,
            epochs=EPOCHS,
            progress_bar=False,
            **options,
        )
    except jaxbp.DivergenceError as error:
        epoch, iteration = divmod(at - 1, EACH)
        text = str(error)
        numbers = re.search(r"epoch (\d+), iteration (\d+) of (\d+)", text)
        if numbers is None or tuple(map(int, numbers.groups())) != (epoch + 1, iteration + 1, EACH):
            return f"{where}: named otherwise: {text[:160]}"
        kept = error.result.params
        early = engine == "early stopping" and epoch
        if not np.isfinite(np.asarray(kept["w"])).all() or (not early and float(kept["n"]) != at - 1):
            return f"{where}: the parameters are not those from before it: n = {float(kept['n'])}"
        if not all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(error.result.opt_state)):
            return f"{where}: the optimizer's state kept is not finite"
        return ""
    except Exception as error:
        return f"{where}: raw: {said(error)}"
    return f"{where}: silent: {result.stopped}, loss {result.history['loss'][-1]:.3g}"


def metric(seed: int) -> str:
    """A metric that is not finite: said by its name, and never the best."""
    rng = np.random.default_rng(seed)
    always, value = bool(seed % 2), [jnp.nan, jnp.inf][rng.integers(2)]
    until = EACH * int(rng.integers(1, EPOCHS - 1))

    def spoiled(params: Any, x: Any, y: Any) -> Any:
        good = evaluate(params, x, y)["loss"]
        return {"loss": jnp.where(always | (params["n"] <= until), value, good)}

    where = f"metric {value} " + ("always" if always else f"until iteration {until}")
    with warnings.catch_warnings(record=True) as said_so:
        warnings.simplefilter("always")
        try:
            result = jaxbp.fit(
                grad_fn,
                start(10**6, 0),
                (X, Y),
                optimizer=PLAIN,
                key=jax.random.key(seed),
                batch_size=BATCH,
                epochs=EPOCHS,
                validation=(X, Y),
                evaluate=spoiled,
                early_stopping=jaxbp.EarlyStopping(EPOCHS),
                progress_bar=False,
            )
        except Exception as error:
            return (
                "" if "val_loss" in str(error) or "metric" in str(error) else f"{where}: raw: {said(error)}"
            )
    column = result.history["val_loss"]
    never_best = not always and np.isfinite(column[result.best_epoch - 1])
    if never_best or any("val_loss" in str(w.message) for w in said_so):
        return ""
    return f"{where}: silent: best_epoch {result.best_epoch}, val_loss {column}"


def chunk(first: int, count: int, metrics: int) -> dict[str, Any]:
    faults = [fault for seed in range(first, first + count) if (fault := one(seed))]
    faults += [fault for seed in range(first, first + metrics) if (fault := metric(seed))]
    return {"count": count, "metrics": metrics, "faults": faults}


def unwatched() -> Any:
    """The library's epochs without their look at what is finite: for its cost, and for nothing else."""
    return patch.object(resident, "make_look", lambda everywhere: lambda losses, before, after: True)


def cost(pairs: int) -> dict[str, float]:
    """What the look adds to the CPU time of a run, as a part of it: the median of pairs of runs."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(1600, 64)).astype(np.float32), rng.integers(0, 10, 1600).astype(np.int32)
    hand = jaxbp.value_and_grad(jaxbp.mlp([64, 128, 10], jaxbp.relu), jaxbp.softmax_cross_entropy)
    params, optimizer = hand.net.init(jax.random.key(0)), optax.adam(1e-3)

    def spent(grad_fn: Any) -> float:
        begun = time.process_time()
        jaxbp.fit(
            grad_fn, params, (x, y), optimizer=optimizer, key=jax.random.key(1), batch_size=32, epochs=40,
            progress_bar=False,
        )  # fmt: skip
        return time.process_time() - begun

    def watching(params: Any, x: Any, y: Any) -> Any:
        return hand(params, x, y)

    def blind(params: Any, x: Any, y: Any) -> Any:
        return hand(params, x, y)

    spent(watching)
    with unwatched():
        spent(blind)  # compiled once, and found again by its gradient function
    return {"part": float(np.median([spent(watching) / spent(blind) for _ in range(pairs)])) - 1}


def measure(scale: float = 1.0, *, jobs: int = 2, seed: int = 0) -> Row:
    """The row of the scorecard: 300 injections at scale 1, and 30 metrics."""
    wanted = many(300, scale)
    size = max(1, -(-wanted // max(jobs, 1)))
    asked = [
        [seed * 10**6 + i * size, min(size, wanted - i * size), many(15, scale)]
        for i in range(-(-wanted // size))
    ]
    found = list(run("injected", "chunk", asked, jobs=jobs, timeout=1800))
    (spent,) = run("injected", "cost", [[many(PAIRS, scale)]], jobs=1, timeout=1800)
    looking = spent.get("part", np.nan)
    faults = [fault for a in found for fault in a.get("faults", [a.get("died")])]
    count, metrics = (sum(a.get(k, 0) for a in found) for k in ("count", "metrics"))
    wrong = sum(not f.startswith("metric") for f in faults)
    return Row(
        "NaN and overflow injected (parameters, optimizer's state, metrics)",
        "exact step named, 300 of 300; looking costs <= 3 %",
        f"{count - wrong} of {count} named exactly; "
        f"{metrics - len(faults) + wrong} of {metrics} metrics said; "
        f"looking costs {looking:+.1%} of the CPU time (64-128-10, median of {many(PAIRS, scale)} pairs)",
        not faults and looking <= COST,
        "the cost for other networks: it grows with the parameters, once in a group of epochs",
        tuple(faults),
    )
