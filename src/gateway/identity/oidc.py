"""The OpenID Connect relying party: authorization code with PKCE, strict in what it takes back.

Followed: OpenID Connect Core 1.0 (section 3.1), RFC 7636 (PKCE, S256 alone), RFC 9207 (`iss` in the response,
against mix-up), RFC 7523 (private_key_jwt), RFC 9700 (best current practice). A login goes:

1. the browser is sent to the provider with state, nonce and code challenge (`authorization_url`);
2. it comes back with code, state and iss, each exactly once; state is that of this browser's own login, iss
   the configured issuer (`identify`);
3. we redeem the code with the verifier and an assertion signed by our key;
4. the ID token is checked: ES256 by a key of the provider's published set; iss; aud exactly our client id, as
   a string; azp absent or ours; exp and iat within the skew; nonce that of the login; auth_time present, not
   in the future and not older than asked for; acr, amr and the person's claims well-formed.

What is refused is a `LoginRefused` whose reason only our log sees.
"""

import datetime as dt
import hmac
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Annotated, Literal
from urllib.parse import urlencode

import msgspec

from consent import jws
from consent.errors import TokenRefused
from consent.keys import KeyStore
from gateway.identity.errors import LoginRefused
from gateway.identity.login import Login, challenge_of
from gateway.identity.persons import Profile
from gateway.identity.provider import Provider
from gateway.identity.session_store import LIFETIME as SESSION_LIFETIME
from gateway.identity.session_store import Content

CALLBACK_PATH = "/login/callback"
CLIENT_KEY = "oidc-client"  # purpose of the signing key; its public half is published at /oauth/jwks
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_SECONDS = 60
SKEW_SECONDS = 10
ID_TOKEN_AGE_SECONDS_MAX = 600
ROLES = frozenset({"auditor"})
INSTANT_SECONDS_MAX = 253_402_300_799  # 9999-12-31: what a datetime can hold

Seconds = Annotated[int, msgspec.Meta(ge=0, le=INSTANT_SECONDS_MAX)]
Word = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Name = Annotated[str, msgspec.Meta(max_length=100)]


class IdTokenClaims(msgspec.Struct, frozen=True, kw_only=True):
    """The claims that we read; a provider may add others.

    Names are OpenID Connect's where it has one; `nationality` (ISO 3166-1 alpha-3), `passport_number`, `sex`
    (as in the passport), `roles` and `means` (how the person showed who they are) are the deployment's.
    """

    iss: str
    sub: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    aud: str
    exp: Seconds
    iat: Seconds
    auth_time: Seconds
    nonce: str
    acr: Word
    amr: Annotated[tuple[Word, ...], msgspec.Meta(min_length=1, max_length=10)]
    means: Word
    azp: str | None = None
    family_name: Name = ""
    given_name: Name = ""
    nationality: Annotated[str, msgspec.Meta(pattern="^([A-Z]{3})?$")] = ""
    passport_number: Annotated[str, msgspec.Meta(pattern="^[A-Z0-9]{0,20}$")] = ""
    birthdate: dt.date | None = None
    sex: Literal["", "F", "M", "X"] = ""
    roles: Annotated[tuple[Word, ...], msgspec.Meta(max_length=10)] = ()

    @property
    def profile(self) -> Profile:
        """The part that stays with the person."""
        return Profile(
            family_name=self.family_name,
            given_name=self.given_name,
            nationality=self.nationality,
            passport_number=self.passport_number,
            date_of_birth=self.birthdate,
            sex=self.sex,
        )

    @property
    def content(self) -> Content:
        """The part that stays with the session; of the roles, those that mean something here."""
        return Content(
            display_name=self.profile.display_name,
            roles=ROLES.intersection(self.roles),
            means=self.means,
            acr=self.acr,
            amr=self.amr,
            auth_time=dt.datetime.fromtimestamp(self.auth_time, dt.UTC),
        )


class ClientAssertion(msgspec.Struct, frozen=True, kw_only=True):
    """What private_key_jwt says (RFC 7523, section 3); `aud` is the issuer, so that no other takes it."""

    iss: str
    sub: str
    aud: str
    jti: str
    iat: int
    exp: int


