"""The callbacks that docs/training.md shows for TensorBoard, W&B and MLflow, run as they stand there.

Each package has a stand-in here, with its names and its arguments, that records what it is told: the real
ones write files and ask for an account. Where a package is installed, it must take the same calls.
"""

import importlib
import importlib.util
import inspect
import re
import sys
import types
from contextlib import contextmanager
from pathlib import Path

import jax
import optax
import pytest

import jaxbp

PAGE = Path(__file__).parents[2] / "docs" / "training.md"


class Recorder(list):
    """What was called, as (name, arguments by their names), and the functions that record it."""

    def function(self, name, signature):
        def called(*args, **kwargs):
            self.append((name, signature.bind(*args, **kwargs).arguments))

        return called


def add_scalar(tag, scalar_value, global_step=None, walltime=None, new_style=False): ...
def log(data, step=None, commit=None): ...
def log_metrics(metrics, step=None, synchronous=None, run_id=None, timestamp=None): ...


CALLS = {  # where the real ones are, and what they take
    "torch.utils.tensorboard": ("SummaryWriter.add_scalar", add_scalar),
    "wandb": ("Run.log", log),
    "mlflow": ("log_metrics", log_metrics),
}


@pytest.fixture
def recorded(monkeypatch):
    """The stand-ins in place of the packages, and what they are told."""
    told = Recorder()

    @contextmanager
    def opened(**named):
        told.append(("opened", named))
        yield
        told.append(("ended", named))

    def writer(log_dir=None):
        methods = {"add_scalar": told.function("add_scalar", inspect.signature(add_scalar))}
        return types.SimpleNamespace(close=lambda: told.append(("closed", log_dir)), **methods)

    modules = {
        "torch": {}, "torch.utils": {}, "torch.utils.tensorboard": {"SummaryWriter": writer},
        "wandb": {"init": opened, "log": told.function("log", inspect.signature(log))},
        "mlflow": {
            "start_run": opened, "log_metrics": told.function("log_metrics", inspect.signature(log_metrics)),
        },
    }  # fmt: skip
    for name, members in modules.items():
        module = types.ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    return told


@pytest.fixture(scope="module")
def page():
    """What the page has by then."""
    train, _ = jaxbp.load("digits")
    train, validation = jaxbp.split(train.rows(range(300)), 0.2)
    net = jaxbp.mlp([64, 10])
    return {
        "jaxbp": jaxbp, "jax": jax, "optax": optax, "net": net, "loss": jaxbp.softmax_cross_entropy,
        "train": train, "validation": validation, "params": net.init(jax.random.key(0)),
    }  # fmt: skip


def test_each_tracker_gets_the_history(recorded, page):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (block,) = (code for code in blocks if "wandb" in code)
    names = dict(page)
    exec(block, names)
    result = names["result"]
    columns = [name for name in result.history if name != "epoch"]
    rows = [{name: float(row[name]) for name in columns} for row in result.rows()]
    assert len(rows) == 3
    assert {"loss", "val_loss", "val_accuracy", "seconds"} <= set(columns)
    scalars = [told for name, told in recorded if name == "add_scalar"]
    assert scalars == [
        {"tag": name, "scalar_value": value, "global_step": epoch}
        for epoch, row in enumerate(rows, 1)
        for name, value in row.items()
    ]
    for call, argument in (("log", "data"), ("log_metrics", "metrics")):
        told = [told for name, told in recorded if name == call]
        assert told == [{argument: row, "step": epoch} for epoch, row in enumerate(rows, 1)]
    assert recorded[:2] == [("opened", {"project": "digits"}), ("opened", {"run_name": "digits"})]
    assert recorded[-3:] == [
        ("closed", "runs/digits"), ("ended", {"run_name": "digits"}), ("ended", {"project": "digits"}),
    ]  # fmt: skip


@pytest.mark.parametrize("module", CALLS)
def test_the_stand_ins_take_what_the_packages_take(module):
    """Of those that are installed; the calls of the page are made by these names and no others."""
    name, stand_in = CALLS[module]
    shown = inspect.signature(stand_in).parameters
    required = [p for p in shown.values() if p.default is inspect.Parameter.empty]
    assert len(required) == 1 + (stand_in is add_scalar)
    if not all(importlib.util.find_spec(module[:i]) for i in _ends(module)):
        return
    real = importlib.import_module(module)
    for part in name.split("."):
        real = getattr(real, part)
    taken = [p for p in inspect.signature(real).parameters if p != "self"]
    assert taken[: len(required) + 1] == list(shown)[: len(required) + 1]


def _ends(module):
    """Where the names of the packages around a module end, and its own."""
    return [i for i, letter in enumerate(module + ".") if letter == "."]


def test_every_argument_of_fit_is_in_the_table_of_the_page():
    table = PAGE.read_text().partition("| group |")[2].partition("\n\n")[0]
    named = re.findall(r"`(\w+)`", table.partition("\n")[2])
    assert sorted(named) == sorted(inspect.signature(jaxbp.fit).parameters)
    assert f"`fit` has {len(named)} arguments" in PAGE.read_text()
