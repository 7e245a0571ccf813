"""The order of the product: what each costs, and why back-propagation goes backwards."""

from typing import Any, NamedTuple

from jaxbp.operators import Operator, planning
from jaxbp.tables import as_html


class Plan(NamedTuple):
    """What a chain of Jacobians costs in each order; prints as a table.

    Args:
        reverse: FLOPs of ((J_k J_{k-1}) ...) J_1, from the output, as back-propagation goes.
        forward: FLOPs of J_k (... (J_2 J_1)), from the input.
        optimal: FLOPs of the cheapest bracketing, whatever it is.
        bracketing: the cheapest, written out.
        order: what the cheapest is: ``"reverse"``, ``"forward"`` or ``"mixed"``.

    Example: a single row delta W W W is cheapest from the left, which is back-propagation.
        >>> import jax.numpy as jnp
        >>> from jaxbp.operators import Dense
        >>> W = Dense(jnp.ones((100, 100)))
        >>> make_plan(["delta", "W_3", "W_2", "W_1"], [Dense(jnp.ones((1, 100))), W, W, W])
        order      FLOPs
        reverse   60,000  1.0x
        forward  4.02e+06  67.0x
        optimal   60,000  ((delta W_3) W_2) W_1: reverse
    """

    reverse: int
    forward: int
    optimal: int
    bracketing: str
    order: str

    def __repr__(self) -> str:
        def count(flops: int) -> str:
            return f"{flops:,}" if flops < 1_000_000 else f"{flops:.2e}"

        least = max(self.optimal, 1)
        return "\n".join(
            [
                "order      FLOPs",
                f"reverse {count(self.reverse):>8}  {self.reverse / least:.1f}x",
                f"forward {count(self.forward):>8}  {self.forward / least:.1f}x",
                f"optimal {count(self.optimal):>8}  {self.bracketing}: {self.order}",
            ]
        )

    def _repr_html_(self) -> str:
        rows = zip(("reverse", "forward", "optimal"), (f"{flops:,}" for flops in self[:3]), strict=True)
        return as_html(("order", "FLOPs"), list(rows), f"{self.bracketing}: {self.order}")

    def to_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return self._asdict()


def make_plan(names: list[str], factors: list[Operator]) -> Plan:
    """The `Plan` of a product of operators, from their forms alone.

    Args:
        names: how each factor is written.
        factors: as the product is written, the one that acts last first.

    Raises:
        ValueError: where two neighbours do not meet; it names both.

    Source: dynamic programming over the bracketings of a matrix chain, with the costs of structured
    products; Naumann 2024, arXiv 2406.11862.
    """
    planning.check_composes(names, factors)
    forms = [planning.form(J) for J in factors]
    trees = {order: planning.bracketing(forms, order) for order in ("reverse", "forward", "optimal")}
    flops = {order: planning.evaluate(forms, tree)[1] for order, tree in trees.items()}
    order = next((o for o in ("reverse", "forward") if flops[o] == flops["optimal"]), "mixed")
    tree = trees[order if order != "mixed" else "optimal"]
    return Plan(**flops, bracketing=_written(names, tree), order=order)


def _written(names: list[str], tree: planning.Tree) -> str:
    def inner(tree: planning.Tree) -> str:
        if isinstance(tree, int):
            return f"({names[tree]})" if " " in names[tree] else names[tree]
        return f"({inner(tree[0])} {inner(tree[1])})"

    return inner(tree)[1:-1] if isinstance(tree, tuple) else inner(tree)
