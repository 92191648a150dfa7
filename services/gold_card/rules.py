"""Eligibility, and what the fields say together: pure rules by legal date, each citing its article.

`check` takes a form whose shape is right and tells everything that keeps it from being filed, and what the
person should know beforehand (a warning). It decides nothing that is an agency's to decide: whether somebody
qualifies is the review's question. `permits` states the legal effects of an approval.
"""

import datetime as dt
from collections.abc import Iterator, Sequence

import msgspec
from msgspec import UnsetType

from adapters.nia.adapter import Card
from services.clock import add_months
from services.events import Document, PermitEffect
from services.forms import Finding, Severity
from services.gold_card.edition import Edition, options
from services.gold_card.form import ArcPart, GoldCardForm
from services.identifiers import is_resident_number
from services.text import Text

_ACT_9 = "外國專業人才延攬及僱用法 §9"
_RULES_2 = "許可辦法 §2"
_RULES_3 = "許可辦法 §3"

_NOT_AN_OPTION = Text("不在選項之內", "this is not one of the options")
_REQUIRED = Text("此欄位必填", "this field is required")
_IN_THE_FUTURE = Text("日期不得晚於申請日", "this date must not be after the day of the application")
_ORDER = Text("迄日不得早於起日", "the end must not come before the beginning")
_NO_DOCUMENT = Text("缺少文件：{title}", "this document is missing: {title}")


def check(
    form: GoldCardForm, documents: Sequence[Document], legal_date: dt.date, edition: Edition
) -> list[Finding]:
    """Everything that keeps the application from being filed on this day, and warnings.

    A finding's pointer is a JSON pointer into the form, or `document:<slot>`.
    """
    found = [
        *_excluded(form, edition),
        *_person(form, legal_date, edition),
        *_passport(form, legal_date, edition),
        *_stay(form, legal_date, edition),
        *_qualification(form, legal_date, edition),
        *_history(form, legal_date),
        *_card(form, edition),
        *missing_documents(msgspec.to_builtins(form), documents, edition),
    ]
    unverified = edition.warning_on(legal_date)
    if unverified is not None:
        found.append(_finding("", "edition_unverified", unverified, severity="warning"))
    return found


def _excluded(form: GoldCardForm, edition: Edition) -> Iterator[Finding]:
    """Persons whom the law or the platform excludes."""
    document = msgspec.to_builtins(form)
    for exclusion in edition.exclusions:
        if all(condition.holds(document) for condition in exclusion.when):
            yield _finding(exclusion.pointer, exclusion.id, exclusion.text, exclusion.source)


def _person(form: GoldCardForm, legal_date: dt.date, edition: Edition) -> Iterator[Finding]:
    if form.person.date_of_birth >= legal_date:
        yield _finding("/person/date_of_birth", "in_the_future", _IN_THE_FUTURE)
    codes = frozenset(options(edition.id).country_codes)
    named = [
        ("/person/country_of_birth", form.person.country_of_birth),
        ("/passport/nationality", form.passport.nationality),
        *(
            (f"/person/other_nationalities/{n}", code)
            for n, code in enumerate(form.person.other_nationalities)
        ),
        *((f"/education/{n}/country", entry.country) for n, entry in enumerate(form.education)),
        *((f"/employment/{n}/country", entry.country) for n, entry in enumerate(form.employment)),
    ]
    for pointer, code in named:
        if code not in codes:
            yield _finding(pointer, "not_an_option", _NOT_AN_OPTION)
    if form.person.category != "foreign_national" and not form.person.chinese_name:
        # Applicants from Hong Kong and Macau sign with their Chinese name.
        yield _finding("/person/chinese_name", "required", _REQUIRED, _RULES_2)


