"""What the bits of a run depend on beside its own arguments."""

import json
import os
import platform
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import jax
import numpy as np
import optax


def environment() -> dict[str, Any]:
    """Versions, devices and settings that can change the last bits of a result, as JSON holds them.

    Even the number of devices counts: with 4 CPU devices instead of 1, a program on one device rounds
    otherwise.

    Example:
        >>> here = environment()
        >>> here["jax"] == jax.__version__, here["x64"], here["process_count"]
        (True, False, 1)
    """
    return {
        "jaxbp": _installed("jaxbp"),
        "jax": jax.__version__,
        "jaxlib": _installed("jaxlib"),
        "numpy": np.__version__,
        "optax": optax.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
        "backend": jax.default_backend(),
        "device_kind": jax.devices()[0].device_kind,
        "device_count": jax.device_count(),
        "process_count": jax.process_count(),
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
        "matmul_precision": jax.config.jax_default_matmul_precision,  # type: ignore[attr-defined]
        "threefry_partitionable": jax.config.jax_threefry_partitionable,  # type: ignore[attr-defined]
        "x64": jax.config.jax_enable_x64,  # type: ignore[attr-defined]
    }


def differences(then: Any, now: Any, name: str = "") -> Iterator[str]:
    """Where two JSON values differ, key by key, in words.

    Example:
        >>> list(differences({"jax": "0.10.2", "opt": {"eta": 0.1}}, {"jax": "0.10.2", "opt": {"eta": 0.2}}))
        ['opt.eta was 0.1, is 0.2']
        >>> list(differences({}, {"epochs": 3}))
        ['epochs was absent, is 3']
        >>> list(differences("a" * 100, "b" * 100, "network"))
        ['network is another one']
    """
    if isinstance(then, dict) and isinstance(now, dict):
        for key in sorted({*then, *now}):
            within = f"{name}.{key}" if name else key
            yield from differences(then.get(key, ABSENT), now.get(key, ABSENT), within)
    elif (was := _worded(then)) != (now_is := _worded(now)):
        short = max(len(was), len(now_is)) <= _SHORT
        yield f"{name} was {was}, is {now_is}" if short else f"{name} is another one"


def by_entry(then: dict[str, Any], now: dict[str, Any]) -> dict[str, str]:
    """The entries of two configs that differ, each with how.

    What a run is looked at with may be added and left out; it may not become another.

    Example:
        >>> by_entry({"batch_size": 32, "key": 0}, {"batch_size": 64, "key": 0})
        {'batch_size': 'batch_size was 32, is 64'}
        >>> by_entry({}, {"validation": "1f"}), by_entry({"validation": "1f"}, {"validation": "2e"})
        ({}, {'validation': 'validation was "1f", is "2e"'})
    """
    names = {*then, *now} - (_LOOKS - ({*then} & {*now}))
    said = {
        name: "; ".join(differences(then.get(name, ABSENT), now.get(name, ABSENT), name))
        for name in sorted(names)
    }
    return {name: text for name, text in said.items() if text}


_LOOKS = frozenset({"validation"})  # entries that leave what is learned as it is
ABSENT = object()  # the value of a name that is not there
_SHORT = 80  # characters of a value that is written out


@cache  # read from the disk once: a later user of the process may not be allowed to
def _installed(package: str) -> str:
    """The version of a package; a bare checkout has none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _worded(value: Any) -> str:
    """A value as JSON writes it, which takes a tuple for a list."""
    return "absent" if value is ABSENT else json.dumps(value, sort_keys=True)
