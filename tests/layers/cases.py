"""Every layer of the library with every option as a row: a new one is tested by being named here."""

import jaxbp
from tests.layers.case import Case, on
from tests.layers.cases_images import IMAGES
from tests.layers.cases_norms import NORMS
from tests.layers.cases_sequences import SEQUENCES


def dense(params, f):
    a = f @ params["W"].T
    return a + on(a, params["b"])


DENSE = {
    "dense": Case(jaxbp.dense(4, 3), (4,), dense),
    "dense at 5 positions": Case(jaxbp.dense(4, 3), (5, 4), dense),
    "flatten": Case(jaxbp.flatten(2, 3), (2, 3), lambda params, f: f.reshape(*f.shape[:-2], 6)),
}

CASES = {**DENSE, **IMAGES, **NORMS, **SEQUENCES}
