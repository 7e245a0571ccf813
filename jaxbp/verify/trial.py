"""A trial: the rule at a site beside its primal, both as functions of the same inputs."""

from dataclasses import dataclass
from functools import cached_property

import jax.numpy as jnp

from jaxbp.jaxprs.exception_origin import raise_own
from jaxbp.jaxprs.rules import Rule
from jaxbp.verify.maps.pullback import Point, Pullback, autodiff, rule_pullback
from jaxbp.verify.numbers.blind_autodiff import misled
from jaxbp.verify.sites.site import Site


@dataclass(frozen=True)
class Trial:
    """Both sides of a site in one precision.

    Attributes:
        site: the rule, where it stands.
        ruled: the function with its rule.
        plain: its primal body without rules.
        own: the rule's pullback.
        reference: autodiff of the primal; None where there is none, or it sees no slope where there is one.
        order: 2 when the derivative of the pullback is asked for too.
    """

    site: Site
    ruled: Point
    plain: Point
    own: Pullback
    reference: Pullback | None
    order: int = 1

    @property
    def rule(self) -> Rule:
        """The rule itself."""
        return self.site.rule

    @cached_property
    def native(self) -> Pullback:
        """The rule's pullback with every operation in the dtype that it is written in."""
        return self.own if self.own.native else rule_pullback(self.ruled._replace(wide=False), self.rule.kind)


def begun(site: Site, order: int) -> Trial:
    """The trial of a rule in the widest dtype.

    Raises:
        Exception: whatever the rule raises when it is run.
    """
    site, own = started(site)
    plain = site.plain
    reference = autodiff(plain)
    if reference and misled(site.rule.body, site.moving, plain, reference):
        reference = None
    return Trial(site, site.ruled, plain, own, reference, order)


def started(site: Site) -> tuple[Site, Pullback]:
    """The rule's pullback, run once; inputs that it refuses while it differentiates others are held."""
    try:
        at = site.ruled
        own = rule_pullback(at, site.rule.kind)
        own.call(at.inputs, [jnp.ones(s.shape, s.dtype) for s in at.outputs])
    except Exception:
        refused = frozenset() if site.refused else _refused(site)
        if not refused:
            raise
        return started(site._replace(refused=refused))
    return site, own


def _refused(site: Site) -> frozenset[int]:
    """The inputs that the rule does not differentiate, where it does differentiate those before or after.

    The first choice that runs is taken at once: JAX keeps what it needs of a forward rule for the choice of
    inputs that ran last, and does not run it again for an earlier one.
    """
    everything = site.moving
    for count in range(len(everything) - 1, 0, -1):
        for kept in (everything[:count], everything[-count:]):
            refused = site.refused | (frozenset(everything) - frozenset(kept))
            try:
                rule_pullback(site._replace(refused=refused).ruled, site.rule.kind)
            except Exception as error:
                raise_own(error)
                continue
            return refused
    return frozenset()
