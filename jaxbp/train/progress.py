"""What a person sees while training runs."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax

Record = dict[str, Any]


def describe(record: Record) -> str:
    """The scalars of one epoch's record on one line.

    Example:
        >>> describe({"epoch": 3, "seconds": 0.5, "loss": 0.25, "val_accuracy": 0.97})
        'loss 0.25  val_accuracy 0.97'
    """
    hidden = ("epoch", "iteration", "seconds")
    return "  ".join(f"{k} {v:.3g}" for k, v in record.items() if k not in hidden and isinstance(v, float))


@contextmanager
def progress(total: int, shown: bool, unit: str = "epoch") -> Iterator[Callable[[Record | str], None]]:
    """Yields a function that shows an epoch's record, or a word for what is being done before the first.

    A bar in a terminal where rich is installed. In a file, a pipe and a notebook, a line to standard error
    for each epoch, at once. Of many processes only the first shows anything. The unit, the name of a column,
    is what is counted up to the total.
    """
    if not shown or jax.process_index() > 0:
        yield lambda news: None
        return

    def line(news: Record | str) -> None:
        text = news if isinstance(news, str) else f"{unit} {news[unit]}/{total}  {describe(news)}"
        print(text, file=sys.stderr, flush=True)

    if not sys.stdout.isatty():
        yield line
        return
    try:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError:
        yield line
        return

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=10),
        MofNCompleteColumn(),
        TextColumn("{task.fields[news]}"),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns) as bar:
        task = bar.add_task(unit, total=total, news="")

        def update(news: Record | str) -> None:
            if isinstance(news, str):
                bar.console.print(news, highlight=False)
            else:
                bar.update(task, completed=news[unit], news=describe(news))

        yield update
