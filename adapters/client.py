"""The one way in which an agency is called: HTTP with a bound on everything, a signature on every request.

An exchange is at most `timeout_seconds` long, follows no redirect, takes no proxy from the environment, keeps
no cookie, accepts no content-encoding (a small compressed body can be a huge one) and counts raw bytes. A
request carries a token for this agency and call alone, the proof of our key (DPoP), the call's id, and a
signature over all of it. What an answer means is decided in `adapters.answers`; what went wrong on the way is
Unavailable, with `outcome_unknown` unless the request was certainly never sent.
"""

import asyncio
import functools
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Literal

import aiohttp
import httpx
import structlog
from httpx_aiohttp import AiohttpTransport

from adapters.answers import NOT_FOUND, SUCCESS, Answer, fault_in, reply_in
from adapters.contract import SIGNED_COMPONENTS, Operation, OperationKind, OutgoingCall, Reply
from adapters.errors import Refused, Unavailable, Unsupported
from adapters.limits import Breaker, Lane
from adapters.manifest import Deployment, Limits
from adapters.signatures import sign
from consent.keys import KeyStore
from consent.model import Authority, Permit
from consent.token import TokenMinter

CONNECT_SECONDS_MAX = 3.0
PROBLEM_BYTES_MAX = 64 * 1024
KEEP_ALIVE_SECONDS = 15.0
WAITING_PER_PLACE_MAX = 8

_TRACE_PARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

log = structlog.get_logger(__name__)


