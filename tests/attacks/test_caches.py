"""Attacks by cache files: FAISS believes what it reads, so it reads nothing that this user's program did not write."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index import trust
from index.local.cachefile import TAIL, CacheUnusable, Trailer, read_cache, trailer_of, write_cache
from index.local.store import Store
from index.local.structures import EXACT, QUANTIZED, UNMEASURED, Structure
from index.neighbours import import_faiss
from tests.attacks.catalogs import SIZE, copied, make_index
from tests.campaigns.mutate import mutated
from tests.codes import DIM, random_codes

QUERIES = random_codes(5, 9, True)
PRECIOUS = b"precious " * 4000
Plant = Callable[[Path, Trailer], None]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "index"
    make_index(folder)
    return folder


def answers(folder: Path) -> list[list[tuple[int, float]]]:
    with Store.open(folder) as store:
        return [[(hit.picture.id, hit.distance) for hit in hits] for hits in store.search(QUERIES, 6, "cosine")]


def on_disk_lists(victim: Path) -> Any:
    """An index whose lists are in another file: FAISS maps it, and writes to it when codes are added or removed."""
    faiss = import_faiss()
    made = faiss.index_factory(DIM, "IVF4,Flat", faiss.METRIC_INNER_PRODUCT)
    made.train(QUERIES)
    lists = faiss.OnDiskInvertedLists(4, made.code_size, os.fspath(victim))
    lists.this.disown()
    made.replace_invlists(lists, True)
    made.add_with_ids(random_codes(SIZE, 3, True), np.arange(1, SIZE + 1))
    return made


@pytest.fixture
def as_stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Runs a function with the key of somebody else."""

    def run(deed: Callable[[], None]) -> None:
        with monkeypatch.context() as patch:
            patch.setenv("LATENT_DATA", str(tmp_path / "stranger"))
            deed()

    return run


def test_a_planted_cache_makes_faiss_write_nowhere(
    whole: Path, tmp_path: Path, as_stranger: Callable[[Callable[[], None]], None]
) -> None:
    folder, victim = copied(whole, tmp_path / "index"), tmp_path / "victim"
    path, right = folder / "cosine.faiss", answers(whole)
    trailer = trailer_of(path)
    assert trailer is not None
    as_stranger(lambda: write_cache(path, on_disk_lists(victim), trailer))
    victim.write_bytes(PRECIOUS)
    planted = path.read_bytes()
    with Store.open(folder) as store:
        assert store.faults() == ["cache: cosine.faiss: damaged, not finished, or written by another user"]
    assert answers(folder) == right
    assert victim.read_bytes() == PRECIOUS
    assert path.read_bytes() != planted and trailer_of(path) == trailer  # made anew
    with Store.writing(folder) as writer:
        assert not writer.faults()
        writer.rows.mark([3], "vanished")
        writer.refresh_caches()
    assert victim.read_bytes() == PRECIOUS


def test_a_cache_of_another_user_is_made_anew(
    whole: Path, tmp_path: Path, as_stranger: Callable[[Callable[[], None]], None]
) -> None:
    """Also an honest one, such as that of an index that was copied from another machine."""
    folder = tmp_path / "index"
    as_stranger(lambda: make_index(folder))
    assert answers(folder) == answers(whole)
    with Store.open(folder) as store:
        assert not store.faults()


