"""One login on its way through the browser: state, nonce and code verifier in a sealed cookie.

Nothing is stored before the provider has vouched for somebody, so that asking for logins without end fills
no table. The cookie binds the login to the browser that began it: a response of the provider that is brought
to another browser (login CSRF, RFC 6749 section 10.12) finds no cookie, or one with another state. A login
leads to one session: its state is recorded in the transaction that makes the session, and a second use of
the same state is refused there.

The cookie's key is derived from the index key by a label that no identifier has; the content is sealed with
AES-256-GCM, so that it can be neither read nor changed on the way.
"""

import base64
import binascii
import datetime as dt
import hashlib
import re
import secrets
from urllib.parse import unquote

import msgspec
from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncConnection

from consent.errors import KeyMissing
from consent.keys import Vault, open_sealed, seal
from consent.store import insert_or_ignore
from gateway.identity.errors import LoginRefused
from gateway.identity.store import used_login

LIFETIME = dt.timedelta(minutes=10)
SECRET_BYTES = 32  # 256 bits for state, nonce and verifier alike; RFC 7636 section 7.1 asks for 256
RETURN_PATH_CHARACTERS_MAX = 512
COOKIE_CHARACTERS_MAX = 2048
PLACE = "cookie/login"
KEY_LABEL = "onestop/login-cookie/v1"

# A path of RFC 3986's characters, with query and fragment.
LOCAL_PATH = re.compile(r"/[A-Za-z0-9\-._~!$&'()*+,;=:@/?%\[\]#]*")
# What turns a path into another host or another header, once somebody on the way has decoded it: browsers
# take a backslash for a slash, and drop control characters.
ASTRAY = re.compile(r"[\x00-\x1f\x7f\\]|^[^?#]*//")


class Login(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What we must remember between sending a browser to the provider and its return."""

    state: str
    nonce: str
    verifier: str
    return_to: str
    expires_at: dt.datetime


def begin(return_to: str, now: dt.datetime) -> Login:
    """A new login that will end at the local path `return_to`. Raises LoginRefused for any other address."""
    return Login(
        state=secrets.token_urlsafe(SECRET_BYTES),
        nonce=secrets.token_urlsafe(SECRET_BYTES),
        verifier=secrets.token_urlsafe(SECRET_BYTES),
        return_to=local_path(return_to),
        expires_at=now + LIFETIME,
    )


def local_path(path: str) -> str:
    """The path as given, if every browser and proxy takes it for one on this host; else LoginRefused."""
    local = LOCAL_PATH.fullmatch(path) and not ASTRAY.search(path) and not ASTRAY.search(unquote(path))
    if len(path) > RETURN_PATH_CHARACTERS_MAX or not local:
        raise LoginRefused("return_to is not a local path")
    return path


def challenge_of(verifier: str) -> str:
    """The S256 code challenge of a verifier (RFC 7636, section 4.2)."""
    digest = hashlib.sha256(verifier.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def to_cookie(vault: Vault, login: Login) -> str:
    """The login, sealed, as the value of a cookie."""
    sealed = seal(vault.index_of(KEY_LABEL), msgspec.json.encode(login), PLACE)
    return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode("ascii")  # "=" would need quoting


def from_cookie(vault: Vault, value: str | None, now: dt.datetime) -> Login:
    """The login that this browser began. Raises LoginRefused when there is none, or it is too old."""
    if value is None or len(value) > COOKIE_CHARACTERS_MAX:
        raise LoginRefused("no login was begun in this browser")
    try:
        sealed = base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
        login = msgspec.json.decode(open_sealed(vault.index_of(KEY_LABEL), sealed, PLACE), type=Login)
    except (binascii.Error, ValueError, KeyMissing) as error:
        raise LoginRefused("the login cookie is not one of ours") from error
    if now >= login.expires_at:
        raise LoginRefused("the login took too long")
    return login


async def use(conn: AsyncConnection, login: Login, now: dt.datetime) -> None:
    """Record that this login made its session. Raises LoginRefused when it had made one already."""
    await conn.execute(delete(used_login).where(used_login.c.expires_at <= now))
    row = {
        "state_hash": hashlib.sha256(login.state.encode()).digest(),
        "expires_at": login.expires_at,
    }
    result = await conn.execute(insert_or_ignore(conn, used_login), row)
    if result.rowcount != 1:
        raise LoginRefused("this login was used before")
