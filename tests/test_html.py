"""Names that users give (layers, parameters, metrics, functions) never become part of a notebook's HTML."""

import importlib
import inspect
import pkgutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxbp

EVIL = "<script>alert(1)</script>&<b>"
X, Y = jnp.ones((4, 2)), jnp.zeros((4, 2))


def net():
    """A network with a layer of this name."""
    tanh = jaxbp.elementwise(EVIL, jnp.tanh, lambda f: 1 - f**2, saves="output")
    return jaxbp.chain(jaxbp.dense(2, 2), tanh, jaxbp.residual(jaxbp.chain(jaxbp.dense(2, 2), tanh)))


def params():
    return net().init(jax.random.key(0))


def named_params():
    """An example's function and its parameters, whose name this is."""
    return (lambda p, x: p[EVIL] @ x), {EVIL: jnp.ones((2, 2))}


def trained():
    f = named_params()[0]
    grad_fn = jax.value_and_grad(lambda p, x, y: jnp.mean((jax.vmap(f, (None, 0))(p, x) - y) ** 2))
    return {
        "grad_fn": grad_fn,
        "data": (X, Y),
        "validation": (X, Y),
        "evaluate": lambda p, x, y: {EVIL: jnp.sum(p[EVIL])},
        "key": jax.random.key(0),
        "batch_size": 2,
        "epochs": 1,
        "progress_bar": False,
    }


def wrong_rule():
    def twice(a):
        return 2 * a

    twice.__name__ = twice.__qualname__ = EVIL
    rule = jax.custom_vjp(twice)
    rule.defvjp(lambda a: (2 * a, None), lambda _, delta: (-2 * delta,))
    return rule


def loss(f, y):
    return jnp.sum((f - y) ** 2)


RESULTS = {
    "Backprop": lambda: jaxbp.backprop(net(), jaxbp.squared_error, params(), X, Y),
    "Trace": lambda: jaxbp.forward(net(), params(), X),
    "Deltas": lambda: jaxbp.backprop(net(), jaxbp.squared_error, params(), X, Y).deltas,
    "Printed": lambda: jaxbp.summary(net(), params()),
    "Explanation": lambda: jaxbp.explain(net(), jaxbp.squared_error, params(), X[0], Y[0]),
    "JacobianChain": lambda: jaxbp.jacobian_chain(net(), params(), X[0]),
    "Plan": lambda: jaxbp.jacobian_chain(net(), params(), X[0]).plan(),
    "ParameterJacobian": lambda: jaxbp.parameter_jacobian(*named_params(), X),
    "PerExample": lambda: jaxbp.per_example(named_params()[0], loss, named_params()[1], X, Y),
    "NetworkReport": lambda: jaxbp.check_network(net(), jaxbp.squared_error, params(), X, Y),
    "Report": lambda: jaxbp.check(wrong_rule(), jnp.arange(3.0)),
    "Result": lambda: jaxbp.fit(params=named_params()[1], optimizer=optax.sgd(0.1), **trained()),
    "Sweep": lambda: jaxbp.sweep(
        init=lambda key: named_params()[1], optimizer=lambda **rates: optax.sgd(rates[EVIL]),
        hyperparameters={EVIL: [0.1]}, seeds=1, **trained(),
    ),
    "Cotangents": lambda: jaxbp.cotangents(lambda w: jaxbp.name(3.0 * w, EVIL) ** 2)(2.0),
    "Diagnosis": lambda: jaxbp.diagnose(
        lambda p, x: jnp.mean(x @ p["W"]), {"W": jnp.ones((2, 2)), EVIL: jnp.ones(2)}, X
    ),
    "Evaluation": lambda: jaxbp.Trained(
        jaxbp.dense(2, 2), {"W": jnp.ones((2, 2)), "b": jnp.zeros(2)}, jaxbp.softmax_cross_entropy,
        classes=(EVIL, "other"),
    ).evaluate(np.ones((4, 2), np.float32), [EVIL, "other", EVIL, "other"]),
    "PerceptronFit": lambda: jaxbp.fit_perceptron(np.eye(2), np.array([1, -1])),
    "LinearUnitFit": lambda: jaxbp.fit_linear_unit(np.eye(2), np.ones(2), eta=0.1),
}  # fmt: skip


def in_notebooks():
    """Every class of the package that a notebook asks for HTML."""
    modules = pkgutil.walk_packages(jaxbp.__path__, "jaxbp.")
    names = [m.name for m in modules if not m.name.endswith(("__main__", "pytest_plugin"))]
    classes = [
        c for name in names for _, c in inspect.getmembers(importlib.import_module(name), inspect.isclass)
    ]
    ours = [c for c in classes if c.__module__.startswith("jaxbp") and hasattr(c, "_repr_html_")]
    return {c for c in ours if not c.__module__.endswith(".sklearn")}  # scikit-learn shows its estimators


def test_every_result_that_renders_is_in_the_table():
    pytest.importorskip("rich")
    assert {c.__name__ for c in in_notebooks()} == set(RESULTS)


@pytest.mark.parametrize("name", RESULTS)
def test_names_are_escaped(name):
    result = RESULTS[name]()
    assert type(result).__name__ == name
    html = result._repr_html_()
    assert "<script" not in html
    assert "<b>" not in html.replace("<b>wrong</b>", "")
    assert "<" in html