class BoundedHttp:
    """An HTTP client that keeps the module's promises for one host."""

    def __init__(self, limits: Limits) -> None:
        self._timeout_seconds = limits.timeout_seconds
        self._answer_bytes_max = limits.answer_bytes_max
        self._client = httpx.AsyncClient(
            transport=AiohttpTransport(
                verify=_tls_context(), client=lambda: _session(limits.concurrency_max + 1)
            ),
            timeout=httpx.Timeout(
                limits.timeout_seconds, connect=min(CONNECT_SECONDS_MAX, limits.timeout_seconds)
            ),
            headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "onestop"},
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            follow_redirects=False,
            trust_env=False,
        )

    async def exchange(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """One request and its response. Raises Unavailable or, for a body out of bounds, Unsupported."""
        try:
            async with (
                asyncio.timeout(self._timeout_seconds),
                self._client.stream(method, url, headers=headers, content=body or None) as response,
            ):
                content = await self._read(response)
                return Answer(status=response.status_code, headers=response.headers, body=content)
        except (httpx.HTTPError, aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            never_sent = isinstance(
                error.__cause__, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
            )
            raise Unavailable(
                f"no connection to the agency ({type(error).__name__})"
                if never_sent
                else f"no whole answer from the agency ({type(error).__name__})",
                outcome_unknown=not never_sent,
            ) from error

    async def _read(self, response: httpx.Response) -> bytes:
        """The body of a success within its rules; of a failure what there is, or nothing."""
        success = response.status_code in SUCCESS
        bytes_max = self._answer_bytes_max if success else PROBLEM_BYTES_MAX
        try:
            if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
                raise Unsupported("the agency's answer is encoded, which we asked it not to do")
            if success and _media_type(response) != "application/json":
                raise Unsupported("the agency's answer is not of the type application/json")
            content = bytearray()
            async for chunk in response.aiter_raw():
                content += chunk
                if len(content) > bytes_max:
                    raise Unsupported(f"the agency's answer is larger than {bytes_max} bytes")
        except Unsupported:
            if success:
                raise
            return b""
        return bytes(content)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()


class AgencyClient:
    """One agency instance over HTTP; implements `adapters.contract.Agency`."""

    def __init__(
        self,
        name: str,
        *,
        operations: Mapping[str, Operation],
        limits: Limits,
        deployment: Deployment,
        minter: TokenMinter,
        key_store: KeyStore,
        breaker: Breaker | None = None,
    ) -> None:
        self._name = name
        self._operations = operations
        self._endpoint = deployment.endpoint
        self._minter = minter
        self._key_store = key_store
        self._http = BoundedHttp(limits)
        self._breaker = breaker or Breaker()
        self._lane = Lane(
            concurrency_max=limits.concurrency_max,
            waiting_max=limits.concurrency_max * WAITING_PER_PLACE_MAX,
            wait_seconds_max=limits.timeout_seconds,
            requests_per_second=limits.requests_per_second,
        )

    @property
    def name(self) -> str:
        """See `Agency`."""
        return self._name

    @property
    def operations(self) -> Mapping[str, Operation]:
        """See `Agency`."""
        return self._operations

    @property
    def is_gone(self) -> bool:
        """Whether a call now would be refused here because the agency does not answer."""
        try:
            self._breaker.check()
        except Unavailable:
            return True
        return False

    async def send(self, call: OutgoingCall) -> Reply:
        """See `Agency`. Raises NotPermitted for an expired permit, ValueError for one of another call."""
        self._check(call)
        url = f"{self._endpoint}/operations/{call.operation}"
        async with self._counted():
            answer = await self._request("POST", url, call, call.authority, "submit")
            return reply_in(answer, call.call_id)

    async def ask(self, call: OutgoingCall) -> Reply | None:
        """See `Agency`. Unavailable leaves the outcome as unknown as it was: ask again, do not send."""
        self._check(call)
        url = f"{self._endpoint}/operations/{call.operation}/{call.call_id}"
        try:
            async with self._counted():
                answer = await self._request("GET", url, call, _status_authority(call), "status")
                return None if answer.status == NOT_FOUND else reply_in(answer, call.call_id)
        except Unavailable as error:
            error.outcome_unknown = True
            raise

    async def fetch(self, url: str) -> bytes:
        """A public JSON document of the agency (its keys), neither signed nor counted by the breaker.

        Raises Unavailable or Unsupported.
        """
        answer = await self._http.exchange("GET", url)
        if answer.status not in SUCCESS:
            raise Unavailable(f"the agency answered {answer.status} for a public document")
        return answer.body

    async def aclose(self) -> None:
        """See `Agency`."""
        await self._http.aclose()

    def _check(self, call: OutgoingCall) -> None:
        """A data operation takes a permit and a control operation its ground: for this call, and no other."""
        operation = self._operations.get(call.operation)
        if operation is None:
            raise Unsupported(f"{self._name} has no operation '{call.operation}'")
        expected = Permit if operation.kind is OperationKind.DATA else Authority
        authority = call.authority
        if not isinstance(authority, expected):
            raise ValueError(f"the {operation.kind} operation '{call.operation}' takes a {expected.__name__}")
        if (authority.call_id, authority.agency, authority.resource) != (
            call.call_id,
            self._name,
            operation.resource,
        ):
            raise ValueError(f"the authority is not for '{call.operation}' of {self._name} in this call")

    @asynccontextmanager
    async def _counted(self) -> AsyncIterator[None]:
        """Within the lane and the breaker; says once when the agency goes, and once when it is back."""
        self._breaker.check()
        async with self._lane.place():
            self._breaker.admit()
            try:
                yield
            except Unavailable:
                if self._breaker.failed():
                    log.warning("agency.gone", agency=self._name)
                raise
            except (Refused, Unsupported):
                self._note_answer()
                raise
            self._note_answer()

    def _note_answer(self) -> None:
        if self._breaker.answered():
            log.info("agency.back", agency=self._name)

    async def _request(
        self,
        method: Literal["POST", "GET"],
        url: str,
        call: OutgoingCall,
        authority: Permit | Authority,
        action: Literal["submit", "status"],
    ) -> Answer:
        body = call.body if method == "POST" else b""
        token = self._minter.agency_token(authority, audience=self._endpoint, actions=(action,), now=call.now)
        headers = {
            "Authorization": f"DPoP {token}",
            "DPoP": self._minter.proof(method=method, url=url, token=token, now=call.now),
            "Idempotency-Key": str(call.call_id),
        }
        headers |= sign(
            method=method,
            url=url,
            headers=headers,
            body=body,
            key=self._key_store.signing_key("http-signature"),
            components=SIGNED_COMPONENTS,
            now=call.now,
        )
        if body:
            headers["Content-Type"] = "application/json"
        answer = await self._http.exchange(method, url, headers=headers | _trace_context(), body=body)
        asked_of_unknown = method == "GET" and answer.status == NOT_FOUND
        if answer.status not in SUCCESS and not asked_of_unknown:
            raise fault_in(answer, call.now)
        return answer


def _status_authority(call: OutgoingCall) -> Authority:
    """A status query is a control call: it carries nothing of the person beyond the case reference."""
    authority = call.authority
    if isinstance(authority, Authority):
        return authority
    return Authority(
        call_id=call.call_id,
        case_reference=str(authority.case_id or ""),
        agency=authority.agency,
        resource=authority.resource,
        ground="status query",
    )


def _trace_context() -> dict[str, str]:
    """The W3C trace context of the request or job that we work for, where there is one."""
    value = structlog.contextvars.get_contextvars().get("traceparent")
    return {"traceparent": value} if isinstance(value, str) and _TRACE_PARENT.fullmatch(value) else {}


def _media_type(response: httpx.Response) -> str:
    content_type: str = response.headers.get("content-type", "")
    return content_type.partition(";")[0].strip().lower()


def _session(connections_max: int) -> aiohttp.ClientSession:
    """Made at the first request, in the running loop."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=connections_max, keepalive_timeout=KEEP_ALIVE_SECONDS, ssl=_tls_context()
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
    )


@functools.cache
def _tls_context() -> ssl.SSLContext:
    """The machine's own trust store, read once for all agencies."""
    return ssl.create_default_context()
