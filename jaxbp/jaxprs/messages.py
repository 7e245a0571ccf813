"""What JAX says in its errors: the words that are relied on and no documentation promises.

tests/jaxprs/test_internals.py has a test for each of them.
"""

import re

# An array type as JAX prints it: float32[4,3].
TYPED = re.compile(r"\b((?:bfloat|float|complex|u?int|bool|key)[0-9_a-z]*)\[([0-9,]*)\]")


def closes_over_tracer(error: Exception) -> bool:
    """Whether JAX refuses a rule that uses a traced value from outside of its arguments."""
    named = type(error).__name__ in ("CustomVJPException", "UnexpectedTracerError")
    return named or "No constant handler" in str(error)


def refuses_rule(text: str) -> bool:
    """Whether an error says that a custom_vjp or custom_jvp breaks its contract."""
    return "Custom VJP" in text or "Custom JVP" in text


def says_container(text: str) -> bool:
    """Whether it says that the forward rule returns the primal's arrays in another container (list, tuple).

    JAX refuses that only where it has traced the primal before: under jit and in loops.
    """
    got, _, want = text.partition("while the custom_vjp-decorated")
    return "container/pytree structure" in text and typed(got) == typed(want) != []


def typed(text: str) -> list[tuple[str, ...]]:
    """The array types in a text, as JAX prints them: the dtype and the lengths in ``float32[4,3]``."""
    return TYPED.findall(text)


def says_no_array(text: str) -> bool:
    """Whether an error says that a value (text, a function, any object) is none that JAX computes with."""
    return "is not a valid JAX type" in text or "is not a valid JAX array type" in text


def says_primal(text: str) -> bool:
    """Whether that error is about the value that the forward rule returns."""
    return "fwd rule" in text or "primal output" in text


def says_mesh(text: str) -> bool:
    """Whether it is about the axes of a mesh over which a cotangent was not summed."""
    return "manual axis types" in text


def says_produced_first(text: str) -> bool:
    """Whether it names the type that the backward rule gave before the one that it should give."""
    return "bwd rule produced" in text


def named_argument(text: str) -> int | None:
    """The number of the argument that it names as ``output[k]``."""
    number = text.partition("output[")[2].partition("]")[0]
    return int(number) if number.isdigit() else None
