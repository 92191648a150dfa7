"""The people of the sandbox, all of them made up."""

import datetime as dt
from typing import Any

import msgspec


class Persona(msgspec.Struct, frozen=True, kw_only=True):
    """One made-up person; `title_*` is what the login page says of them.

    `amr` has words of RFC 8176; `acr` is the provider's own: `substantial` (two factors) or `high` (a card).
    """

    persona: str
    title_zh: str
    title_en: str
    family_name: str
    given_name: str
    means: str
    acr: str
    amr: tuple[str, ...]
    nationality: str = ""
    passport_number: str = ""
    birthdate: dt.date | None = None
    sex: str = ""
    roles: tuple[str, ...] = ()

    def claims(self) -> dict[str, Any]:
        """What an ID token says of this person; a claim without a value is left out."""
        said = {name: value for name, value in msgspec.to_builtins(self).items() if value}
        for name in ("persona", "title_zh", "title_en"):
            del said[name]
        return {"sub": f"sandbox-{self.persona}", **said}


PERSONAS = {
    persona.persona: persona
    for persona in (
        Persona(
            persona="ada",
            title_zh="外國護照帳號，現居臺灣",
            title_en="foreign-passport account, living in Taiwan",
            family_name="EXAMPLE",
            given_name="ADA",
            means="foreign_passport_account",
            acr="substantial",
            amr=("pwd", "otp"),
            nationality="GBR",
            passport_number="X12345678",
            birthdate=dt.date(1988, 2, 29),
            sex="F",
        ),
        Persona(
            persona="bruno",
            title_zh="外國護照帳號，現居國外",
            title_en="foreign-passport account, living abroad",
            family_name="MUSTER",
            given_name="BRUNO",
            means="foreign_passport_account",
            acr="substantial",
            amr=("pwd", "otp"),
            nationality="DEU",
            passport_number="C0SAMPLE7",
            birthdate=dt.date(1979, 11, 3),
            sex="M",
        ),
        Persona(
            persona="auditor",
            title_zh="稽核人員，識別證",
            title_en="auditor, staff card",
            family_name="SAMPLE",
            given_name="AUDREY",
            means="staff_card",
            acr="high",
            amr=("hwk", "pin"),
            roles=("auditor",),
        ),
    )
}
