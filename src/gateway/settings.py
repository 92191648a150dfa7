"""Settings: one frozen struct, read from environment variables named `ONESTOP_...` and nothing else.

Every setting is optional and its default is safe on a laptop; docs/settings.md describes each for operators.
A bad value, or a variable that no setting answers to (mostly a misspelt one, which would otherwise leave a
default in force unnoticed), stops the start with one sentence. Addresses may hold a password, so that of a
refused address only the scheme is repeated.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import SplitResult, urlsplit

import msgspec

PREFIX = "ONESTOP_"
WORKERS_MAX = 64
DEFAULT_PORTS = {"http": 80, "https": 443}


class StartRefused(Exception):
    """The gateway does not start in doubt. The message is one sentence for the operator."""


class SettingRefused(StartRefused):
    """A setting cannot be used. The message is one sentence for the operator and holds no secret."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings. The environment variable of a field is its name in capitals after `ONESTOP_`."""

    # Where cases, consents and the log live: `sqlite:///path` or `postgresql://user@host/name`.
    database_url: str = "sqlite:///var/onestop.sqlite"
    # A direct address of the same PostgreSQL for LISTEN, where `database_url` leads through a pooler.
    listen_url: str | None = None
    # Where the newest checkpoint is kept apart from the log, so that a rolled-back log is noticed.
    second_store_url: str = "sqlite:///var/second-store.sqlite"
    # Folder of the private keys (mode 0700).
    key_folder: Path = Path("var/keys")
    # Scheme, host and port under which browsers and agencies reach the gateway.
    public_url: str = "http://127.0.0.1:8000"
    # Address and port that the gateway listens on.
    bind_host: str = "127.0.0.1"
    bind_port: int = 8000
    # Gateway processes that `onestop serve` starts.
    workers: int = 1
    # The OpenID Connect provider that people log in with, and our name there.
    oidc_issuer: str = "http://127.0.0.1:8101"
    oidc_client_id: str = "onestop"
    # TOML file that says where each agency is reached in this environment.
    agencies_file: Path = Path("var/sandbox/agencies.toml")
    # Name of the log in its checkpoints; never changed once the log has entries.
    log_origin: str = "onestop.example/log"
    # `movable` lets a sandbox move legal time; production is `fixed`.
    legal_clock: Literal["fixed", "movable"] = "fixed"
    # Least severe log lines that are written.
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    # Whether `serve` runs the outbox worker and the sequencer too; None: yes on SQLite, no on PostgreSQL.
    embedded_worker: bool | None = None

    @property
    def on_sqlite(self) -> bool:
        """Whether the database is the embedded one."""
        return self.database_url.startswith("sqlite:")

    @property
    def runs_worker(self) -> bool:
        """Whether `serve` runs the outbox worker and the sequencer in its own process."""
        return self.on_sqlite if self.embedded_worker is None else self.embedded_worker

    @property
    def allowed_hosts(self) -> frozenset[str]:
        """The values that a Host header may have, lower case."""
        url = urlsplit(self.public_url)
        hosts = {url.netloc.lower()}
        if url.port is None or url.port == DEFAULT_PORTS[url.scheme]:
            name = url.netloc.lower().removesuffix(f":{url.port}")
            hosts = {name, f"{name}:{DEFAULT_PORTS[url.scheme]}"}
        return frozenset(hosts)


def load(environment: Mapping[str, str]) -> Settings:
    """The settings of this environment. Raises SettingRefused with one sentence."""
    values: dict[str, Any] = {}
    for variable in sorted(name for name in environment if name.startswith(PREFIX)):
        field = variable.removeprefix(PREFIX).lower()
        if field not in _RULES:
            raise SettingRefused(f"{variable} is not a setting; docs/settings.md lists them all.")
        values[field] = _parse(variable, environment[variable], _RULES[field])
    settings = Settings(**values)
    _check_together(settings)
    return settings


def _parse(variable: str, text: str, rule: "_Rule") -> Any:
    try:
        return rule.parse(text)
    except ValueError:
        found = _scheme_only(text) if rule.is_address else repr(text)
        raise SettingRefused(f"{variable} is {found}, expected {rule.expected}.") from None


