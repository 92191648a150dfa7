"""Codes and waiting logins of the sandbox identity provider end by themselves and are bounded."""

from adapters.sandbox_idp.flow import CODE_SECONDS, KEPT_MAX, TakenOnce


def test_code_lives_a_minute() -> None:
    now = 0.0
    codes: TakenOnce[str] = TakenOnce(CODE_SECONDS, lambda: now)
    in_time, late = codes.put("a"), codes.put("b")
    now = 59.9
    assert codes.take(in_time) == "a"
    now = 60.0
    assert codes.take(late) is None


def test_logins_that_nobody_finishes_are_bounded() -> None:
    waiting: TakenOnce[int] = TakenOnce(CODE_SECONDS)
    keys = [waiting.put(number) for number in range(KEPT_MAX + 1)]

    assert waiting.take(keys[0]) is None
    assert [waiting.take(key) for key in keys[1:]] == list(range(1, KEPT_MAX + 1))
