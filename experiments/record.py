"""What the experiments share: their command line, how they print, and the folder that they leave behind."""

import importlib.metadata
import importlib.util
import json
import platform
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
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
    """A table on the terminal, or as wide as it is in a file; lines with tabs where rich is not installed."""
    cells = [[f"{v:.4g}" if isinstance(v, float) else str(v) for v in row] for row in rows]
    try:
        from rich.console import Console
        from rich.measure import Measurement
        from rich.table import Table
    except ImportError:
        print(title, "\t".join(columns), *("\t".join(row) for row in cells), sep="\n")
        return
    drawn = Table(*columns, title=title)
    for row in cells:
        drawn.add_row(*row)
    console = Console()
    if not console.is_terminal:
        endless = console.options.update(width=10_000)
        console.width = max(console.width, Measurement.get(console, endless, drawn).maximum)
    console.print(drawn)


def figure(*args: Any, **kwargs: Any) -> tuple[Any, Any] | None:
    """matplotlib's subplots, drawn to a file and never to a window; None where it is not installed."""
    try:
        import matplotlib
    except ImportError:
        return None
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt.subplots(*args, layout="constrained", **kwargs)


def pictured(plot: Callable[..., Any], *args: Any) -> tuple[Any, Any] | None:
    """A picture of `jaxbp.plots`; None where matplotlib is not installed."""
    return (plot(*args), None) if importlib.util.find_spec("matplotlib") else None


def dots(
    rows: Mapping[str, Mapping[str, Sequence[float]]],
    label: str,
    title: str,
    *,
    one: float | None = None,
    log: bool = False,
) -> tuple[Any, Any] | None:
    """A dot in its range for each way of each row: (least, middle, most); a line where both are as good."""
    drawn = figure(figsize=(8, 1.4 + 0.19 * sum(1 + len(ways) for ways in rows.values())))
    if drawn is None or not rows:
        return None
    axes, names = drawn[1], list(dict.fromkeys(way for ways in rows.values() for way in ways))
    markers, y, places = "osD^vPX*<>phd8", 0, {}
    for row, ways in rows.items():
        places[row] = y + (len(ways) - 1) / 2
        for way, (least, middle, most) in ways.items():
            i = names.index(way)
            axes.plot([least, most], [y, y], color=f"C{i}", linewidth=1.5)
            axes.plot(middle, y, markers[i % len(markers)], color=f"C{i}", markeredgecolor="black")
            y += 1
        axes.axhline(y, color="0.85", linewidth=0.8)
        y += 1
    if one is not None:
        axes.axvline(one, color="0.4", linestyle="--", linewidth=1)
    axes.set(xlabel=label, title=title, ylim=(y - 0.5, -1), xscale="log" if log else "linear")
    if log:
        from matplotlib.ticker import LogLocator, NullFormatter

        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_yticks(list(places.values()), list(places))
    handles = [
        axes.plot([], [], markers[i % len(markers)], color=f"C{i}", markeredgecolor="black", label=way)[0]
        for i, way in enumerate(names)
    ]
    drawn[0].legend(handles=handles, loc="outside lower center", ncols=min(3, len(names)), fontsize=8)
    return drawn


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
