"""The network as SVG: values forward in blue above each unit, deltas back in red below it."""

import html
from collections.abc import Iterator, Mapping
from itertools import pairwise

from jaxbp.observe.explanation.formulas.notations import anatomy
from jaxbp.observe.explanation.formulas.trees import Tree, Value, rows_of, symbol
from jaxbp.observe.explanation.formulas.writer import number
from jaxbp.observe.explanation.places import Place, by_layer, maps
from jaxbp.observe.explanation.steps.parts import Output

ACROSS, DOWN, RADIUS = 190, 92, 23  # between layers, between units, of a unit
MOST = 8  # units of a layer that are drawn; the rest is three dots

_STYLE = """
text { font: 12px system-ui, sans-serif; text-anchor: middle; fill: #222 }
.name { font-style: italic; font-size: 13px } .value { fill: #0b57a4 } .delta { fill: #b3261e }
.unit { fill: #fff; stroke: #444; stroke-width: 1.4 } .edge { stroke: #888 } .back { font-style: italic }
.weight { font-size: 10px; fill: #555; paint-order: stroke; stroke: #fff; stroke-width: 4px }
.weight { stroke-linejoin: round }
""".strip()


def svg(
    title: str, places: tuple[Place, ...], output: Output, values: Mapping[Tree, Value], digits: int = 6
) -> str:
    """One picture: x at the left, the layers, mu and the loss at the right.

    Each unit has its value above in blue, and its delta below in red. Each connection is as thick as its
    weight is large, and dashed where it is negative.

    Example: two inputs, one unit.
        >>> import jaxbp
        >>> params = {1: {"W": [[1.0, 2.0]], "b": [0.0]}}
        >>> explanation = jaxbp.explain(jaxbp.mlp([2, 1]), jaxbp.squared_error, params, [1, 0], 2)
        >>> picture = svg("two inputs", explanation.places, explanation.output, explanation.values)
        >>> picture[:5], picture.count('class="unit"')
        ('<svg ', 4)
    """
    columns = _columns(places, output, values)
    height = DOWN * max(min(len(units), MOST + 1) for _, _, units, _ in columns) + 92
    width = ACROSS * len(columns)
    label = html.escape(f"{title}: values forward above each unit, deltas back below it")
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
            f'aria-label="{label}" width="{width}">',
            f"<style>{_STYLE}</style>",
            f'<rect width="{width}" height="{height}" fill="#fff"/>',
            *_arrows(width, height),
            *_edges(values, columns, height),
            *_units(values, columns, height, digits),
            "</svg>",
        ]
    )


Column = tuple[str, str, list[int], Place | None]  # name, name of its delta, units, the weights before it


def _columns(places: tuple[Place, ...], output: Output, values: Mapping[Tree, Value]) -> list[Column]:
    """x, then what each layer makes, then mu and the loss."""
    groups = by_layer(maps(places))
    first = groups[0][1][0] if groups else None
    delta = output.delta if first is None else first.delta_into if first.ids is None else ""
    columns: list[Column] = [("x", delta, _drawn(sum(map(len, rows_of(values[symbol("x")])))), None)]
    for _, group in groups:
        weights = group[0] if group[0].kind == "dense" and not group[0].at_places else None
        columns.append((group[-1].out, group[-1].delta_out, _drawn(group[-1].d_out), weights))
    if output.known != "squared_error":
        columns.append(("mu", "", _drawn(output.C * max(output.places, 1)), None))
    return [*columns, ("loss", "", [1], None)]


def _drawn(d: int) -> list[int]:
    """The units that are drawn, counted from 1; 0 stands for those that are left out."""
    return list(range(1, d + 1)) if d <= MOST else [*range(1, MOST), 0, d]


def _at(column: int, row: int, rows: int, height: int) -> tuple[float, float]:
    return ACROSS * (column + 0.5), 30 + (height - 30) / 2 + DOWN * (row - (rows - 1) / 2)


def _arrows(width: int, height: int) -> Iterator[str]:
    yield f'<text class="value" x="{width / 2}" y="18">forward: values, from x to the loss →</text>'
    yield f'<text class="delta" x="{width / 2}" y="{height - 8}">← backward: deltas, d loss / d value</text>'


def _edges(values: Mapping[Tree, Value], columns: list[Column], height: int) -> Iterator[str]:
    for c, ((_, _, left, _), (_, _, right, place)) in enumerate(pairwise(columns)):
        W = rows_of(values[symbol(place.weights)]) if place else None
        labels = W is not None and len(left) * len(right) <= 9
        largest = max((abs(w) for row in W or [] for w in row), default=0.0) or 1.0
        for j, unit in enumerate(left):
            for i, to in enumerate(right):
                if not (unit and to) or (W is None and len(left) == len(right) and unit != to):
                    continue
                (x1, y1), (x2, y2) = _at(c, j, len(left), height), _at(c + 1, i, len(right), height)
                w = W[to - 1][unit - 1] if W else largest / 2
                dash = ' stroke-dasharray="5 3"' if w < 0 else ""
                thick = 0.5 + 2.5 * abs(w) / largest
                yield (
                    f'<line class="edge" x1="{x1 + RADIUS:.0f}" y1="{y1:.0f}" x2="{x2 - RADIUS:.0f}" '
                    f'y2="{y2:.0f}" stroke-width="{thick:.2f}"{dash}/>'
                )
                if labels:
                    # at a place of its own for each unit that it leads to
                    part = 0.3 + 0.4 * i / (len(right) - 1) if len(right) > 1 else 0.4
                    x, y = x1 + part * (x2 - x1), y1 + part * (y2 - y1)
                    yield f'<text class="weight" x="{x:.0f}" y="{y - 4:.0f}">{number(w, 4)}</text>'


def _units(values: Mapping[Tree, Value], columns: list[Column], height: int, digits: int) -> Iterator[str]:
    for c, (name, delta, units, _) in enumerate(columns):
        for row, unit in enumerate(units):
            x, y = _at(c, row, len(units), height)
            if not unit:
                yield f'<text x="{x:.0f}" y="{y:.0f}">⋮</text>'
                continue
            yield f'<circle class="unit" cx="{x:.0f}" cy="{y:.0f}" r="{RADIUS}"/>'
            index = "" if len(units) == 1 else f"[{unit}]"
            yield f'<text class="name" x="{x:.0f}" y="{y + 4:.0f}">{_subscripted(name, index)}</text>'
            value = _entry(values, name, unit, digits)
            yield f'<text class="value" x="{x:.0f}" y="{y - RADIUS - 4:.0f}">{value}</text>'
            if delta:
                back = _entry(values, delta, unit, digits)
                yield f'<text class="delta" x="{x:.0f}" y="{y + RADIUS + 14:.0f}">{back}</text>'


def _subscripted(name: str, index: str) -> str:
    _, letter, sub, primes = anatomy(name)
    lowered = f'<tspan dy="3" font-size="10">{sub}</tspan>' if sub else ""
    raised = f'<tspan dy="-3">{primes}{index}</tspan>' if sub else index
    return {"mu": "μ"}.get(letter, letter) + lowered + raised


def _entry(values: Mapping[Tree, Value], name: str, unit: int, digits: int) -> str:
    value = [v for row in rows_of(values[symbol(name)]) for v in row][unit - 1]
    return number(value, min(digits, 4))
