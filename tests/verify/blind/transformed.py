"""Rules inside jit, scan, while, cond, vmap, remat, shard_map, inside a gradient; and second derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from tests.verify.blind.case import Case, forward_rule, from_output, into, normal, rule, uniform

CASES: dict[str, Case] = {}
right, wrong = into(CASES)
X, W, H = normal(4, 3), normal(3, 3, seed=1), normal(3, seed=2)


def sigmoid_of_the_input():
    """Wrong: the slope y (1 - y) of the output, taken at the input."""
    return rule(jax.nn.sigmoid, lambda x, ct: ct * x * (1 - x))


def sigmoid():
    return from_output(jax.nn.sigmoid, lambda y, ct: ct * y * (1 - y))


def mesh():
    return jax.make_mesh((2,), ("d",), (jax.sharding.AxisType.Auto,), devices=jax.devices()[:2])


def sharded(f, *ins, out):
    return jax.shard_map(f, mesh=mesh(), in_specs=ins, out_specs=out, check_vma=False)


@wrong("wrong point", X)
def inside_jit():
    return jax.jit(lambda x: jnp.sum(sigmoid_of_the_input()(x) ** 2))


@wrong("wrong point", W, H)
def inside_a_scan():
    cell = sigmoid_of_the_input()
    return lambda w, h: jax.lax.scan(lambda h, _: (cell(w @ h), h), h, None, 4)[0]


@wrong("wrong point", W, H)
def inside_a_fori_loop():
    cell = sigmoid_of_the_input()
    return lambda w, h: jax.lax.fori_loop(0, 3, lambda i, h: cell(w @ h) + h, h)


@wrong("wrong point", H)
def inside_the_branch_that_is_taken():
    bad = sigmoid_of_the_input()
    return lambda x: jax.lax.cond(jnp.sum(x) < 100, bad, jnp.sin, x)


@wrong("wrong point", X, W)
def inside_remat():
    bad = sigmoid_of_the_input()
    return jax.checkpoint(lambda x, w: bad(x @ w) @ w)


@wrong("diagonal only", X)
def inside_vmap():
    bad = from_output(lambda x: jax.nn.softmax(x), lambda y, ct: ct * y * (1 - y))
    return jax.vmap(bad)


@wrong("wrong under vmap", X, H)  # the rule was written for a batch and sums over its first axis
def summed_over_what_vmap_makes_a_feature():
    def backward(x, w, ct):
        return ct * w, jnp.sum(ct * x, 0) * jnp.ones_like(w)

    return jax.vmap(rule(lambda x, w: x * w, backward), (0, None))


@wrong("factor", X, true=lambda x: jnp.sum((jnp.sin(x) + x * jnp.cos(x)) ** 2))
def inside_a_gradient_with_a_penalty():
    f = rule(jnp.sin, lambda x, ct: 2 * ct * jnp.cos(x))
    return lambda x: jnp.sum(jax.grad(lambda x: jnp.sum(f(x) * x))(x) ** 2)


@wrong("one call of two", X)
def one_wrong_rule_among_three_right():
    good, bad = sigmoid(), forward_rule(lambda x: x * jnp.sin(x), lambda x, dx: jnp.cos(x) * x * dx)
    return lambda x: good(bad(good(x)) + good(2 * x))


@wrong("sign", H)
def nested_rule_wrong_inside_a_right_one():
    inner = rule(jnp.sin, lambda x, ct: -ct * jnp.cos(x))

    def backward(x, ct):
        return jax.vjp(lambda x: inner(x) * x, x)[1](ct)[0]

    return rule(lambda x: inner(x) * x, backward)


@wrong("psum missing", normal(4, 3), normal(3, seed=1))
def replicated_weight_without_a_psum():
    def f(x, w):
        return jax.lax.psum(jnp.sum(jnp.tanh(x * w)), "d")

    def backward(x, w, ct):
        d = ct * (1 - jnp.tanh(x * w) ** 2)
        return d * w, jnp.sum(d * x, 0) * 3.0  # some factor for the devices, and the wrong one

    return sharded(rule(f, backward), P("d"), P(), out=P())


@wrong("psum twice", normal(4, 3))
def local_loss_summed_over_devices_in_the_rule():
    bad = rule(lambda x: x**2, lambda x, ct: 2 * x * jax.lax.psum(ct, "d"))
    return sharded(bad, P("d"), out=P("d"))


@wrong("backward in time missing", normal(5), uniform(5, high=0.9))
def linear_recurrence_with_a_forward_rule():
    def recur(x, a):
        return jax.lax.scan(lambda h, s: (s[1] * h + s[0], s[1] * h + s[0]), jnp.zeros_like(x[0]), (x, a))[1]

    def backward(x, a, ct):
        d = recur(ct, a)
        h = jnp.concatenate([jnp.zeros(1, x.dtype), recur(x, a)[:-1]])
        return d, d * h

    return rule(recur, backward)


@wrong("gate shifted", normal(5), uniform(5, high=0.9))
def linear_recurrence_with_the_gate_of_the_wrong_step():
    def recur(x, a):
        return jax.lax.scan(lambda h, s: (s[1] * h + s[0], s[1] * h + s[0]), jnp.zeros_like(x[0]), (x, a))[1]

    def backward(x, a, ct):
        d = recur(ct[::-1], a[::-1])[::-1]
        h = jnp.concatenate([jnp.zeros(1, x.dtype), recur(x, a)[:-1]])
        return d, d * h

    return rule(recur, backward)


@wrong("last step only", W, H)
def truncated_through_time_in_secret():
    def run(w, h):
        return jax.lax.scan(lambda h, _: (jnp.tanh(w @ h), None), h, None, 4)[0]

    def backward(w, h, ct):
        before = jax.lax.scan(lambda h, _: (jnp.tanh(w @ h), None), h, None, 3)[0]
        return jax.vjp(lambda w, h: jnp.tanh(w @ h), w, before)[1](ct)

    return rule(run, backward)


@right(W, H)
def right_inside_a_scan():
    cell = sigmoid()
    return lambda w, h: jax.lax.scan(lambda h, _: (cell(w @ h), h), h, None, 4)


@right(H)
def right_inside_a_branch_beside_a_wrong_one_never_taken():
    good = sigmoid()
    return lambda x: jax.lax.cond(jnp.sum(x) < 100, good, jnp.sin, x)


@right(H)
def right_in_a_while_loop_of_the_forward_pass():
    def root(x):
        def apart(state):
            s, before = state
            return jnp.any(jnp.abs(s - before) > 4 * jnp.finfo(x.dtype).eps * s)

        def step(state):
            return 0.5 * (state[0] + x / state[0]), state[0]

        return jax.lax.while_loop(apart, step, (x, 2 * x))[0]

    f = from_output(root, lambda y, ct: ct / (2 * y))
    return lambda x: f(x**2 + 0.5)


@right(X, W)
def right_inside_remat_and_jit():
    good = sigmoid()
    return jax.jit(jax.checkpoint(lambda x, w: good(good(x @ w) @ w)))


@right(X, W)
def right_under_vmap_with_a_shared_weight():
    return jax.vmap(rule(lambda x, w: w @ x, lambda x, w, ct: (w.T @ ct, jnp.outer(ct, x))), (0, None))


@right(X)
def right_under_two_vmaps():
    return jax.vmap(jax.vmap(forward_rule(jnp.sin, lambda x, dx: jnp.cos(x) * dx)), 1, 1)


@right(X)
def right_inside_a_gradient_with_a_penalty():
    f = forward_rule(lambda x: jnp.sin(x) * x, lambda x, dx: (jnp.cos(x) * x + jnp.sin(x)) * dx)
    return lambda x: jnp.sum(jax.grad(lambda x: jnp.sum(f(x)))(x) ** 2)


@right(normal(4, 3), normal(3, seed=1))
def right_in_shard_map_elementwise():
    def backward(x, w, ct):
        return ct * (1 - jnp.tanh(x) ** 2) * w, jnp.sum(ct * jnp.tanh(x), 0)

    good = rule(lambda x, w: jnp.tanh(x) * w, backward)
    return sharded(good, P("d"), P(), out=P("d"))


@right(normal(4, 3))
def right_mean_over_devices_in_shard_map():
    good = rule(lambda x: x**2, lambda x, ct: 2 * x * ct)
    return jax.shard_map(lambda x: jax.lax.pmean(good(x), "d"), mesh=mesh(), in_specs=P("d"), out_specs=P())


@right(normal(5), uniform(5, high=0.9))
def linear_recurrence_backward_in_time():
    def recur(x, a):
        return jax.lax.scan(lambda h, s: (s[1] * h + s[0], s[1] * h + s[0]), jnp.zeros_like(x[0]), (x, a))[1]

    def backward(x, a, ct):
        gates = jnp.concatenate([a[1:], jnp.zeros(1, a.dtype)])
        d = recur(ct[::-1], gates[::-1])[::-1]
        return d, d * jnp.concatenate([jnp.zeros(1, x.dtype), recur(x, a)[:-1]])

    return rule(recur, backward)


@right(np.log(uniform(5, 3)))
def hidden_markov_forward_pass_by_posteriors():
    step = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]]))

    def messages(e):
        def move(a, e):
            a = jax.nn.logsumexp(a[:, None] + step, 0) + e
            return a, a

        return jnp.concatenate([e[:1], jax.lax.scan(move, e[0], e[1:])[1]])

    def backward(e, ct):
        def back(b, e):
            b = jax.nn.logsumexp(step + (e + b)[None, :], 1)
            return b, b

        b = jax.lax.scan(back, jnp.zeros(3, e.dtype), e[1:], reverse=True)[1]
        return ct * jax.nn.softmax(messages(e) + jnp.concatenate([b, jnp.zeros((1, 3), e.dtype)]), -1)

    return rule(lambda e: jax.nn.logsumexp(messages(e)[-1]), backward)


@right(H)
def right_called_at_two_places_with_other_shapes():
    good = sigmoid()
    return lambda x: jnp.sum(good(x)) * good(jnp.outer(x, x))


@wrong("second slope", normal(7), order=2)
def sine_whose_slope_has_a_wrong_slope():
    cosine = rule(jnp.cos, lambda x, ct: ct * jnp.sin(x))
    return rule(jnp.sin, lambda x, ct: ct * cosine(x))


@right(normal(6), order=2)
def sigmoid_differentiable_twice():
    sigmoid = from_output(jax.nn.sigmoid, lambda y, ct: ct * y * (1 - y))
    sigmoid.defvjp(lambda x: (sigmoid(x), x), lambda x, ct: (ct * sigmoid(x) * (1 - sigmoid(x)),))
    return sigmoid
