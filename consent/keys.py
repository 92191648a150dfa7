"""Keys: where private ones live, and the envelope that seals personal data at rest.

Signing keys stay outside the database behind `KeyStore`; the default keeps files of mode 0600. There is one
ES256 key a purpose, one Ed25519 and one ML-DSA-44 key for the log, and one index key for looking up
identifiers without storing them.

Data keys live in the database, wrapped (AES-256-GCM) under the versioned master key: one key a subject and
retention class, one tag key a subject, one key a case. Whatever is personal is sealed under one of them, so
that destroying one row of `data_key` makes everything it sealed unreadable at once, backups included.
Rotating the master key rewraps these rows and touches nothing else.

A sealed value is nonce (12 bytes) || ciphertext || tag (16 bytes); the additional data names the place where
the value stands, so that a value moved to another row does not open.
"""

import hashlib
import hmac
import os
import secrets
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Literal, Protocol, cast
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from consent import certificates
from consent.certificates import SealIdentity
from consent.errors import KeyMissing
from consent.ids import shard_of, uuid7
from consent.store import data_key, insert_or_ignore

NONCE_BYTES = 12
KEY_BYTES = 32
MODE_PRIVATE = 0o600
SEAL = "document-seal"

Owner = Literal["subject", "tag", "case"]
OPERATOR = "operator"


class KeyStore(Protocol):
    """Private keys, outside the database. A key that does not exist yet is made at its first use."""

    @property
    def is_new(self) -> bool:
        """Whether no master key was ever made here; beside a database with records, the keys are lost."""
        ...

    def prepare(self, purposes: Iterable[str]) -> None:
        """Make whatever is missing now, so that nothing needs to be made while a person waits."""
        ...

    def master_key(self, version: int | None = None) -> tuple[int, bytes]:
        """Version and 32 bytes of a master key; the newest when no version is asked for."""
        ...

    def index_key(self) -> bytes:
        """The 32 bytes under which identifiers are looked up."""
        ...

    def signing_key(self, purpose: str) -> ec.EllipticCurvePrivateKey:
        """The P-256 key of one purpose (`agency-token`, `status-list`, `dpop`, `http-signature` ...)."""
        ...

    def document_seal(self) -> SealIdentity:
        """Key and certificate that documents are sealed with."""
        ...

    def log_signing_key(self) -> ed25519.Ed25519PrivateKey:
        """The key that signs checkpoints."""
        ...

    def log_cosigning_key(self) -> mldsa.MLDSA44PrivateKey:
        """The key whose cosignature stands beside the first one."""
        ...


class FileKeyStore:
    """Keys as files of mode 0600 in one folder of mode 0700; several processes may share the folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._cache: dict[str, object] = {}

    @property
    def is_new(self) -> bool:
        """See `KeyStore`."""
        return not any(self._folder.glob("master-*.key"))

    def prepare(self, purposes: Iterable[str]) -> None:
        """See `KeyStore`."""
        self.master_key()
        self.index_key()
        self.log_signing_key()
        self.log_cosigning_key()
        for purpose in purposes:
            self.signing_key(purpose)
        self.document_seal()

    def master_key(self, version: int | None = None) -> tuple[int, bytes]:
        """See `KeyStore`; versions are files `master-1.key`, `master-2.key` ..."""
        if version is None:
            known = [int(path.stem.removeprefix("master-")) for path in self._folder.glob("master-*.key")]
            version = max(known, default=1)
        return version, self._secret(f"master-{version}")

    def index_key(self) -> bytes:
        """See `KeyStore`."""
        return self._secret("index")

    def signing_key(self, purpose: str) -> ec.EllipticCurvePrivateKey:
        """See `KeyStore`."""
        return cast(
            "ec.EllipticCurvePrivateKey",
            self._private_key(f"es256-{purpose}", lambda: ec.generate_private_key(ec.SECP256R1())),
        )

    def document_seal(self) -> SealIdentity:
        """See `KeyStore`; the file is `document-seal.p12`, its password, if any, `document-seal.password`."""
        if SEAL not in self._cache:
            password = self._folder / f"{SEAL}.password"
            content = self._read_or_create(f"{SEAL}.p12", certificates.make_pkcs12)
            self._cache[SEAL] = certificates.read_pkcs12(
                content, password.read_bytes().strip() if password.exists() else None
            )
        return cast("SealIdentity", self._cache[SEAL])

    def log_signing_key(self) -> ed25519.Ed25519PrivateKey:
        """See `KeyStore`."""
        return cast(
            "ed25519.Ed25519PrivateKey",
            self._private_key("log-ed25519", ed25519.Ed25519PrivateKey.generate),
        )

    def log_cosigning_key(self) -> mldsa.MLDSA44PrivateKey:
        """See `KeyStore`."""
        return cast(
            "mldsa.MLDSA44PrivateKey", self._private_key("log-mldsa44", mldsa.MLDSA44PrivateKey.generate)
        )

    def _secret(self, name: str) -> bytes:
        if name not in self._cache:
            self._cache[name] = self._read_or_create(f"{name}.key", lambda: secrets.token_bytes(KEY_BYTES))
        return cast("bytes", self._cache[name])

    def _private_key(self, name: str, generate: "PrivateKeyMaker") -> object:
        if name not in self._cache:
            content = self._read_or_create(
                f"{name}.pem",
                lambda: generate().private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                ),
            )
            self._cache[name] = serialization.load_pem_private_key(content, password=None)
        return self._cache[name]

    def _read_or_create(self, name: str, make: "BytesMaker") -> bytes:
        """The file's content. Two processes may both make it; the link below lets exactly one win."""
        path = self._folder / name
        if not path.exists():
            draft = self._folder / f".{name}.{secrets.token_hex(8)}"
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE_PRIVATE), "wb") as file:
                file.write(make())
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(draft, path)
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        return path.read_bytes()


