"""Small models, sick and healthy, that judge what is said of a network's flow.

`MODELS` has them all. They were written without sight of the code that they judge, and the half of each
is fixed: thresholds are set on the half "open", and their figures are taken on the half "aside".
"""

from . import (
    further_healthy,
    further_sick,
    healthy_equinox,
    healthy_linen,
    healthy_nnx,
    healthy_plain,
    jaxbp_nets,
    meant,
    sick_equinox,
    sick_linen,
    sick_nnx,
    sick_plain,
    sick_plain_loss,
    unseen_healthy,
    unseen_sick,
)
from .record import WORDS, Model

SICK = (sick_plain, sick_plain_loss, sick_linen, sick_nnx, sick_equinox)
HEALTHY = (healthy_plain, healthy_linen, healthy_nnx, healthy_equinox)
MODELS: tuple[Model, ...] = tuple(m for family in (*SICK, *HEALTHY, jaxbp_nets) for m in family.MODELS)
# Written later, and before any of them was diagnosed; the first figures are in the commit that brought them.
FURTHER: tuple[Model, ...] = (*further_sick.MODELS, *further_healthy.MODELS)
# Written later still, from the words alone; the first figures stand in docs/observing.md.
UNSEEN: tuple[Model, ...] = (*unseen_sick.MODELS, *unseen_healthy.MODELS)
# What a rule accused once and is meant, or passed over: written with the rules in sight.
MEANT: tuple[Model, ...] = tuple(meant.MODELS)
__all__ = ["FURTHER", "MEANT", "MODELS", "UNSEEN", "WORDS", "Model"]
