"""Rules inside derivatives that f takes itself: tracing uses them up, so f is run once more and watched."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from itertools import count
from threading import Lock, local
from typing import Any, NamedTuple

import jax

from jaxbp.jaxprs.internals import is_differentiated
from jaxbp.jaxprs.walk import subjaxprs
from jaxbp.verify.sites.call import Call, is_array

KINDS = (jax.custom_vjp, jax.custom_jvp)
# Loops run step by step here: a whole training is not waited for.
CALLS = 500
RULES = 32

Before = Callable[[Any, tuple[Any, ...], dict[str, Any]], None]


class _Enough(Exception):  # noqa: N818 -- an end, not an error
    """So many calls were seen that the rest is not run."""


class Use(NamedTuple):
    """A rule that was called, with its arguments."""

    rule: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def differentiates(jaxpr: Any) -> bool:
    """Whether some of the equations come from a derivative that was taken while they were traced."""
    return any(is_differentiated(e) or any(map(differentiates, subjaxprs(e))) for e in jaxpr.eqns)


def uses(call: Call) -> tuple[list[Use], bool]:
    """The rules that ``call`` calls under transformations, each with the arguments of its first call.

    f runs without jit, because what is traced while it is watched must not be remembered. Whether it ran to
    its end is returned too.
    """
    found: dict[int, Use] = {}
    try:
        with jax.disable_jit(), watched(_noting(found)):
            call.fn(*call.arrays(exact=False))
            jax.effects_barrier()  # type: ignore[no-untyped-call]
    except _Enough:
        return list(found.values()), False
    return list(found.values()), True


def _noting(found: dict[int, Use]) -> Callable[..., None]:
    """What leaves a note in ``found`` of the arguments that a rule is called with."""
    seen = count()

    def before(rule: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        leaves, tree = jax.tree.flatten((args, kwargs))
        moving = [k for k, x in enumerate(leaves) if is_array(x)]
        if not any(isinstance(x, jax.core.Tracer) for x in leaves):
            return  # Nothing differentiates here: tracing f shows this one.
        if next(seen) >= CALLS or len(found) >= RULES:
            raise _Enough

        def note(*values: Any) -> None:
            full = list(leaves)
            for k, value in zip(moving, values, strict=True):
                full[k] = value
            found.setdefault(id(rule), Use(rule, *jax.tree.unflatten(tree, full)))

        # A callback is given the values under grad and vmap too, where the arguments are tracers.
        jax.debug.callback(note, *(leaves[k] for k in moving))

    return before


class _Watchers:
    """Who is told of calls of custom_vjp and custom_jvp, thread by thread.

    JAX has no hook for such calls, so ``__call__`` of both classes is another function while anybody watches.
    It tells those in the thread that calls, and in all others does what it always does.
    """

    def __init__(self) -> None:
        self.lock, self.count = Lock(), 0
        self.plain: dict[Any, Callable[..., Any]] = {}
        self.here = local()

    def told(self) -> list[Before]:
        """Those of this thread."""
        found: list[Before] = self.here.__dict__.setdefault("told", [])
        return found

    def enter(self) -> None:
        """Begin to watch, if nobody does."""
        with self.lock:
            self.count += 1
            if self.count == 1:
                self.plain = {kind: kind.__call__ for kind in KINDS}
                for kind, run in self.plain.items():
                    kind.__call__ = self._telling(run)

    def leave(self) -> None:
        """Put back what was there, if nobody else watches."""
        with self.lock:
            self.count -= 1
            if self.count == 0:
                for kind, run in self.plain.items():
                    kind.__call__ = run

    def _telling(self, run: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(run)
        def called(rule: Any, *args: Any, **kwargs: Any) -> Any:
            for before in self.told():
                before(rule, args, kwargs)
            return run(rule, *args, **kwargs)

        return called


_WATCHERS = _Watchers()


@contextmanager
def watched(before: Before) -> Iterator[None]:
    """In this thread, calls of custom_vjp and custom_jvp go through ``before(rule, args, kwargs)`` first."""
    told = _WATCHERS.told()
    _WATCHERS.enter()
    told.append(before)
    try:
        yield
    finally:
        told.remove(before)
        _WATCHERS.leave()
