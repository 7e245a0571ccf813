"""The experiments on Jacobians run on a small configuration, and write what they found."""

import importlib
import json

import pytest


def run(name, tmp_path, **small):
    module = importlib.import_module(f"experiments.{name}")
    result = module.main(module.Config(out=tmp_path, **small))
    assert set(json.loads((tmp_path / "result.json").read_text())["result"]) == set(result)
    return result


@pytest.mark.parametrize("only", ["jacobian 784", "clipped mean", "ntk", "ggn", "laplace", "shared T=256"])
def test_every_formulation_of_the_benchmark_agrees(tmp_path, only):
    # It raises where two formulations of a quantity differ.
    result = run("30_jacobian_benchmark", tmp_path, only=only, scale=16, batch=4, small_batch=2, rounds=1)
    (rows,) = result["cases"].values()
    assert len(rows) == 3
    assert rows["ours"]["ratio"] == 1


@pytest.mark.soak
def test_walk(tmp_path):
    pytest.importorskip("sklearn")
    result = run("31_jacobian_walk", tmp_path, hidden=12, bottleneck=4, epochs=4, images=8)
    assert result["difference_to_jax_grad"] < 1e-5
    assert result["plans"]["with the loss"]["order"] == "reverse"
    pytest.importorskip("matplotlib")
    assert (tmp_path / "figure.png").stat().st_size > 1000
