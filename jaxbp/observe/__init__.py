"""Looking at back-propagation: every formula and every number of one example.

`places` names what stands where in a network; `steps` and `outputs` write the lecture's steps as trees of
`expressions`, which `writing` prints; `network` computes the numbers, `explanation` holds them and prints.
"""

from jaxbp.observe.explain import explain as explain
from jaxbp.observe.explanation import Explanation as Explanation
