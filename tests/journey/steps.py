"""Steps of an application that several tests take, and what they start from."""

import copy
from collections.abc import Mapping
from typing import Any

from gateway.applicant import Applicant
from gateway.demo import FORM, sample_document

PDF, PNG = "application/pdf", "image/png"
UPLOADS = {"passport": PDF, "photo": PNG, "qualification": PDF}


def form(**changes: Any) -> dict[str, Any]:
    """A complete form; changes by dotted name, `contact__email="..."`."""
    filled = copy.deepcopy(dict(FORM))
    for name, value in changes.items():
        part, _, member = name.partition("__")
        filled[part] = {**filled[part], member: value} if member else value
    return filled


def document(media_type: str) -> bytes:
    """A small document of this type."""
    return sample_document("TEST", "pdf" if media_type == PDF else "png")


async def draft(person: Applicant, **changes: Any) -> dict[str, Any]:
    """A saved draft, everything in it but consent and documents."""
    return await person.save_form(await person.open_case("gold_card"), form(**changes))


async def consented(person: Applicant, **changes: Any) -> dict[str, Any]:
    """A draft whose residence record has been fetched."""
    case = await draft(person, **changes)
    [shown] = (await person.notices(case))["consents"]
    await person.grant(shown)
    return await person.wait_for(case, {"fetched": lambda fetched: "nia.residence" in fetched})


async def uploaded(person: Applicant, case: Mapping[str, Any], **more: str) -> dict[str, Any]:
    """The case with its documents."""
    result = dict(case)
    for slot, media_type in {**UPLOADS, **more}.items():
        result = await person.upload(result, slot, document(media_type), media_type)
    return result


async def filed(person: Applicant, *, certificate: bool = True, **changes: Any) -> dict[str, Any]:
    """A filed application whose fee is to be paid; without the certificate the review asks for it."""
    more = {"employment_certificate": PDF} if certificate else {}
    case = await uploaded(person, await consented(person, **changes), **more)
    case = await person.act(case, "submit")
    return await person.wait_for(case, {"fee": lambda fee: bool(fee and fee["pay_url"])})


async def paid(person: Applicant, *, certificate: bool = True, **changes: Any) -> dict[str, Any]:
    """A filed application whose fee has arrived."""
    case = await filed(person, certificate=certificate, **changes)
    await person.pay(case)
    return await person.wait_for(case, {"fee": lambda fee: bool(fee and fee["paid"])})


def twice(effects: Mapping[str, Mapping[str, Mapping[str, int]]]) -> list[str]:
    """Calls that took effect more than once."""
    return [
        f"{agency} {operation} {call}"
        for agency, operations in effects.items()
        for operation, calls in operations.items()
        for call, count in calls.items()
        if count > 1
    ]
