"""`watch`: a callback of `fit` that looks at the flow through a network while it trains."""

import csv
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxbp import arguments
from jaxbp.errors import message
from jaxbp.observe.cotangents import cotangents
from jaxbp.observe.deltas import Tap
from jaxbp.observe.instruments.flow import flow
from jaxbp.observe.instruments.learned import nothing_learned, unmoved
from jaxbp.observe.instruments.noise import noise_scale
from jaxbp.observe.instruments.spectrum import singular_values
from jaxbp.observe.instruments.updates import updates
from jaxbp.report.watching.looks import COLUMNS, Look, as_text, rows, sparkline
from jaxbp.report.watching.picture import plot_watch
from jaxbp.train.checkpoints.disk import worded
from jaxbp.typing import Params, Scalar

WHERE = "watch"
ALSO = ("singular_values", "noise_scale")


class Watch:
    """The callback that `watch` makes: give it to `fit`, then print it, or read its ``looks``.

    Fields: ``looks``, one for each epoch that was looked at; ``warning``, why nothing was learned, ``""``
    while that is not known or not so; ``notes``, what could not be measured, and why.
    """

    def __init__(
        self, f: Callable[..., Scalar], batch: Sequence[Any], every: int, folder: Path | None,
        also: Sequence[str], show: bool,
    ):  # fmt: skip
        self.looks: list[Look] = []
        self.warning = ""
        self.notes: list[str] = []
        self._f, self._batch, self._flow = f, tuple(batch), flow(f)
        self._every, self._folder, self._also, self._show = every, folder, also, show
        self._start: Any = None
        self._stopped = False
        self._taps: tuple[Tap, ...] = ()
        self._last_product: Callable[..., Any] | None = None
        self._records: tuple[Any, Any] = (None, None)  # of the epoch before the last, and of the last

    def at_start(self, record: dict[str, Any]) -> None:
        """`fit` calls it before the first epoch."""
        self._safely(lambda: self._begin(record))

    def __call__(self, record: dict[str, Any]) -> None:
        """`fit` calls it after each epoch."""
        self._safely(lambda: self._after(record))

    def at_end(self, result: Any) -> None:
        """`fit` calls it with the result."""
        self._safely(lambda: self._end(result))

    def _safely(self, do: Callable[[], None]) -> None:
        """An instrument that fails is no reason to lose a run: it says so once, and is silent."""
        if self._stopped:
            return
        try:
            do()
        except Exception as error:
            self._stopped = True
            said = f"stopped looking, {type(error).__name__}: {error}"
            self.notes.append(said)
            self._say(f"{WHERE}: {said}")

    def _begin(self, record: dict[str, Any]) -> None:
        self._start = record["params"]
        self._records = (None, record)
        self._look()

    def _after(self, record: dict[str, Any]) -> None:
        self._records = (self._records[1], record)
        if record["epoch"] % self._every == 0:
            self._look()

    def _end(self, result: Any) -> None:
        _, last = self._records
        if last is None:
            return
        if not self.looks or self.looks[-1].epoch != last["epoch"]:
            self._look()
        if self._start is not None and "model_state" not in last:
            self.warning = nothing_learned(self._f, self._start, result.params, *self._batch)
            if still := unmoved(self._start, result.params):
                self.notes.append(f"did not move: {', '.join(still)}")
        self._say(repr(self))
        self._drawn()

    def _look(self) -> None:
        """Measure after the last epoch, keep it, and show a line."""
        before, record = self._records
        params, epoch = record["params"], record["epoch"]
        args = (*self._batch, *((record["model_state"],) if "model_state" in record else ()))
        found = self._flow(params, *args)
        self._taps = found.taps
        moved = updates(before["params"], params) if before else {}
        more = {word: self._further(word, params, args) for word in self._also}
        self.looks.append(Look(epoch, found, moved, **more))
        self._written()
        norms = [float(delta.norm) for delta in found.deltas.values()]
        labels = list(found.deltas)
        self._say(
            f"{WHERE}: epoch {epoch}: loss {found.loss:.4g}, norms of deltas {norms[0]:.2g} "
            f"{sparkline(norms)} {norms[-1]:.2g} ({labels[0]} to {labels[-1]})"
        )

    def _further(self, word: str, params: Params, args: tuple[Any, ...]) -> Any:
        """One of `ALSO`; None, and a note, where this model has none."""
        measure: dict[str, Callable[[], Any]] = {
                   "noise_scale": lambda: noise_scale(self._f, params, *args),
                   "singular_values": lambda: self._singular_values(params, args)}  # fmt: skip
        try:
            return measure[word]()
        except (TypeError, ValueError) as error:
            if (said := f"no {word}: {error}") not in self.notes:
                self.notes.append(said)
            return None

    def _singular_values(self, params: Params, args: tuple[Any, ...]) -> np.ndarray:
        """Those of the Jacobian of the last product by the inputs, of one example."""
        if self._last_product is None:
            last = next((tap.label for tap in reversed(self._taps) if tap.kind == "a"), None)
            if last is None:
                raise ValueError(message(WHERE, "a product with a parameter", "none"))
            seen = cotangents(self._f, last)

            def last_product(x: Any, params: Params, *others: Any) -> Any:
                return seen(params, x, *others).values[last]

            self._last_product = last_product
        x, *others = jax.tree.map(lambda leaf: leaf[:1], args)
        return singular_values(self._last_product, x, params, *others)

    def _written(self) -> None:
        """The table in the folder, after each look: whatever ends the run, it is there."""
        if self._folder is None or jax.process_index():
            return
        with open(self._folder / "watch.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows(rows(self.looks))

    def _drawn(self) -> None:
        """The picture, once: to draw takes longer than to look."""
        if self._folder is not None and not jax.process_index():
            with suppress(ImportError):  # without matplotlib there is the table
                plot_watch(self.looks, self._folder / "watch.png")

    def _say(self, line: str) -> None:
        if self._show and not jax.process_index():
            print(line)

    def __repr__(self) -> str:
        """A line for each layer and each parameter: how its numbers went over the epochs."""
        lines = [as_text(WHERE, self.looks), *(f"note: {note}" for note in self.notes)]
        return "\n".join(lines + [f"warning: {self.warning}"] * bool(self.warning))


def watch(
    f: Callable[..., Scalar],
    batch: Sequence[Any],
    *,
    every: int = 5,
    folder: Any = None,
    also: str | Sequence[str] = (),
    show: bool = True,
) -> Watch:
    """A callback for `jaxbp.fit` that looks at a loss while the network trains.

    Before the first epoch, after every so many and at the end it measures norm, zeros and histogram of each
    layer's value and delta, and update / weight of each parameter over the epoch, and prints a line: the
    norms of the deltas from the first layer to the last. At the end it prints a table, and a warning where
    nothing was learned: no parameter moved, all units are dead, the loss is at the level of the class
    frequencies. A look is one pass over the batch, compiled once; three copies of the parameters are held.
    What goes wrong in it never ends a run.

    Args:
        f: ``(params, *batch) -> loss``; where `fit` has a ``model_state``, that comes last.
        batch: what f takes besides: inputs, then targets, a few hundred examples.
        every: epochs between two looks.
        folder: where ``watch.csv`` and ``watch.png`` go, such as that of the run.
        also: "singular_values" of the Jacobian of the last product by the inputs of the first example,
            "noise_scale" of the gradient, or both; where a model has none, a note says why.
        show: print.

    Returns:
        A `Watch`, with ``looks``, ``warning`` and ``notes``.

    Raises:
        OSError: at once, where the folder cannot be made.
        TypeError, ValueError: at once, for an f that is no function, a batch that is no tuple or list, or
            another option that is not as said above.

    Example:
        >>> import jax.numpy as jnp, jaxbp, optax
        >>> net, x = jaxbp.mlp([2, 3, 1], jaxbp.tanh), jnp.array([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
        >>> f = lambda params, x, y: jaxbp.squared_error(net.apply(params, x), y)
        >>> watcher = watch(f, (x, x[:, :1]), show=False)
        >>> _ = jaxbp.fit(jax.value_and_grad(f), net.init(jax.random.key(0)), (x, x[:, :1]), epochs=10,
        ...               optimizer=optax.sgd(0.1), key=jax.random.key(1), batch_size=3, callbacks=[watcher],
        ...               progress_bar=False)
        >>> [look.epoch for look in watcher.looks], list(watcher.looks[0].flow.deltas), watcher.warning
        ([0, 5, 10], ['a_1', 'f_1', 'a_2'], '')
    """
    arguments.instance(WHERE, "batch", batch, (tuple, list), "all that f takes after params: (x, y)")
    try:  # with a model's state
        arguments.function(WHERE, "f", f, positional=2 + len(batch))
    except TypeError:
        arguments.function(WHERE, "f", f, positional=1 + len(batch))
    every = arguments.whole(WHERE, "every", every, low=1)
    arguments.instance(WHERE, "also", also, (str, tuple, list))
    words = (also,) if isinstance(also, str) else tuple(also)
    for word in words:
        arguments.option(WHERE, "also", word, ALSO)
    folder = None if folder is None else arguments.path(WHERE, "folder", folder)
    if folder is not None:
        with worded(WHERE, f"to write into folder {folder}"):
            folder.mkdir(parents=True, exist_ok=True)
    return Watch(f, batch, every, folder, words, arguments.flag(WHERE, "show", show))
