"""The signed statement of how long the log is and what its root is (c2sp.org/tlog-checkpoint).

Its text is three lines: origin, size in decimal, root in base64. The log signs it twice:

* Ed25519 over the text (c2sp.org/signed-note, type 0x01);
* ML-DSA-44 (FIPS 204), as a cosignature of type 0x06 (c2sp.org/tlog-cosignature). It does not sign the text
  but the structure `cosigned_message`, in the presentation language of RFC 8446:

      uint8  label[12] = "subtree/v1\\n\\0"
      opaque cosigner_name<1..255>   one length byte, then the name
      uint64 timestamp               seconds since the epoch, the same as in front of the signature
      opaque log_origin<1..255>
      uint64 start                   0, for a checkpoint
      uint64 end                     the tree size
      uint8  hash[32]                the root

  and its signature line holds timestamp (8 bytes) || signature (2420 bytes).

The name of both keys is the origin; the key id tells them apart: the first four bytes of
SHA-256(name || 0x0A || type || public key). A note is accepted when both keys have signed it; lines by other
keys (witnesses) are left aside, and a line that names one of our keys must verify.
"""

import base64
import binascii
import datetime as dt
import hashlib
import struct

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519, mldsa

from consent.errors import LogFault
from consent.keys import KeyStore
from consent.merkle import HASH_BYTES

TYPE_ED25519 = b"\x01"
TYPE_MLDSA44_COSIGNATURE = b"\x06"
COSIGNED_LABEL = b"subtree/v1\n\x00"
NAME_BYTES_MAX = 255
# A note may carry 16 signatures (signed-note); a post-quantum one takes up to 5 kB.
NOTE_BYTES_MAX = 128 * 1024
KEY_ID_BYTES = 4
TIMESTAMP_BYTES = 8


class Checkpoint(msgspec.Struct, frozen=True):
    """How many leaves the log has and the root over them."""

    size: int
    root: bytes


class LogKeys(msgspec.Struct, frozen=True):
    """The two public keys that every checkpoint of the log is verified with."""

    signing: ed25519.Ed25519PublicKey
    cosigning: mldsa.MLDSA44PublicKey


def public_keys(key_store: KeyStore) -> LogKeys:
    """The public half of the log's keys."""
    return LogKeys(key_store.log_signing_key().public_key(), key_store.log_cosigning_key().public_key())


def verifier_keys(origin: str, keys: LogKeys) -> tuple[str, str]:
    """Both public keys as signed-note verifier keys: `name+id in hex+base64(type || key)`."""
    signing = TYPE_ED25519 + keys.signing.public_bytes_raw()
    cosigning = TYPE_MLDSA44_COSIGNATURE + keys.cosigning.public_bytes_raw()
    first, second = (
        f"{origin}+{_key_id(origin, key).hex()}+{base64.b64encode(key).decode()}"
        for key in (signing, cosigning)
    )
    return first, second


def sign(
    origin: str,
    checkpoint: Checkpoint,
    time: dt.datetime,
    signer: ed25519.Ed25519PrivateKey,
    cosigner: mldsa.MLDSA44PrivateKey,
) -> bytes:
    """The signed note of this checkpoint; `time` is when it was made. The origin must fit `check_origin`."""
    text = _text(origin, checkpoint)
    seconds = int(time.timestamp())
    signature = signer.sign(text)
    cosignature = cosigner.sign(_cosigned_message(origin, seconds, checkpoint))
    signing_id, cosigning_id = _key_ids(origin, LogKeys(signer.public_key(), cosigner.public_key()))
    lines = (
        signing_id + signature,
        cosigning_id + seconds.to_bytes(TIMESTAMP_BYTES) + cosignature,
    )
    return (
        text
        + b"\n"
        + b"".join(b"\xe2\x80\x94 %s %s\n" % (origin.encode(), base64.b64encode(line)) for line in lines)
    )


