"""The Python door and what an update understands, on real files."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import draw_shapes, obey_permissions, write_shapes
from PIL import Image

import retrieval
from retrieval import (
    IndexBusy,
    IndexMismatch,
    IndexUnwritable,
    ModelError,
    PathError,
    PictureRefused,
    Retriever,
    load_model,
    shipped_models,
)
from retrieval.places import locate_index


def numbers(retriever: Retriever) -> dict[str, int]:
    summary = retriever.summary
    assert summary is not None
    words = ("added", "changed", "renamed", "removed", "unchanged", "skipped", "encoded")
    return {word: getattr(summary, word) for word in words if getattr(summary, word)}


def build(folder: Path, index: Path, model: Path, **more: object) -> Retriever:
    return Retriever.build(folder, index=index, model=model, workers=2, **more)  # type: ignore[arg-type]


def test_every_public_name_exists() -> None:
    for name in retrieval.__all__:
        assert getattr(retrieval, name).__name__ == name
    with pytest.raises(AttributeError):
        _ = retrieval.nothing_of_the_kind


def test_encode_and_decode_arrays_and_paths(shape_folder: Path) -> None:
    model = load_model("faces-64")
    paths = sorted(shape_folder.glob("*.png"))
    arrays = np.stack([np.asarray(Image.open(path)) for path in paths])
    codes = model.encode(paths)
    assert codes.shape == (16, 128) and codes.dtype == np.float32
    np.testing.assert_array_equal(codes, model.encode(arrays))
    np.testing.assert_allclose(codes.mean(1), 0, atol=1e-5)
    np.testing.assert_allclose(codes.std(1), 1, atol=1e-5)
    pictures = model.decode(codes)
    assert pictures.shape == (16, 64, 64, 3) and pictures.dtype == np.uint8
    assert model.encode([]).shape == (0, 128) and model.decode(codes[:0]).shape == (0, 64, 64, 3)
    assert model.encode(np.zeros((2, 90, 70, 3), np.uint8)).shape == (2, 128)
    with pytest.raises(ValueError, match="uint8"):
        model.encode(arrays.astype(np.float32))
    with pytest.raises(ValueError, match="128"):
        model.decode(codes[:, :5])
    with pytest.raises(PictureRefused, match=r"missing\.jpg: cannot be read"):
        model.encode([shape_folder / "missing.jpg"])


def test_the_exporters_batch_size_does_not_matter(tiny_bundle: Path) -> None:
    model, pictures = load_model(tiny_bundle), draw_shapes(70)[0]
    together = model.encode(pictures)
    alone = np.concatenate([model.encode(pictures[i : i + 1]) for i in range(70)])
    np.testing.assert_allclose(together, alone, atol=1e-4)


@pytest.mark.parametrize("name", shipped_models())
def test_a_painting_is_corrected_until_its_own_code_is_nearer(name: str) -> None:
    """The iteration written out once more, and what it is for: closer to the code asked for, and to the picture."""
    model = load_model(name)
    originals = model.sample(32, seed=3)
    codes = model.encode(originals)
    z, painted = model.decode_scale * codes, []
    for _ in range(4):
        painted.append(model.paint(z))
        z = z + 0.4 * (codes - model.encode(painted[-1]))
    agreement = np.stack([(codes * model.encode(pixels)).mean(1) for pixels in painted])
    best = np.stack([painted[turn][row] for row, turn in enumerate(agreement.argmax(0))]).astype(float)
    errors = [((pixels.astype(float) - originals) ** 2).mean() for pixels in painted]
    assert agreement[3].mean() > agreement[0].mean() + 0.05
    assert errors[3] < errors[0]

    found = model.decode(codes)
    assert np.abs(found - best).mean() < 0.5 < np.abs(found.astype(float) - painted[2]).mean()  # rounding tips sums
    assert ((codes * model.encode(found)).mean(1) >= agreement[0] - 0.01).all()  # none is worse than the first attempt
    assert np.array_equal(model.decode(codes, model.decode_scale), painted[0])  # the paper's


def test_an_index_takes_no_other_files_in_its_model_folder_for_its_own(
    shape_folder: Path, tmp_path: Path, tiny_bundle: Path
) -> None:
    folder = tmp_path / "project"
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "weights.bin").write_text("a week of training")
    with pytest.raises(IndexUnwritable, match=r"holds weights\.bin, which belongs to no model"):
        Retriever.build(shape_folder, folder, model=tiny_bundle, workers=1)
    assert (folder / "model" / "weights.bin").read_text() == "a week of training"


def test_what_a_killed_copy_of_the_model_left_hinders_nobody(
    shape_folder: Path, tmp_path: Path, tiny_bundle: Path
) -> None:
    with Retriever.build(shape_folder, tmp_path / "i", model=tiny_bundle, workers=1) as retriever:
        (tmp_path / "i" / "model.part").mkdir()
        (tmp_path / "i" / "model.part" / "encoder.onnx").write_text("half")
        assert retriever.update(workers=1).unchanged


def test_build_query_decode(shape_folder: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    with build(shape_folder, tmp_path / "i", tiny_bundle) as retriever:
        assert len(retriever) == 24 and numbers(retriever) == {"added": 24, "encoded": 24}
        path = shape_folder / "inner" / "shape-1-003.png"
        hits = retriever.query(np.asarray(Image.open(path)), k=5)
        assert hits[0].path == str(path) and hits[0].distance < 1e-2 and hits[0].similarity > 0.9999
        assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5]
        assert (hits[0].width, hits[0].height) == (64, 64)
        itself = retriever.query(path, k=24)
        assert len(itself) == 23 and str(path) not in [hit.path for hit in itself]
        assert retriever.decode(hits).shape == (5, 32, 32, 3)
        with pytest.raises(ValueError, match="at least 1"):
            retriever.query(path, k=0)
        with pytest.raises(ValueError, match="manhattan"):
            retriever.query(path, metric="manhattan")  # type: ignore[arg-type]


def test_hits_equal_brute_force_over_the_models_own_codes(shape_folder: Path, tmp_path: Path) -> None:
    model = load_model("faces-64")
    paths = sorted(shape_folder.rglob("*.png"))
    codes = model.encode(paths).astype(np.float64)
    with Retriever.build(shape_folder, index=tmp_path / "i", model=model, workers=2) as retriever:
        for number, path in enumerate(paths):
            distances = np.linalg.norm(codes - codes[number], axis=1)
            order = [i for i in np.argsort(distances, kind="stable") if i != number][:10]
            hits = retriever.query(path, k=10)
            assert [hit.path for hit in hits] == [str(paths[i]) for i in order]
            np.testing.assert_allclose([hit.distance for hit in hits], distances[order], atol=1e-3)


def test_what_an_update_understands(shape_folder: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    files = sorted(shape_folder.glob("*.png"))
    with build(shape_folder, tmp_path / "i", tiny_bundle) as retriever:
        files[0].rename(shape_folder / "another name.png")  # renamed
        shutil.move(files[1], shape_folder / "inner")  # moved
        files[2].unlink()  # gone
        shutil.copyfile(files[3], shape_folder / "copy.png")  # a copy: found, but not encoded
        write_shapes(shape_folder / "new", 2, seed=7)  # new
        Image.fromarray(draw_shapes(1, 9, 64)[0][0]).save(files[4])  # changed
        os.utime(files[5])  # only touched
        files[6].write_text("no picture any more")  # spoilt
        retriever.update(workers=2)
        assert numbers(retriever) == {
            "added": 3,
            "changed": 1,
            "renamed": 2,
            "removed": 1,
            "skipped": 1,
            "unchanged": 24 - 5,
            "encoded": 3,
        }
        assert len(retriever) == 24 - 2 + 3
        assert retriever.verify() == []
        found = [hit.path for hit in retriever.query(files[7], k=100)]
        assert str(files[2]) not in found and str(files[6]) not in found
        assert str(shape_folder / "another name.png") in found and str(shape_folder / "copy.png") in found
        retriever.update(workers=2)
        assert numbers(retriever) == {"unchanged": 25, "skipped": 1}  # as they stand: it still cannot be read


def test_contents_that_swap_and_chain_their_names(shape_folder: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    a, b, c, d = sorted(shape_folder.glob("*.png"))[:4]
    before = {path.name: path.read_bytes() for path in (a, b, c, d)}
    with build(shape_folder, tmp_path / "i", tiny_bundle) as retriever:
        codes = {path.name: retriever.look_at(path).code for path in (a, b, c, d)}
        a.write_bytes(before[b.name])
        b.write_bytes(before[a.name])
        (shape_folder / "zz.png").write_bytes(before[d.name])  # d's old content under a later name ...
        d.write_bytes(before[c.name])  # ... while d holds c's, and c is gone
        c.unlink()
        retriever.update(workers=2)
        now = {path.name: retriever.look_at(path).code for path in (a, b, d, shape_folder / "zz.png")}
        for path, origin in ((a, b), (b, a), (d, c), (shape_folder / "zz.png", d)):
            np.testing.assert_allclose(now[path.name], codes[origin.name], atol=1e-5)
        assert retriever.verify() == [] and len(retriever) == 24


def test_a_folder_that_is_away_keeps_its_pictures(shape_folder: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    with build(shape_folder, tmp_path / "i", tiny_bundle) as retriever:
        shape_folder.rename(tmp_path / "unplugged")
        summary = retriever.update(workers=2)
        assert summary.missing_folders == [str(shape_folder)] and len(retriever) == 24
        (tmp_path / "unplugged").rename(shape_folder)
        retriever.update(workers=2)
        assert numbers(retriever) == {"unchanged": 24}


def test_a_vanished_picture_that_comes_back_is_not_encoded_again(
    shape_folder: Path, tmp_path: Path, tiny_bundle: Path
) -> None:
    path = shape_folder / "shape-0-003.png"
    with build(shape_folder, tmp_path / "i", tiny_bundle) as retriever:
        path.rename(tmp_path / "away.png")
        retriever.update(workers=2)
        assert numbers(retriever)["removed"] == 1 and len(retriever) == 23
        (tmp_path / "away.png").rename(path)
        retriever.update(workers=2)
        assert numbers(retriever) == {"added": 1, "unchanged": 23} and len(retriever) == 24


def test_an_index_moves_with_its_photos(shape_folder: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    build(shape_folder, shape_folder / ".latent", tiny_bundle).close()
    moved = tmp_path / "elsewhere" / "pictures"
    moved.parent.mkdir()
    shape_folder.rename(moved)
    with Retriever.open(moved / ".latent") as retriever:
        hits = retriever.query(moved / "shape-0-001.png", k=3)
        assert len(hits) == 3 and all(Path(hit.path).is_file() for hit in hits)
        retriever.update(workers=2)
        assert numbers(retriever) == {"unchanged": 24}


def test_folders_inside_one_another_are_one(shape_folder: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    index = tmp_path / "i"
    build(shape_folder / "inner", index, tiny_bundle).close()
    with build(shape_folder, index, tiny_bundle) as retriever:  # goes round the root inside it, which keeps its rows
        assert numbers(retriever) == {"added": 16, "unchanged": 8, "encoded": 16}
        assert sorted(retriever.status().roots) == [str(shape_folder), str(shape_folder / "inner")]
        retriever.update(workers=2)
        assert numbers(retriever) == {"unchanged": 24} and len(retriever) == 24
    write_shapes(shape_folder / "more", 3, seed=1)
    write_shapes(shape_folder, 17)
    with build(shape_folder / "more", index, tiny_bundle) as retriever:  # looks at that part alone
        assert numbers(retriever)["added"] == 3 and len(retriever) == 27
        assert len(retriever.status().roots) == 2
    write_shapes(shape_folder / "inner", 2, seed=3)
    with build(shape_folder / "inner", index, tiny_bundle) as retriever:  # the root inside is reached by its own name
        assert numbers(retriever) == {"added": 2, "unchanged": 8, "encoded": 2} and len(retriever) == 29


def test_overlapping_folders_on_one_command_line(shape_folder: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    inner = shape_folder / "inner"
    for number, folders in enumerate(([shape_folder, shape_folder], [inner, shape_folder], [shape_folder, inner])):
        with build(folders, tmp_path / str(number), tiny_bundle) as retriever:  # type: ignore[arg-type]
            assert len(retriever) == 24 and retriever.status().roots == [str(shape_folder)]


def test_a_folder_inside_that_is_away_or_hidden_keeps_its_pictures(
    shape_folder: Path, tmp_path: Path, tiny_bundle: Path
) -> None:
    write_shapes(shape_folder / ".private", 3, seed=5)
    build([shape_folder / "inner", shape_folder / ".private"], tmp_path / "i", tiny_bundle).close()  # type: ignore[arg-type]
    (shape_folder / "inner").rename(tmp_path / "unplugged")
    with build(shape_folder, tmp_path / "i", tiny_bundle) as retriever:
        assert len(retriever) == 8 + 3 + 16
        summary = retriever.update(workers=2)
        assert summary.missing_folders == [str(shape_folder / "inner")] and len(retriever) == 27
        (tmp_path / "unplugged").rename(shape_folder / "inner")
        retriever.update(workers=2)
        assert numbers(retriever) == {"unchanged": 27}


def test_a_link_to_another_root_is_followed_if_asked(shape_folder: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    """So what a folder holds does not depend on what else was indexed."""
    write_shapes(tmp_path / "other", 3, seed=5)
    (shape_folder / "link").symlink_to(tmp_path / "other")
    with build(shape_folder, tmp_path / "i", tiny_bundle, follow_links=True) as retriever:
        assert len(retriever) == 24 + 3
    with build(tmp_path / "other", tmp_path / "i", tiny_bundle, follow_links=True) as retriever:
        assert len(retriever) == 24 + 3 + 3
        retriever.update(workers=2, follow_links=True)
        assert numbers(retriever) == {"unchanged": 30}


def test_a_renamed_root_takes_its_pictures_along(shape_folder: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    build(shape_folder, tmp_path / "i", tiny_bundle).close()
    renamed = tmp_path / "pictures"
    shape_folder.rename(renamed)
    with build(renamed, tmp_path / "i", tiny_bundle) as retriever:
        assert numbers(retriever) == {"renamed": 24} and len(retriever) == 24
        assert retriever.status().roots == [str(renamed)] and retriever.verify() == []


def test_links_and_spellings_name_the_same_picture(shape_folder: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    (tmp_path / "link").symlink_to(shape_folder)
    (shape_folder / "alias").symlink_to(shape_folder / "inner")
    (tmp_path / "one.png").symlink_to(shape_folder / "shape-0-001.png")
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "deep").symlink_to(shape_folder / "inner")
    index = tmp_path / "far" / ".." / "i"
    build(shape_folder, index, tiny_bundle).close()
    with build(tmp_path / "link", index, tiny_bundle) as retriever:
        assert len(retriever) == 24 and numbers(retriever) == {"unchanged": 24}
        names = [
            shape_folder / "shape-0-001.png",
            tmp_path / "link" / "shape-0-001.png",
            tmp_path / "one.png",
            shape_folder / "inner" / ".." / "shape-0-001.png",
        ]
        for name in names:
            assert len(retriever.query(name, k=100)) == 23, name
        found = {hit.path for hit in retriever.query(names[0], k=100)}
        assert str(shape_folder / "inner" / "shape-1-000.png") in found  # under its own name, not the alias'
        assert retriever.remove([tmp_path / "link" / "shape-0-002.png"]) == 1
    with build(os.path.join(tmp_path, "far", "deep", ".."), index, tiny_bundle) as retriever:  # type: ignore[arg-type]
        assert retriever.status().roots == [str(shape_folder)]


def test_an_index_among_its_photos_does_not_index_itself(shape_folder: Path, tiny_bundle: Path) -> None:
    with build(shape_folder, shape_folder / "mine.latent", tiny_bundle) as retriever:
        retriever.update(workers=2)
        assert numbers(retriever) == {"unchanged": 24}


def test_a_fault_that_passes_costs_nothing_for_good(shape_folder: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    """The folder goes away after it was listed, and comes back: everything is found again."""
    os.utime(shape_folder / "shape-0-000.png")

    def pull_the_plug(done: int, total: int) -> None:
        if done == 0:
            shape_folder.rename(tmp_path / "unplugged")

    with build(shape_folder, tmp_path / "i", tiny_bundle, report=pull_the_plug) as retriever:
        assert numbers(retriever) == {"skipped": 24} and len(retriever) == 0
        (tmp_path / "unplugged").rename(shape_folder)
        retriever.update(workers=2)
        assert len(retriever) == 24
        os.utime(shape_folder / "shape-0-000.png")
        retriever.update(workers=2, report=pull_the_plug)
        assert len(retriever) == 24  # what was known of it stays
        (tmp_path / "unplugged").rename(shape_folder)
        retriever.update(workers=2)
        assert numbers(retriever) == {"unchanged": 24} and retriever.verify() == []


def test_a_cache_of_another_history_is_not_believed(shape_folder: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    other = tmp_path / "other"
    write_shapes(other, 24, seed=11)
    index = tmp_path / "i"
    build(other, index, tiny_bundle).close()
    (index / "catalog.db").unlink()
    build(shape_folder, index, tiny_bundle).close()
    build(shape_folder, tmp_path / "fresh", tiny_bundle).close()
    query = shape_folder / "shape-0-001.png"
    with Retriever.open(index) as retriever, Retriever.open(tmp_path / "fresh") as fresh:
        assert [hit.path for hit in retriever.query(query, k=24)] == [hit.path for hit in fresh.query(query, k=24)]
        assert retriever.verify() == []
    backup = (index / "catalog.db").read_bytes()
    write_shapes(shape_folder / "later", 2, seed=12)
    build(shape_folder, index, tiny_bundle).close()
    (index / "catalog.db").write_bytes(backup)  # restored, and then taken another way to the same generation
    shutil.rmtree(shape_folder / "later")
    write_shapes(shape_folder / "later", 2, seed=13)
    with build(shape_folder, index, tiny_bundle) as retriever:
        codes = {hit.path: hit.distance for hit in retriever.query(query, k=100)}
        assert len(codes) == 25 and retriever.verify() == []


def test_a_damaged_model_copy_is_made_anew_by_a_build(shape_folder: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    build(shape_folder, tmp_path / "i", tiny_bundle).close()
    for damaged in ("encoder.onnx", "model.json"):
        (tmp_path / "i" / "model" / damaged).write_bytes(b"")
        with build(shape_folder, tmp_path / "i", tiny_bundle) as retriever:
            assert len(retriever.query(np.zeros((64, 64, 3), np.uint8), k=2)) == 2


def test_an_index_whose_copy_of_the_default_model_is_lost_needs_no_name_for_it(
    shape_folder: Path, tmp_path: Path, tiny_bundle: Path
) -> None:
    for name, model in (("default", None), ("another", tiny_bundle)):
        Retriever.build(shape_folder, tmp_path / name, model=model, workers=2).close()
        shutil.rmtree(tmp_path / name / "model")
    write_shapes(shape_folder / "new", 2, seed=5)
    with Retriever.build(shape_folder, tmp_path / "default", workers=2) as retriever:
        assert numbers(retriever) == {"added": 2, "unchanged": 24, "encoded": 2} and retriever.verify() == []
    with pytest.raises(IndexMismatch, match="holds codes of tiny"):
        Retriever.build(shape_folder, tmp_path / "another", workers=2)


def test_a_lost_code_is_repaired(shape_folder: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    build(shape_folder, tmp_path / "i", tiny_bundle).close()
    with sqlite3.connect(tmp_path / "i" / "catalog.db") as database:
        database.execute("delete from codes where picture_id = 3")
    database.close()
    with Retriever.open(tmp_path / "i") as retriever:
        assert any("have no code" in fault for fault in retriever.verify(repair=True))
        retriever.update(workers=2)
        assert len(retriever) == 24 and retriever.verify() == []


def test_hits_that_were_removed_meanwhile(shape_folder: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    with build(shape_folder, tmp_path / "i", tiny_bundle) as retriever:
        hits = retriever.query(shape_folder / "shape-0-001.png", k=2)
        retriever.remove([hits[0].path])
        with pytest.raises(PathError, match="no longer in this index"):
            retriever.decode(hits)


def test_wrong_arguments_at_the_door(shape_folder: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    with pytest.raises(ValueError, match="a folder of pictures"):
        Retriever.build([], index=tmp_path / "none")
    with build(shape_folder, tmp_path / "i", tiny_bundle) as retriever:
        with pytest.raises(TypeError, match="list of pictures"):
            retriever.model.encode("a.jpg")
        with pytest.raises(ValueError, match="must have pixels"):
            retriever.model.encode(np.zeros((1, 0, 5, 3), np.uint8))
        with pytest.raises(ValueError, match=r"\(n, 16\)"):
            retriever.query_codes(np.zeros((1, 7), np.float32))
        mixed = retriever.model.encode([shape_folder / "shape-0-001.png", np.zeros((9, 9, 3), np.uint8)])
        assert mixed.shape == (2, 16)


def test_a_folder_called_like_a_shipped_model_does_not_hide_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "faces-64").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_model("faces-64").image_size == 64
    with pytest.raises(ModelError):
        load_model("./faces-64")


def test_remove_is_remembered_until_it_is_taken_back(shape_folder: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    with build(shape_folder, tmp_path / "i", tiny_bundle) as retriever:
        assert retriever.remove([shape_folder / "inner", shape_folder / "shape-0-000.png"]) == 9
        assert len(retriever) == 15
        retriever.update(workers=2)
        assert len(retriever) == 15
        with sqlite3.connect(tmp_path / "i" / "catalog.db") as database:  # and nothing of them is left behind
            assert database.execute("select count(*) from codes").fetchone() == (15,)
        database.close()
        with pytest.raises(PathError, match="not in this index"):
            retriever.remove([shape_folder / "shape-0-005.png", tmp_path / "unknown.png"])
        assert len(retriever) == 15  # nothing was removed by half
    with build(shape_folder, tmp_path / "i", tiny_bundle) as retriever:
        assert len(retriever) == 24
        assert retriever.remove([shape_folder]) == 24
        assert retriever.status().roots == [] and len(retriever) == 0


def test_the_status_counts_what_there_is(shape_folder: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    index, files = tmp_path / "i", sorted(shape_folder.rglob("*.png"))
    with build(shape_folder, index, tiny_bundle) as retriever:
        status = retriever.status()
        assert (status.found, status.skipped, status.vanished, status.removed, status.reasons) == (24, 0, 0, 0, {})
        random.Random(5).shuffle(files)
        for path in files[:2]:
            path.unlink()
        for path in files[2:5]:
            path.write_bytes(b"")
        for path in files[5:9]:
            path.write_text("no picture any more")
        retriever.remove([files[9]])
        retriever.update(workers=2)
        retriever.query(files[-1], k=1)  # which writes a cache
        status = retriever.status()
        assert (status.found, status.skipped, status.vanished, status.removed) == (14, 7, 2, 1)
        assert list(status.reasons.values()) == [4, 3] and list(status.reasons)[1] == "empty file"
        assert status.catalog_bytes == (index / "catalog.db").stat().st_size
        assert status.caches_bytes == (index / "cosine.faiss").stat().st_size > 0
        assert status.model_bytes == sum(path.stat().st_size for path in (index / "model").iterdir())


def test_an_index_refuses_another_model(shape_folder: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    build(shape_folder, tmp_path / "i", tiny_bundle).close()
    with pytest.raises(IndexMismatch, match="holds codes of tiny"):
        Retriever.build(shape_folder, index=tmp_path / "i", model="faces-64")
    (tmp_path / "i" / "model").rename(tmp_path / "tiny-away")
    (tmp_path / "i" / "model").mkdir()
    load_model("faces-64").write_to(tmp_path / "i" / "model")
    with Retriever.open(tmp_path / "i") as retriever, pytest.raises(IndexMismatch):
        retriever.query(np.zeros((64, 64, 3), np.uint8))


def test_verify_names_faults_and_repairs_what_is_derived(shape_folder: Path, tmp_path: Path) -> None:
    index = tmp_path / "i"
    Retriever.build(shape_folder, index=index, workers=2).close()
    (index / "cosine.faiss").write_bytes(b"rubbish")
    (index / "model" / "encoder.onnx").write_bytes(b"rubbish")
    with sqlite3.connect(index / "catalog.db") as database:
        database.execute("update meta set found = 99")
    database.close()
    (shape_folder / "shape-0-000.png").unlink()
    with Retriever.open(index) as retriever:
        faults = retriever.verify(repair=True)
        kinds = [fault.split(":")[0] for fault in faults]
        assert kinds == ["catalog", "cache", "model", "files"]
        (left,) = retriever.verify()
        assert "gone since it was indexed" in left
        retriever.update(workers=2)
        assert retriever.verify() == []


def test_a_catalog_that_is_damaged_says_so(shape_folder: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    build(shape_folder, tmp_path / "i", tiny_bundle).close()
    catalog = tmp_path / "i" / "catalog.db"
    catalog.write_bytes(catalog.read_bytes()[:5000])
    with pytest.raises(retrieval.IndexDamaged, match=r"catalog\.db"), Retriever.open(tmp_path / "i") as retriever:
        retriever.query(np.zeros((64, 64, 3), np.uint8))


def test_a_damaged_bundle_says_so(tmp_path: Path, tiny_bundle: Path) -> None:
    with pytest.raises(ModelError, match="neither a shipped or added name"):
        load_model("no-such-model")
    copy = tmp_path / "copy"
    shutil.copytree(tiny_bundle, copy)
    (copy / "encoder.onnx").write_bytes(b"x")
    with pytest.raises(ModelError, match="restore the bundle"):
        load_model(copy).encode(np.zeros((1, 32, 32, 3), np.uint8))
    (copy / "model.json").write_text("{")
    with pytest.raises(ModelError, match=r"model\.json"):
        load_model(copy)
    (copy / "model.json").write_text(
        '{"schema": 99, "name": "x", "image_size": 1, "latent_dim": 1, '
        '"normalisation": "none", "files": {"encoder.onnx": ""}}'
    )
    with pytest.raises(ModelError, match="schema 99"):
        load_model(copy)


@pytest.mark.parametrize("count", [1, 11, 12, 13, 15])
def test_of_many_classes_the_message_names_twelve(tmp_path: Path, tiny_bundle: Path, count: int) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    facts = json.loads((bundle / "model.json").read_text())
    names = [f"kind {number}" for number in random.Random(count).sample(range(1000), count)]
    (bundle / "model.json").write_text(json.dumps({**facts, "classes": names}))
    model = load_model(bundle)
    assert [model.class_number(name) for name in names] == list(range(count))
    with pytest.raises(ModelError, match="knows no class 'another'") as told:
        model.class_number("another")
    listed = str(told.value).rpartition("it knows ")[2].split(", ")
    assert listed == (names if count <= 12 else [*names[:12], "..."])


def test_a_model_without_generator_searches_but_does_not_paint(
    shape_folder: Path, tmp_path: Path, tiny_bundle: Path
) -> None:
    bundle = tmp_path / "blind"
    shutil.copytree(tiny_bundle, bundle)
    (bundle / "generator.onnx").unlink()
    facts = json.loads((bundle / "model.json").read_text())
    del facts["files"]["generator.onnx"]
    (bundle / "model.json").write_text(json.dumps(facts))
    with build(shape_folder, tmp_path / "i", bundle) as retriever:
        hits = retriever.query(shape_folder / "shape-0-001.png", k=3)
        assert len(hits) == 3
        with pytest.raises(ModelError, match="no generator"):
            retriever.decode(hits)


def test_an_empty_folder_and_a_wrong_path(tmp_path: Path, tiny_bundle: Path) -> None:
    (tmp_path / "empty").mkdir()
    with build(tmp_path / "empty", tmp_path / "i", tiny_bundle) as retriever:
        assert len(retriever) == 0
        assert retriever.query(np.zeros((64, 64, 3), np.uint8)) == []
        assert retriever.verify() == []
    with pytest.raises(PathError, match="not a folder"):
        build(tmp_path / "wrong", tmp_path / "i", tiny_bundle)


def test_the_nearest_index_is_found_as_git_finds_its_own(
    shape_folder: Path, tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LATENT_INDEX", raising=False)
    build(shape_folder, tmp_path / ".latent", tiny_bundle).close()
    assert locate_index(start=shape_folder / "inner") == tmp_path / ".latent"
    monkeypatch.setenv("LATENT_INDEX", str(tmp_path / "by-environment"))
    assert locate_index(start=shape_folder) == tmp_path / "by-environment"
    assert locate_index(tmp_path / "named") == tmp_path / "named"


STRANGE_NAMES = [
    b"with space.png",
    b"quote'\".png",
    b"new\nline.png",
    b"tab\t.png",
    "emoji \U0001f600.png".encode(),
    "umlaut-\u00fc.png".encode(),
    b"not-utf8-\xff\xfe.png",
    b"-dash.png",
    b"per%cent.png",
]


def test_strange_names(tmp_path: Path, tiny_bundle: Path) -> None:
    folder = os.fsencode(tmp_path / "photos")
    os.mkdir(folder)
    for number, (name, pixels) in enumerate(zip(STRANGE_NAMES, draw_shapes(20)[0], strict=False)):
        with open(os.path.join(folder, name), "wb") as file:
            Image.fromarray(pixels).save(file, "PNG")
        assert number < 20
    with build(tmp_path / "photos", tmp_path / "i", tiny_bundle) as retriever:
        assert len(retriever) == len(STRANGE_NAMES)
        for name in STRANGE_NAMES:
            path = os.fsdecode(os.path.join(folder, name))
            hits = retriever.query(path, k=100)
            assert {os.fsencode(os.path.basename(hit.path)) for hit in hits} == set(STRANGE_NAMES) - {name}
        retriever.update(workers=2)
        assert numbers(retriever) == {"unchanged": len(STRANGE_NAMES)}


def dump(catalog: Path) -> list[tuple[object, ...]]:
    """Everything in the catalog."""
    with sqlite3.connect(catalog) as database:
        rows = [
            (table, *row)
            for table in ("meta", "roots", "pictures", "codes")
            for row in database.execute(f"select * from {table} order by 1")
        ]
    database.close()
    return rows


def found_in(catalog: Path) -> int:
    if not catalog.exists():
        return -1
    with sqlite3.connect(f"{catalog.as_uri()}?mode=ro", uri=True) as database:
        try:
            (found,) = database.execute("select found from meta").fetchone()
        except sqlite3.OperationalError:  # a journal is waiting to be rolled back
            found = -1
    database.close()
    return int(found)


def test_killed_at_random_moments_the_same_command_ends_in_the_same_catalog(tmp_path: Path, tiny_bundle: Path) -> None:
    photos = tmp_path / "photos"
    write_shapes(photos, 1800, side=32)
    for number in range(0, 1800, 50):
        (photos / f"bad-{number:03d}.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
        shutil.copyfile(photos / f"shape-0-{number:03d}.png", photos / f"zcopy-{number:03d}.png")
    program = str(Path(sys.executable).with_name("latent"))

    def command(index: str) -> list[str]:
        return [program, "index", "build", str(photos), "--index", str(tmp_path / index), "--model", str(tiny_bundle)]

    subprocess.run(command("calm"), check=True, capture_output=True)
    chance, left_behind = random.Random(0), []
    for committed in (0, 0, 1, 1, 600, 1200):  # wait for so many, then strike at a random moment
        process = subprocess.Popen(command("stormy"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and found_in(tmp_path / "stormy" / "catalog.db") < committed:
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.3 if committed == 0 else 0.05))
        process.send_signal(signal.SIGKILL)
        process.wait()
        left_behind.append(found_in(tmp_path / "stormy" / "catalog.db"))
    assert any(0 < found < 1836 for found in left_behind), left_behind
    subprocess.run(command("stormy"), check=True, capture_output=True)
    assert dump(tmp_path / "stormy" / "catalog.db") == dump(tmp_path / "calm" / "catalog.db")
    with Retriever.open(tmp_path / "stormy") as retriever:
        assert retriever.verify() == [] and len(retriever) == 1836


def test_a_second_build_at_once_is_told_so(shape_folder: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    seen: list[str] = []

    def report(done: int, total: int) -> None:
        if not seen:
            with pytest.raises(IndexBusy, match="another latent is writing") as caught:
                build(shape_folder, tmp_path / "i", tiny_bundle)
            seen.append(str(caught.value))

    build(shape_folder, tmp_path / "i", tiny_bundle, report=report).close()
    assert seen


READ_ONLY = """
import sys
from retrieval import IndexUnwritable, Retriever
photos, index, fresh = sys.argv[1:]
with Retriever.open(index) as retriever:
    assert len(retriever.query(photos + "/shape-0-001.png", k=5)) == 5
    try:
        retriever.update()
        raise SystemExit("a read-only index was updated")
    except IndexUnwritable as error:
        assert index in str(error), error
