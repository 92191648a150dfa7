"""The tree: our own vectors, valid and broken, and the public ones where they are at hand."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent import merkle
from consent.errors import LogFault

PUBLIC_VECTORS = Path(__file__).parents[2].parent / "shared" / "vectors" / "merkle"
SIZES = [1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 31, 33]

needs_public_vectors = pytest.mark.skipif(
    not PUBLIC_VECTORS.is_dir(),
    reason="the public vectors are another project's and not part of this repository",
)


def hashes_of(size: int) -> list[bytes]:
    return [merkle.leaf_hash(b"leaf %d" % number) for number in range(size)]


def vectors(kind: str) -> list[Any]:
    return [
        pytest.param(json.loads(path.read_text()), id=str(path.relative_to(PUBLIC_VECTORS)))
        for path in sorted((PUBLIC_VECTORS / kind).rglob("*.json"))
    ]


def decoded(vector: dict[str, Any], *names: str) -> list[bytes]:
    return [base64.b64decode(vector[name] or "") for name in names]


def proof_of(vector: dict[str, Any]) -> list[bytes]:
    return [base64.b64decode(node) for node in vector["proof"] or []]


@needs_public_vectors
@pytest.mark.parametrize("vector", vectors("inclusion"))
def test_public_inclusion_vector_is_judged_right(vector: dict[str, Any]) -> None:
    root, leaf = decoded(vector, "root", "leafHash")

    def verify() -> None:
        merkle.verify_inclusion(leaf, vector["leafIdx"], vector["treeSize"], proof_of(vector), root)

    if vector["wantErr"]:
        with pytest.raises(LogFault):
            verify()
    else:
        verify()


@needs_public_vectors
@pytest.mark.parametrize("vector", vectors("consistency"))
def test_public_consistency_vector_is_judged_right(vector: dict[str, Any]) -> None:
    root_1, root_2 = decoded(vector, "root1", "root2")

    def verify() -> None:
        merkle.verify_consistency(vector["size1"], root_1, vector["size2"], root_2, proof_of(vector))

    if vector["wantErr"]:
        with pytest.raises(LogFault):
            verify()
    else:
        verify()


def test_roots_of_rfc_6962_trees_by_hand() -> None:
    a, b, c = hashes_of(3)

    assert merkle.root([]).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert merkle.leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert merkle.root([a, b, c]) == merkle.node_hash(merkle.node_hash(a, b), c)


@pytest.mark.parametrize("size", SIZES)
def test_every_leaf_has_a_proof_of_inclusion(size: int) -> None:
    hashes = hashes_of(size)

    for index, leaf in enumerate(hashes):
        proof = merkle.inclusion_proof(hashes, index)
        merkle.verify_inclusion(leaf, index, size, proof, merkle.root(hashes))


@pytest.mark.parametrize("size", SIZES)
def test_every_tree_is_consistent_with_each_of_its_beginnings(size: int) -> None:
    hashes = hashes_of(size)

    for earlier in range(1, size + 1):
        proof = merkle.consistency_proof(hashes, earlier)
        merkle.verify_consistency(earlier, merkle.root(hashes[:earlier]), size, merkle.root(hashes), proof)


@st.composite
def broken_proofs(draw: st.DrawFn) -> tuple[int, int, list[bytes], list[bytes]]:
    """A size, a place in it, the right proof's hashes, and a proof that differs from it."""
    size = draw(st.integers(2, 40))
    place = draw(st.integers(0, size - 1))
    kind = draw(st.sampled_from(["inclusion", "consistency"]))
    hashes = hashes_of(size)
    if kind == "inclusion":
        proof = merkle.inclusion_proof(hashes, place)
    else:
        place = max(place, 1)
        proof = merkle.consistency_proof(hashes, place)
    broken = list(proof)
    at = draw(st.integers(0, len(broken) - 1))
    match draw(st.sampled_from(["flip", "drop", "repeat", "append"])):
        case "flip":
            bit = draw(st.integers(0, 255))
            broken[at] = (int.from_bytes(broken[at]) ^ 1 << bit).to_bytes(32)
        case "drop":
            del broken[at]
        case "repeat":
            broken.insert(at, broken[at])
        case _:
            broken.append(merkle.root(hashes))
    return (size, place, hashes, broken) if kind == "inclusion" else (size, -place, hashes, broken)


@given(broken_proofs())
def test_a_proof_with_any_change_is_refused(case: tuple[int, int, list[bytes], list[bytes]]) -> None:
    size, place, hashes, broken = case
    root = merkle.root(hashes)

    if place >= 0:
        with pytest.raises(LogFault):
            merkle.verify_inclusion(hashes[place], place, size, broken, root)
    else:
        with pytest.raises(LogFault):
            merkle.verify_consistency(-place, merkle.root(hashes[:-place]), size, root, broken)


@given(st.integers(1, 40), st.integers(0, 39), st.integers(-1, 41))
def test_a_proof_of_one_place_is_none_of_another(size: int, index: int, claimed: int) -> None:
    index %= size
    hashes = hashes_of(size)
    proof = merkle.inclusion_proof(hashes, index)
    if claimed == index:
        return

    with pytest.raises(LogFault):
        merkle.verify_inclusion(hashes[index], claimed, size, proof, merkle.root(hashes))


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, 66_000])
def test_right_edge_grows_to_the_root_of_the_whole_tree(size: int) -> None:
    hashes = hashes_of(size)
    edge = merkle.RightEdge()

    for leaf in hashes:
        edge.append(leaf)

    assert edge.size == size
    assert edge.root() == merkle.root(hashes)


@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257, 770, 65_536, 65_793])
def test_right_edge_is_rebuilt_from_its_partial_tiles(size: int) -> None:
    grown = merkle.RightEdge()
    for leaf in hashes_of(size):
        grown.append(leaf)

    rebuilt = merkle.RightEdge.from_tiles(size, grown.partial_tiles())
    for leaf in hashes_of(300):
        grown.append(leaf)
        rebuilt.append(leaf)

    assert rebuilt.root() == grown.root()


def test_tiles_hold_the_leaves_and_the_roots_of_full_tiles() -> None:
    hashes = hashes_of(600)
    edge = merkle.RightEdge()

    for leaf in hashes:
        edge.append(leaf)
    tiles = {(tile.level, tile.n): tile for tile in edge.take_changed()}

    assert tiles.keys() == {(0, 0), (0, 1), (0, 2), (1, 0)}
    assert merkle.split_hashes(tiles[0, 1].hashes) == hashes[256:512]
    assert merkle.split_hashes(tiles[1, 0].hashes) == [
        merkle.root(hashes[:256]),
        merkle.root(hashes[256:512]),
    ]
    assert tiles[0, 1].is_full
    assert not tiles[0, 2].is_full
    assert edge.take_changed() == []


@pytest.mark.parametrize("change", ["missing", "short", "long"])
def test_partial_tile_of_another_width_is_refused(change: str) -> None:
    edge = merkle.RightEdge()
    for leaf in hashes_of(300):
        edge.append(leaf)
    first, second = edge.partial_tiles()
    if change == "short":
        first = merkle.Tile(first.level, first.n, first.hashes[:-32])
    elif change == "long":
        first = merkle.Tile(first.level, first.n, first.hashes + bytes(32))

    with pytest.raises(LogFault, match="tile 0/1"):
        merkle.RightEdge.from_tiles(300, [second] if change == "missing" else [first, second])
