"""All cases of the suite, for its test, the mutants and experiment 20."""

from . import (
    cases_apart,
    cases_arrays,
    cases_contract,
    cases_elementwise,
    cases_hard,
    cases_models,
    cases_more,
    cases_public,
    cases_terms,
    cases_traps,
)

MODULES = (
    cases_elementwise, cases_arrays, cases_models, cases_hard, cases_more, cases_contract, cases_apart,
    cases_terms, cases_traps, cases_public,
)  # fmt: skip
CASES = [c for module in MODULES for c in module.CASES]
