"""What each sandbox decides, by the rules it holds."""

import datetime as dt

import msgspec
import pytest

from adapters.boca import sandbox as boca
from adapters.boca.adapter import InspectionRequest, Place, VisaRequest
from adapters.field_authority import sandbox as ministries
from adapters.nia import sandbox as nia
from adapters.nia.adapter import (
    Arc,
    CardWish,
    CertificateNumber,
    ExchangeRequest,
    ResidenceRequest,
    ReviewRequest,
    Stay,
)
from adapters.sandbox_kit import Facts, Problem, months_after
from adapters.vocabulary import Decision, Qualification
from adapters.wda import sandbox as wda
from adapters.wda.adapter import Opinion
from consent.ids import uuid7
from tests.adapters.samples import (
    DOCUMENTS,
    OPINION,
    PASSPORT,
    PERSON,
    QUALIFICATION,
    QUALIFICATION_REVIEW,
    REVIEW,
)

FILED_ON = dt.date(2026, 11, 23)
ISSUED_ON = dt.date(2026, 12, 21)
INSPECTION = InspectionRequest(person=PERSON, passport=PASSPORT, places=("mission",), due_on=ISSUED_ON)
EXCHANGE = ExchangeRequest(
    person=PERSON, certificate=CertificateNumber(number="GC1"), card=CardWish(validity_years=3)
)


@pytest.fixture
def facts() -> Facts:
    """A case filed on one day and decided on a later one."""
    return Facts(
        call=uuid7(), case="115000000019", callback="http://127.0.0.1", filed_on=FILED_ON, today=ISSUED_ON
    )


def targets(decision: Decision) -> list[str]:
    return [item.target for item in decision.items]


class TestMonths:
    """Periods in months."""

    @pytest.mark.parametrize(
        ("day", "months", "expected"),
        [
            (dt.date(2026, 11, 23), 6, dt.date(2027, 5, 23)),
            (dt.date(2026, 8, 31), 6, dt.date(2027, 2, 28)),
            (dt.date(2027, 8, 31), 6, dt.date(2028, 2, 29)),
            (dt.date(2026, 12, 1), 1, dt.date(2027, 1, 1)),
            (dt.date(2028, 2, 29), 12, dt.date(2029, 2, 28)),
        ],
    )
    def test_months_end_on_the_same_day_or_the_months_last(
        self, day: dt.date, months: int, expected: dt.date
    ) -> None:
        assert months_after(day, months) == expected


