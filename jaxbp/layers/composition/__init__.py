"""What makes layers of layers: the chain rule as the composition operator, and its kin.

| row | place | what lives there |
|---|---|---|
| 0 | `chain` | one after the other, and how parameters, state and what is given reach a part |
| 1 | `residual` | a branch added to its skip |
| 1 | `repeat` | equal blocks as one loop |
| 1 | `tied` | one parameter in two places |
| 2 | `fixed` | with what it is given, for whoever gives nothing |
| 2 | `precision` | in fewer bits than the parameters have |
"""

from jaxbp.layers.composition.chain import chain as chain
from jaxbp.layers.composition.fixed import fixed as fixed
from jaxbp.layers.composition.precision import mixed_precision as mixed_precision
from jaxbp.layers.composition.repeat import repeat as repeat
from jaxbp.layers.composition.residual import residual as residual
from jaxbp.layers.composition.tied import tied as tied
