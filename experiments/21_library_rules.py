"""Are the derivative rules of installed libraries right?

Points jaxbp.check at functions of jax, optax, flax and equinox that have custom rules, in float32, and prints
every verdict that is not "right". Then shows, in closed form, what the remaining alarms are.

    python experiments/21_library_rules.py

About two minutes on two CPU cores. Expected: no alarm except three that are wanted by their authors:
optax.scale_gradient (says so in its name) and flax's fp8 in_qdq and out_qdq, whose "gradient" of the scale is
the next scale and not a derivative: it does not depend on the cotangent. One verdict is open: the gradient of
logaddexp at (-inf, -inf), where JAX gives NaN.
"""

import warnings
from collections import Counter

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import jax.scipy.special as special
import numpy as np
import optax
import optax.projections as projections
from flax.linen import fp8_ops
from jax.experimental.ode import odeint

from jaxbp.verify import check

RNG = np.random.default_rng(0)
BETWEEN = RNG.uniform(0.2, 0.8, (4,)).astype(np.float32)


def draw(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def root(a):
    def newton(f, x):
        return jax.lax.fori_loop(0, 20, lambda i, x: x - f(x) / (2 * x), x)

    return jax.lax.custom_root(
        lambda x: x**2 - a, jnp.ones_like(a), newton, lambda g, y: y / g(jnp.ones_like(y))
    )


def of_jax():
    nn_names = (
        "relu",
        "relu6",
        "silu",
        "gelu",
        "softmax",
        "log_softmax",
        "elu",
        "selu",
        "celu",
        "softplus",
        "mish",
        "hard_tanh",
        "log_sigmoid",
        "glu",
        "squareplus",
    )
    cases = {f"jax.nn.{n}": (getattr(jax.nn, n), (draw(3, 4),)) for n in nn_names}
    cases["relu at 0"] = (jax.nn.relu, (np.array([-1.0, 0.0, 1.0], np.float32),))
    cases["relu6 at its bounds"] = (jax.nn.relu6, (np.array([0.0, 6.0, 7.0], np.float32),))
    cases["sinc at 0"] = (jnp.sinc, (np.array([-1.5, 0.0, 0.3], np.float32),))
    for n in ("logit", "entr", "ndtri", "log_ndtr", "gammaln", "expi", "exp1", "digamma", "spence"):
        cases[f"special.{n}"] = (getattr(special, n), (BETWEEN,))
    for n in ("xlogy", "xlog1py", "kl_div", "rel_entr"):
        cases[f"special.{n}"] = (getattr(special, n), (BETWEEN, BETWEEN[::-1].copy()))
    cases["betainc"] = (lambda x: special.betainc(2.0, 3.0, x), (BETWEEN,))
    cases["logaddexp"] = (jnp.logaddexp, (draw(4), draw(4)))
    cases["logaddexp at -inf"] = (
        jnp.logaddexp,
        (np.array([-np.inf, 0], np.float32), np.array([-np.inf, 1], np.float32)),
    )
    cases["slogdet"] = (lambda a: jnp.linalg.slogdet(a)[1], (draw(3, 3),))
    cases["det"] = (lambda a: jnp.linalg.det(a), (draw(4, 4),))
    cases["pinv"] = (lambda a: jnp.linalg.pinv(a), (draw(4, 3),))
    cases["expm"] = (jax.scipy.linalg.expm, (draw(3, 3),))
    cases["custom_root"] = (root, (BETWEEN,))
    cases["odeint"] = (
        lambda y, w: odeint(lambda y, t, w: jnp.sin(w * y), y, jnp.linspace(0.0, 1.0, 3), w),
        (draw(2), draw(2)),
    )
    cases["truncated_normal"] = (
        lambda a: jax.random.truncated_normal(jax.random.key(0), a, 2.0, (3,)),
        (draw(3) - 3,),
    )
    return cases


def of_optax():
    names = (
        "sigmoid_binary_cross_entropy",
        "softmax_cross_entropy",
        "l2_loss",
        "huber_loss",
        "log_cosh",
        "hinge_loss",
        "perceptron_loss",
    )
    labels = np.asarray(jax.nn.softmax(draw(3, 4)))
    cases = {f"optax.{n}": (getattr(optax.losses, n), (draw(3, 4), labels)) for n in names}
    cases["optax.perceptron_loss at 0"] = (
        optax.losses.perceptron_loss,
        (np.zeros(3, np.float32), np.ones(3, np.float32)),
    )
    cases["optax.safe_norm at 0"] = (lambda x: optax.safe_norm(x, 1e-6), (np.zeros(3, np.float32),))
    cases["optax.scale_gradient"] = (lambda x: optax.scale_gradient(x, 0.5), (draw(4),))
    for n in (
        "projection_simplex",
        "projection_l1_ball",
        "projection_l2_ball",
        "projection_l1_sphere",
        "projection_non_negative",
    ):
        cases[f"optax.{n}"] = (getattr(projections, n), (draw(5),))
    return cases


def of_flax():
    cases = {}
    for module, shape in (
        (nn.Dense(4), (3, 4)),
        (nn.LayerNorm(), (3, 4)),
        (nn.GroupNorm(2), (3, 4)),
        (nn.RNN(nn.LSTMCell(3)), (2, 5, 4)),
    ):
        x = draw(*shape)
        params = module.init(jax.random.key(0), x)
        cases[f"flax.{type(module).__name__}"] = (lambda p, x, m=module: m.apply(p, x), (params, x))
    for n, dtype in (("in_qdq", jnp.float8_e4m3fn), ("out_qdq", jnp.float8_e5m2)):
        quantise = getattr(fp8_ops, n)
        cases[f"flax.{n}"] = (
            lambda x, q=quantise, d=dtype: q(jnp.float32, d, x, jnp.ones((1,)), jnp.zeros((4,))),
            (draw(3, 4),),
        )
    return cases


def of_equinox():
    def loop(kind):
        def body(c):
            return jnp.sin(c[0]) * 1.1, c[1] + 1

        return lambda x: eqx.internal.while_loop(lambda c: c[1] < 4, body, (x, 0), max_steps=8, kind=kind)[0]

    key = jax.random.key(0)
    return {
        "equinox.MLP": (eqx.nn.MLP(3, 2, 4, 1, key=key), (draw(3),)),
        "equinox.GRUCell": (eqx.nn.GRUCell(3, 4, key=key), (draw(3), draw(4))),
        "equinox.MultiheadAttention": (eqx.nn.MultiheadAttention(2, 4, key=key), (draw(3, 4),) * 3),
        "equinox checkpointed while": (loop("checkpointed"), (draw(3),)),
        "equinox.error_if": (lambda x: eqx.error_if(x, x.sum() > 1e9, "big"), (draw(3),)),
        "equinox nextafter": (eqx.internal.nextafter, (draw(3),)),
    }


def explain():
    """What the three wanted alarms are, without the checker."""
    x = draw(3, 4)

    def scale_cotangent(c):
        def f(scale):
            return fp8_ops.in_qdq(jnp.float32, jnp.float8_e4m3fn, x, scale, jnp.zeros((4,)))

        return jax.vjp(f, jnp.ones((1,)))[1](c)[0]

    once, twice = scale_cotangent(jnp.ones_like(x)), scale_cotangent(2 * jnp.ones_like(x))
    print(
        f"in_qdq: the cotangent of the scale is {once} for a cotangent c and {twice} for 2c: not a derivative"
    )
    slope = jax.grad(lambda x: optax.scale_gradient(x, 0.5))(1.0)
    print(f"scale_gradient: the derivative of x is {slope}, as asked for")
    value, slope = jax.value_and_grad(jnp.logaddexp)(-jnp.inf, -jnp.inf)
    print(f"logaddexp at (-inf, -inf): value {value}, derivative {slope}")


def main():
    warnings.simplefilter("ignore")
    verdicts, alarms = Counter(), []
    for name, (f, args) in (of_jax() | of_optax() | of_flax() | of_equinox()).items():
        report = check(f, *args)
        verdicts.update(finding.verdict for finding in report.findings)
        if not report.ok or report.verdict == "inconclusive":
            alarms.append(name)
            print(f"--- {name}\n{report}", flush=True)
    print(dict(verdicts))
    explain()
    return {"verdicts": dict(verdicts), "alarms": alarms}


if __name__ == "__main__":
    main()