class TestNia:
    """The immigration agency."""

    def test_holder_of_a_certificate_is_found(self, facts: Facts) -> None:
        answer = nia.residence(facts, ResidenceRequest(passport=PASSPORT, person=PERSON))

        assert answer.arc is not None
        assert is_identity_number(answer.arc.number)

    def test_other_birthday_finds_nobody(self, facts: Facts) -> None:
        other = msgspec.structs.replace(PERSON, date_of_birth=dt.date(1988, 2, 28))

        assert nia.residence(facts, ResidenceRequest(passport=PASSPORT, person=other)).arc is None

    def test_register_holds_valid_numbers_only(self) -> None:
        assert all(is_identity_number(arc.number) for arc in nia.REGISTER.values())

    def test_whole_application_passes_the_check(self, facts: Facts) -> None:
        assert nia.information_check(facts, REVIEW).decision.outcome == "passed"

    @pytest.mark.parametrize(
        ("expires_on", "expected"),
        [(dt.date(2027, 5, 23), []), (dt.date(2027, 5, 22), ["/passport/expires_on"])],
    )
    def test_passport_must_be_valid_for_six_months_after_filing(
        self, facts: Facts, expires_on: dt.date, expected: list[str]
    ) -> None:
        review = with_passport(REVIEW, expires_on=expires_on)

        assert targets(nia.information_check(facts, review).decision) == expected

    def test_all_that_is_missing_is_asked_for_at_once(self, facts: Facts) -> None:
        nameless = msgspec.structs.replace(PERSON, surname="", given_names=" ")
        review = msgspec.structs.replace(
            with_passport(REVIEW, expires_on=FILED_ON), person=nameless, documents=()
        )

        decision = nia.information_check(facts, review).decision

        assert decision.outcome == "supplement"
        assert targets(decision) == ["/passport/expires_on", "/person/surname", "document:photo"]

    def test_national_is_refused_with_the_article(self, facts: Facts) -> None:
        decision = nia.information_check(facts, with_passport(REVIEW, nationality="TWN")).decision

        assert decision.outcome == "refused"
        assert decision.ground
        assert decision.article.endswith("§5")

    @pytest.mark.parametrize(("years", "last"), [(1, 2027), (2, 2028), (3, 2029)])
    def test_card_is_valid_from_the_day_after_its_issue(self, facts: Facts, years: int, last: int) -> None:
        review = msgspec.structs.replace(REVIEW, card=msgspec.convert({"validity_years": years}, CardWish))

        card = nia.final_review(facts, review).card

        assert card is not None
        assert (card.issued_on, card.valid_from) == (ISSUED_ON, dt.date(2026, 12, 22))
        assert card.valid_to == dt.date(last, 12, 21)

    def test_card_keeps_the_number_of_the_certificate(self, facts: Facts) -> None:
        arc = Arc(number="A900000016", expires_on=FILED_ON, address="臺北市")

        card = nia.final_review(facts, msgspec.structs.replace(REVIEW, arc=arc)).card

        assert card is not None
        assert card.number == "A900000016"

    @pytest.mark.parametrize(("sex", "digit"), [("F", "9"), ("M", "8")])
    def test_new_number_has_a_right_check_digit(self, sex: str, digit: str) -> None:
        for call in (uuid7() for _ in range(50)):
            number = nia.identity_number(call, sex)

            assert number[1] == digit
            assert is_identity_number(number)
            assert number == nia.identity_number(call, sex)

    def test_nothing_is_issued_where_something_is_missing(self, facts: Facts) -> None:
        answer = nia.final_review(facts, msgspec.structs.replace(REVIEW, documents=()))

        assert (answer.decision.outcome, answer.card) == ("supplement", None)

    def test_who_is_abroad_is_given_a_certificate_and_no_card(self, facts: Facts) -> None:
        answer = nia.final_review(facts, msgspec.structs.replace(REVIEW, stay=Stay(status="abroad")))

        assert answer.card is None
        assert answer.certificate is not None
        assert answer.certificate.issued_on == ISSUED_ON

    @pytest.mark.parametrize("days", [0, 30])
    def test_certificate_is_exchanged_within_thirty_days_of_the_entry(self, facts: Facts, days: int) -> None:
        entered_on = ISSUED_ON - dt.timedelta(days=days)

        answer = nia.exchange(facts, EXCHANGE, nia.Appearance(certificate="GC1", entered_on=entered_on))

        assert is_identity_number(answer.card.number)
        assert (answer.entered_on, answer.collected_on) == (entered_on, ISSUED_ON)

    @pytest.mark.parametrize(
        ("certificate", "days", "code"),
        [
            ("GC1", 31, "not-within-the-days-after-entry"),
            ("GC1", -1, "not-within-the-days-after-entry"),
            ("GC2", 1, "other-certificate"),
        ],
    )
    def test_otherwise_no_card_is_handed_over(
        self, facts: Facts, certificate: str, days: int, code: str
    ) -> None:
        shown = nia.Appearance(certificate=certificate, entered_on=ISSUED_ON - dt.timedelta(days=days))

        with pytest.raises(Problem) as refusal:
            nia.exchange(facts, EXCHANGE, shown)

        assert refusal.value.code == code


class TestWda:
    """The labour agency."""

    def test_missing_certificate_is_asked_for_before_anybody_is_consulted(self, facts: Facts) -> None:
        review = msgspec.structs.replace(QUALIFICATION_REVIEW, documents=DOCUMENTS[:2])

        decision = wda.qualification_review(facts, review).decision

        assert decision.outcome == "supplement"
        assert targets(decision) == ["document:employment_certificate"]

    def test_ministry_of_the_field_is_consulted(self, facts: Facts) -> None:
        decision = wda.qualification_review(facts, QUALIFICATION_REVIEW).decision

        assert (decision.outcome, decision.authority) == ("consult", "field_authority:moc")

    @pytest.mark.parametrize(("qualified", "outcome"), [(True, "passed"), (False, "refused")])
    def test_opinion_decides(self, facts: Facts, qualified: bool, outcome: str) -> None:
        opinion = Opinion(authority="field_authority:moc", qualified=qualified, clause="award")
        review = msgspec.structs.replace(QUALIFICATION_REVIEW, opinion=opinion)

        decision = wda.qualification_review(facts, review).decision

        assert decision.outcome == outcome
        assert bool(decision.article) == (not qualified)

    @pytest.mark.parametrize(("salary", "outcome"), [(160_000, "passed"), (159_999, "refused")])
    @pytest.mark.parametrize("filed_on", [dt.date(2025, 12, 31), dt.date(2026, 1, 1)])
    def test_salary_clause_has_a_threshold(
        self, facts: Facts, salary: int, outcome: str, filed_on: dt.date
    ) -> None:
        qualification = Qualification(field="economy", clause="salary", monthly_salary_ntd=salary)
        review = msgspec.structs.replace(QUALIFICATION_REVIEW, qualification=qualification)

        answer = wda.qualification_review(msgspec.structs.replace(facts, filed_on=filed_on), review)

        assert answer.decision.outcome == outcome

    def test_clause_that_was_not_announced_yet_helps_nobody(self, facts: Facts) -> None:
        qualification = Qualification(field="digital", clause="salary", monthly_salary_ntd=300_000)
        review = msgspec.structs.replace(QUALIFICATION_REVIEW, qualification=qualification)
        before = msgspec.structs.replace(facts, filed_on=dt.date(2023, 5, 4))

        assert wda.qualification_review(before, review).decision.outcome == "refused"
        assert wda.qualification_review(facts, review).decision.outcome == "passed"