def _passport(form: GoldCardForm, legal_date: dt.date, edition: Edition) -> Iterator[Finding]:
    passport, rule = form.passport, edition.passport
    if passport.issued_on > legal_date:
        yield _finding("/passport/issued_on", "in_the_future", _IN_THE_FUTURE)
    if passport.expires_on < passport.issued_on:
        yield _finding("/passport/expires_on", "wrong_order", _ORDER)
    elif passport.expires_on < add_months(legal_date, rule.valid_months_min):
        text = Text(
            f"護照效期須有 {rule.valid_months_min} 個月以上",
            f"the passport must be valid for {rule.valid_months_min} months or more",
        )
        yield _finding("/passport/expires_on", "passport_expires_too_soon", text, rule.article)


def _stay(form: GoldCardForm, legal_date: dt.date, edition: Edition) -> Iterator[Finding]:
    stay = form.stay
    if not any(entry.open for entry in edition.stays if entry.id == stay.status):
        text = Text("此身分尚未開放線上送件", "applications in this status are not taken here yet")
        yield _finding("/stay/status", "not_open", text, _ACT_9)
    if stay.status == "abroad":
        return
    if not form.contact.address_taiwan:
        yield _finding("/contact/address_taiwan", "required", _REQUIRED, _RULES_2)
    if not isinstance(stay.entered_on, UnsetType) and stay.entered_on > legal_date:
        yield _finding("/stay/entered_on", "in_the_future", _IN_THE_FUTURE)
    if not isinstance(stay.expires_on, UnsetType) and stay.expires_on < legal_date:
        yield _finding("/stay/expires_on", "stay_expired", Text("停留期限已過", "the permitted stay is over"))
    yield from _arc(form, legal_date) if stay.status == "arc" else _visit(form)


def _visit(form: GoldCardForm) -> Iterator[Finding]:
    """The dates of a visit, which no certificate states."""
    for name, value in (("entered_on", form.stay.entered_on), ("expires_on", form.stay.expires_on)):
        if isinstance(value, UnsetType):
            yield _finding(f"/stay/{name}", "required", _REQUIRED, _RULES_2)


def _arc(form: GoldCardForm, legal_date: dt.date) -> Iterator[Finding]:
    """The certificate of who says to hold one."""
    if form.stay.residence_record == "none":
        yield _finding("/stay/residence_record", "required", _REQUIRED, _RULES_2)
    if not isinstance(form.arc, ArcPart):
        text = Text(
            "尚無居留證資料：請同意由移民署提供，或改為填寫並上傳影本",
            "no residence record yet: let the immigration agency supply it, or fill it in and upload a copy",
        )
        yield _finding("/arc", "residence_record_missing", text, _RULES_2)
        return
    if not is_resident_number(form.arc.number):
        yield _finding(
            "/arc/number", "wrong_check_digit", Text("統一證號檢查碼不符", "the check digit is wrong")
        )
    if form.arc.expires_on < legal_date:
        yield _finding("/arc/expires_on", "arc_expired", Text("居留證已逾期", "the certificate has expired"))


def _qualification(form: GoldCardForm, legal_date: dt.date, edition: Edition) -> Iterator[Finding]:
    claimed = form.qualification
    field = edition.field(claimed.field)
    if field is None or field.since > legal_date:
        yield _finding("/qualification/field", "not_an_option", _NOT_AN_OPTION, field.source if field else "")
        return
    clause = next((clause for clause in field.clauses if clause.id == claimed.clause), None)
    if clause is None:
        yield _finding("/qualification/clause", "not_an_option", _NOT_AN_OPTION, field.source)
        return
    # Whether a clause is met is the review's to decide: here it is a warning.
    if claimed.monthly_salary_ntd < clause.monthly_salary_ntd_min:
        text = Text(
            f"此條款之月薪標準為新臺幣 {clause.monthly_salary_ntd_min:,} 元",
            f"this clause asks for a monthly salary of NT${clause.monthly_salary_ntd_min:,} or more",
        )
        yield _finding("/qualification/monthly_salary_ntd", "clause_not_met", text, _RULES_3, "warning")
    if claimed.years_of_experience < clause.years_of_experience_min:
        text = Text(
            f"此條款之經驗標準為 {clause.years_of_experience_min} 年",
            f"this clause asks for {clause.years_of_experience_min} years of experience or more",
        )
        yield _finding("/qualification/years_of_experience", "clause_not_met", text, _RULES_3, "warning")


