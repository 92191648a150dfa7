"""`onestop demo`: a made-up person's application, from login to approval, through public interfaces alone.

Starts the gateway and the sandboxes as processes of their own, walks one Employment Gold Card application
through them, downloads what was issued, audits the log again from its leaves, and writes `demo-output/`. Every
claim it makes is a named check; the exit status is 0 only when all of them held.
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx
import msgspec
import typst
from rich.console import Console

from gateway.applicant import Applicant, StepFailed
from gateway.settings import Settings

START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 15.0
POLL_SECONDS = 0.1
SUPPLEMENT_DAYS = 5  # legal days that the demo's applicant takes to answer

FORM: Mapping[str, Any] = {
    "person": {
        "surname": "EXAMPLE",
        "given_names": "ADA",
        "sex": "F",
        "date_of_birth": "1988-02-29",
        "category": "foreign_national",
        "country_of_birth": "GBR",
        "marital_status": "single",
    },
    "passport": {
        "number": "X12345678",
        "nationality": "GBR",
        "type": "ordinary",
        "issued_on": "2022-03-01",
        "expires_on": "2032-03-01",
    },
    "contact": {
        "email": "ada@example.org",
        "phone": "+886 2 0000 0000",
        "address_abroad": "1 Sample Street, London",
        "address_taiwan": "臺北市中正區範例路 1 號",
    },
    "stay": {"status": "arc", "residence_record": "fetched"},
    "qualification": {
        "field": "culture",
        "clause": "experience",
        "employer": "範例文化股份有限公司",
        "title": "Artistic director",
        "years_of_experience": 9,
        "monthly_salary_ntd": 120000,
    },
    "education": [
        {
            "school": "Sample University",
            "country": "GBR",
            "degree": "master",
            "subject": "Fine arts",
            "awarded_on": "2012-07-01",
        }
    ],
    "employment": [
        {
            "employer": "範例文化股份有限公司",
            "country": "TWN",
            "title": "Artistic director",
            "from_on": "2018-01-02",
        }
    ],
    "declarations": {
        "criminal_record": False,
        "mainland_china_citizen": False,
        "roc_household_registration": False,
        "entered_on_roc_passport": False,
        "military_service": "not_subject",
        "worked_in_mainland_china": False,
        "true_and_complete": "yes",
    },
    "card": {"validity_years": 3, "collection_station": "taipei"},
}


class DemoFailed(Exception):
    """The demo could not be carried through; the message is one sentence."""


class Report:
    """The checks as they are made, shown to whoever watches and kept for the summary."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.checks: list[dict[str, Any]] = []

    def step(self, text: str) -> None:
        """Say what happens now."""
        self.console.print(f"  [dim]{time.strftime('%H:%M:%S')}[/]  {text}")

    def check(self, name: str, holds: bool, detail: str = "") -> None:
        """Keep a check; one that does not hold fails the demo at its end."""
        self.checks.append({"name": name, "ok": bool(holds), "detail": detail})
        mark = "[green]ok[/]" if holds else "[red]NOT SO[/]"
        self.console.print(f"            {mark}  {name}{': ' + detail if detail else ''}")

    @property
    def ok(self) -> bool:
        """Whether every check held."""
        return bool(self.checks) and all(check["ok"] for check in self.checks)


def run(settings: Settings, output: Path, *, sandbox_port: int, once: bool) -> int:
    """Carry the demo through; returns the exit status. Without `once` it keeps serving until interrupted."""
    signal.signal(signal.SIGTERM, _interrupt)  # what was started is stopped, whoever asks
    console = Console(highlight=False, soft_wrap=True)
    report = Report(console)
    console.print("\n[bold]onestop[/]: one application, four permits\n")
    output.mkdir(parents=True, exist_ok=True)
    with _processes(settings, sandbox_port) as alive:
        summary = asyncio.run(_walk(settings, report, output, f"http://127.0.0.1:{sandbox_port}"))
        _audit(report, summary)
        summary |= {"ok": report.ok, "checks": report.checks}
        (output / "summary.json").write_bytes(msgspec.json.format(msgspec.json.encode(summary), indent=2))
        console.print(
            f"\n{'[green]All checks held.[/]' if report.ok else '[red]Not all checks held.[/]'} "
            f"See {output}/summary.json\n"
        )
        if not once:
            console.print(f"Serving at {settings.public_url} until you press Ctrl-C.")
            with contextlib.suppress(KeyboardInterrupt):
                alive()
    return 0 if report.ok else 1


