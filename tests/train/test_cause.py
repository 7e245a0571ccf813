"""A DivergenceError says which operation broke, and what to try for it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxbp


def run(loss, params, x, **options):
    options = {"optimizer": optax.sgd(0.1), "key": jax.random.key(0), "batch_size": 4, "epochs": 3} | options
    y = np.zeros(len(x), np.float32)
    jaxbp.fit(jax.value_and_grad(loss), params, (x, y), progress_bar=False, **options)


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        (lambda p, x, y: jnp.mean(jnp.log(p["w"] * x)), "log of a negative number; .*try: keep its operand"),
        # What the slope of the root divides by.
        (
            lambda p, x, y: jnp.mean(jnp.sqrt(p["w"] * jnp.maximum(x, 0))),
            "division by 0; .*try: ",
        ),
    ],
)
def test_the_operation_is_named(loss, says):
    """Only the batch of the iteration is looked at: the others have no such entry."""
    x = np.ones(16, np.float32)
    x[11] = -1.0
    with pytest.raises(jaxbp.DivergenceError, match=rf"test_cause.py:\d+\) makes 1 .* of 4: {says}"):
        run(loss, {"w": jnp.ones(())}, x)


def test_a_lower_learning_rate_where_numbers_grow():
    with pytest.raises(jaxbp.DivergenceError, match=r"overflow of float32; .*try a lower learning rate"):
        run(lambda p, x, y: jnp.mean((p["w"] * x) ** 4), {"w": jnp.ones(())}, np.ones(16, np.float32),
            optimizer=optax.sgd(1e6), epochs=9)  # fmt: skip


@pytest.mark.parametrize("breaks", ["gradient", "update"])
def test_what_the_optimizer_breaks_is_not_laid_upon_the_gradient_alone(breaks):
    broken = optax.stateless(lambda updates, params: jax.tree.map(lambda u: u * jnp.nan, updates))
    factor = jnp.inf if breaks == "gradient" else 1.0
    grad_fn = lambda p, x, y: (p["w"].sum(), {"w": factor * p["w"]})  # noqa: E731
    optimizer = broken if breaks == "update" else optax.sgd(0.1)
    with pytest.raises(jaxbp.DivergenceError, match="expected a finite gradient and update, got NaN or inf"):
        jaxbp.fit(
            grad_fn, {"w": jnp.ones(2)}, (np.ones((4, 1), np.float32), np.ones((4, 1), np.float32)),
            optimizer=optimizer, key=jax.random.key(0), batch_size=4, epochs=1, progress_bar=False,
        )  # fmt: skip
