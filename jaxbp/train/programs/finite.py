"""What must stay finite while training runs, and the first iteration after which it is not."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from jaxbp.arguments.search import blocks
from jaxbp.train.programs.step import Row, State, Step
from jaxbp.typing import Array


def all_finite(tree: Any) -> Array:
    """Whether no entry of the tree is NaN or infinite."""
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()


def watched_leaves(state: State) -> list[tuple[str, Any]]:
    """The float leaves of the optimizer's and the model's state, which must not overflow, and their names.

    The norm of a gradient that `optax.MultiSteps` skips may overflow: that is why it was skipped.

    Example:
        >>> import optax
        >>> state = State({}, optax.adam(0.1).init({"w": jnp.zeros(2)}), jax.random.key(0), 0)
        >>> [name for name, _ in watched_leaves(state)]
        ["[0].mu['w']", "[0].nu['w']"]
    """
    of_optimizer = [
        (jax.tree_util.keystr(path), leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(state.opt_state)
        if not any(getattr(key, "name", "") == "skip_state" for key in path)
    ]
    of_model = [
        (f"model_state{jax.tree_util.keystr(path[1:])}", leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(state.model_state)
    ]
    return [
        (name, leaf)
        for name, leaf in of_optimizer + of_model
        if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)
    ]


def broke(before: State, after: State) -> Array:
    """What each of the `watched_leaves` became: NaN or infinity, or 0 while sound.

    An entry that was not finite before has broken nothing: some states begin with infinity.
    """
    found = [jnp.zeros(0)]
    for (_, old), (_, new) in zip(watched_leaves(before), watched_leaves(after), strict=True):
        lost = jnp.isfinite(old) & ~jnp.isfinite(new)
        worst = jnp.max(jnp.where(lost, jnp.real(new), -jnp.inf), initial=-jnp.inf)
        found.append(jnp.where(lost.any(), worst, 0).astype(float)[None])
    return jnp.concatenate(found)


def sound(before: State, after: State) -> Array:
    """Whether no entry of the `watched_leaves` stopped being finite."""
    pairs = zip(watched_leaves(before), watched_leaves(after), strict=True)
    kept = [(jnp.isfinite(new) | ~jnp.isfinite(old)).all() for (_, old), (_, new) in pairs]
    return jnp.stack([jnp.bool_(True), *kept]).all()


def stays_finite(before: State, after: State) -> Array:
    """Whether the parameters are finite, and the rest of the state no less so than before."""
    return all_finite(after.params) & sound(before, after)


def make_look(everywhere: NamedSharding | None) -> Callable[[np.ndarray, State, State], bool]:
    """Whether losses are finite and the state `stays_finite`, looked at once after many iterations.

    On a CPU NumPy looks where the numbers lie; to compile that for each leaf takes as long as to compile the
    network. A program looks on other devices, and where something is not finite: it may have been so before.

    Args:
        everywhere: the sharding of what every device of a mesh has, None without a mesh.
    """
    program = jax.jit(stays_finite, out_shardings=everywhere)
    on_host = everywhere is None and jax.default_backend() == "cpu"

    def look(losses: np.ndarray, before: State, after: State) -> bool:
        if not np.isfinite(losses).all():
            return False
        if on_host:
            leaves = [*jax.tree.leaves(after.params), *(leaf for _, leaf in watched_leaves(after))]
            if all(map(_finite, leaves)):
                return True
        return bool(program(before, after))

    return look


def _finite(leaf: Array) -> bool:
    # A view, and no copy that JAX keeps: the next program may take the buffer.
    return all(np.isfinite(block).all() for _, block in blocks(np.asarray(leaf).reshape(-1)))


class Watched(NamedTuple):
    """What a watched step carries.

    Args:
        state: that before the first bad iteration.
        bad: the number of that iteration, or -1.
        broken: what `broke` says of it.
    """

    state: State
    bad: Array
    broken: Array

    @classmethod
    def begun(cls, state: State) -> "Watched":
        """Before the first step."""
        nothing = jnp.zeros_like(broke(state, state))
        return cls(state, jnp.full_like(state.step, -1), nothing)


def make_watched(step: Step) -> Callable[..., tuple[Watched, Row]]:
    """The step that looks at what it did.

    An iteration is bad if its loss or the parameters it leaves are not finite, or if the optimizer's state
    stopped being so. From there on nothing is updated any more, so that the state is the one before it.
    """

    def watched(carry: Watched, *data: Any) -> tuple[Watched, Row]:
        before, bad, broken = carry
        after, row = step(before, *data)
        finite = all_finite((row[0], after.params))
        lost = broke(before, after)
        good = finite & jnp.isfinite(lost).all()
        go, first = good & (bad < 0), ~good & (bad < 0)
        state = jax.tree.map(lambda new, old: jnp.where(go, new, old), after, before)
        bad = jnp.where(first, before.step, bad)
        return Watched(state, bad, jnp.where(first & finite, lost, broken)), row

    return watched