try:
    Retriever.build(photos, index=fresh)
    raise SystemExit("an index was made in a read-only folder")
except IndexUnwritable as error:
    assert fresh in str(error) and error.code == "folder_unwritable", error
print("as it should be")
"""


def test_a_read_only_folder_is_searched_and_refuses_to_be_written(shape_folder: Path, tiny_bundle: Path) -> None:
    index = shape_folder / ".latent"
    build(shape_folder, index, tiny_bundle).close()
    (index / "cosine.faiss").unlink()  # it must do without a cache that it could save
    folders = [shape_folder, index, index / "model"]
    words = [sys.executable, "-c", READ_ONLY, str(shape_folder), str(index), str(shape_folder / "inner" / "fresh")]
    try:
        for folder in [*folders, shape_folder / "inner"]:
            folder.chmod(0o555)
        done = subprocess.run(words, capture_output=True, text=True, check=False, preexec_fn=obey_permissions)
    finally:
        for folder in [*folders, shape_folder / "inner"]:
            folder.chmod(0o755)
    assert done.stdout.strip() == "as it should be", done.stderr
    assert not (index / "cosine.faiss").exists()


def test_a_full_disk_loses_nothing(shape_folder: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    """A file-size limit stands in for the full disk: the kernel refuses the write in the same way."""
    import resource

    index = tmp_path / "i"
    build(shape_folder, index, tiny_bundle).close()
    write_shapes(shape_folder / "more", 400, seed=3, side=32)
    limit = (index / "catalog.db").stat().st_size + 8192

    def restrict() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    program = str(Path(sys.executable).with_name("latent"))
    words = [program, "index", "update", "--index", str(index)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, preexec_fn=restrict)
    assert done.returncode == 1 and "cannot be written" in done.stderr, done.stderr
    with Retriever.open(index) as retriever:
        assert len(retriever) == 24
        retriever.update(workers=2)
        assert len(retriever) == 424 and retriever.verify() == []


def test_a_script_needs_no_main_guard(shape_folder: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    script = tmp_path / "train.py"  # a name that the library must not stumble over
    script.write_text(
        "from retrieval import Retriever\n"
        f"r = Retriever.build({str(shape_folder)!r}, index={str(tmp_path / 'i')!r}, model={str(tiny_bundle)!r})\n"
        "print(len(r))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stdout == "24\n", done.stderr


def test_an_index_without_a_generator_paints_nothing_and_finds_everything(
    shape_folder: Path, tmp_path: Path, tiny_bundle: Path
) -> None:
    whole = Retriever.build(shape_folder, tmp_path / "whole", model=tiny_bundle)
    bare = Retriever.build(shape_folder, tmp_path / "bare", model=tiny_bundle, generator=False)
    query = min(shape_folder.rglob("*.png"))
    assert [hit.path for hit in bare.query(query)] == [hit.path for hit in whole.query(query)]
    assert not list((tmp_path / "bare").rglob("generator*")) and bare.verify() == []
    with pytest.raises(ModelError, match="no generator"):
        bare.decode(bare.query(query))
    whole.decode(whole.query(query))
    Retriever.build(shape_folder, tmp_path / "bare").close()  # stays as it is
    Retriever.build(shape_folder, tmp_path / "whole", generator=False).close()  # loses it, for good
    for name in ("bare", "whole"):
        with Retriever.open(tmp_path / name) as retriever:
            assert not retriever.model.has_generator and retriever.verify() == []
            assert len(retriever.query(query)) == 10
