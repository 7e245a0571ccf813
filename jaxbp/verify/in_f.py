"""What f as a whole says of its rules: its gradient is judged, and pardons what f cannot see."""

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, replace

import jax

from jaxbp.jaxprs.rules import Rule
from jaxbp.verify.clock import OutOfTime, one_rule
from jaxbp.verify.judge import Judgement
from jaxbp.verify.report import Finding
from jaxbp.verify.sites.capture import Skipped, Traced
from jaxbp.verify.whole_function import judge_whole, obstacle

# Of so many wrong rules each is tried alone in f, where f is wrong with all of them.
TRIED_ALONE = 6


@dataclass
class Ruled:
    """What is known of one rule of f: its gravest findings, and the judgement that they rest on.

    ``twin`` is the number of its equation in the trace in which f as a whole is judged; ``reproduced`` says
    that autodiff gives the rule's result wherever it was reached.
    """

    rule: Rule
    findings: list[Finding]
    judged: Judgement
    twin: int
    reproduced: bool

    @property
    def verdict(self) -> str:
        """The verdict of its findings, which all have the same one."""
        return self.findings[0].verdict


def judge_in_f(
    rules: list[Ruled], skipped: Iterable[Skipped], given: list[str], traced: Traced
) -> tuple[list[Finding], list[str]]:
    """The findings on f as a whole, and notes; the findings on rules are changed where f decides on them.

    It decides on rules that run only while f is run, and on those that are wrong alone: where f's gradient is
    right all the same, they are right in f. Transposes that are ``given`` (linear_call) stay in f without its
    rules: differences judge them.
    """
    live = [r for r in rules if r.judged.live]
    wrong = [r for r in rules if r.verdict == "wrong"]
    kept = {r.twin for r in rules if not (r.reproduced or r.judged.live or r in wrong)}
    hidden = any(s.hidden for s in skipped)
    open_ = live or hidden or given
    why = obstacle(traced, bool(live))
    if not why and not (open_ or wrong or any(r.reproduced for r in rules)):
        why = "no rule in it can be replaced by autodiff of its primal"
    if given and kept:
        why = why or "a rule in it is no derivative"
    if why:
        left = f", and so neither was {' and '.join(given)}" if given else ""
        return [], [f"the gradient of f as a whole was not judged: {why}{left}"]
    # What autodiff cannot take the place of stands in the reference by its values alone.
    numeric = bool(given) or any(not _differentiable(r) for r in wrong)

    def judged(some: list[Ruled] | None = None) -> Finding:
        alone = None if some is None else {r.twin for r in some}
        with jax.enable_x64(True) if traced.wide else nullcontext(), one_rule():
            return judge_whole(traced, kept, bool(live), numeric, alone)

    try:
        whole = judged()
    except OutOfTime as over:
        return [], [f"the gradient of f as a whole was not judged: {over}"]
    if wrong:
        return _pardoned(wrong, whole, judged, bool(live))
    if live and whole.rule:
        for r in live:
            first = r.findings[0]
            r.findings = [replace(whole, rule=first.rule, kind=first.kind, where=first.where,
                                  called=first.called, path=first.path)]  # fmt: skip
        return [], []
    if whole.verdict == "inconclusive" and not open_:
        return [], [whole.sentence]
    return [whole], []


def _differentiable(r: Ruled) -> bool:
    """Whether autodiff of the primal can take the place of a wrong rule."""
    trial = r.judged.trial
    return trial is None or (trial.reference is not None and trial.reference.reverse)


def _pardoned(
    wrong: list[Ruled], whole: Finding, judged: Callable[[list[Ruled]], Finding], live: bool
) -> tuple[list[Finding], list[str]]:
    """Call rules that are wrong alone right in f where f's gradient is right with them."""
    pardoned = [r for r in wrong if r.judged.pardonable]
    right, several = _is_right(whole), len(wrong) > 1 and not live
    if several and (right or whole.verdict == "wrong"):
        # Errors that cancel leave the gradient of f right: each alone does not.
        alone = [r for r in pardoned[:TRIED_ALONE] if _is_right(judged([r]))]
        pardoned = alone + (pardoned[TRIED_ALONE:] if right else [])
    elif not right:
        pardoned = []
    for r in pardoned:
        r.findings = [
            replace(f, verdict="right in f", sentence=f"{f.sentence}; f's gradient does not depend on it")
            for f in r.findings
        ]
    if right or len(pardoned) == len(wrong):
        return [whole], []
    said = f": {whole.values()}{whole.sentence}" if whole.verdict == "inconclusive" else " is wrong too"
    return [], [f"the gradient of f as a whole{said}"]


def _is_right(whole: Finding) -> bool:
    return whole.verdict in ("right", "kink")
