"""Jacobians as structured linear operators: the types, their algebra, and what it costs."""

from jaxbp.operators.algebra import add as add
from jaxbp.operators.algebra import compose as compose
from jaxbp.operators.algebra import product as product
from jaxbp.operators.algebra import settle as settle
from jaxbp.operators.composites import Kronecker as Kronecker
from jaxbp.operators.composites import Linear as Linear
from jaxbp.operators.composites import Product as Product
from jaxbp.operators.composites import Sum as Sum
from jaxbp.operators.operator import Operator as Operator
from jaxbp.operators.places import Recurrent as Recurrent
from jaxbp.operators.places import Routed as Routed
from jaxbp.operators.planning import Cost as Cost
from jaxbp.operators.planning import cost as cost
from jaxbp.operators.records import Dense as Dense
from jaxbp.operators.records import Diagonal as Diagonal
from jaxbp.operators.records import DiagonalPlusLowRank as DiagonalPlusLowRank
from jaxbp.operators.records import Identity as Identity
from jaxbp.operators.records import Scaled as Scaled
