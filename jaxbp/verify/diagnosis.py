"""Name what is wrong with a rule: try the mistakes that people make until one reproduces its result."""

from jaxbp.verify import mistakes
from jaxbp.verify.compare import Comparison
from jaxbp.verify.evidence import Diagnosis, Evidence
from jaxbp.verify.references import Point, Pullback

CAUSES = (
    "sign", "factor", "transposed", "cotangent_transposed", "swapped", "zero", "missing_sum", "missing_term",
    "nan", "not_linear", "dtype", "shape", "primal", "wrong_point", "second_order", "vmap",
    "nondeterministic", "kink", "other",
)  # fmt: skip
# In this order: a simple mistake comes before one that could imitate it.
MISTAKES = (
    mistakes.multiple, mistakes.swapped, mistakes.turned, mistakes.partly, mistakes.one_slice,
    mistakes.elsewhere, mistakes.matrix, mistakes.by_row, mistakes.convicted,
)  # fmt: skip


def diagnose(
    argument: int, comparison: Comparison, at: Point, rule: Pullback, reference: Pullback | None
) -> Diagnosis:
    """The cause of the disagreement in one argument, by the first hypothesis that reproduces it."""
    entries = [e for e in comparison.wrong if e.argument == argument]
    if entries and all(e.outcome == "bad kink" for e in entries):
        return Diagnosis("kink", "at the kink the rule is outside the two one-sided slopes")
    if any(e.outcome == "nan" for e in entries):
        return Diagnosis("nan", "the rule is not finite where the derivative is (0 x inf or an overflow?)")
    tolerance = max(1e-6, 10 * max(comparison.rtol, comparison.loose))
    evidence = Evidence(argument, comparison, at, rule, reference, tolerance)
    for hypothesis in MISTAKES:
        found = hypothesis(evidence)
        if found:
            return found
    return Diagnosis("other", "no simple mistake reproduces the rule's result")
