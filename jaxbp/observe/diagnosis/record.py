"""What a diagnosis says: a closed list of findings, each with what it does to learning and what to try."""

from typing import Any, NamedTuple

from jaxbp import tables
from jaxbp.jaxprs.rules import beneath


class Kind(NamedTuple):
    """A finding of the list.

    Args:
        effect: what it does to learning.
        hint: what to try.
        after: findings that explain it: beside one of them it is a line, not a finding of its own.
    """

    effect: str
    hint: str
    after: tuple[str, ...] = ()


_FLAT = ("saturated", "dead", "clipped", "underflow", "identical", "size_one", "tiny_denominator", "unscaled",
         "overflow", "nan_forward", "nan_backward", "output_range", "wrong_axis", "constant_input",
         "detached_state", "mask", "ignored_examples")  # fmt: skip

# In the order of causes: what comes first explains what comes later.
KINDS: dict[str, Kind] = {
    "nan_forward": Kind("nothing is learned", "see the trap's remedy", ("overflow", "label_range")),
    "overflow": Kind("nothing is learned", "scale the inputs, or compute in logarithms"),
    "nan_backward": Kind("the first step makes parameters NaN", "guard the slope, not only the value"),
    "label_range": Kind("these examples teach nothing, or a lie", "count labels from 0 to classes - 1"),
    "one_class": Kind("the net learns to say this class always", "shuffle the data before they are cut",
                      ("size_one",)),
    "constant_input": Kind("constant columns teach only a bias", "look at how the inputs are read"),
    "duplicate_input": Kind("a column is learned as often as it is there", "look at how the table is joined"),
    "unscaled": Kind("the first layer saturates, or its steps are too large", "standardize the inputs"),
    "mask": Kind("the net learns from padding", "turn the mask round, or look at its values"),
    "broadcast": Kind("each prediction is pulled to the mean of all targets", "give both the same shape"),
    "double_squash": Kind("deltas are small, the loss has a floor", "give the loss what it expects: logits"),
    "output_range": Kind("these targets cannot be reached", "use an output without that bound"),
    "wrong_axis": Kind("examples or places act on each other", "normalize over the last axis"),
    "size_one": Kind("the result is a constant", "leave the normalization out, or use a sigmoid"),
    "ignored_examples": Kind("part of the batch teaches nothing", "look at weights and indices in the loss",
                             ("label_range", "mask")),
    "dominated": Kind("one example decides the step", "look at this example; scale, or use a robust loss",
                      ("ignored_examples",)),
    "reduction": Kind("steps grow with the batch", "use the mean over the batch"),
    "unused": Kind("these parameters never change", "use them, or leave them out"),
    "cut": Kind("these parameters never change", "use a soft version, or a straight-through estimate"),
    "detached_state": Kind("nothing is learned over time", "take stop_gradient out of the step"),
    "identical": Kind("the units stay copies of each other", "draw the weights at random"),
    "tiny_denominator": Kind("deltas grow by its inverse", "add a larger epsilon below the fraction"),
    "underflow": Kind("deltas are lost", "compute in logarithms, or scale the loss",),
    "clipped": Kind("clipped entries teach nothing", "clip the gradient, not the value"),
    "dead": Kind("dead units never come back", "lower the learning rate, start biases at 0",
                 ("size_one", "constant_input")),
    "saturated": Kind("their slope is near 0", "smaller weights, scaled inputs, a norm", ("unscaled",)),
    "vanishing": Kind("the first layers (or steps) hardly learn", "residuals, norms, better initial weights",
                      _FLAT),
    "exploding": Kind("a step destroys the first layers", "norms, smaller initial weights, clipped gradients",
                      ("unscaled", "tiny_denominator", "overflow", "nan_forward", "nan_backward")),
}  # fmt: skip


class Finding(NamedTuple):
    """Something that is wrong with the flow.

    Args:
        name: a word of the list `KINDS`.
        label: where, as `jaxbp.cotangents` calls it, or the argument or parameter.
        where: file:line of the user's, empty where it is no operation.
        evidence: what was measured.
        follows: what it explains besides, each in a line.
    """

    name: str
    label: str
    where: str
    evidence: str
    follows: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """All of it in words."""
        kind = KINDS[self.name]
        at = f" ({beneath(self.where)})" if self.where else ""
        return (
            f"{self.name}: {self.label}{at}: {self.evidence}. {kind.effect.capitalize()}. Try: {kind.hint}."
        )


class Diagnosis(NamedTuple):
    """What is wrong with the flow of one batch.

    Args:
        findings: ordered by cause.
        remarks: what looks like one and may be meant.
        loss: of the batch.
    """

    findings: tuple[Finding, ...]
    remarks: tuple[str, ...]
    loss: float

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def summary(self) -> str:
        """One line: the loss, and how many findings there are."""
        number = f"{len(self.findings) or 'no'} finding" + "s" * (len(self.findings) != 1)
        return f"diagnosis of one batch: loss {self.loss:.4g}, {number}"

    def __repr__(self) -> str:
        """A line for each finding, with what follows from it below."""
        lines = [self.summary()]
        for finding in self.findings:
            lines += [finding.sentence, *(f"    then {line}" for line in finding.follows)]
        return "\n".join([*lines, *(f"remark: {remark}" for remark in self.remarks)])

    def _repr_html_(self) -> str:
        rows = [(f.name, f.label, f.where, f.evidence, KINDS[f.name].hint) for f in self.findings]
        return tables.as_html(("finding", "where", "line", "measured", "try"), rows)

    def to_dict(self) -> dict[str, Any]:
        """The same as plain Python values, for JSON."""
        findings = [{**f._asdict(), "follows": list(f.follows), "effect": KINDS[f.name].effect,
                     "hint": KINDS[f.name].hint} for f in self.findings]  # fmt: skip
        return {"ok": self.ok, "loss": self.loss, "findings": findings, "remarks": list(self.remarks)}
