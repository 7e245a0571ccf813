"""One case judged: a value is given for an argument, and the result compared with what was meant."""

import traceback
import warnings
from typing import Any

from experiments.reliability import world
from experiments.reliability.kinds.kind import Kind, Skip
from experiments.reliability.outcome import Outcome, equal, is_worded, not_finite
from experiments.reliability.probe import probe
from experiments.reliability.public import Entry
from experiments.reliability.verdict import Case, Verdict

CHECKS = ("check", "check_vjp", "check_jvp")  # their result is a verdict, [ok, findings]


class Judge:
    """Judges cases and remembers the results of good calls."""

    def __init__(self, entries: dict[str, Entry]):
        self.entries = entries
        self.good: dict[tuple[str, str | None], Outcome] = {}

    def baseline(self, name: str, argument: str | None = None) -> Outcome:
        """The good call."""
        if (name, argument) not in self.good:
            entry = self.entries[name]
            self.good[name, argument] = outcome(entry, entry.goods(argument))
        return self.good[name, argument]

    def judge(self, case: Case, kind: Kind) -> Verdict:
        """The verdict on one case."""
        entry = self.entries[case.function]
        baseline = self.baseline(case.function, case.argument)
        if baseline.error is not None and not is_worded(baseline.error):
            return Verdict("raw", f"the good call fails: {said(baseline.error)}")
        goods = entry.goods(case.argument)
        good = goods[case.argument]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                value = kind.make(good)
            except Skip:
                return Verdict("skipped")
            if kind.first:
                outcome(entry, goods | {case.argument: kind.first(good)})
            world.epochs_run[0] = 0
            found = outcome(entry, goods | {case.argument: value}, goods)
            late = world.epochs_run[0]
            if found.error is not None:
                if not is_worded(found.error):
                    return Verdict("raw", said(found.error))
                if late and not isinstance(found.error, FloatingPointError) and entry.name.startswith("fit"):
                    return Verdict("raw", f"after {late} epochs were trained: {said(found.error)}")
                return Verdict("clear", said(found.error))
            return self.compared(entry, case, kind, found, baseline)

    def compared(self, entry: Entry, case: Case, kind: Kind, found: Outcome, baseline: Outcome) -> Verdict:
        """The verdict on a value that was accepted."""
        seen_nan = not_finite(found.result) and not not_finite(baseline.result)
        if kind.any:
            return Verdict("nan" if seen_nan else "right")
        if baseline.error is not None and found == baseline:
            return Verdict("lenient")
        for i, means in enumerate(kind.means):
            goods = entry.goods(case.argument)
            good = goods[case.argument]
            meant = means(good)
            wanted = baseline if meant is good else outcome(entry, goods | {case.argument: meant}, goods)
            if wanted.error is None and equal(found.result, wanted.result, kind.loose):
                return Verdict("lenient" if i else "right")
        if seen_nan:
            return Verdict("nan")
        if entry.name in CHECKS and found.result[0] < baseline.result[0]:
            return Verdict("right", "found wrong by the report")
        if not kind.means:
            return Verdict("silent", "accepted")
        return Verdict("silent", "taken as something else than what it means")


def outcome(entry: Entry, given: dict[str, Any], goods: dict[str, Any] | None = None) -> Outcome:
    """Call, look at the result as a user would, and keep what came."""
    try:
        result = entry.call(given)
        return Outcome(probe(entry.name, result, goods or given))
    except (Exception, SystemExit) as error:
        return Outcome(error=error)


def said(error: BaseException) -> str:
    """The exception in one line."""
    text = f"{type(error).__name__}: {error}".replace("\n", " ")
    last = traceback.extract_tb(error.__traceback__)[-1] if error.__traceback__ else None
    place = f" [{last.filename.rpartition('/')[2]}:{last.lineno}]" if last else ""
    return text[:300] + place
