"""How do three derivative checkers judge the same rules?

Runs the suite of tests/verify through jaxbp.check, jax.test_util.check_grads and chex.assert_numerical_grads,
in float32 and float64, and prints one table: wrong rules caught, causes named, right rules alarmed about.

    python experiments/20_check_suite.py [jaxbp.check] [check_grads] [chex]
    python experiments/20_check_suite.py --set blind  # those of tests/verify/blind, by jaxbp.check

20 minutes for jaxbp.check alone; chex is needed (pip install chex). Measured with JAX 0.10.2 and chex
0.1.92, float32 / float64: on 513 rules jaxbp.check caught 303 / 303 of 304 wrong ones, named the cause of
297 / 297 and called 6 / 6 `other`, with 1 / 0 alarms among 209 others (the one missed and the alarm are
mended since, and the whole was not run again); on the 455 of them that there were, without the declared
rules, of which they cannot be told, check_grads caught 227 / 239 of 256 with 45 / 39 alarms among 184, chex
210 / 210 with 44 / 42.
"""

import json
import os
import sys
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path

os.environ["JAX_NUM_CPU_DEVICES"] = "4"  # Before JAX starts: some rules run over a mesh.

import jax
import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads

sys.path.insert(0, str(Path(__file__).parents[1]))  # the suite lives among the tests

from experiments.record import dots
from jaxbp.verify import check
from tests.verify.blind.table import CASES as BLIND
from tests.verify.blind.table import answered
from tests.verify.cases import CASES

RESULTS = Path("results/20_check_suite/result.json")


@dataclass
class Score:
    """What one tool said of the suite in one dtype."""

    wrong: int = 0
    caught: int = 0
    named: int = 0
    other: int = 0
    """Caught, with `other` as the cause: the checker's word for none that it knows."""
    right: int = 0
    alarms: int = 0
    crashes: int = 0
    seconds: float = 0.0
    missed: list = field(default_factory=list)
    alarmed: list = field(default_factory=list)


def by_jaxbp(case, args):
    """(alarm, the cause in a word, crash)"""
    report = check(case.f, *args, declare=case.declare, order=case.order)
    said = {f.cause for f in report.wrong}
    return not report.ok, min(said & set(case.causes), key=lambda cause: cause == "other", default=""), False


def by_check_grads(case, args):
    """An assertion of check_grads is an alarm, any other exception a crash (which users read as an alarm)."""
    moving = [
        k
        for k, x in enumerate(args)
        if not isinstance(x, dict) and jnp.issubdtype(jnp.result_type(x), jnp.inexact)
    ]
    if not moving:
        moving = list(range(len(args)))

    def f(*values):
        full = list(args)
        for k, value in zip(moving, values, strict=True):
            full[k] = value
        outs = [y for y in jax.tree.leaves(case.f(*full)) if jnp.issubdtype(y.dtype, jnp.inexact)]
        return outs

    try:
        check_grads(f, [args[k] for k in moving], order=case.order, modes=["rev"])
    except AssertionError:
        return True, "", False
    except Exception:
        return True, "", True
    return False, "", False


def by_chex(case, args):
    import chex

    try:
        chex.assert_numerical_grads(case.f, args, order=case.order, modes=["rev"])
    except AssertionError:
        return True, "", False
    except Exception:
        return True, "", True
    return False, "", False


TOOLS = {"jaxbp.check": by_jaxbp, "check_grads": by_check_grads, "chex": by_chex}


def judge(tool, dtype, cases):
    score = Score()
    start = time.perf_counter()
    for case in cases:
        with jax.enable_x64(dtype == np.float64):
            args = tuple(jax.tree.map(jnp.asarray, a) for a in case.args(dtype))
            alarm, cause, crash = tool(case, args)
        score.crashes += crash  # counted as an alarm too: that is how it reads to a user
        if case.verdict == "wrong":
            score.wrong += 1
            score.caught += alarm
            score.named += cause not in ("", "other")
            score.other += cause == "other"
            if not alarm:
                score.missed.append(case.name)
        else:
            score.right += 1
            score.alarms += alarm
            if alarm:
                score.alarmed.append(case.name)
    score.seconds = time.perf_counter() - start
    return score


def blind():
    """What jaxbp.check says of the rules that were written blind; what is not as it should be by its name."""
    result = {}
    for dtype in ("float32", "float64"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            said = {name: answered(case, dtype) for name, case in BLIND.items()}
        names = {
            "wrong": [n for n, a in said.items() if a.expected == "wrong"],
            "caught": [n for n, a in said.items() if a.expected == "wrong" and a.good],
            "missed": [n for n, a in said.items() if a.expected == "wrong" and a.told.startswith("right")],
            "other": [n for n, a in said.items() if a.expected == "wrong" and a.good and not a.named],
            "right": [n for n, a in said.items() if a.expected == "right"],
            "alarms": [n for n, a in said.items() if (a.expected, a.told) == ("right", "wrong")],
            "right in f": [n for n, a in said.items() if a.told == "right in f"],
            "crashes": [n for n, a in said.items() if not a.told.startswith(("right", "wrong"))],
        }
        print(dtype, *(f"{len(found)} {word}" for word, found in names.items()), sep="  ", flush=True)
        for word in ("missed", "other", "alarms", "right in f", "crashes"):
            for name in names[word]:
                print(f"  {word}: {name}")
        result[dtype] = names
    return result


def main():
    if sys.argv[1:] == ["--set", "blind"]:
        return blind()
    # Declared rules have no meaning for the other tools, which cannot be told of them.
    shared = [c for c in CASES if c.declare is None]
    result = {}
    columns = ("wrong", "caught", "named", "other", "right", "alarms", "crashes", "seconds")
    print(f"{'tool':12} {'dtype':8}" + "".join(f"{c:>8}" for c in columns))
    for name, tool in TOOLS.items():
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        for dtype in (np.float32, np.float64):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                s = judge(tool, dtype, CASES if name == "jaxbp.check" else shared)
            result[f"{name} {dtype.__name__}"] = vars(s)
            row = "".join(f"{getattr(s, c):8.0f}" for c in columns)
            print(f"{name:12} {dtype.__name__:8}{row}", flush=True)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=1))
    shares = {
        tool: {
            "wrong rules caught": [100 * row["caught"] / row["wrong"]] * 3,
            "right rules alarmed about": [100 * row["alarms"] / row["right"]] * 3,
        }
        for tool, row in result.items()
    }
    drawn = dots(shares, "per cent of the rules", "Three derivative checkers on the same rules")
    if drawn:
        drawn[0].savefig(RESULTS.with_name("figure.png"), dpi=120)
    return result


if __name__ == "__main__":
    main()
