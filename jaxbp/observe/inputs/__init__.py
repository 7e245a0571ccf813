"""What delta_x is for.

| row | file | what it holds |
|---|---|---|
| 0 | `constraints` | the nearest point of a box and a ball, and total variation |
| 1 | `given` | what the functions are given: a model, examples, targets, constraints |
| 2 | `uses` | `saliency`, `adversarial` and `generate` |
"""

from jaxbp.observe.inputs.uses import adversarial as adversarial
from jaxbp.observe.inputs.uses import generate as generate
from jaxbp.observe.inputs.uses import saliency as saliency
