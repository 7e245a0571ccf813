"""The report of a check: findings as records, as text, as HTML and as plain data."""

from dataclasses import asdict, dataclass
from html import escape
from typing import Any, NamedTuple

VERDICTS = ("wrong", "inconclusive", "kink", "declared", "right", "unreached")
MARKS = {"wrong": "✗", "inconclusive": "?", "kink": "∠", "declared": "≈", "right": "✓", "unreached": "·"}
COLOURS = {
    "wrong": "red",
    "inconclusive": "yellow",
    "kink": "cyan",
    "declared": "blue",
    "right": "green",
    "unreached": "dim",
}


@dataclass(frozen=True)
class Finding:
    """What was found of one rule, or of one argument of it.

    Attributes:
        verdict: right, wrong, kink, declared, unreached or inconclusive.
        rule: the name of the function that has the rule.
        kind: custom_vjp, custom_jvp, or function (for ``f`` as a whole).
        where: file:line of its definition.
        called: file:line of its use.
        path: the modules, loops and branches around it.
        sentence: the finding in words.
        cause: one word of the vocabulary; empty when nothing is wrong.
        argument: the input whose cotangent is at fault, as the rule names it.
        origin: the argument of ``f`` that this input is, where it is one.
        index: the worst entry of that cotangent.
        rule_value: what the rule gives there.
        reference_value: what it should be.
        tolerance: how far the two may be apart.
        compared: how many entries were compared.
    """

    verdict: str
    rule: str
    kind: str
    where: str
    called: str
    path: str
    sentence: str
    cause: str = ""
    argument: str = ""
    origin: str = ""
    index: tuple[int, ...] = ()
    rule_value: complex | float | None = None
    reference_value: complex | float | None = None
    tolerance: float | None = None
    compared: int = 0

    def __str__(self) -> str:
        """The finding as one or two lines."""
        place = f" ({self.where})" if self.where else ""
        inside = f" in {self.path}" if self.path else ""
        lines = [f"{MARKS[self.verdict]} {self.rule}{place}{inside}: {self.verdict}"]
        if self.cause and self.verdict == "wrong":
            lines[0] += f", {self.cause}"
        lines.append(f"    {self._values()}{self.sentence}")
        return "\n".join(lines)

    def _values(self) -> str:
        if self.rule_value is None or self.reference_value is None:
            return f"{self._name()}: " if self.argument else ""
        entry = self._name() + (f" at [{', '.join(map(str, self.index))}]" if self.index else "")
        within = f" (tolerance {self.tolerance:.1e})" if self.tolerance is not None else ""
        return f"{entry}: rule {self.rule_value:.6g}, reference {self.reference_value:.6g}{within}; "

    def _name(self) -> str:
        """The argument, and what it is in f where that goes by another name."""
        same = self.origin in ("", self.argument)
        return self.argument if same else f"{self.argument} (f's {self.origin})"

    def to_dict(self) -> dict[str, Any]:
        """The record as plain data that JSON can hold."""
        row: dict[str, Any] = asdict(self)
        for field in ("rule_value", "reference_value"):
            if isinstance(row[field], complex):
                row[field] = [row[field].real, row[field].imag]
            elif row[field] is not None:
                row[field] = float(row[field])
        row["index"] = list(self.index)
        return row


class Report(NamedTuple):
    """All findings on one function.

    Example:
        >>> Report("f", (), "float64").ok
        True
        >>> print(Report("f", (), "float64"))
        f: no derivative rule found
    """

    function: str
    findings: tuple[Finding, ...]
    precision: str
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether no finding is wrong."""
        return not self.wrong

    @property
    def wrong(self) -> tuple[Finding, ...]:
        """The findings that are wrong."""
        return tuple(f for f in self.findings if f.verdict == "wrong")

    @property
    def verdict(self) -> str:
        """The gravest verdict among the findings; right when there is none."""
        return min((f.verdict for f in self.findings), key=VERDICTS.index, default="right")

    def summary(self) -> str:
        """One line: how many findings of each verdict."""
        counts = {v: sum(f.verdict == v for f in self.findings) for v in VERDICTS}
        said = ", ".join(f"{n} {v}" for v, n in counts.items() if n)
        return f"{self.function}: {said or 'no derivative rule found'}"

    def __str__(self) -> str:
        """The report as plain text, the gravest findings first."""
        ordered = sorted(self.findings, key=lambda f: VERDICTS.index(f.verdict))
        return "\n".join([self.summary(), *map(str, ordered), *(f"note: {n}" for n in self.notes)])

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data that JSON can hold."""
        return {
            "function": self.function, "ok": self.ok, "verdict": self.verdict, "precision": self.precision,
            "findings": [f.to_dict() for f in self.findings], "notes": list(self.notes),
        }  # fmt: skip

    def _repr_html_(self) -> str:
        """The report as a table for a notebook."""
        rows = "".join(
            f"<tr><td>{MARKS[f.verdict]} <b>{f.verdict}</b></td>"
            + "".join(
                f"<td>{escape(t)}</td>" for t in (f.cause, f.rule, f.path, f.where, f._values() + f.sentence)
            )
            + "</tr>"
            for f in sorted(self.findings, key=lambda f: VERDICTS.index(f.verdict))
        )
        head = "".join(f"<th>{h}</th>" for h in ("verdict", "cause", "rule", "path", "where", "finding"))
        notes = "".join(f"<p>{escape(n)}</p>" for n in self.notes)
        return f"<p>{escape(self.summary())}</p><table><tr>{head}</tr>{rows}</table>{notes}"

    def __rich__(self) -> Any:
        """The report as a table for a terminal; asked for by rich itself."""
        from rich.table import Table
        from rich.text import Text

        table = Table(
            "", "verdict", "cause", "rule", "where", "finding", title=self.summary(), title_justify="left"
        )
        for f in sorted(self.findings, key=lambda f: VERDICTS.index(f.verdict)):
            place = f"{f.where}\n{f.path}" if f.path else f.where
            verdict = Text(f.verdict, COLOURS[f.verdict])
            cells = [Text(c) for c in (f.cause, f.rule, place, f._values() + f.sentence)]
            table.add_row(MARKS[f.verdict], verdict, *cells)
        return table
