"""The scenes of ``torture``: a prepared folder, a command, and what must be equal in the end."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import write_shapes

INDEX = ".latent"
BUILD = ["index", "build", "photos", "--index", INDEX, "--workers", "1", "--model"]
Run = Callable[[list[str]], int]


@dataclass(frozen=True)
class Scene:
    """``prepare`` fills an empty current folder, which is copied for each trial, and ``change`` changes the copy.

    ``command`` is what is disturbed, and what is run again after it; undisturbed, it ends with ``code``.
    """

    name: str
    prepare: Callable[[Run, str], None]
    command: list[str]
    change: Callable[[], None] = lambda: None
    code: int = 0  # its exit code


def scenes(bundle: str) -> list[Scene]:
    """All scenes; ``bundle`` is the folder of the model."""
    acts = [
        Scene(f"apply {action}", _planned, ["dedup", "apply", "plan.json", "--yes", "--action", action, *to])
        for action, to in (
            ("move", ["--to", "aside"]),
            ("trash", []),
            ("hardlink", []),
            ("symlink", []),
            ("delete", []),
        )
    ]
    return [
        Scene("build", _photos, [*BUILD, bundle]),
        Scene("update", _built, ["index", "update", "--index", INDEX, "--workers", "1"], _changed),
        Scene("repair", _built, ["index", "verify", "--repair", "--index", INDEX], _damaged, code=1),  # see _damaged
        Scene("migrate", _old, ["index", "status", "--index", INDEX]),
        *acts,
        Scene("undo move", _moved, ["dedup", "undo", "plan.json.journal"]),
        Scene("undo trash", _trashed, ["dedup", "undo", "plan.json.journal"]),
    ]


def _photos(run: Run, bundle: str) -> None:
    photos = Path("photos")
    write_shapes(photos, 10)
    write_shapes(photos / "inner", 4, seed=1)
    for number in range(4):  # copies, in another folder
        (photos / "copies").mkdir(exist_ok=True)
        shutil.copy2(photos / f"shape-0-{number:03d}.png", photos / "copies" / f"copy-{number}.png")
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(40))


def _built(run: Run, bundle: str) -> None:
    _photos(run, bundle)
    _done(run, [*BUILD, bundle])


def _changed() -> None:
    """Pictures that are new, gone, renamed and others under the same name."""
    photos = Path("photos")
    write_shapes(photos / "new", 4, seed=2)
    for number in (4, 5):
        (photos / f"shape-0-{number:03d}.png").unlink()
    (photos / "shape-0-006.png").rename(photos / "renamed.png")
    shutil.copyfile(photos / "shape-0-007.png", photos / "shape-0-008.png")


def _damaged() -> None:
    """A cache that is cut off, and a picture without its code: repair has it read again, by the next update."""
    for cache in Path(INDEX).glob("*.faiss"):
        cache.write_bytes(cache.read_bytes()[:-100])
    with closing(sqlite3.connect(Path(INDEX) / "catalog.db")) as connection:
        connection.execute("DELETE FROM codes WHERE picture_id = (SELECT max(picture_id) FROM codes)")
        connection.commit()


def _old(run: Run, bundle: str) -> None:
    """A catalog of schema 1."""
    Path(INDEX).mkdir()
    with closing(sqlite3.connect(Path(INDEX) / "catalog.db")) as connection:
        connection.executescript((Path(__file__).parent.parent / "data" / "schema-1.sql").read_text())


def _planned(run: Run, bundle: str) -> None:
    """A plan for equal files alone: of near copies, some contents are meant to go."""
    _built(run, bundle)
    _done(run, ["dedup", "find", "--index", INDEX, "-o", "plan.json"])
    plan = json.loads(Path("plan.json").read_text())
    equal = {one["path"] for group in plan["groups"] for one in group["evidence"] if one["kind"] == "bytes"}
    for group in plan["groups"]:
        group["remove"] = [path for path in group["remove"] if path in equal]
        group["evidence"] = [one for one in group["evidence"] if one["path"] in equal]
    plan["groups"] = [group for group in plan["groups"] if group["remove"]]
    Path("plan.json").write_text(json.dumps(plan))


def _moved(run: Run, bundle: str) -> None:
    _planned(run, bundle)
    _done(run, ["dedup", "apply", "plan.json", "--yes", "--action", "move", "--to", "aside"])


def _trashed(run: Run, bundle: str) -> None:
    _planned(run, bundle)
    _done(run, ["dedup", "apply", "plan.json", "--yes", "--action", "trash"])


def _done(run: Run, command: list[str]) -> None:
    if code := run(command):
        raise SystemExit(f"latent {' '.join(command)} exits with {code} while a scene is prepared")


def state(folder: Path) -> dict[str, object]:
    """What must be equal: the files (in the trash without their names), and the rows and codes of the index."""
    files: dict[str, str] = {}
    trashed: list[str] = []
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if relative.parts[0] in (INDEX, "plan.json.journal") or (path.is_dir() and not path.is_symlink()):
            continue
        if relative.parts[0] == "Trash":
            trashed += [_digest(path)] if relative.parts[1] == "files" else []
        else:
            linked = path.is_symlink() or path.stat().st_nlink > 1
            files[str(relative)] = f"{'link ' if linked else ''}{_digest(path)}"
    return {"files": files, "trashed": sorted(trashed), "rows": _rows(folder / INDEX / "catalog.db")}


def contents(folder: Path) -> set[str]:
    """Digests of all files outside the index and of no note in the trash: none of the pictures' may ever be lost."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    found = (path for path in files if path.suffix != ".trashinfo")
    return {_digest(path) for path in found if INDEX not in path.parts}


def _digest(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


def _rows(catalog: Path) -> list[tuple[object, ...]]:
    """Path, state, content and code of each picture. Ids, dates of change and generations may differ."""
    if not catalog.exists():
        return []
    with closing(sqlite3.connect(f"{catalog.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute(
            "SELECT roots.path, pictures.path, status, content_hash, width_px, height_px, code FROM pictures "
            "JOIN roots ON roots.id = root_id LEFT JOIN codes ON picture_id = pictures.id ORDER BY 1, 2"
        ).fetchall()