async def _walk(settings: Settings, report: Report, output: Path, sandbox_url: str) -> dict[str, Any]:
    started = time.monotonic()
    async with Applicant(settings.public_url) as ada:
        try:
            case = await gold_card_in_taiwan(ada, report, sandbox_url)
        except (StepFailed, httpx.HTTPError) as error:
            report.check("the application is carried to its end", False, str(error))
            return {"services": {}, "log": {}}
        files = await _download(ada, case, output)
    seconds = time.monotonic() - started
    review = next(due for due in case["due_dates"] if due["duty"] == "review")
    return {
        "services": {
            "gold_card": {
                "case_id": case["case_id"],
                "case_number": case["case_number"],
                "state": case["state"],
                "service_state": case["service_state"],
                "documents": files,
                "working_days": review["elapsed_days"],
                "supplements": case["supplements"],
                "agency_calls": case["agency_calls"],
                "seconds": round(seconds, 3),
                "permits": case["decision"]["permits"],
            }
        },
        "log": {},
    }


async def gold_card_in_taiwan(ada: Applicant, report: Report, sandbox_url: str) -> dict[str, Any]:
    """The application of a foreign professional who is in Taiwan; returns the approved case."""
    report.step("Ada Example logs in at the (sandbox) identity provider")
    session = await ada.log_in("ada")
    report.check("logged in with a stated level of assurance", bool(session["acr"]), session["means"])
    report.step("She opens an application for the Employment Gold Card and fills in the form")
    case = await ada.save_form(await ada.open_case("gold_card"), FORM)
    case = await _consent_to_the_residence_record(ada, case, report)
    report.step("She uploads her passport, a photo and the proof of her qualification")
    samples: tuple[tuple[str, str, Literal["pdf", "png"]], ...] = (
        ("passport", "PASSPORT", "pdf"),
        ("photo", "PHOTO", "png"),
        ("qualification", "PROOF OF QUALIFICATION", "pdf"),
    )
    for slot, text, suffix in samples:
        media_type = "application/pdf" if suffix == "pdf" else "image/png"
        case = await ada.upload(case, slot, sample_document(text, suffix), media_type)
    report.check("nothing is missing any more", not _blocking(case), ", ".join(_blocking(case)))
    case = await ada.act(case, "submit")
    report.check("filed, with the fee of the law", case["fee"]["amount_ntd"] > 0, _fee_text(case))
    case = await _pay(ada, case, report)
    case = await _answer_the_supplement(ada, case, report, sandbox_url)
    report.step("The agencies finish their review")
    case = await ada.wait_for(case, {"state": "approved", "open_calls": 0})
    return await _check_the_outcome(ada, case, report, sandbox_url)


async def _consent_to_the_residence_record(
    ada: Applicant, case: Mapping[str, Any], report: Report
) -> dict[str, Any]:
    report.step("She reads the notice, and consents to the one fetch that is hers to consent to")
    notices = await ada.notices(case)
    [shown] = notices["consents"]
    granted = await ada.grant(shown)
    report.check("the consent is recorded with its notice", granted["state"] == "granted")
    case = await ada.wait_for(case, {"fetched": lambda fetched: "nia.residence" in fetched})
    arc = case["fetched"]["nia.residence"].get("arc", {})
    report.check("the residence record came from the immigration agency", bool(arc.get("number")))
    return case


async def _pay(ada: Applicant, case: Mapping[str, Any], report: Report) -> dict[str, Any]:
    report.step("She pays on the payment service's page")
    case = await ada.wait_for(case, {"fee": lambda fee: bool(fee and fee["pay_url"])})
    await ada.pay(case)
    case = await ada.wait_for(case, {"fee": lambda fee: bool(fee and fee["paid"])})
    report.check("the payment arrived as a signed notice", case["fee"]["paid"])
    return case


async def _answer_the_supplement(
    ada: Applicant, case: Mapping[str, Any], report: Report, sandbox_url: str
) -> dict[str, Any]:
    case = await ada.wait_for(case, {"state": "waiting_for_applicant"})
    supplement = case["supplement"]
    report.step(
        f"{supplement['requested_by']} asks for a supplement; {supplement['notified_by']} notifies it"
    )
    rests = [not due["running"] for due in case["due_dates"] if due["duty"] == "review"]
    report.check("the review clock rests meanwhile", rests == [True])
    await move_legal_clock(sandbox_url, SUPPLEMENT_DAYS)
    report.step(f"{SUPPLEMENT_DAYS} days later (legal time) she answers it")
    for item in supplement["items"]:
        slot = item["target"].removeprefix("document:")
        case = await ada.upload(
            case, slot, sample_document("CERTIFICATE OF EMPLOYMENT", "pdf"), "application/pdf"
        )
    return await ada.act(case, "supplement")


