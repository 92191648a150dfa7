"""The catalogue: what one can apply for, what it asks, and what it would cost. Public.

What a service asks is the same for everybody and changes with its edition: it is built once a day and edition
and kept, so that a page view costs no work.
"""

import datetime as dt
from functools import lru_cache
from typing import Annotated, Any

import msgspec
from litestar import Response, Router, get, post
from litestar.enums import MediaType
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody, QueryParameter

from gateway.injected import TheDatabase, TheFlow
from gateway.views import View
from services import catalog, store
from services.text import Text

DESCRIPTIONS_KEPT = 64


class ServiceSummary(View, frozen=True):
    """A service in the list."""

    id: str
    title: Text
    summary: Text
    owner: str
    href: str


class ServiceList(View, frozen=True):
    """All services."""

    services: list[ServiceSummary]


@get("/")
async def list_services() -> ServiceList:
    """What one can apply for."""
    return ServiceList(
        services=[
            ServiceSummary(
                id=info.id,
                title=info.title,
                summary=info.summary,
                owner=info.owner,
                href=f"/api/v1/services/{info.id}",
            )
            for info in catalog.catalog().values()
        ]
    )


@get(
    "/{service_id:str}",
    responses={
        200: ResponseSpec(
            catalog.ServiceDescription, generate_examples=False, description="All that a client needs."
        )
    },
)
async def show_service(
    service_id: FromPath[str],
    database: TheDatabase,
    edition: Annotated[str, QueryParameter(max_length=10)] = "",
) -> Response[bytes]:
    """One service: form, layout, option lists, documents, notices, fees, periods."""
    async with database.read() as conn:
        legal_date = (await store.now(conn)).legal_date
    return Response(
        _described(service_id, legal_date, edition),
        media_type=MediaType.JSON,
        headers={"Cache-Control": "public, max-age=300"},
    )


@post("/{service_id:str}/quote", status_code=200)
async def quote(
    service_id: FromPath[str], data: JSONBody[dict[str, Any]], database: TheDatabase, flow: TheFlow
) -> Response[bytes]:
    """What an application with these facts would cost on a day (`legal_date`, today unless given)."""
    async with database.read() as conn:
        today = (await store.now(conn)).legal_date
    quoted = flow.service(service_id).quote(data, today)
    return Response(msgspec.json.encode(quoted), media_type=MediaType.JSON)


@lru_cache(maxsize=DESCRIPTIONS_KEPT)
def _described(service_id: str, legal_date: dt.date, edition: str) -> bytes:
    return msgspec.json.encode(catalog.schema_document(service_id, legal_date, edition))


router = Router(
    path="/api/v1/services", route_handlers=[list_services, show_service, quote], tags=["services"]
)
