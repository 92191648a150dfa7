"""Identifiers: UUIDv7 and the shard that follows from one.

A UUIDv7 (RFC 9562, section 5.7) sorts by the millisecond in which it was made, so that new rows land at the
end of their index. Python 3.11 has no generator; this is ours. The shard of an id is the first two bytes of
its SHA-256, modulo 1024: stored as a column of its own, it lets a sharded PostgreSQL split tables by hash.
"""

import hashlib
import secrets
import time
from uuid import UUID

SHARDS = 1024


def uuid7() -> UUID:
    """A new UUIDv7: 48 bits of Unix milliseconds, then 74 random bits."""
    value = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=value)


def shard_of(identifier: UUID) -> int:
    """The shard (0 to 1023) that rows of this id belong to."""
    return int.from_bytes(hashlib.sha256(identifier.bytes).digest()[:2]) % SHARDS
