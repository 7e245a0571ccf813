"""Looking at back-propagation: every delta of any function; every formula and number of one example.

| row | file | what it holds |
|---|---|---|
| 0 | `explanation/` | every formula and every number of back-propagation for one example |
| 0 | `call` | a scalar function of anything as a flat function of arrays, and its parameters |
| 0 | `deltas` | what `cotangents` gives back, and `name` |
| 0 | `inputs/` | what delta_x is for: `saliency`, `adversarial`, `generate` |
| 1 | `cotangents` | every delta of any function, by name |
| 1 | `nonfinite` | which operation makes the first NaN or infinity, and why |
| 1 | `diagnosis/` | what is wrong with the flow of one batch, by name |
"""

from jaxbp.jaxprs.values.nonfinite import Nonfinite as Nonfinite
from jaxbp.observe.cotangents import cotangents as cotangents
from jaxbp.observe.deltas import Cotangents as Cotangents
from jaxbp.observe.deltas import name as name
from jaxbp.observe.diagnosis.diagnose import diagnose as diagnose
from jaxbp.observe.diagnosis.record import Diagnosis as Diagnosis
from jaxbp.observe.explanation.explain import explain as explain
from jaxbp.observe.explanation.record import Explanation as Explanation
from jaxbp.observe.inputs import adversarial as adversarial
from jaxbp.observe.inputs import generate as generate
from jaxbp.observe.inputs import saliency as saliency
from jaxbp.observe.nonfinite import first_nonfinite as first_nonfinite
