"""The Merkle tree of RFC 6962, section 2 (RFC 9162, section 2.1), as pure functions on hashes.

A leaf is hashed behind the byte 0x00 and a node behind 0x01, so that neither passes for the other. An
inclusion proof is the list of sibling hashes from a leaf up to the root; a consistency proof is the list of
subtree hashes that lead both to an old root and to a new one. Verifying returns None or raises LogFault.

Tiles (c2sp.org/tlog-tiles) are how a growing tree is stored: tile (level, n) holds the hashes of up to 256
neighbouring subtrees of 256^level leaves each, from the n-th group on. A full tile never changes; at each
level at most one tile is partial. `RightEdge` keeps just these partial tiles and the roots of the perfect
subtrees ("peaks") along the right edge: enough to append, and to know the root, without the rest of the tree.
"""

import hashlib
from collections.abc import Sequence

from consent.errors import LogFault

HASH_BYTES = 32
TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
TILE_BYTES = TILE_WIDTH * HASH_BYTES
EMPTY_ROOT = hashlib.sha256().digest()


def leaf_hash(leaf: bytes) -> bytes:
    """SHA-256 of 0x00 || leaf."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256 of 0x01 || left || right."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(hashes: Sequence[bytes]) -> bytes:
    """The root over these leaf hashes (or over the roots of equal perfect subtrees, such as a tile's)."""
    if not hashes:
        return EMPTY_ROOT
    if len(hashes) == 1:
        return hashes[0]
    split = _split(len(hashes))
    return node_hash(root(hashes[:split]), root(hashes[split:]))


def inclusion_proof(hashes: Sequence[bytes], index: int) -> list[bytes]:
    """The proof that the leaf at `index` is in the tree of all these leaf hashes (RFC 9162, 2.1.3.1)."""
    if len(hashes) == 1:
        return []
    split = _split(len(hashes))
    if index < split:
        return [*inclusion_proof(hashes[:split], index), root(hashes[split:])]
    return [*inclusion_proof(hashes[split:], index - split), root(hashes[:split])]


def consistency_proof(hashes: Sequence[bytes], size: int) -> list[bytes]:
    """The proof that the first `size` leaves begin the tree of all these hashes (RFC 9162, 2.1.4.1)."""
    return _subproof(hashes, size, known=True)


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], expected_root: bytes
) -> None:
    """Check an inclusion proof of a leaf hash (RFC 9162, 2.1.3). Raises LogFault when it fails."""
    where = f"index {index}"
    if not 0 <= index < size:
        raise LogFault(where, f"the index is outside a tree of {size} leaves")
    if len(leaf) != HASH_BYTES:
        raise LogFault(where, f"a leaf hash has {HASH_BYTES} bytes, this one {len(leaf)}")
    inner, border = _path_lengths(index, size)
    if len(proof) != inner + border:
        raise LogFault(where, f"the inclusion proof has {len(proof)} hashes, not {inner + border}")
    if _fold(leaf, index, proof[:inner], proof[inner:]) != expected_root:
        raise LogFault(where, "the inclusion proof leads to another root")


def verify_consistency(
    size_1: int, root_1: bytes, size_2: int, root_2: bytes, proof: Sequence[bytes]
) -> None:
    """Check that tree 2 begins with the whole of tree 1 (RFC 9162, 2.1.4). Raises LogFault when not."""
    where = f"checkpoint {size_2}"
    if not 0 < size_1 <= size_2:
        raise LogFault(where, f"no consistency can be shown from size {size_1}")
    if size_1 == size_2:
        if proof or root_1 != root_2:
            raise LogFault(where, "two different trees of one size")
        return
    # The proof starts from the last perfect subtree of the old tree, of 2^height leaves. Where this is the
    # whole old tree, its root is known and left out of the proof.
    height = (size_1 & -size_1).bit_length() - 1
    nodes = [root_1, *proof] if size_1 == 1 << height else list(proof)
    position = (size_1 - 1) >> height
    inner, border = _path_lengths(position, (size_2 - 1 >> height) + 1)
    if len(nodes) != 1 + inner + border:
        raise LogFault(where, f"the consistency proof has {len(proof)} hashes, the wrong number")
    start, path, right_edge = nodes[0], nodes[1 : 1 + inner], nodes[1 + inner :]
    # What stands to the right on the path came after the old tree, which is built from the left ones alone.
    left_only = [node for step, node in enumerate(path) if position >> step & 1]
    old = _fold(start, 0, [], [*left_only, *right_edge])
    if old != root_1 or _fold(start, position, path, right_edge) != root_2:
        raise LogFault(where, f"this tree does not begin with the one of size {size_1}")


class Tile:
    """One tile as it stands: its place and the hashes it holds so far."""

    __slots__ = ("hashes", "level", "n")

    def __init__(self, level: int, n: int, hashes: bytes) -> None:
        self.level = level
        self.n = n
        self.hashes = hashes

    @property
    def is_full(self) -> bool:
        """Whether the tile has all its 256 hashes, and so is final."""
        return len(self.hashes) == TILE_BYTES


