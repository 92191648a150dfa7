"""What a client needs to show the service: form, option lists, documents, notices, fees, of one edition."""

import datetime as dt
from typing import Any

import msgspec

from services.catalog import Choice, NeededDocument, ServiceDescription, ServiceInfo
from services.errors import NotAllowed
from services.gold_card.edition import Edition, Slot, edition_on, editions, layout, options
from services.gold_card.fees import fee_standard
from services.gold_card.form import FORM
from services.gold_card.notices import consent_notice, duty_notice
from services.text import Language

_LANGUAGES: tuple[Language, ...] = ("zh-TW", "en")


def describe(info: ServiceInfo, legal_date: dt.date, edition_id: str = "") -> ServiceDescription:
    """The service in an edition, by default the one in force. Raises NotAllowed where there is none."""
    edition = _edition(legal_date, edition_id)
    pages = layout(edition.id)
    warning = edition.warning_on(legal_date)
    return ServiceDescription(
        id=info.id,
        title=info.title,
        summary=info.summary,
        edition=edition.id,
        effective_from=edition.effective_from,
        verified_until=edition.verified_until,
        warnings=() if warning is None else (warning,),
        form=FORM.schema(pages),
        layout=pages,
        options=_options(edition, legal_date),
        documents=tuple(_needed(slot) for slot in edition.slots),
        notices=_notices(edition),
        fees=fee_standard(),
        periods=tuple(msgspec.to_builtins(rule) for rule in edition.duties),
        states={state.id: state.title for state in edition.states},
    )


def _edition(legal_date: dt.date, edition_id: str) -> Edition:
    if not edition_id:
        return edition_on(legal_date)
    edition = editions().get(edition_id)
    if edition is None:
        raise NotAllowed("show", "無此版本", "there is no such edition")
    return edition


def _options(edition: Edition, legal_date: dt.date) -> dict[str, tuple[Choice, ...]]:
    """The option lists by name; a field that was opened after the day is not offered."""
    fixed = options(edition.id)
    fields = [field for field in edition.fields if field.since <= legal_date]
    lists = {
        name: tuple(Choice(value=entry.value, title=entry.title) for entry in entries)
        for name, entries in fixed.lists.items()
    }
    return lists | {
        "countries": tuple(Choice(value=code) for code in fixed.country_codes),
        "stays": tuple(Choice(value=stay.id, title=stay.title, open=stay.open) for stay in edition.stays),
        "stations": tuple(Choice(value=entry.id, title=entry.title) for entry in edition.stations),
        "fields": tuple(Choice(value=field.id, title=field.title) for field in fields),
        "clauses": tuple(
            Choice(value=clause.id, title=clause.title, under=field.id)
            for field in fields
            for clause in field.clauses
        ),
    }


def _needed(slot: Slot) -> NeededDocument:
    return NeededDocument(
        slot=slot.id,
        title=slot.title,
        how=slot.how,
        article=slot.article,
        optional=slot.optional,
        required_when=None if slot.required_when is None else msgspec.to_builtins(slot.required_when),
        fetched_from=slot.fetched_from,
        media_types=slot.media_types,
        bytes_max=slot.bytes_max,
        needs_translation=slot.needs_translation,
    )


def _notices(edition: Edition) -> dict[str, dict[str, dict[str, Any]]]:
    """The notices as their exact content; the duty notice as for an applicant in Taiwan, in any field."""
    return {
        "residence": {
            language: msgspec.json.decode(consent_notice(edition, language).content)
            for language in _LANGUAGES
        },
        "duty": {
            language: msgspec.json.decode(duty_notice(edition, language, "arc", "").content)
            for language in _LANGUAGES
        },
    }
