"""Looking at back-propagation: every formula and every number of one example."""

from jaxbp.observe.explanation.explain import explain as explain
from jaxbp.observe.explanation.record import Explanation as Explanation
