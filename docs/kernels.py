"""A module with a wrong derivative rule, for `jaxbp check kernels`."""

import jax
import jax.numpy as jnp


@jax.custom_vjp
def squash(a):
    """The sigmoid."""
    return 1 / (1 + jnp.exp(-a))


squash.defvjp(lambda a: (squash(a), a), lambda a, delta: (delta * a * (1 - a),))


def squash_case():
    """What is checked: a function, and the inputs that it is checked at."""
    return squash, (jnp.array([0.5, 1.0, 2.0]),)
