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
| 2 | `instruments/` | what is measured while a model trains, each a pure function; whether it learned |
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
from jaxbp.observe.instruments.flow import Flow as Flow
from jaxbp.observe.instruments.flow import flow as flow
from jaxbp.observe.instruments.learned import nothing_learned as nothing_learned
from jaxbp.observe.instruments.noise import noise_scale as noise_scale
from jaxbp.observe.instruments.spectrum import singular_values as singular_values
from jaxbp.observe.instruments.statistics import Statistics as Statistics
from jaxbp.observe.instruments.statistics import statistics as statistics
from jaxbp.observe.instruments.updates import Update as Update
from jaxbp.observe.instruments.updates import updates as updates
from jaxbp.observe.nonfinite import first_nonfinite as first_nonfinite
