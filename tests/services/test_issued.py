"""Whether a document still holds, as told to anybody who has its public id."""

import secrets

import pytest
from sqlalchemy import select, update

from consent import jws
from consent import store as consent_store
from services import documents, issued, sealing, store
from services import events as ev
from services.case import Case
from services.sealing import Essentials
from services.service import Moves
from tests.services.fakes import Office
from tests.services.test_sealing import ESSENTIALS, render


async def entered(office: Office, case: Case, facts: Essentials = ESSENTIALS) -> str:
    """The public id of a document that was just issued for the case."""
    public_id = secrets.token_urlsafe(16)
    async with office.database.write() as conn:
        kept = await documents.keep(
            conn, office.vault, case.case_id, slot="outcome", media_type="application/pdf", content=b"%PDF-"
        )
        await issued.record(
            conn,
            office.vault,
            case.case_id,
            document_id=kept.document_id,
            public_id=public_id,
            facts=facts,
            at=await store.now(conn),
        )
    return public_id


async def standing(office: Office, public_id: str) -> issued.Standing:
    async with office.database.read() as conn:
        return await issued.standing(conn, office.vault, public_id)


async def test_issued_document_is_genuine_until_the_next_one_of_its_case(office: Office) -> None:
    case, other = await office.open_case(), await office.open_case("bob")
    first, beside = await entered(office, case), await entered(office, other)
    before = await standing(office, first)

    second = await entered(office, case)

    assert (before.status, before.facts) == ("genuine", ESSENTIALS)
    assert (await standing(office, first)).status == "revoked"
    assert (await standing(office, second)).status == "genuine"
    assert (await standing(office, beside)).status == "genuine"


@pytest.mark.parametrize("guess", ["", "x", "A" * 22, "%00", "證"])
async def test_whatever_was_not_issued_is_unknown_alike(office: Office, guess: str) -> None:
    await entered(office, await office.open_case())

    assert await standing(office, guess) == issued.UNKNOWN


async def test_document_is_unknown_once_the_key_of_its_case_is_destroyed(office: Office) -> None:
    case = await office.open_case()
    public_id = await entered(office, case)
    key = consent_store.data_key
    async with office.database.write() as conn:
        await conn.execute(update(key).where(key.c.owner_id == str(case.case_id)).values(wrapped=None))

    assert await standing(office, public_id) == issued.UNKNOWN


async def test_database_holds_neither_public_id_nor_facts(office: Office) -> None:
    case = await office.open_case()
    public_id = await entered(office, case)
    async with office.database.read() as conn:
        [row] = (await conn.execute(select(store.issued_document))).all()

    assert public_id.encode() not in row.lookup
    assert ESSENTIALS.kind.encode() not in row.sealed


async def test_approval_issues_a_document_that_verifies_and_stands(office: Office) -> None:
    case = await office.open_case()
    office.service.outcome_essentials = lambda case: ESSENTIALS  # type: ignore[method-assign] # a script of the test
    office.service.render_outcome = render_outcome  # type: ignore[method-assign] # a script of the test
    case = await office.carry_out(case, Moves(issue_outcome=True))
    [document] = case.outcome
    async with office.database.read() as conn:
        pdf = await documents.read(conn, office.vault, case.case_id, document.document_id)

    trusted = jws.KeySet.from_jwks(sealing.published_keys(office.vault.key_store))
    claims = sealing.verify(pdf, trusted)

    assert isinstance(document, ev.Document)
    assert claims.facts == ESSENTIALS
    assert await standing(office, claims.jti) == issued.Standing(status="genuine", facts=ESSENTIALS)


def render_outcome(case: Case, mark: sealing.Mark) -> bytes:
    return render(mark)
