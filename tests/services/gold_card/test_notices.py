"""A notice says what 個人資料保護法 §8 asks for, in both languages, and always in the same bytes."""

import msgspec
import pytest
import rfc8785

from services.gold_card.edition import Edition
from services.gold_card.notices import POINTS, consent_notice, duty_notice
from services.text import Language

LANGUAGES: tuple[Language, ...] = ("zh-TW", "en")


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_notice_is_canonical_and_says_every_point_of_the_law(edition: Edition, language: Language) -> None:
    for notice in (consent_notice(edition, language), duty_notice(edition, language, "arc", "culture")):
        content = msgspec.json.decode(notice.content)

        assert rfc8785.dumps(content) == notice.content
        assert tuple(entry["point"] for entry in content["points"]) == POINTS
        assert all(entry["text"] for entry in content["points"])
        assert content["language"] == notice.language == language


def test_the_same_notice_has_the_same_address_and_another_has_another(edition: Edition) -> None:
    zh, en = (consent_notice(edition, language) for language in LANGUAGES)

    assert zh.sha256 == consent_notice(edition, "zh-TW").sha256
    assert len({zh.sha256, en.sha256, duty_notice(edition, "en", "arc", "culture").sha256}) == 3


def test_the_consent_notice_shows_the_one_fetch_and_every_field_of_it(edition: Edition) -> None:
    [access] = msgspec.json.decode(consent_notice(edition, "en").content)["accesses"]

    assert (access["agency"], access["kind"]) == ("nia", "consent")
    assert access["fields"] == list(edition.basis("residence").fields)


def test_the_duty_notice_names_the_field_s_own_ministry_and_offers_no_consent(edition: Edition) -> None:
    accesses = msgspec.json.decode(duty_notice(edition, "en", "arc", "culture").content)["accesses"]

    assert "field_authority:moc" in {access["agency"] for access in accesses}
    assert "Ministry of Culture" in {access["agency_title"] for access in accesses}
    assert {access["kind"] for access in accesses} == {"statutory_duty"}
    assert all(access["law"] for access in accesses)


def test_before_a_field_is_chosen_the_authority_is_named_by_its_kind(edition: Edition) -> None:
    accesses = msgspec.json.decode(duty_notice(edition, "en", "arc", "").content)["accesses"]

    assert "field_authority" in {access["agency"] for access in accesses}
