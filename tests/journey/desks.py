"""What a person does away from the screen, and the day on which it happens."""

import asyncio
import datetime as dt
from collections.abc import Mapping
from typing import Any

import httpx

from tests.journey.world import World

LOOKS_MAX = 150
LOOK_AGAIN_SECONDS = 0.1


async def appear(
    world: World, case: Mapping[str, Any], agency: str, operation: str, shown: Mapping[str, str]
) -> int:
    """Show something at an agency that waits for this case's applicant; the status of what it answers."""
    async with httpx.AsyncClient(base_url=world.sandbox_url, trust_env=False) as http:
        for _ in range(LOOKS_MAX):
            if waiting := await _waiting(http, case["case_number"], agency, operation):
                return (await http.post(f"/{agency}/desk/{waiting[-1]}", json=dict(shown))).status_code
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
    raise AssertionError(f"{agency} does not wait for anybody with {operation}")


async def _waiting(http: httpx.AsyncClient, number: str, agency: str, operation: str) -> list[str]:
    """Calls of the case that the agency has and has not decided."""
    calls = (await http.get("/sandbox/effects")).json()["calls"]
    wanted = (number, agency, operation, 0)
    return [
        call["call"]
        for call in calls
        if (call["case"], call["agency"], call["operation"], call["effects"]) == wanted
    ]


async def legal_day(world: World) -> dt.date:
    """The legal date."""
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(f"{world.sandbox_url}/sandbox/clock")
    return dt.date.fromisoformat(answer.json()["today"])


async def go_to(world: World, day: dt.date) -> None:
    """Move legal time to this day, ahead or back."""
    await world.move_legal_clock((day - await legal_day(world)).days)
