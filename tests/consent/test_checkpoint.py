"""Checkpoints: the note's exact form, and every way in which one is not the log's."""

import base64
import datetime as dt
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, mldsa

from consent.checkpoint import Checkpoint, LogKeys, check_origin, open_note, sign, verifier_keys
from consent.errors import LogFault

ORIGIN = "onestop.example/log"
SIGNER = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
COSIGNER = mldsa.MLDSA44PrivateKey.from_seed_bytes(bytes(range(32)))
KEYS = LogKeys(SIGNER.public_key(), COSIGNER.public_key())
TIME = dt.datetime(2026, 11, 22, 5, tzinfo=dt.UTC)
CHECKPOINT = Checkpoint(20_852_163, hashlib.sha256(b"root").digest())


@pytest.fixture
def note() -> bytes:
    return sign(ORIGIN, CHECKPOINT, TIME, SIGNER, COSIGNER)


def lines_of(note: bytes) -> list[bytes]:
    return note.removesuffix(b"\n").split(b"\n")


def from_lines(lines: list[bytes]) -> bytes:
    return b"\n".join(lines) + b"\n"


def test_signed_note_opens_to_its_checkpoint(note: bytes) -> None:
    assert open_note(note, ORIGIN, KEYS) == CHECKPOINT


def test_text_is_origin_size_and_root(note: bytes) -> None:
    text = f"{ORIGIN}\n20852163\n{base64.b64encode(CHECKPOINT.root).decode()}\n\n"

    assert note.startswith(text.encode() + "— ".encode())
    assert len(lines_of(note)) == 6


def test_signatures_are_over_the_bytes_that_c2sp_names(note: bytes) -> None:
    """Both messages and key ids are put together here anew, from the specification's words."""
    name = ORIGIN.encode()
    first, second = (base64.b64decode(line.split(b" ")[2]) for line in lines_of(note)[4:])

    assert first[:4] == hashlib.sha256(name + b"\n\x01" + KEYS.signing.public_bytes_raw()).digest()[:4]
    assert second[:4] == hashlib.sha256(name + b"\n\x06" + KEYS.cosigning.public_bytes_raw()).digest()[:4]
    assert len(first) == 4 + 64
    assert len(second) == 4 + 8 + 2420
    KEYS.signing.verify(first[4:], note.partition(b"\n\n")[0] + b"\n")
    seconds = int(TIME.timestamp()).to_bytes(8)
    assert second[4:12] == seconds
    message = (
        b"subtree/v1\n\0\x13onestop.example/log" + seconds + b"\x13onestop.example/log"
        + bytes(8) + (20_852_163).to_bytes(8) + CHECKPOINT.root
    )  # fmt: skip
    KEYS.cosigning.verify(second[12:], message)


def test_verifier_keys_name_origin_id_and_key() -> None:
    signing, cosigning = verifier_keys(ORIGIN, KEYS)

    name, key_id, encoded = signing.split("+", 2)
    assert name == ORIGIN
    assert base64.b64decode(encoded) == b"\x01" + KEYS.signing.public_bytes_raw()
    assert bytes.fromhex(key_id) == hashlib.sha256(b"%s\n\x01%s" % (
        ORIGIN.encode(), KEYS.signing.public_bytes_raw())).digest()[:4]  # fmt: skip
    assert base64.b64decode(cosigning.split("+", 2)[2])[0] == 6


def test_line_of_a_stranger_is_left_aside(note: bytes) -> None:
    stranger = "— witness.example/w1 ".encode() + base64.b64encode(bytes(76)) + b"\n"
    same_name = f"— {ORIGIN} ".encode() + base64.b64encode(bytes(76)) + b"\n"

    assert open_note(note + stranger + same_name, ORIGIN, KEYS) == CHECKPOINT


def test_head_re_signed_by_another_key_is_refused() -> None:
    other_signer = ed25519.Ed25519PrivateKey.generate()
    other_cosigner = mldsa.MLDSA44PrivateKey.generate()

    for signer, cosigner in ((other_signer, COSIGNER), (SIGNER, other_cosigner)):
        forged = sign(ORIGIN, CHECKPOINT, TIME, signer, cosigner)
        with pytest.raises(LogFault, match="not signed by both"):
            open_note(forged, ORIGIN, KEYS)


@pytest.mark.parametrize("missing", [4, 5])
def test_note_with_one_of_the_two_signatures_is_refused(note: bytes, missing: int) -> None:
    lines = lines_of(note)
    del lines[missing]

    with pytest.raises(LogFault, match="not signed by both"):
        open_note(from_lines(lines), ORIGIN, KEYS)


@pytest.mark.parametrize("line", [4, 5])
@pytest.mark.parametrize("place", [4, 11, -1])
def test_any_changed_byte_of_a_signature_is_refused(note: bytes, line: int, place: int) -> None:
    lines = lines_of(note)
    dash, name, encoded = lines[line].split(b" ")
    blob = bytearray(base64.b64decode(encoded))
    blob[place] ^= 1
    lines[line] = b" ".join((dash, name, base64.b64encode(blob)))

    with pytest.raises(LogFault, match="does not verify"):
        open_note(from_lines(lines), ORIGIN, KEYS)


def test_signatures_of_another_checkpoint_are_refused(note: bytes) -> None:
    shorter = sign(ORIGIN, Checkpoint(7, CHECKPOINT.root), TIME, SIGNER, COSIGNER)

    with pytest.raises(LogFault, match="checkpoint 20852163"):
        open_note(from_lines(lines_of(note)[:4] + lines_of(shorter)[4:]), ORIGIN, KEYS)


def test_note_of_another_log_is_refused(note: bytes) -> None:
    with pytest.raises(LogFault):
        open_note(note, "elsewhere.example/log", KEYS)


@pytest.mark.parametrize("size", [b"020852163", b"+20852163", b"-1", b" 20852163", b"2e7", "٢".encode(), b""])
def test_size_in_any_other_form_is_refused(note: bytes, size: bytes) -> None:
    lines = lines_of(note)
    lines[1] = size

    with pytest.raises(LogFault):
        open_note(from_lines(lines), ORIGIN, KEYS)


def test_malformed_notes_are_refused_with_the_one_error(note: bytes) -> None:
    lines = lines_of(note)
    root = lines[2]
    cases = [
        b"", b"\n\n", b"\n\n\n", note[:-1], note.replace(b"\n\n", b"\n"), note + b"\n", note + b"x\n",
        from_lines([*lines[:3], b"extension", *lines[3:]]),
        from_lines([*lines[:2], root[:-1], *lines[3:]]),
        from_lines([*lines[:2], base64.b64encode(bytes(31)), *lines[3:]]),
        from_lines([*lines[:2], root[:-2] + b"J=", *lines[3:]]),
        from_lines([*lines[:4], b"- " + lines[4][4:], lines[5]]),
        from_lines([*lines[:4], lines[4] + b"!", lines[5]]),
        from_lines([*lines[:4], lines[4].rpartition(b" ")[0] + b" ", lines[5]]),
        note + b"\xe2\x80\x94 a b\n" * 20_000,
        bytes(range(256)),
        b"\xff" + note,
    ]  # fmt: skip

    for case in cases:
        with pytest.raises(LogFault):
            open_note(case, ORIGIN, KEYS)


@pytest.mark.parametrize("origin", ["", "a+b", "a b", "a\nb", "a\u00a0b", "日" * 86, "a\x1bb"])
def test_origin_that_cannot_name_a_key_is_refused(origin: str) -> None:
    with pytest.raises(ValueError, match="origin"):
        check_origin(origin)
