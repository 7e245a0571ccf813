"""The record of what bits depend on."""

import jax

from jaxbp.train.checkpoints.environment import differences, environment


def test_the_environment_is_json_and_differs_from_none_of_itself():
    here = environment()
    assert list(differences(here, here)) == []
    assert (here["backend"], here["device_count"], here["process_count"]) == (
        jax.default_backend(),
        jax.device_count(),
        1,
    )
    with jax.enable_x64(True):
        assert list(differences(here, environment())) == ["x64 was false, is true"]
