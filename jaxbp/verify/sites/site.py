"""A rule where it stands: the inputs that reached it, and its two sides as functions of them."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxbp.jaxprs.inline import body_of, without_rules
from jaxbp.jaxprs.loops import longer, repeats
from jaxbp.jaxprs.rules import Rule, alone
from jaxbp.verify.maps.pullback import Point, is_float, point

# What sets a function of a rule's inputs where the rule stands.
Around = Callable[[Callable[..., list[Any]]], Callable[..., list[Any]]]


class Site(NamedTuple):
    """A rule and the inputs that reached it.

    ``context`` says in which step or branch, and ``key`` where it stands in every trace of f; ``around`` sets
    a function of the rule's inputs where the rule stands (on every device of a mesh); ``origins`` are the
    arguments of f that the inputs are, where they are any, and ``devices`` the axes of a mesh that the rows
    of each run over; ``refused`` are inputs that the rule does not differentiate; ``wide`` sets the rule's
    mathematics apart from its precision.
    """

    rule: Rule
    inputs: list[Any]
    context: tuple[str, ...]
    key: tuple[int | str, ...]
    around: Around = lambda fn: fn
    origins: tuple[str, ...] = ()
    devices: tuple[tuple[tuple[str, int], ...], ...] = ()
    refused: frozenset[int] = frozenset()
    wide: bool = False

    @property
    def twins(self) -> dict[int, int]:
        """Inputs of a rule of JAX's that are the same value as an earlier one, and which: they move together.

        An implicit function (custom_root) gets what equation and solver both close over twice, and gives the
        whole cotangent to the first.
        """
        if not self.rule.builtin:
            return {}
        given = [(i, id(x)) for i, x in enumerate(self.inputs) if i >= self.rule.consts]
        first = {x: i for i, x in reversed(given)}
        return {i: first[x] for i, x in given if first[x] != i}

    @property
    def moving(self) -> list[int]:
        """The numbers of the inputs to differentiate: floating, not closed over, not refused, no twins."""
        held = self.refused | self.twins.keys()
        kept = range(self.rule.consts, len(self.inputs))
        return [i for i in kept if is_float(self.inputs[i]) and i not in held]

    @property
    def ruled(self) -> Point:
        """The function with its rule, where it stands."""
        return point(self.around(alone(self.rule.eqn)), self.inputs, self.moving, self.wide, self.twins)

    @property
    def plain(self) -> Point:
        """The primal body without rules, where it stands."""
        return self._plain(body_of(self.rule.eqn))

    def longer(self, times: int) -> Point | None:
        """The same with loops of equal steps run for ``times`` as many; None where it has no such loop."""
        body = without_rules(self.rule.body)
        return self._plain(longer(body, times)) if repeats(body.jaxpr) else None

    def _plain(self, body: Callable[..., list[Any]]) -> Point:
        return point(self.around(body), self.inputs, self.moving, self.wide, self.twins)
