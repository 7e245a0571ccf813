"""Back-propagation: the four steps, every delta named; the gradient for training; the rule for `jax.grad`.

| row | place | what lives there |
|---|---|---|
| 0 | `four_steps` | `forward`, `backward` and `backprop` |
| 0 | `hand_vjp` | `with_hand_vjp` |
| 1 | `gradient` | `value_and_grad` |
"""

from jaxbp.backprop.four_steps import backprop as backprop
from jaxbp.backprop.four_steps import backward as backward
from jaxbp.backprop.four_steps import forward as forward
from jaxbp.backprop.gradient import ValueAndGrad as ValueAndGrad
from jaxbp.backprop.gradient import value_and_grad as value_and_grad
from jaxbp.backprop.hand_vjp import with_hand_vjp as with_hand_vjp
