"""What a user gives is taken as what it means, or refused in the library's words."""

import inspect

import numpy as np
import pytest

from experiments.reliability import bad_inputs, public
from experiments.reliability.judge import Judge
from experiments.reliability.kinds import numbers
from experiments.reliability.kinds.kind import Kind, means_same, refused
from experiments.reliability.pool import answers
from experiments.reliability.roles import Role
from experiments.reliability.verdict import BAD, Case

# Their good call here is a refusal: a device is in use already, there are no files of these data sets, and
# the network has no state.
STATE = {"ValueAndGrad.carrying", "ValueAndGrad.carries_rows"}
REFUSING = {"connect", "data.mnist", "data.fashion_mnist", *STATE}


def of_words(found, *words):
    return [f"{v.word} {case}: {v.note}" for case, v in found if v.word in words]


def test_every_public_function_has_a_good_call_and_few_bad_inputs_pass():
    """All good calls, and of each function some bad ones: none silent, none raw, none ends the process."""
    found, lost = public.entries()
    assert not lost, f"public, and no role is known for an argument: see ROLES and OWN in roles.py: {lost}"
    cases = bad_inputs.sampled(bad_inputs.all_cases(), 100, seed=0)
    questions = [*([name] for name in found), *(list(case) for case in cases)]
    judged, fail = [], {}
    for i, answer in answers(
        "experiments.reliability.worker", questions, jobs=1, timeout=60, on_death=lambda how: ["abort", how]
    ):
        if len(questions[i]) > 1:
            judged.append(bad_inputs.Judged(Case(*questions[i]), bad_inputs.Verdict(*answer)))
        elif answer[0] != "right" and questions[i][0] not in REFUSING:
            fail[questions[i][0]] = answer[1]
    assert not fail, "the good call of these public functions does not work"
    assert of_words(judged, *BAD) == []


@pytest.mark.soak
def test_3000_bad_inputs():
    found = bad_inputs.judged(bad_inputs.sampled(bad_inputs.all_cases(), 3000, seed=1))
    assert of_words(found, *BAD) == []


def test_a_function_is_in_the_table_by_being_public(monkeypatch):
    import jaxbp

    def explained(net, params, x, detail): ...

    explained.__module__ = "jaxbp.explained"
    monkeypatch.setattr(jaxbp, "explained", explained, raising=False)
    found, lost = public.entries()
    assert lost == {"explained": "no role for detail"}
    assert "explained" not in found
    del explained.__annotations__
    monkeypatch.setattr(jaxbp, "explained", lambda net, params, x: None)
    jaxbp.explained.__module__ = "jaxbp.explained"
    assert set(public.entries()[0]["explained"].roles) == {"net", "params", "x"}


def double(x, mode="add"):
    """A function with all faults: it doubles numbers, and texts too; any word but add is the other."""
    if x is None:
        raise ValueError("double: expected a number, got None")
    if isinstance(x, bytes):
        raise ValueError("no bytes, please")
    return x + x if mode == "add" else x * 0


@pytest.mark.parametrize(
    ("argument", "kind", "word"),
    [
        ("x", means_same("NumPy", np.float64), "right"),
        ("x", Kind("True", lambda g: True, (lambda g: g, lambda g: 1.0)), "lenient"),
        ("x", refused("None", None), "clear"),
        ("x", refused("bytes", b"1"), "raw"),
        ("x", refused("a dict", {}), "raw"),
        ("x", means_same("as text", str), "silent"),
        ("x", refused("a list", [1.0]), "silent"),
        ("x", refused("NaN", float("nan")), "nan"),
        ("mode", next(k for k in numbers.word({}) if k.name == "upper case"), "silent"),
    ],
    ids=lambda v: v if isinstance(v, str) else v.name,
)
def test_the_judge_sees_each_fault(argument, kind, word):
    roles = {"x": Role([kind], lambda: 2.0), "mode": Role([kind], lambda: "add")}
    how = {name: p.kind for name, p in inspect.signature(double).parameters.items()}
    entry = public.Entry("double", lambda: double, roles, how, ("x",), {}, ("x", "mode"))
    assert Judge({"double": entry}).judge(Case("double", argument, kind.name), kind).word == word
