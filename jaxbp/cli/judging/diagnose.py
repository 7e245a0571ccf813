"""`jaxbp diagnose`: what is wrong with the flow of the networks of a module, by name."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from jaxbp import arguments
from jaxbp.cli.judging.formats import Line, Shown
from jaxbp.cli.judging.targets import judged, refused
from jaxbp.errors import message
from jaxbp.jaxprs.rules import beneath
from jaxbp.observe import Diagnosis, diagnose
from jaxbp.observe.diagnosis.record import KINDS, Finding
from jaxbp.verify.report import wrapped

WHERE = "jaxbp diagnose"
OF_CHECK = ("declare", "order")  # options of a case that speak to `jaxbp check`


def run(targets: Sequence[str], format: str = "text") -> int:
    """Diagnose the cases that the targets name and print what was found.

    The first of a case's args are the parameters, the others the batch; its options go to f, but for those
    of `jaxbp check`, so that both commands take one case.

    Args:
        targets: as `jaxbp.cli.judging.targets.judged` has them.
        format: text, json, markdown, github or junit.

    Returns:
        Exit status: 0 when nothing is found, 1 when something is, 2 when a case could not be diagnosed.
    """
    return judged(WHERE, targets, format, _judge)


def _judge(target: str, f: Any, args: Sequence[Any], options: Mapping[str, Any]) -> Shown:
    if not args:
        raise ValueError(message(WHERE, f"{target} to return (f, (params, *batch))", "no parameters"))
    own = {name: value for name, value in options.items() if name not in OF_CHECK}
    return shown(diagnose(partial(f, **own) if own else f, *args))


def shown(diagnosis: Diagnosis) -> Shown:
    """A diagnosis as every format shows it."""
    header = ("finding", "layer", "where", "measured", "try")
    plain = diagnosis.to_dict()
    if not np.isfinite(diagnosis.loss):
        plain["loss"] = str(diagnosis.loss)  # JSON has no word for it
    lines = tuple(map(_line, diagnosis.findings))
    return Shown(diagnosis.ok, repr(diagnosis), plain, diagnosis.summary(), header, lines, diagnosis.remarks)


def _line(f: Finding) -> Line:
    title, where = f"{f.name}: {f.label}", beneath(f.where)
    cells = (f.name, f"`{f.label}`", where, f.evidence, KINDS[f.name].hint)
    text = "\n".join([f.sentence, *(f"then {line}" for line in f.follows)])
    return Line("error", title, cells, title, where, f.sentence, f.sentence, f.name, text)


def explain(word: str) -> int:
    """Print what a finding does to learning, what to try, and which findings explain it.

    Returns:
        Exit status: 0, or 2 when there is no such word.
    """
    try:
        kind = KINDS[arguments.option(WHERE, "explain", word, tuple(KINDS))]
    except (TypeError, ValueError) as error:
        return refused(error)
    said = {"what it does": kind.effect, "try": kind.hint, "follows from": ", ".join(kind.after)}
    for title, text in said.items():
        if text:
            print("\n".join(wrapped(f"{word}, {title}: {text}", "")))
    return 0
