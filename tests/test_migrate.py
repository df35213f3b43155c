"""An index that becomes one of another model: as if built anew, whole at any moment, and with what the user noted."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import Run, add_codes, write_shapes

from index.local.store import Store
from index.opening import is_known, open_index, write_index
from retrieval import IndexMismatch, Library, ModelError, Retriever, load_model
from retrieval.explore.directions import direction_between
from tests.killed import POINTS
from tests.kinds_of_roots import make_tar
from tests.servers import Places, opened

ROOT = Path(__file__).parents[1]
NEW, COUNT = "faces-64", 30


@pytest.fixture(autouse=True)
def own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    write_shapes(folder, COUNT, seed=3)
    shutil.copy(folder / "shape-3-000.png", folder / "shape-3-000-copy.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8no picture")
    return folder


def rows_of(place: Path | str) -> list[tuple[object, ...]]:
    """Every row with its code and facts, by path; without what differs between two builds."""
    found: list[tuple[object, ...]] = []
    with opened(place) as store:
        for root_id, root in store.rows.roots().items():
            listed = store.rows.listing(root_id)
            codes = store.rows.codes([its.id for its in listed.values() if its.id is not None])
            facts = store.rows.facts(its.content_hash for its in listed.values() if its.content_hash)
            for path, its in sorted(listed.items()):
                code = codes[its.id].tobytes() if its.id in codes else None
                plain = its._replace(root_id=0, id=None, generation=0)
                found.append(
                    (os.path.join(root, os.fsdecode(path)), *plain[2:], code, facts.get(its.content_hash or b""))
                )
    return found


def ids_of(place: Path | str) -> dict[bytes, int | None]:
    with opened(place) as store:
        return {path: row.id for root_id in store.rows.roots() for path, row in store.rows.listing(root_id).items()}


def test_a_migrated_index_is_a_new_build(places: Places, photos: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    """Row by row, and what was noted stays: ids, what was removed, pairs that are no copies. Directions are told."""
    place = places()
    Library.build(photos, place, model=tiny_bundle, workers=1).close()
    with Retriever.open(place) as one:
        one.keep_apart([photos / "shape-3-001.png", photos / "shape-3-002.png"])
        one.remove([photos / "shape-3-009.png"])
        one.keep_direction(direction_between("round", *np.split(one.model.encode(_some(photos)), 2)))
        apart, ids = one.kept_apart(), ids_of(place)
        (photos / "shape-3-003.png").rename(photos / "renamed.png")
        (photos / "shape-3-004.png").unlink()
        write_shapes(photos / "later", 2, seed=5)
        done = one.migrate(NEW, 1)
        assert done.model_before == "tiny" and done.directions_lost == ("round",) and done.summary is not None
        assert one.model.name == NEW and one.latent_dim == 128 and one.kept_apart() == apart and not one.directions()
        assert not one.verify()
        hits = one.query(photos / "shape-3-001.png", 5)

    (photos / "shape-3-009.png").unlink()
    fresh = tmp_path / "fresh"
    Library.build(photos, fresh, model=NEW, workers=1).close()
    gone = {str(photos / "shape-3-009.png"), str(photos / "shape-3-004.png")}
    assert [one for one in rows_of(place) if one[0] not in gone] == rows_of(fresh)
    after = ids_of(place)
    assert after[b"renamed.png"] == ids[b"shape-3-003.png"]
    assert all(after[path] == number for path, number in ids.items() if path in after)
    with Retriever.open(place) as one, Retriever.open(fresh) as other:
        assert [(hit.path, hit.distance) for hit in hits] == [
            (hit.path, hit.distance) for hit in other.query(photos / "shape-3-001.png", 5)
        ]
        assert one.update(1).encoded == 0
    assert is_known(place)


def _some(photos: Path) -> list[Path]:
    return sorted(photos.glob("shape-3-0*.png"))[11:27]


@pytest.mark.parametrize("point", POINTS)
def test_killed_in_the_switch_it_is_whole_and_goes_on(
    places: Places, photos: Path, tiny_bundle: Path, point: str
) -> None:
    place = places()
    if not isinstance(place, Path) and "older model" in point:
        pytest.skip("a server keeps one model")
    Library.build(photos, place, model=tiny_bundle, workers=1).close()
    before = rows_of(place)
    _killed(point, place)
    with Retriever.open(place) as one:
        name = one.model.name
        assert not one.verify() and len(one.query(photos / "shape-3-001.png", 5)) == 5
    assert name == (NEW if POINTS[point][-1] else "tiny")
    assert name == NEW or rows_of(place) == before
    with Retriever.open(place) as one:
        one.migrate(NEW, 1)
        assert one.model.name == NEW and not one.verify()
        assert len(one) == COUNT + 1
    with write_index(place) as writer:
        assert not writer.staging().exists()
        assert sorted(writer.model_folder().parent.glob("model*")) == [writer.model_folder()]


def _killed(point: str, place: Path | str) -> None:
    command = [sys.executable, "-m", "tests.killed", point, str(place), NEW]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_killed_at_any_time_it_goes_on(places: Places, tmp_path: Path, tiny_bundle: Path) -> None:
    """Whenever the process dies, there is an index, and the same command ends as if nothing had happened."""
    photos, place = tmp_path / "photos", places()
    write_shapes(photos, 600, seed=7, side=160)
    Library.build(photos, place, model=tiny_bundle).close()
    whole = {"tiny": rows_of(place)}
    command = [str(Path(sys.executable).with_name("latent")), "index", "migrate", "--model", NEW, "--index", str(place)]
    for delay in (0.6, 1.2, 1.8, 2.4, 3.0):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path)
        with_time = time.monotonic() + delay
        while process.poll() is None and time.monotonic() < with_time:
            time.sleep(0.02)
        process.kill()
        process.wait()
        with opened(place) as store:
            name = store.rows.meta().model_name
        assert name == NEW or rows_of(place) == whole["tiny"]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path, timeout=200)
    Library.build(photos, tmp_path / "fresh", model=NEW).close()
    assert rows_of(place) == rows_of(tmp_path / "fresh")


def test_a_reader_sees_the_old_index_whole_until_it_is_told(
    places: Places, photos: Path, tiny_bundle: Path, latent: Run
) -> None:
    """Each of its answers is that of the old index; then it is told to open the index again."""
    place, picture = places(), photos / "shape-3-001.png"
    Library.build(photos, place, model=tiny_bundle, workers=1).close()
    with Retriever.open(place) as reader:
        wanted = [(hit.path, hit.distance) for hit in reader.query(picture, 5)]
        worker = threading.Thread(target=lambda: latent("index", "migrate", "--model", NEW, "--index", place))
        worker.start()
        answers = 0
        with pytest.raises(IndexMismatch) as told:
            while worker.is_alive() or answers < 10**6:
                assert [(hit.path, hit.distance) for hit in reader.query(picture, 5)] == wanted
                answers += 1
        worker.join()
        assert answers > 3 and told.value.code == "model_changed"
    with Retriever.open(place) as reader:
        assert reader.model.name == NEW and [hit.path for hit in reader.query(picture, 5)]


def test_readers_are_let_in_while_all_codes_are_rewritten(
    tmp_path: Path, shape_folder: Path, tiny_bundle: Path
) -> None:
    """SQLite would write what is too much for its cache before the end, and keep them out."""
    place = tmp_path / "i"
    Library.build(shape_folder, place, model=tiny_bundle, workers=1).close()
    add_codes(place, 20_000)
    with Store.writing(place) as writer, writer.rows.changing():
        rows = [row for root in writer.rows.roots() for row in writer.rows.listing(root).values()]
        writer.rows.mark([row.id for row in rows if row.id], "vanished")
        started = time.monotonic()
        seen: list[int] = []
        reading = threading.Thread(target=lambda: seen.append(_found(place)))
        reading.start()
        reading.join(20)
        assert seen == [20_024] and time.monotonic() - started < 20
    assert _found(place) == 0


def _found(place: Path) -> int:
    index = open_index(place)
    try:
        return index.rows.meta().found
    finally:
        index.close()


def test_pictures_out_of_reach_are_not_given_up(
    places: Places, photos: Path, tmp_path: Path, tiny_bundle: Path
) -> None:
    place, away = places(), tmp_path / "away"
    Library.build(photos, place, model=tiny_bundle, workers=1).close()
    before = rows_of(place)
    photos.rename(away)  # an unplugged drive
    with Retriever.open(place) as one:
        with pytest.raises(IndexMismatch, match="31 pictures of the index cannot be read now"):
            one.migrate(NEW, 1)
        assert rows_of(place) == before and one.model.name == "tiny"
        away.rename(photos)
        one.migrate(NEW, 1)
        assert one.model.name == NEW and len(one) == COUNT + 1


def test_another_goal_begins_anew(photos: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    """What a migration to one model has prepared is of no use to one to another."""
    place = tmp_path / "i"
    Library.build(photos, place, model=tiny_bundle, workers=1).close()
    _killed("before the switch", place)
    assert (place / "next" / "catalog.db").exists()
    with Retriever.open(place) as one:
        one.migrate(load_model("photos-64"), 1)
        assert one.model.name == "photos-64" and not one.verify() and not (place / "next").exists()


def test_the_same_encoder_is_not_asked_again(photos: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    """Only the copy of the model is new: with it comes a generator that was learnt later."""
    place, without = tmp_path / "i", tmp_path / "without"
    without.mkdir()
    load_model(tiny_bundle).write_to(without, generator=False)
    Library.build(photos, place, model=without, workers=1).close()
    with Retriever.open(place) as one:
        before = rows_of(place)
        done = one.migrate(tiny_bundle, 1)
        assert done.summary is None and rows_of(place) == before and not one.model.has_generator
    (place / "model" / "model.json").write_text(
        (place / "model" / "model.json").read_text().replace('"method": "ogan"', '"method": "adopted"')
    )
    with Retriever.open(place) as one:  # an encoder from elsewhere never had one
        one.migrate(tiny_bundle, 1)
        assert one.model.has_generator and one.decode(one.query(photos / "shape-3-001.png", 2)).shape[0] == 2


def test_commands(latent: Run, photos: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    latent("index", "build", photos, "--model", tiny_bundle)
    done = latent("index", "migrate", "--model", NEW)
    assert done.stdout == "31 pictures: codes of tiny are now faces-64's\n"
    assert "nothing encoded" in latent("index", "migrate", "--model", NEW).stdout
    assert "model       faces-64" in latent("index", "status").stdout
    assert latent("query", photos / "shape-3-001.png", "-k", 2, "--format", "paths").stdout.count("\n") == 2
    shutil.move(photos, tmp_path / "away")
    said = latent("index", "migrate", "--model", "photos-64", code=3).stderr
    assert "cannot be read now" in said and "latent index remove" in said


def test_a_model_without_an_encoder_is_refused(photos: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    place, alone = tmp_path / "i", tmp_path / "alone"
    Library.build(photos, place, model=tiny_bundle, workers=1).close()
    shutil.copytree(tiny_bundle, alone)
    (alone / "encoder.onnx").unlink()
    facts = (alone / "model.json").read_text()
    start = facts.index('    "encoder.onnx"')
    (alone / "model.json").write_text(facts[:start] + facts[facts.index('    "generator.onnx"') :])
    with Retriever.open(place) as one, pytest.raises(ModelError, match="has no encoder"):
        one.migrate(alone, 1)


def test_what_left_the_index_meanwhile_does_not_come_back_and_what_is_back_stays(
    photos: Path, tmp_path: Path, tiny_bundle: Path
) -> None:
    place, other = tmp_path / "i", tmp_path / "other"
    write_shapes(other, 4, seed=9)
    Library.build([photos, other], place, model=tiny_bundle, workers=1).close()
    first, second = photos / "shape-3-001.png", photos / "shape-3-002.png"
    with Retriever.open(place) as one:
        one.remove([first])
    _killed("before the switch", place)
    with Retriever.open(place) as one:
        one.remove([other, second])  # and the first is back
    Library.build(photos, place, workers=1).close()
    with Retriever.open(place) as one:
        one.remove([second])
        one.migrate(NEW, 1)
        assert [*one.index.rows.roots().values()] == [str(photos)]
        assert len(one) == COUNT and not one.verify()
        assert one.index.rows.at_path(*_place(one, first)).status == "found"  # type: ignore[union-attr]
        assert one.index.rows.at_path(*_place(one, second)).status == "removed"  # type: ignore[union-attr]


def _place(one: Retriever, path: Path) -> tuple[int, bytes]:
    ((root_id, root),) = one.index.rows.roots().items()
    return root_id, os.fsencode(path.relative_to(root))


def test_an_archive_that_lost_a_picture_is_migrated_and_one_that_is_away_is_not(
    photos: Path, tmp_path: Path, tiny_bundle: Path
) -> None:
    place, archive = tmp_path / "index", make_tar(photos, tmp_path / "photos.tar")
    Library.build([archive], place, model=tiny_bundle, workers=1).close()
    ids = ids_of(place)
    (photos / "shape-3-004.png").unlink()
    make_tar(photos, archive)
    archive.rename(tmp_path / "away")
    with Library.open(place) as library, pytest.raises(IndexMismatch, match="cannot be read now"):
        library.migrate(NEW, workers=1)
    (tmp_path / "away").rename(archive)
    with Library.open(place) as library:
        library.migrate(NEW, workers=1)
    Library.build([archive], tmp_path / "fresh", model=NEW, workers=1).close()
    kept = [row for row in rows_of(place) if not str(row[0]).endswith("shape-3-004.png")]
    assert kept == rows_of(tmp_path / "fresh") and ids_of(place) == ids
