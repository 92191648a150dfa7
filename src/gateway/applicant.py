"""A person at a browser, as a program: logs in, fills, consents, uploads, pays, answers, waits.

Used by `onestop demo` and by the tests. It knows only what a browser knows: public addresses, cookies, the
pages' forms, and the JSON of the public interface. Nothing here reaches behind the gateway.
"""

import asyncio
import secrets
from collections.abc import Mapping
from html.parser import HTMLParser
from types import TracebackType
from typing import Any, Self
from urllib.parse import urljoin

import httpx

REQUEST_SECONDS_MAX = 20.0
POLL_SECONDS = 0.1
REDIRECTS_MAX = 10


class StepFailed(Exception):
    """A step did not go as it should; the message says what was found and what was expected."""


class Applicant:
    """One browser. Use as an async context manager."""

    def __init__(self, base_url: str) -> None:
        self._http = httpx.AsyncClient(
            base_url=base_url,
            timeout=REQUEST_SECONDS_MAX,
            follow_redirects=True,
            max_redirects=REDIRECTS_MAX,
            trust_env=False,
        )
        self._csrf = ""
        self._paid_at = ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def log_in(self, persona: str) -> dict[str, Any]:
        """Log in at the identity provider as one of its personas; returns the session."""
        page = await self._http.get("/login", params={"return_to": "/api/v1/session"})
        form = form_in(page.text, button=persona)
        answer = await self._http.request(form.method, urljoin(str(page.url), form.action), data=form.fields)
        session: dict[str, Any] = _json(answer, 200)
        if not session.get("authenticated"):
            raise StepFailed(f"the login as '{persona}' ended without a session")
        self._csrf = session["csrf_token"]
        return session

    async def get(self, path: str, **headers: str) -> httpx.Response:
        """GET."""
        return await self._http.get(path, headers=_named(headers))

    async def post(
        self, path: str, body: object = None, *, key: str | None = None, **headers: str
    ) -> httpx.Response:
        """POST a JSON body under an idempotency key, a new one unless one is given."""
        sent = httpx.Headers(
            {"X-CSRF-Token": self._csrf, "Idempotency-Key": key or secrets.token_urlsafe(16)}
        )
        sent.update(_named(headers))
        return await self._http.post(path, json={} if body is None else body, headers=sent)

    async def put(self, path: str, version: int, **content: Any) -> httpx.Response:
        """PUT (`json=` or `content=`) to what was read at this version."""
        headers = {"X-CSRF-Token": self._csrf, "If-Match": f'"v{version}"', **content.pop("headers", {})}
        return await self._http.put(path, headers=headers, **content)

    async def open_case(self, service: str, language: str = "en") -> dict[str, Any]:
        """Open a draft."""
        return _json(await self.post("/api/v1/cases", {"service": service, "language": language}), 201)

    async def case(self, case: Mapping[str, Any]) -> dict[str, Any]:
        """The case as it is now."""
        return _json(await self.get(f"/api/v1/cases/{case['case_id']}"), 200)

    async def save_form(self, case: Mapping[str, Any], form: object) -> dict[str, Any]:
        """Save the form."""
        path = f"/api/v1/cases/{case['case_id']}/form"
        return _json(await self.put(path, case["version"], json=form), 200)

    async def notices(self, case: Mapping[str, Any]) -> dict[str, Any]:
        """Have the notices shown."""
        return _json(await self.post(f"/api/v1/cases/{case['case_id']}/notices"), 200)

    async def grant(self, shown: Mapping[str, Any]) -> dict[str, Any]:
        """Agree to a consent as it was shown."""
        path = f"/api/v1/consents/{shown['basis']['basis_id']}/grant"
        return _json(await self.post(path, {"notice_sha256": shown["notice_sha256"]}), 200)

    async def upload(
        self, case: Mapping[str, Any], slot: str, content: bytes, media_type: str
    ) -> dict[str, Any]:
        """Put a document into a slot."""
        path = f"/api/v1/cases/{case['case_id']}/documents/{slot}"
        sent = await self.put(path, case["version"], content=content, headers={"Content-Type": media_type})
        return _json(sent, 201)

    async def act(self, case: Mapping[str, Any], verb: str) -> dict[str, Any]:
        """A verb without a body: submit, supplement, withdraw."""
        path = f"/api/v1/cases/{case['case_id']}/{verb}"
        return _json(await self.post(path, If_Match=f'"v{case["version"]}"'), 200)

    async def pay(self, case: Mapping[str, Any]) -> None:
        """Pay the fee on the payment service's own page."""
        asked = await self.post(f"/api/v1/cases/{case['case_id']}/pay")
        await self._pay_at(_json(asked, 200)["pay_url"])

    async def pay_again(self) -> None:
        """Send the payment page that was paid on last once more, as a browser does on reload."""
        paid = await self._http.post(self._paid_at, data={}, follow_redirects=False)
        if paid.status_code != 303:
            raise StepFailed(f"paying again answered {paid.status_code}, expected 303")

    async def _pay_at(self, pay_url: str) -> None:
        page = await self._http.get(pay_url)
        form = form_in(page.text)
        self._paid_at = urljoin(str(page.url), form.action)
        paid = await self._http.request(form.method, self._paid_at, data=form.fields, follow_redirects=False)
        if paid.status_code != 303:
            raise StepFailed(f"paying answered {paid.status_code}, expected 303")

    async def wait_for(
        self, case: Mapping[str, Any], wanted: Mapping[str, Any], *, seconds: float = 15.0
    ) -> dict[str, Any]:
        """Poll until each wanted member has its value (or, for a callable, satisfies it)."""
        now: dict[str, Any] = {}
        try:
            async with asyncio.timeout(seconds):
                while True:
                    now = await self.case(case)
                    if all(_holds(now.get(name), value) for name, value in wanted.items()):
                        return now
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            found = {name: now.get(name) for name in ("state", "service_state", "open_calls")}
            raise StepFailed(f"after {seconds:.0f} s the case is {found}") from None


class HtmlForm:
    """A form of a page, filled as it comes, sent with one of its buttons."""

    def __init__(self, method: str, action: str) -> None:
        self.method = method
        self.action = action
        self.fields: dict[str, str] = {}
        self.buttons: list[tuple[str, str]] = []


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[HtmlForm] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.found.append(HtmlForm(given.get("method", "get").upper(), given.get("action", "")))
        elif self.found and tag == "input" and given.get("name"):
            self.found[-1].fields[given["name"]] = given.get("value", "")
        elif self.found and tag == "button" and given.get("name"):
            self.found[-1].buttons.append((given["name"], given.get("value", "")))


def form_in(page: str, button: str = "") -> HtmlForm:
    """The page's first form, with the button of this value pressed (the first one when none is named)."""
    parser = _Forms()
    parser.feed(page)
    for form in parser.found:
        for name, value in form.buttons:
            if not button or value == button:
                form.fields[name] = value
                return form
        if not button:
            return form
    raise StepFailed(f"the page has no form with a button '{button}'")


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def _holds(found: Any, wanted: Any) -> bool:
    return bool(wanted(found)) if callable(wanted) else bool(found == wanted)


def _json(answer: httpx.Response, status: int) -> dict[str, Any]:
    if answer.status_code != status:
        raise StepFailed(
            f"{answer.request.method} {answer.request.url.path} answered {answer.status_code}, "
            f"expected {status}: {answer.text[:500]}"
        )
    answered: dict[str, Any] = answer.json()
    return answered