class PrivateKeyMaker(Protocol):
    """Makes a private key that can be written as PKCS#8."""

    def __call__(self) -> "PrivateKey": ...


class PrivateKey(Protocol):
    """What every private key class of `cryptography` offers."""

    def private_bytes(
        self,
        encoding: serialization.Encoding,
        format: serialization.PrivateFormat,  # noqa: A002 - the library's own name
        encryption_algorithm: serialization.KeySerializationEncryption,
    ) -> bytes: ...


class BytesMaker(Protocol):
    """Makes the content of a new key file."""

    def __call__(self) -> bytes: ...


def seal(key: bytes, plaintext: bytes, place: str) -> bytes:
    """Encrypt with AES-256-GCM; `place` names where the value will stand and must be given to open it."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plaintext, place.encode())


def open_sealed(key: bytes, sealed: bytes, place: str) -> bytes:
    """Decrypt what `seal` made. Raises KeyMissing when key, place or content are not the ones sealed."""
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], place.encode())
    except InvalidTag as error:
        raise KeyMissing(f"the value at {place} does not open with its key") from error


class Vault:
    """The data keys of subjects and cases, wrapped in the database under the master key."""

    def __init__(self, key_store: KeyStore) -> None:
        self.key_store = key_store

    def index_of(self, identifier: str) -> bytes:
        """The 32 bytes under which an identifier is looked up: HMAC-SHA256 under the index key."""
        return hmac.digest(self.key_store.index_key(), identifier.encode(), hashlib.sha256)

    async def subject_key(self, conn: AsyncConnection, subject: str, retention: str) -> bytes:
        """The key of one subject and retention class (`log`, `profile` ...), made at its first use."""
        return await self._key(conn, "subject", subject, retention)

    async def tag_key(self, conn: AsyncConnection, subject: str) -> bytes:
        """The key under which a subject recognises its own leaves."""
        return await self._key(conn, "tag", subject, "")

    async def case_key(self, conn: AsyncConnection, case_id: UUID) -> bytes:
        """The key of one case, made at its first use."""
        return await self._key(conn, "case", str(case_id), "")

    async def subject_keys(
        self, conn: AsyncConnection, subjects: Collection[str], retention: str
    ) -> dict[str, bytes]:
        """The keys of many subjects in one query; a subject whose key was destroyed is not among them."""
        return await self._keys(conn, "subject", set(subjects), retention)

    async def case_keys(self, conn: AsyncConnection, case_ids: Collection[UUID]) -> dict[UUID, bytes]:
        """The keys of many cases in one query; a case whose key was destroyed is not among them."""
        keys = await self._keys(conn, "case", {str(case_id) for case_id in case_ids}, "")
        return {UUID(owner_id): key for owner_id, key in keys.items()}

    async def _key(self, conn: AsyncConnection, owner: Owner, owner_id: str, retention: str) -> bytes:
        keys = await self._keys(conn, owner, {owner_id}, retention)
        if owner_id not in keys:
            raise KeyMissing(f"the {owner} key for this record was destroyed")
        return keys[owner_id]

    async def _keys(
        self, conn: AsyncConnection, owner: Owner, owner_ids: set[str], retention: str
    ) -> dict[str, bytes]:
        """The keys that were not destroyed; those that never were are made."""
        wrapped = await self._wrapped(conn, owner, owner_ids, retention)
        if missing := owner_ids - wrapped.keys():
            for owner_id in sorted(missing):
                await self._create(conn, owner, owner_id, retention)
            wrapped |= await self._wrapped(conn, owner, missing, retention)
        return {
            owner_id: open_sealed(
                self.key_store.master_key(version)[1], content, f"data_key/{owner}/{owner_id}/{retention}"
            )
            for owner_id, (version, content) in wrapped.items()
            if content is not None
        }

    async def _wrapped(
        self, conn: AsyncConnection, owner: Owner, owner_ids: Collection[str], retention: str
    ) -> dict[str, tuple[int, bytes | None]]:
        """Master version and wrapped key of each; None in the place of a key that was destroyed."""
        query = select(data_key.c.owner_id, data_key.c.master_version, data_key.c.wrapped).where(
            data_key.c.owner == owner,
            data_key.c.owner_id.in_(list(owner_ids)),
            data_key.c.retention == retention,
        )
        return {row.owner_id: (row.master_version, row.wrapped) for row in (await conn.execute(query)).all()}

    async def _create(self, conn: AsyncConnection, owner: Owner, owner_id: str, retention: str) -> None:
        version, master = self.key_store.master_key()
        wrapped = seal(master, secrets.token_bytes(KEY_BYTES), f"data_key/{owner}/{owner_id}/{retention}")
        key_id = uuid7()
        await conn.execute(
            insert_or_ignore(conn, data_key),
            {
                "key_id": key_id,
                "shard": shard_of(key_id),
                "owner": owner,
                "owner_id": owner_id,
                "retention": retention,
                "master_version": version,
                "wrapped": wrapped,
            },
        )
