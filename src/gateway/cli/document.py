"""`document`: what was issued, verified by whoever was given it."""

from pathlib import Path

import click
import httpx

from consent.errors import TokenRefused
from consent.jws import JWKS_BYTES_MAX, KeySet
from consent.keys import FileKeyStore
from gateway.cli import environment
from gateway.settings import StartRefused
from services import pdf_seal, sealing
from services.errors import DocumentRefused

WAIT_SECONDS_MAX = 10.0


@click.group()
def document() -> None:
    """Check documents that were issued."""


@document.command("verify")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--jwks", help="File or https:// address of the office's document keys; default: this office's."
)
def verify_document(file: Path, jwks: str | None) -> None:
    """Check a document's seal, its last byte and its token, offline. Non-zero unless it is genuine.

    \b
    Example:
        onestop document verify notice.pdf --jwks onestop-documents.jwks
    """
    with file.open("rb") as opened:
        content = opened.read(pdf_seal.FILE_BYTES_MAX + 1)
    try:
        claims = sealing.verify(content, _trusted(jwks))
    except DocumentRefused as error:
        raise StartRefused(f"The document is not genuine: {error}.") from error
    facts = claims.facts
    click.echo(
        f"The document is genuine and unchanged: {claims.iss} issued {facts.kind} for case "
        f"{facts.case_number}, {facts.outcome} on {facts.decided_on}; whether it was revoked since is told "
        f"at {claims.address}."
    )


def _trusted(place: str | None) -> KeySet:
    """The keys to verify with. Raises StartRefused."""
    try:
        if place is None:
            return KeySet.from_jwks(sealing.published_keys(FileKeyStore(environment.settings().key_folder)))
        if place.startswith(("https://", "http://")):
            return KeySet.from_jwks(_fetched(place))
        with Path(place).open("rb") as opened:
            return KeySet.from_jwks(opened.read(JWKS_BYTES_MAX + 1))
    except (TokenRefused, OSError, httpx.HTTPError) as error:
        raise StartRefused(f"The keys cannot be used ({type(error).__name__}).") from error


def _fetched(address: str) -> bytes:
    """At most one byte over the bound, which is then refused. Raises httpx.HTTPError."""
    content = b""
    headers = {"Accept-Encoding": "identity"}
    with httpx.stream("GET", address, timeout=WAIT_SECONDS_MAX, headers=headers, trust_env=False) as answer:
        answer.raise_for_status()
        for part in answer.iter_raw(1024):
            content += part
            if len(content) > JWKS_BYTES_MAX:
                break
    return content