class TestMinistries:
    """The field authorities."""

    @pytest.mark.parametrize(
        ("years", "documents", "qualified"), [(5, 0, True), (4, 1, False), (0, 1, False)]
    )
    def test_years_or_documents_make_the_opinion(
        self, facts: Facts, years: int, documents: int, qualified: bool
    ) -> None:
        request = msgspec.structs.replace(
            OPINION,
            qualification=msgspec.structs.replace(QUALIFICATION, years_of_experience=years),
            documents=DOCUMENTS[1 : 1 + documents],
        )

        assert ministries.opinion(facts, request).qualified == qualified

    def test_two_proofs_stand_in_for_years(self, facts: Facts) -> None:
        proof = DOCUMENTS[1]
        request = msgspec.structs.replace(
            OPINION,
            qualification=msgspec.structs.replace(QUALIFICATION, years_of_experience=0),
            documents=(proof, msgspec.structs.replace(proof, slot="supporting")),
        )

        assert ministries.opinion(facts, request).qualified


class TestBoca:
    """The consular bureau."""

    @pytest.mark.parametrize(
        ("expires_on", "outcome"), [(dt.date(2027, 5, 23), "passed"), (dt.date(2027, 5, 22), "supplement")]
    )
    def test_passport_must_outlive_the_review(self, facts: Facts, expires_on: dt.date, outcome: str) -> None:
        passport = msgspec.structs.replace(PASSPORT, expires_on=expires_on)

        answer = boca.visa_review(facts, VisaRequest(person=PERSON, passport=passport))

        assert answer.decision.outcome == outcome

    def test_passport_in_the_notice_passes_the_inspection(self, facts: Facts) -> None:
        answer = boca.inspection(
            facts, INSPECTION, boca.Appearance(passport_number="X12345678", place="mission")
        )

        assert (answer.decision.outcome, answer.inspected_on, answer.place) == (
            "passed",
            ISSUED_ON,
            "mission",
        )

    def test_other_passport_sends_the_notice_back_to_be_corrected(self, facts: Facts) -> None:
        answer = boca.inspection(
            facts, INSPECTION, boca.Appearance(passport_number="X99999999", place="mission")
        )

        assert targets(answer.decision) == ["/passport", "document:passport"]

    @pytest.mark.parametrize(
        ("place", "due_on", "code"),
        [
            ("bureau", ISSUED_ON, "not-inspected-here"),
            ("mission", ISSUED_ON - dt.timedelta(days=1), "notice-expired"),
        ],
    )
    def test_nothing_is_inspected_elsewhere_or_too_late(
        self, facts: Facts, place: Place, due_on: dt.date, code: str
    ) -> None:
        notice = msgspec.structs.replace(INSPECTION, due_on=due_on)

        with pytest.raises(Problem) as refusal:
            boca.inspection(facts, notice, boca.Appearance(passport_number="X12345678", place=place))

        assert refusal.value.code == code


def with_passport(review: ReviewRequest, **changes: object) -> ReviewRequest:
    return msgspec.structs.replace(review, passport=msgspec.structs.replace(PASSPORT, **changes))


def is_identity_number(number: str) -> bool:
    """The check of a 統一證號 with the letter A, written down apart from the sandbox's own."""
    values = [1, 0, *(int(digit) for digit in number[1:])]
    weights = [1, 9, 8, 7, 6, 5, 4, 3, 2, 1, 1]
    return len(number) == 10 and sum(v * w for v, w in zip(values, weights, strict=True)) % 10 == 0