def split_hashes(hashes: bytes) -> list[bytes]:
    """The single hashes of a tile."""
    return [hashes[start : start + HASH_BYTES] for start in range(0, len(hashes), HASH_BYTES)]


def edge_places(size: int) -> list[tuple[int, int, int]]:
    """Level, n and number of hashes of each partial tile of a tree of this size, level by level."""
    places = []
    level, count = 0, size
    while count:
        if count % TILE_WIDTH:
            places.append((level, count // TILE_WIDTH, count % TILE_WIDTH))
        level, count = level + 1, count >> TILE_HEIGHT
    return places


class RightEdge:
    """What must be known of a tree to append to it: its size, its peaks and its partial tiles."""

    def __init__(self) -> None:
        """The edge of the empty tree."""
        self.size = 0
        self._peaks: list[bytes] = []  # one for each bit that is set in `size`, from the left
        self._partial: list[bytearray] = []  # by level; empty where the last tile is full
        self._changed: dict[tuple[int, int], bytearray] = {}

    @classmethod
    def from_tiles(cls, size: int, partial: Sequence[Tile]) -> "RightEdge":
        """The edge of a stored tree; `partial` are the tiles at `edge_places(size)`. Raises LogFault."""
        edge = cls()
        edge.size = size
        edge._partial = [bytearray() for _ in range(0, size.bit_length(), TILE_HEIGHT)]
        found = {(tile.level, tile.n): tile.hashes for tile in partial}
        for level, n, width in reversed(edge_places(size)):
            hashes = found.get((level, n), b"")
            if len(hashes) != width * HASH_BYTES:
                raise LogFault(f"tile {level}/{n}", f"holds {len(hashes)} bytes, not {width} hashes")
            edge._partial[level] += hashes
            edge._peaks += _peaks(split_hashes(hashes))
        return edge

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash."""
        node, position, height = leaf, self.size, 0
        self._put(0, position, node)
        while position & 1:
            node = node_hash(self._peaks.pop(), node)
            position, height = position >> 1, height + 1
            if height % TILE_HEIGHT == 0:
                self._put(height // TILE_HEIGHT, position, node)
        self._peaks.append(node)
        self.size += 1

    def root(self) -> bytes:
        """The root of the tree as it is now."""
        if not self._peaks:
            return EMPTY_ROOT
        result = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            result = node_hash(peak, result)
        return result

    def take_changed(self) -> list[Tile]:
        """The tiles that are new or longer since this was last asked."""
        tiles = [Tile(level, n, bytes(hashes)) for (level, n), hashes in self._changed.items()]
        self._changed.clear()
        return tiles

    def partial_tiles(self) -> list[Tile]:
        """The tiles at `edge_places(size)`."""
        return [Tile(level, n, bytes(self._partial[level])) for level, n, _width in edge_places(self.size)]

    def _put(self, level: int, position: int, node: bytes) -> None:
        if level == len(self._partial):
            self._partial.append(bytearray())
        tile = self._partial[level]
        tile += node
        self._changed[level, position // TILE_WIDTH] = tile
        if len(tile) == TILE_BYTES:
            self._partial[level] = bytearray()


def _split(size: int) -> int:
    """The greatest power of two below `size`: the left subtree is perfect and takes that many leaves."""
    return 1 << (size - 1).bit_length() - 1


def _subproof(hashes: Sequence[bytes], size: int, *, known: bool) -> list[bytes]:
    if size == len(hashes):
        return [] if known else [root(hashes)]
    split = _split(len(hashes))
    if size <= split:
        return [*_subproof(hashes[:split], size, known=known), root(hashes[split:])]
    return [*_subproof(hashes[split:], size - split, known=False), root(hashes[:split])]


def _path_lengths(position: int, size: int) -> tuple[int, int]:
    """How the way from a node up to the root of `size` nodes divides.

    The first steps, as many as there are bits up to the highest in which it differs from the last node, have
    a sibling on one or the other side; from there it runs along the right edge, and has siblings on the left
    only, one for each bit still set.
    """
    inner = (position ^ (size - 1)).bit_length()
    return inner, (position >> inner).bit_count()


def _fold(start: bytes, position: int, inner: Sequence[bytes], border: Sequence[bytes]) -> bytes:
    """Hash from a node up through its siblings."""
    result = start
    for step, sibling in enumerate(inner):
        left = position >> step & 1
        result = node_hash(sibling, result) if left else node_hash(result, sibling)
    for sibling in border:
        result = node_hash(sibling, result)
    return result


def _peaks(hashes: Sequence[bytes]) -> list[bytes]:
    """The roots of the perfect subtrees that these hashes fall into, greatest first."""
    peaks = []
    start = 0
    for height in reversed(range(TILE_HEIGHT)):
        if len(hashes) >> height & 1:
            peaks.append(root(hashes[start : start + (1 << height)]))
            start += 1 << height
    return peaks
