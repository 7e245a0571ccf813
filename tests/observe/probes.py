"""What proves a sickness, without the code under test: one probe for each word.

A probe takes (f, params, batch) and says whether the sickness is there. Some look at the behavior of f
alone; others look at the values of its equations, which `recorded` collects.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

CALLS = {"jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call", "checkpoint", "remat2"}
FAST = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def compiled(f):
    """f, compiled with little optimization: each is run once or twice."""
    return jax.jit(f, compiler_options=FAST)


def recorded(f, args, measure):
    """What `measure(name, params, inputs, outputs)` yields at each equation of f, except None."""
    closed = jax.make_jaxpr(f)(*args)

    def run(*leaves):
        found = []
        walk(closed.jaxpr, closed.consts, leaves, lambda *seen: found.append(measure(*seen)))
        return [value for value in found if value is not None]

    return jax.device_get(compiled(run)(*jax.tree.leaves(args)))


def walk(jaxpr, consts, args, see):
    """Run a jaxpr, enter its calls and short scans, and show each equation to `see`."""
    env = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))
    for eqn in jaxpr.eqns:
        values = [v.val if isinstance(v, Literal) else env[v] for v in eqn.invars]
        name = eqn.primitive.name
        inner = next((eqn.params[k] for k in ("jaxpr", "call_jaxpr", "fun_jaxpr") if k in eqn.params), None)
        if name in CALLS:
            out = walk(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), values, see)
        elif name == "scan" and eqn.params["length"] <= 12:
            out = steps(eqn.params, inner, values, see)
        else:
            out = eqn.primitive.bind(*values, **eqn.primitive.get_bind_params(eqn.params))
            out = out if eqn.primitive.multiple_results else [out]
            see(name, eqn.params, values, out)
        env.update(zip(eqn.outvars, out, strict=True))
    return [v.val if isinstance(v, Literal) else env[v] for v in jaxpr.outvars]


def steps(params, inner, values, see):
    """A scan, forward in time, step by step."""
    consts, carries = params["num_consts"], params["num_carry"]
    fixed, carry, xs = values[:consts], values[consts : consts + carries], values[consts + carries :]
    rows = []
    for t in range(params["length"]):
        out = walk(inner.jaxpr, inner.consts, [*fixed, *carry, *(x[t] for x in xs)], see)
        carry, row = out[:carries], out[carries:]
        rows.append(row)
    return [*carry, *(jnp.stack(column) for column in zip(*rows, strict=True))]


def leaves_of_gradient(f, params, batch):
    loss, grads = compiled(jax.value_and_grad(f))(params, *batch)
    return np.asarray(loss), [np.asarray(g) for g in jax.tree.leaves(grads)]


def floating(values):
    return all(jnp.issubdtype(jnp.result_type(v), jnp.floating) for v in values)


def is_softmax(name, out):
    """Whether a quotient is of probabilities: between 0 and 1 with the sum 1 along its last axis."""
    if name != "div" or out.ndim < 2 or out.shape[-1] < 2:
        return False
    return (out >= 0).all() & (jnp.abs(out.sum(-1) - 1) < 1e-4).all()


# Values of the equations


def saturated(f, params, batch):
    def share(name, _, ins, outs):
        if name == "logistic":
            return jnp.mean((outs[0] < 0.01) | (outs[0] > 0.99))
        if name == "tanh":
            return jnp.mean(jnp.abs(outs[0]) > 0.99)
        if name == "div" and jnp.ndim(outs[0]) >= 2:
            return is_softmax(name, outs[0]) * jnp.mean(outs[0].max(-1) > 0.99)
        return None

    return max(recorded(f, (params, *batch), share)) > 0.5


def dead(f, params, batch):
    def share(name, _, ins, outs):
        if name != "max" or jnp.ndim(ins[1]) != 0 or jnp.ndim(outs[0]) < 1:
            return None
        axes = tuple(range(outs[0].ndim - 1)) if outs[0].ndim > 1 else ()
        return jnp.mean(jnp.all(ins[0] <= 0, axis=axes)) * (jnp.asarray(ins[1]) == 0)

    _, grads = leaves_of_gradient(f, params, batch)
    return max(recorded(f, (params, *batch), share)) > 0.5 and any((g == 0).any() for g in grads)


def overflow(f, params, batch):
    def born(name, _, ins, outs):
        if not floating(outs) or not floating(ins) or name == "log":
            return None
        finite = jnp.all(jnp.array([jnp.isfinite(i).all() for i in ins]))
        return finite * sum(jnp.isinf(o).sum() for o in outs)

    loss, grads = leaves_of_gradient(f, params, batch)
    broken = not all(np.isfinite(v).all() for v in (loss, *grads))
    return broken and max(recorded(f, (params, *batch), born)) > 0


def underflow(f, params, batch):
    def lost(name, _, ins, outs):
        if name not in {"mul", "div", "exp", "reduce_prod", "square", "integer_pow"} or not floating(outs):
            return None
        if name == "reduce_prod":
            return jnp.mean(outs[0] == 0) * jnp.all(ins[0] != 0)
        whole = [jnp.broadcast_to(i, outs[0].shape) != 0 for i in ins]
        return jnp.mean(jnp.stack([outs[0] == 0, *whole]).all(0))

    _, grads = leaves_of_gradient(f, params, batch)
    at = (params, *batch)
    shares = recorded(f, at, lost) + recorded(jax.grad(f), at, lost)
    return any((g == 0).all() for g in grads) and max(shares) > 0.5


def clipped(f, params, batch):
    def share(name, _, ins, outs):
        if name not in {"max", "min"} or not floating(outs):
            return None
        bounds = [i for i in ins if jnp.ndim(i) == 0]
        return jnp.mean((outs[0] == bounds[0]) & (outs[0] != 0)) if bounds and jnp.ndim(outs[0]) else None

    return max(recorded(f, (params, *batch), share)) > 0.3


def tiny_denominator(f, params, batch):
    def share(name, _, ins, outs):
        if name not in {"div", "rsqrt"}:
            return None
        below = 1e-6 if name == "div" else 1e-10
        return jnp.mean((jnp.abs(ins[-1]) < below) & jnp.isfinite(outs[0]))

    _, grads = leaves_of_gradient(f, params, batch)
    largest = max(np.abs(g).max() for g in grads)
    return 1e3 < largest < np.inf and max(recorded(f, (params, *batch), share)) > 0.5


def size_one(f, params, batch):
    def reduces_one(name, options, ins, outs):
        if name not in {"reduce_sum", "reduce_max"}:
            return None
        return jnp.asarray(any(ins[0].shape[a] == 1 for a in options["axes"]))

    _, grads = leaves_of_gradient(f, params, batch)
    return any(np.abs(g).max() < 1e-6 for g in grads) and any(recorded(f, (params, *batch), reduces_one))


def double_squash(f, params, batch):
    def seen(name, _, ins, outs):
        if name == "logistic" or (name == "div" and jnp.ndim(outs[0]) == 2):
            of = jnp.asarray(name == "logistic") | is_softmax(name, outs[0])
            return {"squashed": outs[0], "yes": of}
        if name in {"neg", "max", "reduce_max", "abs", "exp", "logistic"} and jnp.ndim(ins[0]):
            return {"read": ins[0]}
        return None

    found = recorded(f, (params, *batch), seen)
    squashed = [v["squashed"] for v in found if "squashed" in v and v["yes"]]
    read = [v["read"].reshape(-1) for v in found if "read" in v]
    return any(np.array_equal(s.reshape(-1), r) for s in squashed for r in read)


def output_range(f, params, batch):
    y = np.asarray(batch[-1])
    low_high = {"logistic": (0, 1), "tanh": (-1, 1), "max": (0, np.inf), "div": (0, 1)}

    def share(name, _, ins, outs):
        if name not in low_high or jnp.size(outs[0]) != y.size:
            return None
        low, high = low_high[name]
        outside = ((y < low) | (y > high)).mean()
        return outside * ((outs[0] >= low) & (outs[0] <= high)).all() * jnp.ones(())

    return max(recorded(f, (params, *batch), share)) > 0.5


# The behavior of f


def nan_forward(f, params, batch):
    return np.isnan(leaves_of_gradient(f, params, batch)[0])


def nan_backward(f, params, batch):
    loss, grads = leaves_of_gradient(f, params, batch)
    return np.isfinite(loss) and any(np.isnan(g).any() for g in grads)


def first_over_last(f, params, batch):
    """Norms of the gradients at the first and last step, or at the first and last bias."""
    x = batch[0]
    if x.ndim == 3 and x.shape[1] >= 8:
        g = compiled(jax.grad(f, argnums=1))(params, *batch)
        g = np.asarray(g, float)
        return np.linalg.norm(g[:, 0]) / np.linalg.norm(g[:, -1])
    biases = [np.asarray(g, float) for g in leaves_of_gradient(f, params, batch)[1] if g.ndim == 1]
    return np.linalg.norm(biases[0]) / np.linalg.norm(biases[-1])


def vanishing(f, params, batch):
    return first_over_last(f, params, batch) < 1e-3


def exploding(f, params, batch):
    return 1e3 < first_over_last(f, params, batch) < np.inf


def moved_without_gradient(f, params, batch):
    """For each parameter whose gradient is exactly 0: whether the loss moves when it does."""
    _, grads = leaves_of_gradient(f, params, batch)
    leaves, tree = jax.tree.flatten(params)
    loss, rng = compiled(f), np.random.default_rng(0)
    at = loss(params, *batch)
    for i, g in enumerate(grads):
        if not (g == 0).all():
            continue
        other = leaves[i] + jnp.asarray(5 * rng.standard_normal(g.shape), g.dtype)
        yield loss(jax.tree.unflatten(tree, [*leaves[:i], other, *leaves[i + 1 :]]), *batch) != at


def unused(f, params, batch):
    return not all(moved_without_gradient(f, params, batch))


def cut(f, params, batch):
    return any(moved_without_gradient(f, params, batch))


def detached_state(f, params, batch):
    x = batch[0]
    g = np.asarray(compiled(jax.grad(f, argnums=1))(params, *batch))
    loss = compiled(f)
    moves = loss(params, x.at[:, -2].add(1.0), *batch[1:]) != loss(params, *batch)
    return (g[:, :-1] == 0).all() and (g[:, -1] != 0).any() and moves


def identical(f, params, batch):
    _, grads = leaves_of_gradient(f, params, batch)

    def same(w, axis):
        return w.shape[axis] > 1 and np.ptp(w, axis=axis).max() <= 1e-5 * np.abs(w).max()

    pairs = zip(map(np.asarray, jax.tree.leaves(params)), grads, strict=True)
    return any(
        same(w, axis) and same(g, axis)
        for w, g in pairs if w.ndim == 2 and np.abs(g).max() > 1e-6
        for axis in (0, 1)
    )  # fmt: skip


def wrong_axis(f, params, batch):
    """The halves of the batch act on each other, or the weights of a mixture sum to 1 over another axis."""
    x, rest, n = batch[0], batch[1:], len(batch[0]) // 2
    other = 3 * jnp.flip(x, axis=0)
    first, second = x.at[:n].set(other[:n]), x.at[n:].set(other[n:])
    four = jnp.stack([x, first, second, other])
    losses = np.asarray(compiled(jax.vmap(lambda x: f(params, x, *rest)))(four), float)
    together = abs(losses[3] - losses[1] - losses[2] + losses[0]) > 3e-5 * abs(losses[0])

    def over_another(name, _, ins, outs):
        if name != "div" or jnp.ndim(outs[0]) != 3:
            return None
        return (jnp.abs(outs[0].sum(1) - 1) < 1e-4).all() & (jnp.abs(outs[0].sum(2) - 1) > 1e-2).any()

    return together or any(recorded(f, (params, *batch), over_another))


def broadcast(f, params, batch):
    """Each example meets every target: the targets may be shuffled alone."""
    loss, y = compiled(f), batch[-1]
    shuffled = jnp.roll(y, 3, axis=0)
    return not np.array_equal(y, shuffled) and np.isclose(
        loss(params, *batch), loss(params, *batch[:-1], shuffled), rtol=1e-5
    )


def ignored_examples(f, params, batch):
    x, rest = batch[0], batch[1:]

    def without(i):
        return f(params, x.at[i].set(x[(i + 1) % len(x)]), *rest)

    losses = compiled(jax.vmap(without))(jnp.arange(len(x)))
    return np.mean(np.asarray(losses) == np.median(losses)) >= 0.5


def mask(f, params, batch):
    """The padding has an influence."""
    x, keep, rest = batch[0], batch[1], batch[2:]
    if jnp.issubdtype(x.dtype, jnp.floating):
        other = jnp.where(keep[..., None] > 0, x, x + 1.0)
    else:
        other = jnp.where(keep > 0, x, x + 1)
    loss = compiled(f)
    return not np.isclose(loss(params, x, keep, *rest), loss(params, other, keep, *rest), rtol=1e-6)


def reduction(f, params, batch):
    loss, doubled = compiled(f), [jnp.concatenate([b, b]) for b in batch]
    return np.isclose(loss(params, *doubled), 2 * loss(params, *batch), rtol=1e-3)


def dominated(f, params, batch):
    def one(i):
        grads = jax.grad(f)(params, *[jax.lax.dynamic_slice_in_dim(b, i, 1) for b in batch])
        return jnp.sqrt(sum(jnp.sum(g**2) for g in jax.tree.leaves(grads)))

    norms = np.asarray(compiled(jax.vmap(one))(jnp.arange(len(batch[0]))))
    return norms.max() > 0.9 * norms.sum()


# The batch


def columns(batch):
    return np.asarray(batch[0], float).reshape(len(batch[0]), -1)


def constant_input(f, params, batch):
    return np.mean(np.ptp(columns(batch), axis=0) == 0) > 0.5


def duplicate_input(f, params, batch):
    x = columns(batch)
    same = (x[:, :, None] == x[:, None, :]).all(0)
    return np.mean(same.sum(0) > 1) > 0.5 and np.ptp(x, axis=0).min() > 0


def unscaled(f, params, batch):
    return np.sqrt(np.mean(columns(batch) ** 2)) > 10


def one_class(f, params, batch):
    y = np.asarray(batch[-1])
    return len(np.unique(y.argmax(-1) if y.ndim == 2 else y)) == 1


def label_range(f, params, batch):
    """Against the number of outputs, which is that of the last biases."""
    outputs = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim == 1][-1].size
    y = np.asarray(batch[-1])
    return y.min() < 0 or y.max() > max(outputs - 1, 1)
