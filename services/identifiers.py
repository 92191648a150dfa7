"""Check digits of Taiwan's personal numbers.

National id numbers (國民身分證統一編號) and the numbers of residents (統一證號) share one sum: the first
letter stands for two digits, the rest follow, weighted 1,9,8,7,6,5,4,3,2,1,1, and the sum is a multiple of ten.
The old resident number, to be given up on 2031-01-01, has a letter as its second character, which counts as the
units digit of its code. Nothing here says that a number was ever given to anybody.
"""

import re

_CODES = {letter: code for code, letter in enumerate("ABCDEFGHJKLMNPQRSTUVXYWZIO", start=10)}
_WEIGHTS = (1, 9, 8, 7, 6, 5, 4, 3, 2, 1, 1)
_NATIONAL_ID = re.compile(r"[A-Z][12][0-9]{8}")
_RESIDENT_NEW = re.compile(r"[A-Z][89][0-9]{8}")
_RESIDENT_OLD = re.compile(r"[A-Z][A-D][0-9]{8}")


def is_national_id(number: str) -> bool:
    """Whether this can be a national id number (國民身分證統一編號)."""
    return _NATIONAL_ID.fullmatch(number) is not None and _sum_is_right(number)


def is_resident_number(number: str) -> bool:
    """Whether this can be a resident number (統一證號), of the form from 2021-01-02 or of the old one."""
    known = _RESIDENT_NEW.fullmatch(number) or _RESIDENT_OLD.fullmatch(number)
    return known is not None and _sum_is_right(number)


def _sum_is_right(number: str) -> bool:
    tens, units = divmod(_CODES[number[0]], 10)
    second = _CODES[number[1]] % 10 if number[1].isalpha() else int(number[1])
    digits = (tens, units, second, *map(int, number[2:]))
    total: int = sum(digit * weight for digit, weight in zip(digits, _WEIGHTS, strict=True))
    return total % 10 == 0
