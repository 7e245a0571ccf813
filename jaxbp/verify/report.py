"""The report of a check: findings as records, as text, as HTML and as plain data."""

import textwrap
from dataclasses import asdict, dataclass
from html import escape
from typing import Any, NamedTuple

import numpy as np

from jaxbp.jaxprs.rules import beneath


class Verdict(NamedTuple):
    """How a verdict shows, and what it means."""

    mark: str
    meaning: str


# The gravest first.
VERDICTS = {
    "wrong": Verdict("✗", "the rule is not the derivative of its primal"),
    "inconclusive": Verdict("?", "nothing is known of the rule"),
    "right in f": Verdict("◐", "wrong alone, while the gradient of f is right"),
    "kink": Verdict("∠", "one of the slopes at a kink"),
    "declared": Verdict("≈", "no derivative, and just what was declared"),
    "right": Verdict("✓", "the derivative of its primal"),
    "unreached": Verdict("·", "not used at these arguments"),
}


def gravity(verdict: str) -> int:
    """The place of a verdict among all, 0 for the gravest."""
    return list(VERDICTS).index(verdict)


@dataclass(frozen=True)
class Finding:
    """What was found of one rule, or of one argument of it.

    Attributes:
        verdict: wrong, inconclusive, right in f, kink, declared, right or unreached (see ``VERDICTS``).
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
        """The finding as a few lines, of at most 80 columns but for the names of files."""
        said = f", {self.cause}" if self.cause and self.verdict == "wrong" else ""
        inside = f" in {self.path}" if self.path else ""
        lines = [f"{VERDICTS[self.verdict].mark} {self.title()}{inside}: {self.verdict}{said}"]
        used = f", used at {beneath(self.called)}" if self.called not in ("", self.where) else ""
        lines += [f"    {beneath(self.where)}"] * bool(self.where) + [f"    {used[2:]}"] * bool(used)
        values, sentence = self.values().strip().rstrip(";"), self.sentence
        for text in (values, sentence):
            lines += wrapped(text)
        return "\n".join(lines)

    def title(self) -> str:
        """The name of the rule; for a lambda, with its line."""
        line = self.where.rpartition(":")[2]
        return f"{self.rule} of line {line}" if self.rule == "<lambda>" and line.isdigit() else self.rule

    def values(self) -> str:
        """What rule and reference are at the worst entry, in words."""
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
                row[field] = [_plain(row[field].real), _plain(row[field].imag)]
            elif row[field] is not None:
                row[field] = _plain(row[field])
        row["tolerance"] = None if self.tolerance is None else _plain(self.tolerance)
        row["index"] = list(self.index)
        return row


def _plain(x: Any) -> float | str:
    """A number that JSON has; what is not finite by its name."""
    return float(x) if np.isfinite(x) else str(float(x))


def wrapped(text: str, indent: str = "    ") -> list[str]:
    """A text in lines of at most 80 columns; what has no blank in it stays whole."""
    return textwrap.wrap(
        text, 80, initial_indent=indent, subsequent_indent=indent, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


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
    def strictly_ok(self) -> bool:
        """Whether besides no rule is wrong alone and right in f only."""
        return self.ok and all(f.verdict != "right in f" for f in self.findings)

    @property
    def wrong(self) -> tuple[Finding, ...]:
        """The findings that are wrong."""
        return tuple(f for f in self.findings if f.verdict == "wrong")

    @property
    def verdict(self) -> str:
        """The gravest verdict among the findings; right when there is none."""
        return min((f.verdict for f in self.findings), key=gravity, default="right")

    def summary(self) -> str:
        """One line: how many findings of each verdict."""
        counts = {v: sum(f.verdict == v for f in self.findings) for v in VERDICTS}
        said = ", ".join(f"{n} {v}" for v, n in counts.items() if n)
        return f"{self.function}: {said or 'no derivative rule found'}"

    def __str__(self) -> str:
        """The report as plain text, the gravest findings first."""
        notes = [line for note in self.notes for line in wrapped(f"note: {note}", "")]
        return "\n".join([self.summary(), *map(str, self.ordered()), *notes])

    def __repr__(self) -> str:
        """The report, as it prints."""
        return str(self)

    def ordered(self) -> list[Finding]:
        """The findings, the gravest first."""
        return sorted(self.findings, key=lambda f: gravity(f.verdict))

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data that JSON can hold."""
        return {
            "function": self.function, "ok": self.ok, "verdict": self.verdict, "precision": self.precision,
            "findings": [f.to_dict() for f in self.findings], "notes": list(self.notes),
        }  # fmt: skip

    def _repr_html_(self) -> str:
        """The report as a table for a notebook."""
        rows = "".join(
            f"<tr><td>{VERDICTS[f.verdict].mark} <b>{f.verdict}</b></td>"
            + "".join(
                f"<td>{escape(t)}</td>"
                for t in (f.cause, f.title(), f.path, f.where, f.values() + f.sentence)
            )
            + "</tr>"
            for f in self.ordered()
        )
        head = "".join(f"<th>{h}</th>" for h in ("verdict", "cause", "rule", "path", "where", "finding"))
        notes = "".join(f"<p>{escape(n)}</p>" for n in self.notes)
        return f"<p>{escape(self.summary())}</p><table><tr>{head}</tr>{rows}</table>{notes}"
