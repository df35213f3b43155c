"""``latent benchmark``: train several methods on the same pictures, and see which one retrieves best there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cli.console import FiniteRange, bar, say, shown_path, tell, workers_option
from cli.training import budget_of, require_torch, stop_flag, training_bar
from retrieval.atomic import write

STEPS = 5000  # of each method, if nothing else is said
WIDE = 78


@click.command(
    epilog="""\b
Examples:
  latent benchmark flowers --labels folder -o runs/flowers --steps 5000
  latent benchmark flowers --labels folder -o runs/flowers --method ogan --method vae
  latent benchmark flowers --labels folder -o runs/games --method ogan:adversary=ls
  latent benchmark flowers --labels folder -o runs/equal --minutes 20
"""
)
@click.argument("photos", nargs=-1, required=True, type=click.Path(exists=True), metavar="PHOTOS...")
@click.option(
    "-o", "--output", required=True, type=click.Path(file_okay=False), metavar="DIR", help="The runs' folder."
)
@click.option("--labels", required=True, metavar="SPEC", help="folder, filename:REGEX, or a CSV with a column path.")
@click.option("--numeric", multiple=True, metavar="NAME", help="A label that is a number. Repeatable.")
@click.option("--queries", multiple=True, type=click.Path(exists=True), metavar="PHOTOS", help="[default: a tenth.]")
@click.option(
    "--method",
    "methods",
    multiple=True,
    metavar="METHOD[:SETTING=VALUE,...]",
    help="Repeatable [default: all that encode, but those of labels and of single pixels].",
)
@click.option("--steps", type=click.IntRange(min=1), help="For each method [default: 5000],")
@click.option("--minutes", type=FiniteRange(min=0, min_open=True), help="or so many minutes of training.")
@click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="Runs of each method.")
@click.option("--preset", "preset_name", default="slim-64", show_default=True, help="Shapes, dimension and rates.")
@click.option("--copies", type=click.IntRange(min=0), default=500, show_default=True, help="Copies to look for.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@workers_option
def benchmark(photos: tuple[str, ...], output: str, **options: Any) -> None:
    """Train several methods on PHOTOS with the same budget, shapes and dimension, and compare their codes.

    A tenth of PHOTOS is held out and asked for. DIR receives report.md, report.json, sheets of samples and of
    reconstructions, and each method's run; the same command again goes on where it was stopped.
    """
    require_torch()
    import json

    from train.compare import as_markdown, columns_of, compared_by_default, entry, mean_marks
    from train.recipe import Budget, preset

    budget = budget_of(options) or Budget(steps=STEPS)
    comparison = _comparison(photos, Path(output), budget, options)
    exam, base = comparison.exam, preset(options["preset_name"])
    classes = sorted(set(exam.gallery.columns[exam.classes[0]])) if exam.classes else []
    entries = [entry(words, base, classes) for words in options["methods"] or compared_by_default()]
    with stop_flag() as stopped, training_bar(True) as report:
        from train.loop import Hooks

        table = comparison.run(entries, range(options["seeds"]), Hooks(report, lambda: bool(stopped)))
    folder, columns = Path(output), columns_of(exam)
    write(folder / "report.md", as_markdown(table, columns))
    write(folder / "report.json", json.dumps({"schema": 1, "runs": table}, indent=2) + "\n")
    tell(*_as_text(mean_marks(table), columns).splitlines())
    for path in (folder / "report.md", folder / "report.json", *comparison.draw(entries, 0)):
        say(f"wrote {shown_path(str(path))}")


def _comparison(photos: tuple[str, ...], folder: Path, budget: Any, options: dict[str, Any]) -> Any:
    from train.compare import Comparison, split
    from train.devices import Processes, pick_device, pick_precision
    from train.evaluate import Exam
    from train.labelled import read_labelled
    from train.labels import label_reader
    from train.recipe import preset
    from train.session import Setting

    size_px, label_of = preset(options["preset_name"]).image_size, label_reader(options["labels"])
    with bar("file", "decoding") as progress:
        xb = read_labelled(photos, size_px, label_of, options["workers"], progress)
        if options["queries"]:
            xq = read_labelled(options["queries"], size_px, label_of, options["workers"], progress)
        else:
            xb, xq = split(xb)
    device = pick_device(options["device"])
    setting = Setting(folder, device, pick_precision("auto", device), Processes(), folder / "cache", 0)
    folder.mkdir(parents=True, exist_ok=True)
    say(f"{len(xq):,} queries against {len(xb):,} pictures")
    return Comparison(Exam(xb, xq, options["numeric"], options["copies"]), folder, setting, budget, say)


def _as_text(marks: dict[str, dict[str, float]], columns: dict[str, str]) -> str:
    """The table in as many blocks of 80 columns as it takes, methods downwards."""
    width = max(map(len, marks)) + 2
    each = max(1, (WIDE - width) // 10)
    blocks, headings = [], list(columns)
    for start in range(0, len(headings), each):
        part = headings[start : start + each]
        lines = [" " * width + "".join(f"{word:>10}" for word in words) for words in _stacked(part)]
        for name, row in marks.items():
            cells = (f"{row[columns[heading]]:>10.3f}" if columns[heading] in row else " " * 10 for heading in part)
            lines.append(f"{name:<{width}}" + "".join(cells))
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _stacked(headings: list[str]) -> list[list[str]]:
    """Headings broken into words of nine letters at most, one line a word, the last words on the last line."""
    words = [[word[:9] for word in heading.replace(",", "").split()] for heading in headings]
    height = max(map(len, words))
    padded = [[""] * (height - len(one)) + one for one in words]
    return [list(line) for line in zip(*padded, strict=True)]