def open_note(note: bytes, origin: str, keys: LogKeys) -> Checkpoint:
    """The checkpoint that both of the log's keys have signed. Raises LogFault for any other note."""
    # 1. The form: bounded, text and signatures parted by the last empty line, the text canonical.
    if len(note) > NOTE_BYTES_MAX:
        raise LogFault("checkpoint", "the note is too long")
    text, parting, signatures = note.rpartition(b"\n\n")
    text += b"\n"
    if not parting or not signatures.endswith(b"\n"):
        raise LogFault("checkpoint", "not a signed note")
    checkpoint = _parse_text(text, origin)
    # 2. Each line of a key of ours verifies; 3. both keys have signed.
    signing_id, cosigning_id = _key_ids(origin, keys)
    signed = set()
    where = f"checkpoint {checkpoint.size}"
    for line in signatures.removesuffix(b"\n").split(b"\n"):
        key_id, signature = _parse_signature(line, origin, where)
        try:
            if key_id == signing_id:
                keys.signing.verify(signature, text)
                signed.add(key_id)
            elif key_id == cosigning_id:
                seconds = int.from_bytes(signature[:TIMESTAMP_BYTES])
                message = _cosigned_message(origin, seconds, checkpoint)
                keys.cosigning.verify(signature[TIMESTAMP_BYTES:], message)
                signed.add(key_id)
        except (InvalidSignature, ValueError) as error:
            raise LogFault(where, "a signature of the log does not verify") from error
    if signed != {signing_id, cosigning_id}:
        raise LogFault(where, "not signed by both keys of the log")
    return checkpoint


def check_origin(origin: str) -> None:
    """Raise ValueError for an origin that cannot name the log's keys (signed-note, tlog-cosignature)."""
    if not origin or "+" in origin or len(origin.encode()) > NAME_BYTES_MAX:
        raise ValueError("the log's origin must have 1 to 255 bytes, without '+'")
    if not origin.isprintable() or any(character.isspace() for character in origin):
        raise ValueError("the log's origin must not have spaces or control characters")


def _text(origin: str, checkpoint: Checkpoint) -> bytes:
    return f"{origin}\n{checkpoint.size}\n{base64.b64encode(checkpoint.root).decode()}\n".encode()


def _parse_text(text: bytes, origin: str) -> Checkpoint:
    """Origin, size and root; the text must be exactly what we would have written."""
    try:
        _origin, size, root, _end = text.split(b"\n")
        if not size.isdigit():
            raise ValueError("the size is not a decimal number")
        checkpoint = Checkpoint(int(size), base64.b64decode(root, validate=True))
    except ValueError as error:
        raise LogFault("checkpoint", "the note is not a checkpoint") from error
    if len(checkpoint.root) != HASH_BYTES or text != _text(origin, checkpoint):
        raise LogFault("checkpoint", "not a checkpoint of this log in its one form")
    return checkpoint


def _parse_signature(line: bytes, origin: str, where: str) -> tuple[bytes, bytes]:
    """Key id and signature of a line; an empty id when another name signed."""
    dash, *rest = line.split(b" ")
    if dash != "—".encode() or len(rest) != 2:
        raise LogFault(where, "a line of the note is not a signature")
    name, encoded = rest
    if name != origin.encode():
        return b"", b""
    try:
        blob = base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise LogFault(where, "a signature of the note is not base64") from error
    return blob[:KEY_ID_BYTES], blob[KEY_ID_BYTES:]


def _cosigned_message(origin: str, seconds: int, checkpoint: Checkpoint) -> bytes:
    name = len(origin.encode()).to_bytes(1) + origin.encode()
    return (
        COSIGNED_LABEL
        + name
        + struct.pack(">Q", seconds)
        + name
        + struct.pack(">QQ", 0, checkpoint.size)
        + checkpoint.root
    )


def _key_ids(origin: str, keys: LogKeys) -> tuple[bytes, bytes]:
    return (
        _key_id(origin, TYPE_ED25519 + keys.signing.public_bytes_raw()),
        _key_id(origin, TYPE_MLDSA44_COSIGNATURE + keys.cosigning.public_bytes_raw()),
    )


def _key_id(origin: str, typed_key: bytes) -> bytes:
    return hashlib.sha256(origin.encode() + b"\n" + typed_key).digest()[:KEY_ID_BYTES]