async def _check_the_outcome(
    ada: Applicant, case: dict[str, Any], report: Report, sandbox_url: str
) -> dict[str, Any]:
    permits = case["decision"]["permits"]
    wanted = {"work_permit", "resident_visa", "alien_resident_certificate", "re_entry_permit"}
    report.check("four permits are settled by one decision", wanted <= permits.keys(), ", ".join(permits))
    report.check("exactly one supplement was asked for", case["supplements"] == 1)
    report.check("a notice of the result was issued", len(case["outcome"]) == 1)
    async with httpx.AsyncClient(trust_env=False) as http:
        seen = (await http.get(f"{sandbox_url}/sandbox/effects")).json()["effects"]
    twice = [
        f"{agency} {operation}"
        for agency, operations in seen.items()
        for operation, calls in operations.items()
        if any(effects > 1 for effects in calls.values())
    ]
    report.check("no agency saw an effect twice", not twice, ", ".join(twice))
    return case


async def move_legal_clock(sandbox_url: str, days: int) -> None:
    """Have the sandbox move legal time ahead."""
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.post(f"{sandbox_url}/sandbox/clock", json={"days": days})
    if answer.status_code >= 300:
        raise StepFailed(f"the sandbox answered {answer.status_code} when asked to move legal time")


def sample_document(text: str, suffix: Literal["pdf", "png"]) -> bytes:
    """A made-up document that says so."""
    source = f'#set page(width: 9cm, height: 6cm)\n#align(center + horizon)[*SAMPLE*\\ #"{text}"]'
    return typst.compile(source.encode(), format=suffix)


async def _download(ada: Applicant, case: Mapping[str, Any], output: Path) -> list[str]:
    files = []
    for document in case["outcome"]:
        answer = await ada.get(document["href"])
        path = output / f"gold-card-{case['case_number']}.pdf"
        path.write_bytes(answer.content)
        files.append(path.name)
    return files


def _audit(report: Report, summary: dict[str, Any]) -> None:
    """Audit the log again from its leaves, by the command an auditor would run."""
    report.step("The log is audited again, from its leaves")
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "audit", "verify", "--json"],
        env=_environment(),
        capture_output=True,
        timeout=START_SECONDS_MAX,
        check=False,
    )
    log: dict[str, Any] = {"size": 0, "root": "", "verified": False}
    if done.returncode == 0:
        log = msgspec.json.decode(done.stdout)
    sound = log["verified"] and log["size"] > 0
    report.check("every leaf, tile and signed head verifies", sound, f"{log['size']} entries")
    summary["log"] = log


@contextlib.contextmanager
def _processes(settings: Settings, sandbox_port: int) -> Iterator[Any]:
    """The sandboxes and the gateway, started in that order and stopped at the end."""
    provider_port = urlsplit(settings.oidc_issuer).port or 80
    for port in (sandbox_port, provider_port, settings.bind_port):
        _check_free(port)
    started: list[subprocess.Popen[bytes]] = []
    logs = Path("var")
    logs.mkdir(exist_ok=True)
    try:
        _command("migrate")
        for arguments, url in (
            (["sandbox", "--port", str(sandbox_port)], f"http://127.0.0.1:{sandbox_port}/health"),
            (["serve"], f"{settings.public_url}/health/ready"),
        ):
            name = arguments[0]
            with (logs / f"{name}.log").open("ab") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "gateway.cli", *arguments],
                    env=_environment(),
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            started.append(process)
            _wait_until_ready(process, name, url)
        yield started[-1].wait
    finally:
        for process in reversed(started):
            process.send_signal(signal.SIGTERM)
        for process in reversed(started):
            try:
                process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                process.kill()


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _command(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", name],
        env=_environment(),
        capture_output=True,
        timeout=START_SECONDS_MAX,
        check=False,
    )
    if done.returncode != 0:
        raise DemoFailed(f"'onestop {name}' failed: {done.stderr.decode(errors='replace').strip()[-500:]}")


def _check_free(port: int) -> None:
    """Raise DemoFailed when somebody listens on the port: the walk would talk to them instead."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise DemoFailed(f"Port {port} is taken: is another demo or gateway running?")


def _wait_until_ready(process: subprocess.Popen[bytes], name: str, url: str) -> None:
    end = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < end:
        if process.poll() is not None:
            raise DemoFailed(f"'onestop {name}' ended with status {process.returncode}; see var/{name}.log")
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url, timeout=1.0, trust_env=False).status_code == 200:
                return
        time.sleep(POLL_SECONDS)
    raise DemoFailed(f"'onestop {name}' was not ready after {START_SECONDS_MAX:.0f} s; see var/{name}.log")


def _environment() -> dict[str, str]:
    """The demo moves legal time, which production refuses."""
    return {**os.environ, "ONESTOP_LEGAL_CLOCK": "movable"}


def _blocking(case: Mapping[str, Any]) -> list[str]:
    return [f"{problem['pointer']} {problem['code']}" for problem in case["problems"]]


def _fee_text(case: Mapping[str, Any]) -> str:
    return f"NT${case['fee']['amount_ntd']:,}"
