"""Rules inside ``shard_map``: their real inputs on every device, and the rule set alone on the same mesh."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend import core
from jax.sharding import PartitionSpec

from jaxbp.jaxprs.inline import opened
from jaxbp.jaxprs.internals import mapped_of, varying
from jaxbp.jaxprs.rules import is_rule
from jaxbp.jaxprs.walk import literal


class Mesh:
    """The body of one ``shard_map`` equation with jit written out, and how to run parts of it.

    A value that differs from device to device leaves the mesh with a leading axis, a row for each device
    along the axes it varies over; a value that is the same everywhere leaves as it is.
    """

    def __init__(self, eqn: Any):
        self.mapped = mapped_of(eqn)
        self.body, self.axes = opened(self.mapped.body), self.mapped.axes

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
        outs = iter(self._on_mesh(run, self.mapped.in_specs, wanted)(*args))
        return [next(outs) if isinstance(a, core.Var) else jax.numpy.asarray(literal(a)) for a in eqn.invars]

    def devices(self, atom: Any) -> tuple[tuple[str, int], ...]:
        """The axes of the mesh, with their lengths, that the rows of a value run over."""
        return tuple((a, int(self.mapped.mesh.shape[a])) for a in self._over(atom))

    def around(self, eqn: Any) -> Callable[[Callable[..., list[Any]]], Callable[..., list[Any]]]:
        """Set a function of the inputs of ``eqn`` on the mesh."""
        stacked = [bool(self._over(a)) for a in eqn.invars]

        def setting(fn: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
            def local(*rows: Any) -> list[Any]:
                return fn(*(r[0] if s else r for r, s in zip(rows, stacked, strict=True)))

            return self._on_mesh(local, tuple(self._spec(a) for a in eqn.invars), eqn.outvars)

        return setting

    def _on_mesh(self, fn: Callable[..., Any], specs: Any, outs: Sequence[Any]) -> Callable[..., list[Any]]:
        def local(*args: Any) -> list[Any]:
            return [y[None] if self._over(v) else y for v, y in zip(outs, fn(*args), strict=True)]

        mapped: Callable[..., list[Any]] = jax.shard_map(
            local, mesh=self.mapped.mesh, in_specs=specs, out_specs=[self._spec(v) for v in outs],
            axis_names=frozenset(self.axes), check_vma=self.mapped.tracked,
        )  # fmt: skip
        return mapped

    def _over(self, atom: Any) -> tuple[str, ...]:
        """The axes of the mesh along which a value differs (all of them where JAX does not keep track)."""
        if isinstance(atom, core.Literal):
            return ()
        if not self.mapped.tracked:
            return tuple(self.axes)
        return tuple(a for a in self.axes if a in varying(atom))

    def _spec(self, atom: Any) -> PartitionSpec:
        over = self._over(atom)
        return PartitionSpec(*((over,) if over else ()))  # type: ignore[no-untyped-call]
