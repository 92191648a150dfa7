"""Check digits of personal numbers, against numbers whose sums were worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.identifiers import is_national_id, is_resident_number


@pytest.mark.parametrize("number", ["A123456789", "A223456781"])
def test_a_national_id_with_the_right_sum_is_taken(number: str) -> None:
    assert is_national_id(number)
    assert not is_resident_number(number)


@pytest.mark.parametrize("number", ["A800000014", "A806754477", "AA00000009", "AC17003729", "HD12345678"])
def test_resident_numbers_of_both_forms_are_taken(number: str) -> None:
    assert is_resident_number(number)
    assert not is_national_id(number)


@pytest.mark.parametrize(
    "number",
    ["", "A906754477", "A123456788", "a800000014", "A80000001", "A8000000140", "AE00000009", "A８00000014",
     "A800000014\n", " A800000014", "1800000014", "A700000014"],
)  # fmt: skip
def test_anything_else_is_refused(number: str) -> None:
    assert not is_resident_number(number)


@given(st.integers(0, 9_999_999), st.sampled_from("89"), st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
def test_exactly_one_last_digit_fits(digits: int, second: str, letter: str) -> None:
    fitting = [n for n in range(10) if is_resident_number(f"{letter}{second}{digits:07d}{n}")]

    assert len(fitting) == 1
