"""The perceptron and the linear unit: one unit, one rule w += eta sum (t - o) x, two outputs o.

Rows with any leading axes ``*n``, as everywhere: x (*n, d), t (*n,). One row at a time is the
iterative form, some rows a mini-batch, all rows the batch form; ``batch_size`` covers the three.
"""

from jaxbp.units.delta_rule import Unit as Unit
from jaxbp.units.delta_rule import linear_unit as linear_unit
from jaxbp.units.gradient_descent import LinearUnitFit as LinearUnitFit
from jaxbp.units.gradient_descent import fit_linear_unit as fit_linear_unit
from jaxbp.units.gradient_descent import linear_unit_error as linear_unit_error
from jaxbp.units.gradient_descent import linear_unit_step as linear_unit_step
from jaxbp.units.perceptron_rule import PerceptronFit as PerceptronFit
from jaxbp.units.perceptron_rule import fit_perceptron as fit_perceptron
from jaxbp.units.perceptron_rule import margin as margin
from jaxbp.units.perceptron_rule import novikoff_bound as novikoff_bound
from jaxbp.units.perceptron_rule import perceptron as perceptron
from jaxbp.units.perceptron_rule import perceptron_step as perceptron_step
