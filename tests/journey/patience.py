"""A person who does not give up: repeats what was not answered, looks again where somebody saved meanwhile."""

import asyncio
import secrets
from collections.abc import Mapping
from typing import Any

import httpx

from gateway.applicant import Applicant
from tests.journey import steps
from tests.journey.world import World

ATTEMPTS_MAX = 240
PAUSE_SECONDS = 0.25
PATIENCE_SECONDS = 100.0
SLOTS = {**steps.UPLOADS, "employment_certificate": steps.PDF}
# The states of an application in which everything is in order.
WAY = [
    "Waiting for payment",
    "Information check by the National Immigration Agency",
    "Review by the Workforce Development Agency",
    "Consulting with Ministry of Culture",
    "Review by the Workforce Development Agency",
    "Final review by the National Immigration Agency",
    "Approved",
]


class Again(httpx.AsyncBaseTransport):
    """Sends the same request again, its idempotency key with it, while there is no answer or a 503."""

    def __init__(self) -> None:
        self._inner = httpx.AsyncHTTPTransport()
        self.repeated = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The first answer that is one. Raises httpx.TransportError when none came in a minute."""
        await request.aread()
        for attempt in range(ATTEMPTS_MAX):
            try:
                response = await self._inner.handle_async_request(request)
                await response.aread()
            except httpx.TransportError:
                if attempt == ATTEMPTS_MAX - 1:
                    raise
            else:
                if response.status_code != 503:
                    return response
            self.repeated += 1
            await asyncio.sleep(PAUSE_SECONDS)
        return response

    async def aclose(self) -> None:
        """Close connections."""
        await self._inner.aclose()


class Patient(Applicant):
    """An applicant, and what was acknowledged to her."""

    def __init__(self, base_url: str) -> None:
        super().__init__(base_url)
        self.again = Again()
        self._http = httpx.AsyncClient(
            base_url=base_url, transport=self.again, timeout=20.0, follow_redirects=True, trust_env=False
        )
        self.documents: dict[str, bytes] = {}
        self.consents: set[str] = set()

    async def drafted(self) -> dict[str, Any]:
        """A draft with everything in it, ready to be filed; each part of it acknowledged."""
        case = await self.open_case("gold_card")
        case = await self._put(case, "form", json=steps.form())
        [shown] = (await self.notices(case))["consents"]
        granted = await self.grant(shown)
        self.consents.add(granted["basis_id"])
        for slot, media_type in SLOTS.items():
            content = steps.document(media_type) + secrets.token_bytes(50_000)
            case = await self._put(case, f"documents/{slot}", content=content)
            self.documents[slot] = content
        return await self.wait_for(
            case, {"fetched": lambda fetched: "nia.residence" in fetched}, seconds=PATIENCE_SECONDS
        )

    async def applied(self, case: Mapping[str, Any]) -> dict[str, Any]:
        """File, pay, and wait for the end."""
        case = await self.act(case, "submit")
        case = await self.wait_for(
            case, {"fee": lambda fee: bool(fee and fee["pay_url"])}, seconds=PATIENCE_SECONDS
        )
        await self.pay(case)
        return await self.wait_for(case, {"state": "approved", "open_calls": 0}, seconds=PATIENCE_SECONDS)

    async def _put(self, case: Mapping[str, Any], what: str, **content: Any) -> dict[str, Any]:
        """Save; where the first attempt went unanswered it may have been taken, and the version moved on."""
        while True:
            answer = await self.put(f"/api/v1/cases/{case['case_id']}/{what}", case["version"], **content)
            if answer.status_code != 412:
                assert answer.is_success, answer.text
                saved: dict[str, Any] = answer.json()
                return saved
            case = await self.case(case)


async def check_nothing_lost(world: World, person: Patient, case: Mapping[str, Any]) -> None:
    """Everything that was acknowledged is there, once, and the case went one way only."""
    assert {document["slot"] for document in case["documents"]} == person.documents.keys()
    for document in case["documents"]:
        assert (await person.get(document["href"])).content == person.documents[document["slot"]]
    bases = (await person.get("/api/v1/consents")).json()["bases"]
    assert person.consents <= {basis["basis_id"] for basis in bases}
    assert case["fee"]["paid"]
    assert case["fee"]["overpayments"] == 0
    timeline = (await person.get(f"/api/v1/cases/{case['case_id']}/timeline")).json()["entries"]
    labels = [entry["label"] for entry in timeline if entry["type"] == "state_changed"]
    assert labels == WAY
    assert [entry["seq"] for entry in timeline] == list(range(1, len(timeline) + 1))


async def check_every_call_ended_once(world: World) -> None:
    """No call is stuck or dead, and none took effect twice; the log holds."""
    assert {call.status for call in await world.calls()} == {"done"}
    assert steps.twice(await world.effects()) == []
    audited = await asyncio.to_thread(world.command, "audit", "verify")
    assert audited.returncode == 0, audited.stderr
