"""Agency tokens: what one call may do, said in a form that one agency can check by itself.

A token is an RFC 9068 access token for exactly one audience, of at most five minutes, bound to the gateway's
DPoP key, and says in `authorization_details` (RFC 9396) what its permit says: the purpose, the resource, and
the fields that may pass. `txn` is the call and stays the same when the call is tried again; `jti` is new with
each attempt. Nobody's national id is in it: `sub` is another pseudonym at each agency, so that two agencies
cannot join what they know by it.

A control call shows an `Authority` instead of a permit: its token names the resource as the purpose, no field,
and neither a basis nor an authentication of the person.
"""

import datetime as dt
import hashlib
import hmac
from collections.abc import Callable

import msgspec
from msgspec import UNSET, UnsetType

from consent import dpop, jws
from consent.errors import NotPermitted
from consent.ids import uuid7
from consent.keys import KeyStore
from consent.model import Authority, Permit

AGENCY_TOKEN_TYP = "at+jwt"  # noqa: S105 - the kind of a token (RFC 9068), not a secret
CONSENT_TYPE = "urn:onestop:consent:v1"
LIFETIME_SECONDS = 300
LIFETIME_ONE_TIME_SECONDS = 120

AGENCY_TOKEN_KEY = "agency-token"  # noqa: S105 - the name of a key, not a secret
STATUS_LIST_KEY = "status-list"
HTTP_SIGNATURE_KEY = "http-signature"
DPOP_KEY = "dpop"
PUBLISHED_KEYS = (AGENCY_TOKEN_KEY, STATUS_LIST_KEY, HTTP_SIGNATURE_KEY)