@pytest.mark.parametrize("end", ["hash of nothing", "zeros", "of another cache"])
def test_no_proof_but_that_of_all_bytes_is_believed(whole: Path, tmp_path: Path, end: str) -> None:
    folder = copied(whole, tmp_path / "index")
    path, other = folder / "cosine.faiss", tmp_path / "other.faiss"
    faiss = import_faiss()
    made = faiss.IndexIDMap2(faiss.IndexFlatIP(DIM))
    made.add_with_ids(random_codes(SIZE, 7, True), np.arange(1, SIZE + 1))
    trailer = trailer_of(path)
    assert trailer is not None
    write_cache(other, made, trailer)
    kept = path.read_bytes()
    ends = {
        "hash of nothing": trust.keyed_hash("cache").digest(),
        "zeros": bytes(trust.DIGEST_BYTES),
        "of another cache": other.read_bytes()[-trust.DIGEST_BYTES :],
    }
    path.write_bytes(kept[: -trust.DIGEST_BYTES] + ends[end])
    with pytest.raises(CacheUnusable, match="another user"):
        read_cache(path, DIM)
    path.write_bytes(other.read_bytes()[:-TAIL] + kept[-TAIL:])  # a true trailer behind other codes
    with pytest.raises(CacheUnusable, match="another user"):
        read_cache(path, DIM)


def test_of_many_mutants_of_a_cache_faiss_reads_none(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, path = (whole / "cosine.faiss").read_bytes(), tmp_path / "cosine.faiss"
    faiss = import_faiss()
    monkeypatch.setattr(faiss, "read_index", lambda *_: pytest.fail("FAISS was given a damaged file"))
    rng, tried = random.Random(0), 0
    for _ in range(500):
        mutant = mutated(kept, rng)
        if mutant == kept:
            continue
        tried += 1
        path.write_bytes(mutant)
        with pytest.raises(CacheUnusable):
            read_cache(path, DIM)
    assert tried > 400


@pytest.mark.parametrize("structure", [EXACT, QUANTIZED, Structure(True, 4, 2)])
@pytest.mark.parametrize("kind", ["HNSW8", "IDMap2,Flat", "IDMap2,PQ4x4", "IVF4,PQ4x4", "IVF4,Flat", "IDMap,Flat"])
def test_a_cache_is_of_the_type_that_its_trailer_says(tmp_path: Path, kind: str, structure: Structure) -> None:
    """A fault of a program of ours, or of another version of it."""
    faiss, codes = import_faiss(), random_codes(100, 0, True)
    right = {"IDMap2,Flat": EXACT, "IDMap2,PQ4x4": QUANTIZED, "IVF4,PQ4x4": Structure(True, 4, 2)}
    made = faiss.index_factory(DIM, kind, faiss.METRIC_INNER_PRODUCT)
    made.train(codes)
    path, trailer = tmp_path / "x.faiss", Trailer(1, bytes(16), structure, UNMEASURED)
    write_cache(path, made, trailer)
    if right.get(kind) == structure:
        assert read_cache(path, DIM)[1] == trailer
        with pytest.raises(CacheUnusable, match=f"codes of {DIM + 1} dimensions"):
            read_cache(path, DIM + 1)
    else:
        with pytest.raises(CacheUnusable, match=f"not .* codes of {DIM} dimensions"):
            read_cache(path, DIM)


def test_caches_below_a_folder_that_is_not_named_in_unicode(whole: Path, tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/sch\xf6n"))
    shutil.copytree(whole, folder)
    (folder / "cosine.faiss").unlink()
    assert answers(folder) == answers(whole)
    assert (folder / "cosine.faiss").stat().st_size == (whole / "cosine.faiss").stat().st_size
    with Store.writing(folder) as writer:
        assert not writer.faults()
        writer.drop_caches()
        writer.refresh_caches()
        assert not writer.faults()


def test_a_disk_that_is_full_is_named_in_our_words(whole: Path, tmp_path: Path) -> None:
    import resource

    faiss, codes = import_faiss(), random_codes(20_000, 0, True)
    made = faiss.IndexIDMap2(faiss.IndexFlatIP(DIM))
    made.add_with_ids(codes, np.arange(len(codes)))
    path = tmp_path / "x.faiss"
    path.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # Python ignores the signal
    try:
        with pytest.raises(OSError, match="too large") as caught:
            write_cache(path, made, Trailer(1, bytes(16), EXACT, UNMEASURED))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.filename == str(path) and path.read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["x.faiss"]
