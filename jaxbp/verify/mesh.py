"""Rules inside ``shard_map``: their real inputs on every device, and the rule set alone on the same mesh."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend import core
from jax.sharding import PartitionSpec

from jaxbp.verify.interpret import literal
from jaxbp.verify.rules import as_closed, is_rule, opened


class Mesh:
    """The body of one ``shard_map`` equation with jit written out, and how to run parts of it.

    A value that differs from device to device leaves the mesh with a leading axis, a row for each device
    along the axes it varies over; a value that is the same everywhere leaves as it is.
    """

    def __init__(self, eqn: Any):
        self.params = eqn.params
        self.body = opened(as_closed(eqn.params["jaxpr"]))
        axes = [a for a in eqn.params["mesh"].axis_names if a in eqn.params["newly_manual_axes"]]
        self.axes = axes

    @property
    def rules(self) -> list[tuple[int, Any]]:
        """The rules among its own equations, with their numbers."""
        return [(n, e) for n, e in enumerate(self.body.jaxpr.eqns) if is_rule(e)]

    def inputs_of(self, number: int, args: Sequence[Any]) -> list[Any]:
        """The real inputs of equation ``number`` on every device."""
        jaxpr = self.body.jaxpr
        eqn = jaxpr.eqns[number]
        wanted = [a for a in eqn.invars if isinstance(a, core.Var)]
        before = core.Jaxpr(
            jaxpr.constvars, jaxpr.invars, wanted, jaxpr.eqns[:number], jaxpr.effects,
            jaxpr.debug_info.with_unknown_names(),
        )  # fmt: skip
        run = core.jaxpr_as_fun(core.ClosedJaxpr(before, self.body.consts))
        outs = iter(self._mapped(run, self.params["in_specs"], wanted)(*args))
        return [next(outs) if isinstance(a, core.Var) else jax.numpy.asarray(literal(a)) for a in eqn.invars]

    def around(self, eqn: Any) -> Callable[[Callable[..., list[Any]]], Callable[..., list[Any]]]:
        """Set a function of the inputs of ``eqn`` on the mesh."""
        stacked = [bool(self._over(a)) for a in eqn.invars]

        def setting(fn: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
            def local(*rows: Any) -> list[Any]:
                return fn(*(r[0] if s else r for r, s in zip(rows, stacked, strict=True)))

            return self._mapped(local, tuple(self._spec(a) for a in eqn.invars), eqn.outvars)

        return setting

    def _mapped(self, fn: Callable[..., Any], specs: Any, outs: Sequence[Any]) -> Callable[..., list[Any]]:
        def local(*args: Any) -> list[Any]:
            return [y[None] if self._over(v) else y for v, y in zip(outs, fn(*args), strict=True)]

        mapped: Callable[..., list[Any]] = jax.shard_map(
            local, mesh=self.params["mesh"], in_specs=specs, out_specs=[self._spec(v) for v in outs],
            axis_names=frozenset(self.axes), check_vma=self.params["check_vma"],
        )  # fmt: skip
        return mapped

    def _over(self, atom: Any) -> tuple[str, ...]:
        """The axes of the mesh along which a value differs (all of them where JAX does not keep track)."""
        if isinstance(atom, core.Literal):
            return ()
        if not self.params["check_vma"]:
            return tuple(self.axes)
        return tuple(a for a in self.axes if a in atom.aval.mat.varying)

    def _spec(self, atom: Any) -> PartitionSpec:
        over = self._over(atom)
        return PartitionSpec(*((over,) if over else ()))  # type: ignore[no-untyped-call]
