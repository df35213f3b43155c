"""Write the counts of docs/reliability.md: ``make reliability`` runs both campaigns, and counts the tests."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent.parent.parent / "docs" / "reliability.md"


def block(subject: str, lines: list[str], text: str) -> str:
    """``text`` with ``lines`` between the marks of a subject."""
    marks = re.compile(rf"<!-- {subject} -->.*?<!-- end of {subject} -->", re.DOTALL)
    if not marks.search(text):
        raise SystemExit(f"{PAGE.name} has no marks for {subject}")
    return marks.sub(lambda _: "\n".join([f"<!-- {subject} -->", *lines, f"<!-- end of {subject} -->"]), text)


def table(headings: list[str], rows: list[list[str]]) -> list[str]:
    lines = ["| " + " | ".join(cells) + " |" for cells in (headings, *rows)]
    return [lines[0], "|---" * len(headings) + "|", *lines[1:]]


def campaign(name: str, *words: str) -> dict[str, Any]:
    """Run a campaign and return its counts."""
    with tempfile.TemporaryDirectory() as scratch:
        counts = Path(scratch) / "counts.json"
        subprocess.run([sys.executable, "-m", f"tests.campaigns.{name}", *words, "--counts", str(counts)], check=False)
        return json.loads(counts.read_text())  # type: ignore[no-any-return]


def torture(trials: int, seed: int) -> list[str]:
    """Trials by scene and by kind of fault."""
    facts = campaign("torture", "--trials", str(trials), "--seed", str(seed))
    scenes, faults = Counter[str](), Counter[str]()
    cells = Counter[tuple[str, str]]()
    for key, count in facts["trials"].items():
        scene, fault = key.split(" | ")
        scenes[scene] += count
        faults[fault] += count
        cells[scene, fault] += count
    kinds = sorted(faults)
    rows = [[scene, *(str(cells[scene, kind] or "") for kind in kinds), str(scenes[scene])] for scene in sorted(scenes)]
    rows.append(["all", *(str(faults[kind]) for kind in kinds), str(sum(faults.values()))])
    said = f"`python -m tests.campaigns.torture --trials {trials} --seed {seed}`: {_findings(facts)}."
    return [said, "", *table(["command", *kinds, "all"], rows)]


def fuzz(seconds: float, seed: int) -> list[str]:
    """Mutants by target."""
    facts = campaign("fuzz", "--seconds", f"{seconds:g}", "--seed", str(seed))
    said = f"`python -m tests.campaigns.fuzz --seconds {seconds:g} --seed {seed}`: {_findings(facts)}."
    return [said, "", *table(["files", "mutants"], [[name, f"{count:,}"] for name, count in facts["mutants"].items()])]


def attacks() -> list[str]:
    """Tests by file of tests/attacks."""
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "tests"], capture_output=True, text=True, check=True
    ).stdout
    files = Counter(line.split("::")[0] for line in listed.splitlines() if "::" in line)
    rows = [[name, str(count)] for name, count in sorted(files.items()) if name.startswith("tests/attacks/")]
    return table(["attacks", "tests"], [*rows, ["the whole suite", f"{sum(files.values()):,}"]])


def _findings(facts: dict[str, Any]) -> str:
    count = len(facts["findings"])
    return "nothing was found" if not count else f"**{count} findings, which are not mended yet**"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    parts = {
        "attacks": attacks(),
        "fuzz": fuzz(wanted.seconds, wanted.seed),
        "torture": torture(wanted.trials, wanted.seed),
    }
    text = PAGE.read_text(encoding="utf-8")
    for subject, lines in parts.items():
        text = block(subject, lines, text)
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
