"""Batches that come one by one: from a generator function, a DataLoader, an iterator."""

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from jaxbp import arguments
from jaxbp.arguments.trees import is_tree
from jaxbp.data.dataset import Dataset
from jaxbp.errors import message


@dataclass(frozen=True, eq=False)
class Batches:
    """Batches for `fit` in place of whole arrays; each is (x, y) or (x, y, weight), checked as it comes.

    Args:
        source: what yields them. A function ``epoch -> iterable`` (a generator function, with or without
            that argument) is called for each epoch, numbered from 1; an iterable such as PyTorch's
            DataLoader or a tf.data.Dataset is gone through once an epoch, and so is what has its batches by
            number, such as Keras' PyDataset; of an iterator, which cannot begin again, each epoch takes the
            next batches.
        steps_per_epoch: so many batches an epoch; by default all that an epoch's iteration yields. An
            iterator needs it.

    Raises:
        TypeError: for a source that yields nothing, or steps that are no whole number.
        ValueError: for an iterator without steps_per_epoch.

    Example:
        >>> def source(epoch):
        ...     for i in range(3):
        ...         yield [[float(i)]], [[float(epoch)]]
        >>> len(list(Batches(source).of(1))), list(Batches(source, 2).of(7))[-1]
        (3, ([[1.0]], [[7.0]]))
    """

    source: Callable[..., Iterable[Any]] | Iterable[Any]
    steps_per_epoch: int | None = None

    def __post_init__(self) -> None:
        where, source = "Batches", self.source
        yields = hasattr(source, "__iter__") or _is_numbered(source)
        if not callable(source) and (not yields or isinstance(source, str | dict)):
            expected = "a source of batches: a function of the epoch, an iterable or an iterator"
            raise TypeError(message(where, expected, arguments.described(source)))
        if self.steps_per_epoch is not None:
            steps = arguments.whole(where, "steps_per_epoch", self.steps_per_epoch, low=1)
            object.__setattr__(self, "steps_per_epoch", steps)
        elif self.once:
            hint = "Batches(iterator, steps_per_epoch=100), or give the function that makes it"
            expected = "steps_per_epoch for an iterator, which may never end"
            raise ValueError(message(where, expected, arguments.described(source), hint))

    @property
    def once(self) -> bool:
        """Whether the source is an iterator, which cannot begin again."""
        return isinstance(self.source, Iterator)

    def of(self, epoch: int) -> Iterator[Any]:
        """The batches of an epoch."""
        source: Any = self.source
        if _is_numbered(source):
            source = map(source.__getitem__, range(len(source)))
        elif not hasattr(source, "__iter__"):
            epochs, nothing = _takes(source, epoch), _takes(source)
            if not epochs and not nothing:
                expected, got = "source to take the epoch, or nothing", arguments.described(source)
                raise TypeError(message("Batches", expected, got))
            made = source(epoch) if epochs else source()
            if not hasattr(made, "__iter__") or hasattr(made, "shape"):
                expected, got = "a source that returns an iterable of batches", arguments.described(made)
                raise TypeError(message("Batches", expected, got))
            source = made
        iterator = iter(source)
        if self.steps_per_epoch is None:
            return iterator
        return islice(iterator, self.steps_per_epoch)

    def begun(self) -> tuple[Any, Iterator[Any]]:
        """The first batch, and the batches of the first epoch, with it.

        Raises:
            ValueError: for none.
        """
        batches = self.of(1)
        try:
            first = next(batches)
        except StopIteration:
            raise ValueError(message("Batches", "at least one batch", "none from the source")) from None
        return first, chain([first], batches)


def batches_of(data: Any) -> Batches | None:
    """What yields batches, where data are neither whole arrays nor a mistake for them."""
    if isinstance(data, Batches):
        return data
    arrays = isinstance(data, tuple | list | dict | str | bytes) or hasattr(data, "shape") or is_tree(data)
    yields = callable(data) or hasattr(data, "__iter__") or _is_numbered(data)
    return None if isinstance(data, Dataset | type) or arrays or not yields else Batches(data)


def _is_numbered(source: Any) -> bool:
    """Whether it has its batches by number, and no iterator of its own, which might never end."""
    names = ("__len__", "__getitem__", "__iter__")
    return [hasattr(source, name) for name in names] == [True, True, False]


def _takes(source: Callable[..., Any], *args: int) -> bool:
    """Whether it can be called so; what tells nothing of its arguments can be called with none."""
    try:
        inspect.signature(source).bind(*args)
    except TypeError:
        return False
    except ValueError:
        return not args
    return True
