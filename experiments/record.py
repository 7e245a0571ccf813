"""What the experiments share: their command line, how they print, and the folder that they leave behind."""

import importlib.metadata
import json
import platform
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax

import jaxbp


def run(main: Callable[[Any], dict], config: type) -> None:
    """Main with a config from the command line where tyro is installed, with the defaults elsewhere."""
    try:
        import tyro
    except ImportError:
        if sys.argv[1:]:
            raise SystemExit("options need tyro: pip install tyro") from None
        main(config())
    else:
        main(tyro.cli(config))


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table on the terminal; tab-separated lines where rich is not installed."""
    cells = [[f"{v:.4g}" if isinstance(v, float) else str(v) for v in row] for row in rows]
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        print(title, "\t".join(columns), *("\t".join(row) for row in cells), sep="\n")
        return
    drawn = Table(*columns, title=title)
    for row in cells:
        drawn.add_row(*row)
    Console().print(drawn)


def figure(*args: Any, **kwargs: Any) -> tuple[Any, Any] | None:
    """matplotlib's subplots, drawn to a file and never to a window; None where it is not installed."""
    try:
        import matplotlib
    except ImportError:
        return None
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt.subplots(*args, layout="constrained", **kwargs)


def save(config: Any, result: dict, drawn: tuple[Any, Any] | None = None) -> dict:
    """Write result.json, with the config and the versions, and figure.png to ``config.out``."""
    config.out.mkdir(parents=True, exist_ok=True)
    versions = {name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "numpy", "optax")}
    about = {
        "config": asdict(config),
        "versions": versions | {"jaxbp": jaxbp.__version__, "python": platform.python_version()},
        "device": jax.devices()[0].device_kind,
    }
    (config.out / "result.json").write_text(json.dumps(about | {"result": result}, indent=2, default=_plain))
    if drawn:
        import matplotlib.pyplot as plt

        drawn[0].savefig(config.out / "figure.png", dpi=120)
        plt.close(drawn[0])
    print(f"written: {config.out}")
    return result


def _plain(value: Any) -> Any:
    """What json does not know: arrays as lists, paths as text."""
    return str(value) if isinstance(value, Path) else value.tolist()
