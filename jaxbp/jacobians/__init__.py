"""The explicit Jacobian chain, and what contracts a Jacobian without forming it."""

from jaxbp.jacobians.chain import Factor as Factor
from jaxbp.jacobians.chain import JacobianChain as JacobianChain
from jaxbp.jacobians.factors import jacobian_chain as jacobian_chain
from jaxbp.jacobians.order import Plan as Plan
from jaxbp.jacobians.parameters import ParameterJacobian as ParameterJacobian
from jaxbp.jacobians.parameters import parameter_jacobian as parameter_jacobian
from jaxbp.jacobians.per_example import PerExample as PerExample
from jaxbp.jacobians.per_example import per_example as per_example