class RelyingParty:
    """This gateway as a client of one provider; `monotonic` (seconds) ages what the provider published."""

    def __init__(
        self,
        *,
        issuer: str,
        client_id: str,
        public_url: str,
        key_store: KeyStore,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.issuer = issuer
        self.client_id = client_id
        self.redirect_uri = public_url.rstrip("/") + CALLBACK_PATH
        self._key_store = key_store
        self._provider = Provider(issuer, monotonic)

    async def authorization_url(self, login: Login) -> str:
        """Where to send the browser. Raises ProviderUnavailable."""
        published = await self._provider.published()
        query = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "scope": "openid profile",
            "state": login.state,
            "nonce": login.nonce,
            "code_challenge": challenge_of(login.verifier),
            "code_challenge_method": "S256",
            "max_age": str(int(SESSION_LIFETIME.total_seconds())),  # makes auth_time obligatory (Core, 2)
        }
        return f"{published.metadata.authorization_endpoint}?{urlencode(query)}"

    async def identify(
        self, login: Login, parameters: Sequence[tuple[str, str]], now: dt.datetime
    ) -> IdTokenClaims:
        """Who came back, by the response's parameters. Raises LoginRefused or ProviderUnavailable."""
        code = self._code_of(login, parameters)
        tokens = await self._provider.redeem(
            {
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": self.redirect_uri,
                "client_id": self.client_id,
                "code_verifier": login.verifier,
                "client_assertion_type": ASSERTION_TYPE,
                "client_assertion": self._assertion(now),
            }
        )
        claims = await self._verified(tokens.id_token)
        self._check(claims, login, now)
        return claims

    async def aclose(self) -> None:
        """Close connections."""
        await self._provider.aclose()

    def _code_of(self, login: Login, parameters: Sequence[tuple[str, str]]) -> str:
        """The code of a response that belongs to this login and comes from our provider."""
        if not hmac.compare_digest(_only(parameters, "state").encode(), login.state.encode()):
            raise LoginRefused("the state is not that of this browser's login")
        if _only(parameters, "iss") != self.issuer:
            raise LoginRefused("the response is of another issuer")
        if any(name == "error" for name, _ in parameters):
            raise LoginRefused("the provider answered with an error")
        return _only(parameters, "code")

    def _assertion(self, now: dt.datetime) -> str:
        issued = int(now.timestamp())
        claims = ClientAssertion(
            iss=self.client_id,
            sub=self.client_id,
            aud=self.issuer,
            jti=secrets.token_urlsafe(16),
            iat=issued,
            exp=issued + ASSERTION_SECONDS,
        )
        return jws.sign(claims, self._key_store.signing_key(CLIENT_KEY), "JWT")

    async def _verified(self, id_token: str) -> IdTokenClaims:
        """The claims of a well-signed token. A refusal may be for a new key: the keys are then read again."""
        published = await self._provider.published()
        try:
            return jws.verify(id_token, published.keys, None, IdTokenClaims)
        except TokenRefused as first:
            newer = await self._provider.published(wanting=published)
            if newer is published:
                raise LoginRefused(f"the ID token was refused: {first}") from first
        try:
            return jws.verify(id_token, newer.keys, None, IdTokenClaims)
        except TokenRefused as error:
            raise LoginRefused(f"the ID token was refused: {error}") from error

    def _check(self, claims: IdTokenClaims, login: Login, now: dt.datetime) -> None:
        seconds = now.timestamp()
        oldest_authentication = seconds - SESSION_LIFETIME.total_seconds()
        checks = {
            "iss": claims.iss == self.issuer,
            "aud": claims.aud == self.client_id,
            "azp": claims.azp in {None, self.client_id},
            "nonce": hmac.compare_digest(claims.nonce.encode(), login.nonce.encode()),
            "exp": seconds < claims.exp + SKEW_SECONDS,
            "iat": seconds - ID_TOKEN_AGE_SECONDS_MAX <= claims.iat <= seconds + SKEW_SECONDS,
            "auth_time": oldest_authentication - SKEW_SECONDS <= claims.auth_time <= seconds + SKEW_SECONDS,
        }
        wrong = [name for name, holds in checks.items() if not holds]
        if wrong:
            raise LoginRefused(f"the ID token is not for this login: {', '.join(wrong)}")


def _only(parameters: Sequence[tuple[str, str]], name: str) -> str:
    """The one value of a parameter (RFC 6749, section 3.1: none may come twice). Raises LoginRefused."""
    values = [value for key, value in parameters if key == name]
    if len(values) != 1:
        raise LoginRefused(f"the response has {len(values)} parameters '{name}' instead of one")
    return values[0]
