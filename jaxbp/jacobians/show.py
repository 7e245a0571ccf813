"""How a chain of Jacobians prints: in a terminal, in a notebook, and as plain data."""

import html as html_escape
import math
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

if TYPE_CHECKING:
    from jaxbp.jacobians.chain import Factor, JacobianChain

_SMALL = 12  # rows and columns of a matrix that is printed number by number


def text(chain: "JacobianChain") -> str:
    """The factors with their numbers, and the running product from the output back to x."""
    m, n = math.prod(chain.out_shape), math.prod(chain.in_shape)
    head = f"{chain.symbol}, {m} x {n}, the product of {len(chain.factors)} factors"
    lines = [head, ""]
    for factor in chain.factors:
        lines += [factor_line(factor), *_indented(_numbers(factor))]
        if factor.block is not None:
            lines += _indented([f"where J_branch is {line}" for line in text(factor.block).splitlines()[:1]])
            lines += _indented([factor_line(inner) for inner in factor.block.factors], 8)
    if not _concrete(chain):
        return "\n".join(lines)
    lines += ["", "running product, from the output back to x"]
    for symbol, matrix in chain.running():
        lines += [f"  {symbol}  {matrix.shape[0]} x {matrix.shape[1]}", *_indented(_array_lines(matrix))]
    return "\n".join(lines)


def factor_line(factor: "Factor") -> str:
    """Symbol, meaning, shape and type of one factor."""
    m, n = math.prod(factor.out_shape), math.prod(factor.in_shape)
    return f"  {factor.symbol} = {factor.means}  {m} x {n}  {type(factor.J).__name__}"


def html(chain: "JacobianChain") -> str:
    """A table: a row for each factor."""
    head = "<tr><th>factor</th><th>is</th><th>shape</th><th>type</th><th>numbers</th></tr>"
    rows = []
    for factor in chain.factors:
        m, n = math.prod(factor.out_shape), math.prod(factor.in_shape)
        cells = [factor.symbol, factor.means, f"{m} x {n}", type(factor.J).__name__]
        cells = [html_escape.escape(cell) for cell in cells]
        numbers = html_escape.escape("\n".join(_numbers(factor)))
        rows.append(
            "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + f"<td><pre>{numbers}</pre></td></tr>"
        )
    return f"<table><caption>{html_escape.escape(chain.symbol)}</caption>{head}{''.join(rows)}</table>"


def to_dict(chain: "JacobianChain") -> dict[str, Any]:
    """Symbols, types, shapes and numbers as plain data."""
    return {
        "symbol": chain.symbol,
        "shape": [math.prod(chain.out_shape), math.prod(chain.in_shape)],
        "factors": [
            {
                "symbol": factor.symbol,
                "means": factor.means,
                "type": type(factor.J).__name__,
                "shape": list(factor.J.shape),
                "matrix": np.asarray(factor.J.matrix()).tolist(),
                "block": None if factor.block is None else to_dict(factor.block),
            }
            for factor in chain.factors
        ],
        "matrix": np.asarray(chain.matrix()).tolist(),
    }


def _concrete(chain: "JacobianChain") -> bool:
    """Whether there are numbers to print: not inside a transformation, nor one chain for each of a batch."""
    return all(_has_numbers(factor) for factor in chain.factors)


def _has_numbers(factor: "Factor") -> bool:
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(factor.J)):
        return False
    try:
        shape = jax.eval_shape(lambda J: J.matrix(), factor.J).shape
    except (ValueError, TypeError):  # of a batch the parts no longer fit
        return False
    return bool(shape == (math.prod(factor.out_shape), math.prod(factor.in_shape)))


def _numbers(factor: "Factor") -> list[str]:
    return _array_lines(factor.J.matrix()) if _has_numbers(factor) else []


def _array_lines(matrix: Any) -> list[str]:
    M = np.asarray(matrix)
    if max(M.shape) > _SMALL:
        return [f"norm {np.linalg.norm(M):.4g}, entries from {M.min():.4g} to {M.max():.4g}"]
    return np.array2string(M, precision=4, suppress_small=True, max_line_width=120).splitlines()


def _indented(lines: list[str], by: int = 4) -> list[str]:
    return [" " * by + line for line in lines]