def _check_together(settings: Settings) -> None:
    """Refuse settings that are good one by one and wrong together."""
    if settings.second_store_url == settings.database_url:
        raise SettingRefused(
            f"{PREFIX}SECOND_STORE_URL is the address of the database itself, expected another place: "
            "a copy kept beside the log is rolled back with it."
        )
    if not settings.on_sqlite and settings.second_store_url.startswith("sqlite:"):
        raise SettingRefused(
            f"{PREFIX}SECOND_STORE_URL is a file of one machine, expected a postgresql:// address, "
            "because the database is PostgreSQL and several machines may share it."
        )


def _scheme_only(text: str) -> str:
    scheme, separator, _ = text.partition("://")
    return (
        f"'{scheme}://...'" if separator and re.fullmatch("[a-z0-9+.-]{1,20}", scheme) else "not an address"
    )


def _database(text: str) -> str:
    if re.fullmatch(r"sqlite:///[^?#]+", text) or re.fullmatch(r"postgresql://\S+", text):
        return text
    raise ValueError


def _postgres(text: str) -> str:
    if re.fullmatch(r"postgresql://\S+", text):
        return text
    raise ValueError


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _split_web_address(text: str) -> SplitResult:
    """An https address, or http on loopback, without user, query or fragment."""
    url = urlsplit(text)
    if not url.hostname or re.search(r"[\s?#@\\]", text) or (url.port is not None and not url.port):
        raise ValueError
    if url.scheme != "https" and not (url.scheme == "http" and _is_loopback(url.hostname)):
        raise ValueError
    return url


def _origin(text: str) -> str:
    if _split_web_address(text).path:
        raise ValueError
    return text


def _web_address(text: str) -> str:
    _split_web_address(text)
    return text


def _path(text: str) -> Path:
    if not text or "\x00" in text:
        raise ValueError
    return Path(text)


def _whole_number(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch("[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise ValueError
        return int(text)

    return parse


def _matching(pattern: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError
        return text

    return parse


def _yes_or_no(text: str) -> bool:
    try:
        return {"true": True, "false": False}[text]
    except KeyError:
        raise ValueError from None


class _Rule(NamedTuple):
    """How the text of one variable becomes a value, and what to say when it does not."""

    parse: Callable[[str], Any]
    expected: str
    is_address: bool = False


_WEB = "an https:// address (http:// on loopback only)"
_RULES: Mapping[str, _Rule] = {
    "database_url": _Rule(_database, "sqlite:///path or postgresql://user@host/name", is_address=True),
    "listen_url": _Rule(_postgres, "postgresql://user@host/name", is_address=True),
    "second_store_url": _Rule(_database, "sqlite:///path or postgresql://user@host/name", is_address=True),
    "key_folder": _Rule(_path, "a folder"),
    "public_url": _Rule(_origin, f"{_WEB} without a path", is_address=True),
    "bind_host": _Rule(_matching(r"[0-9A-Za-z.:-]{1,253}"), "a host name or an IP address"),
    "bind_port": _Rule(_whole_number(1, 65_535), "a whole number from 1 to 65535"),
    "workers": _Rule(_whole_number(1, WORKERS_MAX), f"a whole number from 1 to {WORKERS_MAX}"),
    "oidc_issuer": _Rule(_web_address, _WEB, is_address=True),
    "oidc_client_id": _Rule(_matching(r"[\x21-\x7e]{1,200}"), "1 to 200 visible ASCII characters"),
    "agencies_file": _Rule(_path, "a file"),
    "log_origin": _Rule(_matching(r"[a-z0-9][a-z0-9./-]{2,199}"), "a name like onestop.example/log"),
    "legal_clock": _Rule(_matching("fixed|movable"), "'fixed' or 'movable'"),
    "log_level": _Rule(_matching("debug|info|warning|error"), "'debug', 'info', 'warning' or 'error'"),
    "embedded_worker": _Rule(_yes_or_no, "'true' or 'false'"),
}