class Claims(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all claims: frozen, and unknown members are refused."""


class Actor(Claims, frozen=True):
    """Who acts for the subject (RFC 8693, section 4.1)."""

    sub: str


class Confirmation(Claims, frozen=True):
    """The key that must sign the proofs, by thumbprint (RFC 9449, section 6.1)."""

    jkt: str


class StatusListReference(Claims, frozen=True):
    """Where the basis stands in a status list (draft Token Status List)."""

    idx: int
    uri: str


class Status(Claims, frozen=True):
    """How to learn that the basis was withdrawn."""

    status_list: StatusListReference


class ConsentDetail(Claims, frozen=True):
    """What the call may do (RFC 9396); `expires_at` is the end of the basis, in seconds since the epoch."""

    type: str
    purpose: str
    locations: tuple[str, ...]
    actions: tuple[str, ...]
    datatypes: tuple[str, ...]
    fields: tuple[str, ...]
    one_time: bool
    expires_at: int


class AgencyTokenClaims(Claims, frozen=True):
    """The claims of an agency token; times in seconds since the epoch.

    The last members are those of a call that rests on a lawful basis; a control call has none of them.
    """

    iss: str
    aud: str
    sub: str
    client_id: str
    act: Actor
    iat: int
    nbf: int
    exp: int
    jti: str
    txn: str
    cnf: Confirmation
    authorization_details: tuple[ConsentDetail]
    acr: str | UnsetType = UNSET
    amr: tuple[str, ...] | UnsetType = UNSET
    auth_time: int | UnsetType = UNSET
    basis_id: str | UnsetType = UNSET
    basis_hash: str | UnsetType = UNSET
    status: Status | UnsetType = UNSET


class TokenMinter:
    """Mints tokens and proofs with the gateway's keys; `status_uri` gives the address of a status list."""

    def __init__(self, issuer: str, key_store: KeyStore, status_uri: Callable[[int], str]) -> None:
        self._issuer = issuer
        self._key_store = key_store
        self._status_uri = status_uri

    def agency_token(
        self, authority: Permit | Authority, *, audience: str, actions: tuple[str, ...], now: dt.datetime
    ) -> str:
        """A token for one attempt at one call. Raises NotPermitted when the permit has expired."""
        if isinstance(authority, Permit):
            claims = self._data_claims(authority, audience, actions, now)
        else:
            claims = self._control_claims(authority, audience, actions, now)
        return jws.sign(claims, self._key_store.signing_key(AGENCY_TOKEN_KEY), AGENCY_TOKEN_TYP)

    def proof(self, *, method: str, url: str, token: str, now: dt.datetime) -> str:
        """The DPoP proof that goes with the token on one request."""
        key = self._key_store.signing_key(DPOP_KEY)
        return dpop.make_proof(key, method=method, url=url, token=token, now=now)

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """The public keys that agencies pin: of tokens, status lists and message signatures."""
        return jws.jwks(self._key_store.signing_key(name).public_key() for name in PUBLISHED_KEYS)

    def _data_claims(
        self, permit: Permit, audience: str, actions: tuple[str, ...], now: dt.datetime
    ) -> AgencyTokenClaims:
        issued_at = int(now.timestamp())
        basis_end = int(permit.expires_at.timestamp())
        lifetime = LIFETIME_ONE_TIME_SECONDS if permit.one_time else LIFETIME_SECONDS
        if basis_end <= issued_at:
            raise NotPermitted("expired", "the permit has expired")
        detail = ConsentDetail(
            type=CONSENT_TYPE,
            purpose=permit.purpose,
            locations=(audience,),
            actions=actions,
            datatypes=(permit.resource,),
            fields=tuple(sorted(permit.fields)),
            one_time=permit.one_time,
            expires_at=basis_end,
        )
        reference = StatusListReference(idx=permit.status_index, uri=self._status_uri(permit.status_list))
        common = self._claims(
            authority=permit,
            audience=audience,
            reference=permit.subject,
            issued_at=issued_at,
            expires_at=min(issued_at + lifetime, basis_end),
            detail=detail,
        )
        return msgspec.structs.replace(
            common,
            acr=permit.acr or UNSET,
            amr=permit.amr or UNSET,
            auth_time=UNSET if permit.auth_time is None else int(permit.auth_time.timestamp()),
            basis_id=str(permit.basis_id),
            basis_hash=permit.basis_sha256,
            status=Status(status_list=reference),
        )

    def _control_claims(
        self, authority: Authority, audience: str, actions: tuple[str, ...], now: dt.datetime
    ) -> AgencyTokenClaims:
        issued_at = int(now.timestamp())
        expires_at = issued_at + LIFETIME_SECONDS
        detail = ConsentDetail(
            type=CONSENT_TYPE,
            purpose=authority.resource,  # the ground is a text of law; it stands in the body and in the log
            locations=(audience,),
            actions=actions,
            datatypes=(authority.resource,),
            fields=(),
            one_time=False,
            expires_at=expires_at,
        )
        return self._claims(
            authority=authority,
            audience=audience,
            reference=authority.case_reference,
            issued_at=issued_at,
            expires_at=expires_at,
            detail=detail,
        )

    def _claims(
        self,
        *,
        authority: Permit | Authority,
        audience: str,
        reference: str,
        issued_at: int,
        expires_at: int,
        detail: ConsentDetail,
    ) -> AgencyTokenClaims:
        dpop_key = self._key_store.signing_key(DPOP_KEY).public_key()
        return AgencyTokenClaims(
            iss=self._issuer,
            aud=audience,
            sub=self._pairwise(authority.agency, reference),
            client_id=self._issuer,
            act=Actor(sub=self._issuer),
            iat=issued_at,
            nbf=issued_at,
            exp=expires_at,
            jti=str(uuid7()),
            txn=str(authority.call_id),
            cnf=Confirmation(jkt=jws.thumbprint(dpop_key)),
            authorization_details=(detail,),
        )

    def _pairwise(self, agency: str, reference: str) -> str:
        """The pseudonym of a subject, or of a case, at one agency."""
        message = f"onestop/sub/v1\0{agency}\0{reference}"
        return jws.base64url(hmac.digest(self._key_store.index_key(), message.encode(), hashlib.sha256))
