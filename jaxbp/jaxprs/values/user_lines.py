"""The user's line in which an operation stands, and the library function that it called there."""

import re
import sysconfig
from pathlib import Path as File
from typing import Any

import jax

from jaxbp.jaxprs.internals import KINDS, body, frames_of, is_object, name_and_place

# Where files lie that are not the user's: Python's own, installed packages, and this package.
LIBRARIES = tuple(
    {*(str(File(sysconfig.get_paths()[k])) for k in ("stdlib", "platstdlib", "purelib", "platlib")),
     *(str(File(f).parents[n]) for f, n in ((jax.__file__, 0), (jax.__file__, 1), (__file__, 2)))}
)  # fmt: skip
NN = str(File(jax.__file__).parent)
# Functions of `jax.nn` that are one operation to a reader, of however many they are made.
FUNCTIONS = {n for n in dir(jax.nn) if n[0] != "_"} - {
    "one_hot", "standardize", "dot_product_attention", "logsumexp"
}  # fmt: skip
PRODUCTS = {"dot_general", "conv_general_dilated"}


def called(eqn: Any) -> tuple[str, str]:
    """file:line of the innermost frame that is the user's, and the library function that was called.

    That is one of `jax.nn`, wherever it was called, or the one in the user's line.
    """
    inward, known = "", ""
    for frame in frames_of(eqn):
        if not frame.file.startswith(LIBRARIES) and not frame.file.startswith("<"):
            return f"{frame.file}:{frame.line}", known or inward
        inward = frame.function
        known = inward if inward in FUNCTIONS and frame.file.startswith(NN) else known
    return "", known


def operation_of(eqn: Any) -> str:
    """The library function that the user's line called, if it has a plain name; else the primitive."""
    if eqn.primitive in KINDS or is_object(eqn):
        name = name_and_place(body(eqn).jaxpr.debug_info)[0]
        return str(eqn.params.get("name") or name).lstrip("_")
    function = called(eqn)[1]
    plain = re.fullmatch(r"[a-z][a-z0-9_]*", function) and eqn.primitive.name not in PRODUCTS
    return function if plain else str(eqn.primitive.name)
