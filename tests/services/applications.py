"""A Gold Card application by its steps, as an applicant takes them, with documents that are what they claim."""

import copy
import datetime as dt
from importlib.resources import files
from typing import Any

import yaml

from consent.model import Assurance
from services import store, verbs
from services.case import Case
from tests.services.fakes import Office

PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n" + bytes(64)
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(64)
ASSURANCE = Assurance(
    means="sandbox", acr="high", amr=("pwd",), auth_time=dt.datetime(2026, 11, 2, 1, 0, tzinfo=dt.UTC)
)
CONTENT = {"passport": PDF, "photo": PNG, "qualification": PDF, "arc_copy": PDF}


def form(**changes: Any) -> dict[str, Any]:
    """The complete application of `cases.yaml`, its papers valid on the day of the test; parts by name."""
    cases = yaml.safe_load(files("services.gold_card").joinpath("cases.yaml").read_text("utf-8"))
    filled = copy.deepcopy(cases["application"])
    in_five_years = (dt.datetime.now(dt.UTC) + dt.timedelta(days=5 * 365)).date().isoformat()
    for paper in ("passport", "arc"):
        filled[paper]["expires_on"] = in_five_years
    return {**filled, **changes}


async def save(office: Office, case: Case, filled: dict[str, Any], version: int | None = None) -> Case:
    """Save the form, from the newest version unless another is given."""
    async with office.database.write() as conn:
        held = await store.load_case(conn, office.vault, case.case_id, lock=True)
        made_from = held.version if version is None else version
        at = await store.now(conn)
        return await verbs.save_form(conn, office.flow, held, filled, version=made_from, at=at)


async def upload(
    office: Office, case: Case, slot: str, content: bytes = PDF, version: int | None = None
) -> Case:
    """Upload a document into a slot."""
    async with office.database.write() as conn:
        held = await store.load_case(conn, office.vault, case.case_id, lock=True)
        made_from = held.version if version is None else version
        at = await store.now(conn)
        case, _ = await verbs.upload(conn, office.flow, held, slot, content, version=made_from, at=at)
        return case


async def submit(office: Office, case: Case, version: int | None = None) -> Case:
    """File it."""
    async with office.database.write() as conn:
        held = await store.load_case(conn, office.vault, case.case_id, lock=True)
        made_from = held.version if version is None else version
        at = await store.now(conn)
        return await verbs.submit(conn, office.flow, held, version=made_from, assurance=ASSURANCE, at=at)


async def supplement(office: Office, case: Case, version: int | None = None) -> Case:
    """Hand in what was asked for."""
    async with office.database.write() as conn:
        held = await store.load_case(conn, office.vault, case.case_id, lock=True)
        made_from = held.version if version is None else version
        at = await store.now(conn)
        return await verbs.answer_supplement(conn, office.flow, held, version=made_from, at=at)


async def withdraw(office: Office, case: Case) -> Case:
    """Take the application back."""
    async with office.database.write() as conn:
        held = await store.load_case(conn, office.vault, case.case_id, lock=True)
        return await verbs.withdraw(conn, office.flow, held, at=await store.now(conn))


async def filled(office: Office) -> Case:
    """A draft with everything in it."""
    case = await save(office, await office.open_case(), form())
    for slot, content in CONTENT.items():
        case = await upload(office, case, slot, content)
    return case


async def filed(office: Office) -> Case:
    """A filed application."""
    return await submit(office, await filled(office))
