"""Whether a document that was issued here is genuine and still holds: for anybody who was shown one.

A person who scans the QR code lands on a page, a program asks the same address for JSON or posts the token.
What is said is what the QR code says already, and whether it still holds. Ids are random, and whatever is none
is answered like one that was never issued, so that nothing can be found out by trying.
"""

from html import escape
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, Router, get, post
from litestar.datastructures import CacheControlHeader
from litestar.di import NamedDependency
from litestar.enums import MediaType
from litestar.params import FromPath, JSONBody

from consent import jws
from consent.keys import Vault
from gateway.injected import TheDatabase, TheSettings
from services import issued, sealing
from services.errors import DocumentRefused
from services.issued import Standing
from services.text import Text

KEYS_SECONDS_MAX = 300
_HTML = "text/html"
_STATUS = {
    "genuine": Text("本文件為真，且現仍有效。", "This document is genuine and still holds."),
    "revoked": Text(
        "本文件為真，但已廢止或被取代。", "This document is genuine, but was revoked or replaced."
    ),
    "unknown": Text("查無此文件。", "No such document is known here."),
}
_NAMES = {
    "case_number": Text("案號", "Case number"),
    "kind": Text("文件種類", "Kind of document"),
    "outcome": Text("結果", "Outcome"),
    "decided_on": Text("核定日", "Decided on"),
    "card": Text("卡號末四碼", "Last characters of the card's number"),
}
_PAGE = """<!doctype html>
<html lang="zh-Hant-TW">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>文件查驗 Document verification</title>
</head>
<body>
<main>
<h1>文件查驗 <span lang="en">Document verification</span></h1>
<p>{zh}</p>
<p lang="en">{en}</p>
<dl>
{facts}
</dl>
<p>請與文件所載內容核對。<span lang="en">Compare this with what the document says.</span></p>
</main>
</body>
</html>
"""


class TokenShown(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The token of a document: what stands behind `#` in its QR code."""

    token: Annotated[str, msgspec.Meta(max_length=jws.TOKEN_CHARACTERS_MAX)]


@get("/verify/{document:str}", summary="Whether a document holds", media_type=MediaType.JSON)
async def by_id(
    request: Request[Any, Any, Any],
    document: FromPath[str],
    database: TheDatabase,
    vault: NamedDependency[Vault],
) -> Response[Standing]:
    """Genuine, revoked or unknown, with the facts that its QR code holds; as a page where HTML is asked for."""
    async with database.read() as conn:
        found = await issued.standing(conn, vault, document)
    if request.accept.best_match(["application/json", _HTML]) == _HTML:
        page: Response[Any] = Response(_page(found), media_type=MediaType.HTML, headers={"Vary": "Accept"})
        return page
    return Response(found, headers={"Vary": "Accept"})


@post("/verify", status_code=200, summary="Whether a document's token is ours and the document holds")
async def by_token(
    data: JSONBody[TokenShown], database: TheDatabase, vault: NamedDependency[Vault], settings: TheSettings
) -> Standing:
    """Unknown, unless the token is signed by this office: then how its document stands."""
    try:
        trusted = jws.KeySet.from_jwks(sealing.published_keys(vault.key_store))
        claims = sealing.read_token(data.token, trusted)
    except DocumentRefused:
        return issued.UNKNOWN
    if claims.iss != settings.public_url:
        return issued.UNKNOWN
    async with database.read() as conn:
        return await issued.standing(conn, vault, claims.jti)


@get(
    "/.well-known/onestop-documents.jwks",
    summary="The keys that documents are verified with",
    cache_control=CacheControlHeader(public=True, max_age=KEYS_SECONDS_MAX),
    sync_to_thread=False,
)
def document_keys(vault: NamedDependency[Vault]) -> dict[str, list[dict[str, str]]]:
    """A JWK Set (RFC 7517) apart from that of `/oauth/jwks`: who verifies a document needs no other key."""
    return sealing.published_keys(vault.key_store)


def _page(found: Standing) -> str:
    said = _STATUS[found.status]
    facts = {} if found.facts is None else msgspec.to_builtins(found.facts)
    lines = [
        f'<dt>{_NAMES[name].zh} <span lang="en">{_NAMES[name].en}</span></dt><dd>{escape(str(value))}</dd>'
        for name, value in facts.items()
        if value
    ]
    return _PAGE.format(zh=said.zh, en=said.en, facts="\n".join(lines))


router = Router(path="/", route_handlers=[by_id, by_token, document_keys], tags=["documents"])
