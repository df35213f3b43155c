"""Pairs of equal files with random content, and plans for them: acts on files know nothing of pictures."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from retrieval import Act, Plan, apply_plan
from retrieval.copies.contents import facts_of
from retrieval.copies.plan import Evidence, Group
from retrieval.defaults import Action

SEED = 14


def use_trash(patch: pytest.MonkeyPatch, data: Path) -> None:
    """Have a trash in ``data``, not the desktop's, which the library looks up when it is imported."""
    from send2trash import plat_other

    patch.setenv("XDG_DATA_HOME", str(data))
    patch.setattr(plat_other, "XDG_DATA_HOME", os.fsencode(data))
    patch.setattr(plat_other, "HOMETRASH_B", os.fsencode(data / "Trash"))


def write_pairs(folder: Path, count: int, size_bytes: int = 2000) -> list[tuple[str, str]]:
    """Paths of ``kept/N.png`` and ``copies/N.png`` of the same bytes."""
    rng, pairs = random.Random(SEED), []
    for number in range(count):
        content = rng.randbytes(size_bytes)
        for name in ("kept", "copies"):
            path = folder / name / f"{number:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        pairs.append(tuple(str(folder / name / f"{number:03d}.png") for name in ("kept", "copies")))
    return pairs  # type: ignore[return-value]


def plan_for(pairs: list[tuple[str, str]]) -> Plan:
    """A plan that keeps the first of each pair, and removes the second."""
    plan = Plan(1.0, groups=[Group(a, [b], [Evidence(b, "bytes", 0.0, 1.0)]) for a, b in pairs])
    for path in {path for pair in pairs for path in pair}:
        found = os.stat(path)
        facts = facts_of(path, found.st_size, found.st_mtime_ns)
        assert facts is not None
        plan.files[path] = facts
    return plan


def apply(plan: Plan, action: Action, folder: Path) -> list[Act]:
    """Carry out a plan, with the journal ``folder/journal`` and the target ``folder/aside``."""
    to = folder / "aside" if action == "move" else None
    return list(apply_plan(plan, action, folder / "journal", to=to, dry_run=False))


def contents(folder: Path) -> set[bytes]:
    """The contents of all regular files."""
    return {path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}


def names(folder: Path) -> dict[str, bytes]:
    """The content of each file; of a link its target."""
    return {
        str(path): os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }
