"""The three steps of ingest apart: survey reads, encode is pure, commit is the single writer."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from index.opening import open_index
from retrieval import Retriever, load_model
from retrieval.ingest.encode import Encoder
from retrieval.ingest.node import Parcel, deciding_versions, packed_bundle
from retrieval.ingest.survey import Scope, survey
from retrieval.pictures.files import find_images
from retrieval.places import Listings
from tests.conftest import draw_shapes, write_shapes

ELSEWHERE = """
import pickle, sys
from retrieval.ingest.node import NodeEncoder
print("ready", flush=True)
parcel, paths = pickle.load(sys.stdin.buffer)
sys.stdout.flush()
sys.stdout.buffer.write(pickle.dumps(NodeEncoder(parcel).reply(paths).outcomes))
"""


def test_the_middle_part_gives_the_same_in_another_process(tmp_path: Path, tiny_bundle: Path) -> None:
    """All that goes in and comes out can be pickled, and nothing of it is an index."""
    write_shapes(tmp_path / "photos", 20)
    (tmp_path / "photos" / "no.jpg").write_bytes(b"no picture")
    shutil.copy(tmp_path / "photos" / "shape-0-003.png", tmp_path / "photos" / "twin.png")
    paths = [file.path for file in find_images(tmp_path / "photos")]
    model = load_model(tiny_bundle)
    with Encoder(model, workers=2) as encoder:
        here = [outcome for batch in encoder.batches(paths) for outcome in batch]
    known = frozenset({here[5].content_hash or b""})
    parcel = Parcel(packed_bundle(model), "cpu", known, 1, deciding_versions())
    work = pickle.dumps((parcel, paths))
    done = subprocess.run([sys.executable, "-c", ELSEWHERE], input=work, capture_output=True, check=True)
    there = pickle.loads(done.stdout.removeprefix(b"ready\n"))
    assert [one.path for one in there] == [one.path for one in here] == paths
    assert [one.content_hash for one in there] == [one.content_hash for one in here]
    assert [one.reason for one in here if one.reason] == [one.reason for one in there if one.reason] != []
    coded = [number for number, one in enumerate(here) if one.content is not None]
    assert [number for number, one in enumerate(there) if one.content is not None] == [n for n in coded if n != 5]
    codes = np.stack([here[number].content.code for number in coded])  # type: ignore[union-attr]
    assert np.array_equal(codes, model.encode([paths[number] for number in coded]))
    assert here[paths.index(str(tmp_path / "photos" / "twin.png"))].content is here[4].content


def test_a_survey_writes_nothing(tmp_path: Path, tiny_bundle: Path) -> None:
    write_shapes(tmp_path / "photos", 6)
    Retriever.build(tmp_path / "photos", tmp_path / "i", model=tiny_bundle).close()
    names = sorted(path.name for path in (tmp_path / "photos").iterdir())
    (tmp_path / "photos" / names[0]).unlink()
    Image.fromarray(draw_shapes(1, 9)[0][0]).save(tmp_path / "photos" / names[1])
    write_shapes(tmp_path / "photos", 1, seed=7)
    before = (tmp_path / "i" / "catalog.db").read_bytes()
    index = open_index(tmp_path / "i")
    root = str(tmp_path / "photos")
    found = survey(index.rows, [Scope(1, root, root), Scope(2, str(tmp_path / "away"), str(tmp_path / "away"))])
    index.close()
    assert [os.path.basename(item.file.path) for item in found.work] == [names[1], "shape-7-000.png"]
    assert [row.path for row in found.gone] == [os.fsencode(names[0])] and found.unchanged == 4
    assert [scope.root_id for scope in found.missing] == [2] and not found.back
    assert (tmp_path / "i" / "catalog.db").read_bytes() == before


def rewritten_in_place(path: Path, pixels: np.ndarray) -> None:
    """Other bytes of the same length, with the old date put back, as programs do that turn a photograph."""
    facts, old = path.stat(), path.read_bytes()
    for quality in range(95, 20, -1):
        Image.fromarray(pixels).save(path, "JPEG", quality=quality)
        if path.stat().st_size <= len(old):
            break
    path.write_bytes(path.read_bytes().ljust(len(old), b"\0"))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (facts.st_size, facts.st_mtime_ns)


def test_a_picture_rewritten_under_its_old_date_is_seen_as_it_is(tmp_path: Path, tiny_bundle: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(6):
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(folder / f"{number}.jpg", quality=95)
    model = load_model(tiny_bundle)
    with Retriever.build(folder, tmp_path / "i", model=tiny_bundle) as retriever:
        rewritten_in_place(folder / "2.jpg", draw_shapes(1, 5, 64)[0][0])
        fresh = model.encode([folder / "2.jpg"])[0]
        old = retriever.index.rows.codes([3])[3]
        assert not np.allclose(fresh, old, atol=0.1)
        assert np.array_equal(retriever.look_at(folder / "2.jpg").code, fresh)
        summary = retriever.update()
        assert (summary.changed, summary.encoded, summary.unchanged) == (1, 1, 5)
        assert np.allclose(retriever.index.rows.codes([3])[3], fresh)
        assert retriever.verify() == []


def test_a_forced_reading_trusts_no_date(tmp_path: Path, tiny_bundle: Path) -> None:
    write_shapes(tmp_path / "photos", 8)
    with Retriever.build(tmp_path / "photos", tmp_path / "i", model=tiny_bundle) as retriever:
        assert retriever.update().unchanged == 8
        summary = retriever.update(reread=True)
        assert (summary.unchanged, summary.changed, summary.encoded) == (8, 0, 0)
        victim = tmp_path / "photos" / "shape-0-002.png"
        with pytest.MonkeyPatch.context() as patched:  # a file system that keeps no change times
            patched.setattr("retrieval.ingest.survey.is_as_it_was", lambda *facts: True)
            Image.fromarray(draw_shapes(1, 3, 64)[0][0]).save(victim)
            assert retriever.update().changed == 0
            assert retriever.update(reread=True).changed == 1
        assert np.allclose(retriever.index.rows.codes([3])[3], load_model(tiny_bundle).encode([victim])[0])


def test_many_paths_are_looked_up_in_one_listing(tmp_path: Path, tiny_bundle: Path) -> None:
    write_shapes(tmp_path / "photos", 12)
    write_shapes(tmp_path / "photos" / "a", 3, seed=1)
    write_shapes(tmp_path / "photos" / "a.b", 2, seed=2)
    with Retriever.build(tmp_path / "photos", tmp_path / "i", model=tiny_bundle) as retriever:
        listed: list[int] = []
        rows = retriever.index.rows
        whole = rows.listing
        rows.listing = lambda root_id: listed.append(root_id) or whole(root_id)  # type: ignore[method-assign,func-returns-value]
        listings = Listings(rows)
        paths = sorted((tmp_path / "photos").glob("*.png"))
        found = [listings.at(path)[1] for path in paths]
        assert [[row.path for row in rows or []] for rows in found] == [[os.fsencode(path.name)] for path in paths]
        assert [len(listings.at(tmp_path / "photos" / name)[1] or []) for name in ("a", "a.b")] == [3, 2]
        assert listings.at(tmp_path / "photos") == (1, None) and listed == [1]
        assert retriever.remove([*paths[:5], tmp_path / "photos" / "a"]) == 8 and len(retriever) == 9


def test_one_model_encodes_in_a_pickled_copy(tiny_bundle: Path) -> None:
    model = load_model(tiny_bundle)
    pictures = draw_shapes(3)[0]
    assert np.array_equal(pickle.loads(pickle.dumps(model)).encode(pictures), model.encode(pictures))


def test_progress_is_told_from_nothing_to_all(
    tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shapes(tmp_path / "photos", 11)
    monkeypatch.setattr("retrieval.ingest.encode.BATCH_FILES", 4)
    told: list[tuple[int, int]] = []
    with Retriever.build(
        tmp_path / "photos", tmp_path / "i", model=tiny_bundle, report=lambda done, total: told.append((done, total))
    ) as retriever:
        assert told == [(0, 11), (4, 11), (8, 11), (11, 11)]
        told.clear()
        write_shapes(tmp_path / "photos", 2, seed=1)
        retriever.update(report=lambda done, total: told.append((done, total)))
    assert told == [(0, 2), (2, 2)]
