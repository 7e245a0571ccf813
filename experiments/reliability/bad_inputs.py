"""Is whatever a user gives taken as what it means, or refused with what to do?

    python -m experiments.reliability.bad_inputs [--cases 3000] [--seed 0] [--jobs 2] [--only fit] [--all]
    python -m experiments.reliability.bad_inputs --case fit/key/0

Every public function x every argument x the kinds of values for the argument's role. A case is right (the
result is that of the value meant), clear (refused in the library's words, before work was lost), lenient (a
defensible reading) or nan (not finite, for all to see); or it is silent (accepted with another meaning), raw
(an error in other words) or an abort (the process died or hung). 3,000 cases take some minutes on 2 cores.
"""

import argparse
import json
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from experiments.reliability.pool import answers
from experiments.reliability.row import Row, many
from experiments.reliability.verdict import BAD, Case, Verdict

WORDS = ("right", "clear", "lenient", "nan", "silent", "raw", "abort")


class Judged(NamedTuple):
    """A case and its verdict."""

    case: Case
    verdict: Verdict

    @property
    def reproducer(self) -> str:
        """The command that shows it."""
        return f"python -m experiments.reliability.bad_inputs --case '{self.case}'"


def all_cases(only: str = "") -> list[Case]:
    """The full product."""
    from experiments.reliability.public import entries

    found, _ = entries()
    return [
        Case(name, argument, kind.name)
        for name, entry in found.items()
        if only in name
        for argument in entry.tried
        for kind in entry.roles[argument].kinds
    ]


def sampled(cases: list[Case], number: int, seed: int) -> list[Case]:
    """So many cases: of each argument of each function in turn another kind, in an order by the seed."""
    rng = random.Random(seed)
    by_argument: dict[tuple[str, str], list[Case]] = defaultdict(list)
    for case in rng.sample(cases, len(cases)):
        by_argument[case.function, case.argument].append(case)
    chosen: list[Case] = []
    while by_argument and len(chosen) < number:
        for place in rng.sample(list(by_argument), len(by_argument)):
            chosen.append(by_argument[place].pop())
            if not by_argument[place]:
                del by_argument[place]
    return sorted(chosen[:number])  # those of a function together, for it is compiled once


def judged(cases: list[Case], *, jobs: int = 2, timeout: float = 60, show: bool = False) -> list[Judged]:
    """The verdicts, skipped ones left out."""
    found: list[Judged] = []
    asked = answers(
        "experiments.reliability.worker",
        [list(case) for case in cases],
        jobs=jobs,
        timeout=timeout,
        on_death=lambda how: ["abort", how],
    )
    for done, (i, answer) in enumerate(asked, 1):
        if answer[0] != "skipped":
            found.append(Judged(cases[i], Verdict(*answer)))
        if show and answer[0] in BAD:
            print(answer[0], cases[i], answer[1], sep=": ", file=sys.stderr, flush=True)
        if show and done % 100 == 0:
            print(f"{done} of {len(cases)}", file=sys.stderr, flush=True)
    return sorted(found)


def counts(found: Iterable[Judged]) -> Counter[str]:
    return Counter(item.verdict.word for item in found)


def report(found: list[Judged]) -> str:
    """The tables by function, by kind, and the bad cases."""
    lines = []
    for title, part in (("function", lambda c: c.function), ("kind", lambda c: c.kind)):
        rows: dict[str, Counter[str]] = defaultdict(Counter)
        for item in found:
            rows[part(item.case)][item.verdict.word] += 1
        lines.append(f"{title:58}" + "".join(f"{w:>8}" for w in WORDS))
        for name, row in sorted(rows.items(), key=lambda r: (-sum(r[1][w] for w in BAD), r[0])):
            lines.append(f"{name[:57]:58}" + "".join(f"{row[w] or '.':>8}" for w in WORDS))
        lines.append("")
    for item in found:
        if item.verdict.word in BAD:
            lines.append(f"{item.verdict.word:7}{item.case}: {item.verdict.note}\n       {item.reproducer}")
    total = counts(found)
    kinds, functions = len({i.case.kind for i in found}), len({i.case.function for i in found})
    summed = ", ".join(f"{total[w]} {w}" for w in (*WORDS, "unmade") if total[w])
    return "\n".join([*lines, "", f"{len(found)} cases, {kinds} kinds, {functions} functions: {summed}"])


def measure(scale: float = 1.0, *, jobs: int = 2, seed: int = 0) -> Row:
    """The row of the scorecard: 3,000 cases at scale 1."""
    found = judged(sampled(all_cases(), many(3000, scale), seed), jobs=jobs)
    total, functions = counts(found), len({item.case.function for item in found})
    bad = tuple(f"{v.word} {case}: {v.note}" for case, v in found if v.word in BAD)
    return Row(
        "bad inputs over every public function",
        f"{many(3000, scale):,} cases: 0 silent with another meaning, 0 raw, 0 aborts",
        f"{len(found):,} cases, {functions} functions: " + ", ".join(f"{total[w]} {w}" for w in WORDS),
        not bad,
        "the command line; arguments of the operators; two wrong arguments at once",
        bad,
    )


def main(args: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="", help="functions whose name holds this")
    parser.add_argument("--all", action="store_true", help="the full product")
    parser.add_argument("--case", help="one case, function/argument/kind, with its traceback")
    parser.add_argument("--json", type=Path, help="write the verdicts to this file")
    given = parser.parse_args(args)
    import jax

    jax.config.update("jax_num_cpu_devices", 4)
    if given.case:
        return one(given.case)
    cases = all_cases(given.only)
    found = judged(
        cases if given.all else sampled(cases, given.cases, given.seed), jobs=given.jobs, show=True
    )
    print(report(found))
    if given.json:
        given.json.write_text(json.dumps([[*item.case, *item.verdict] for item in found], indent=0))
    return int(any(item.verdict.word in BAD for item in found))


def one(text: str) -> int:
    """One case in this process, for all to see."""
    from experiments.reliability.judge import Judge, outcome
    from experiments.reliability.public import entries

    function, argument, kind_name = text.split("/", 2)
    found, _ = entries()
    entry = found[function]
    kind = next(kind for kind in entry.roles[argument].kinds if kind.name == kind_name)
    goods = entry.goods(argument)
    value = kind.make(goods[argument])
    print(f"jaxbp.{function}({', '.join(goods)}) with {argument} = {value!r:.300}")
    came = outcome(entry, goods | {argument: value}, goods)
    if came.error is None:
        print(f"returned {came.result!r:.1000}")
    else:
        import traceback

        traceback.print_exception(came.error)
    verdict = Judge(found).judge(Case(function, argument, kind_name), kind)
    print(*verdict, sep=": ")
    return int(verdict.word in BAD)


if __name__ == "__main__":
    raise SystemExit(main())