def _history(form: GoldCardForm, legal_date: dt.date) -> Iterator[Finding]:
    declared = form.declarations
    if declared.worked_in_mainland_china != bool(declared.mainland_work):
        text = Text(
            "請填寫大陸地區任職經歷，或更正切結",
            "list the work in mainland China, or correct the declaration",
        )
        yield _finding("/declarations/mainland_work", "inconsistent", text, _RULES_2)
    periods = [
        *((f"/employment/{n}", entry.from_on, entry.to_on) for n, entry in enumerate(form.employment)),
        *(
            (f"/declarations/mainland_work/{n}", entry.from_on, entry.to_on)
            for n, entry in enumerate(declared.mainland_work)
        ),
    ]
    for pointer, from_on, to_on in periods:
        if from_on > legal_date:
            yield _finding(f"{pointer}/from_on", "in_the_future", _IN_THE_FUTURE)
        if not isinstance(to_on, UnsetType) and to_on < from_on:
            yield _finding(f"{pointer}/to_on", "wrong_order", _ORDER)
    for n, degree in enumerate(form.education):
        if degree.awarded_on > legal_date:
            yield _finding(f"/education/{n}/awarded_on", "in_the_future", _IN_THE_FUTURE)


def _card(form: GoldCardForm, edition: Edition) -> Iterator[Finding]:
    if not any(station.id == form.card.collection_station for station in edition.stations):
        yield _finding("/card/collection_station", "not_an_option", _NOT_AN_OPTION, "許可辦法 §6")


def missing_documents(answers: object, documents: Sequence[Document], edition: Edition) -> Iterator[Finding]:
    """The uploads that the answers, which may be incomplete, make necessary and that are not there."""
    held = {document.slot for document in documents}
    for slot in edition.slots:
        if "upload" in slot.how and slot.is_required(answers) and slot.id not in held:
            text = _NO_DOCUMENT.format(title=slot.title)
            yield _finding(f"document:{slot.id}", "document_missing", text, slot.article)


def _finding(
    pointer: str, code: str, text: Text, article: str = "", severity: Severity = "incomplete"
) -> Finding:
    return Finding(
        pointer=pointer,
        code=code,
        detail_zh=text.zh,
        detail_en=text.en,
        severity=severity,
        article=article,
    )


def permits(form: GoldCardForm, edition: Edition, card: Card | None) -> dict[str, PermitEffect]:
    """The four effects of an approval, by the edition's act; their dates are the card's, once there is one.

    The card is work permit, certificate and re-entry permit in one. Residents of Hong Kong and Macau have
    neither resident visa nor alien resident certificate: they reside by another act.
    """
    rule, stay = edition.permits, form.stay.status
    valid_from, valid_to = (card.valid_from, card.valid_to) if card else (None, None)

    def granted(basis: str) -> PermitEffect:
        return PermitEffect(status="granted", basis=basis, valid_from=valid_from, valid_to=valid_to)

    if form.person.category != "foreign_national":
        visa = PermitEffect(status="not_applicable", basis=rule.hong_kong_macau_act)
        residence = PermitEffect(status="replaced_by", basis=rule.hong_kong_macau_residence)
    else:
        visa = (
            PermitEffect(status="exempt", basis=f"{rule.act}（在臺申請免居留簽證）")
            if stay in rule.visa_exempt_stays
            else granted(rule.act)
        )
        former = "；原外僑居留證廢止（許可辦法 §6）" if stay == "arc" else ""
        residence = granted(f"{rule.act}{former}")
    return {
        "work_permit": granted(rule.act),
        "resident_visa": visa,
        "alien_resident_certificate": residence,
        "re_entry_permit": granted(rule.act),
    }
