"""Rules written and proved by someone who had not read the checker; figures in docs/verification.md."""

import pytest

from tests.verify.blind.case import proved
from tests.verify.blind.table import CASES, answered

DTYPES = "float32", "float64"
SPREAD = {  # a wrong and a right one of most subjects, the cheap ones
    "sin_times_y_negated": "float64",
    "maximum_that_shares_a_tie": "float32",
    "cross_entropy_not_divided_by_the_batch": "float64",
    "masked_mean_with_dead_entries": "float32",
    "grouped_query_keys_get_one_head_only": "float64",
    "embedding_that_overwrites_repeated_rows": "float32",
    "gather_of_distinct_rows_by_overwriting": "float64",
    "sine_and_cosine_whose_second_is_ignored": "float32",
    "rounding_straight_through": "float64",
    "fixed_point_by_the_implicit_theorem": "float64",
    "product_in_the_convention_of_torch": "float64",
    "tanh_in_bfloat16_from_its_output": "float32",
}


@pytest.mark.parametrize("name", SPREAD)
def test_a_spread_of_the_set_is_proved_and_judged(name):
    proved(CASES[name])
    answer = answered(CASES[name], SPREAD[name])
    assert answer.good, answer


@pytest.mark.soak
@pytest.mark.parametrize("name", CASES)
def test_every_case_is_what_it_claims_to_be(name):
    proved(CASES[name])
