"""Labels from tables: whatever a spreadsheet or an editor makes of a CSV is read right, or refused with its line."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from retrieval.errors import TrainingError
from train.labelled import as_numbers
from train.labels import label_reader, read_table

PLAIN = "path,kind,age\na.png,rose,3\nb/c.png,tulip,4\n"
EXPECTED = {"a.png": {"kind": "rose", "age": "3"}, "b/c.png": {"kind": "tulip", "age": "4"}}


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "labels.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        "\ufeff" + PLAIN,
        PLAIN.replace("\n", "\r\n"),
        "\ufeff" + PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        PLAIN.rstrip("\n"),
        "\n" + PLAIN.replace("\n", "\n\n") + ",,\n , ,\n",
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        "\ufeff" + PLAIN.replace(",", ";").replace("\n", "\r\n"),
        'path,kind,age\n"a.png","rose","3"\n"b/c.png","tulip","4"\n',
        '"path","kind","age"\n"a.png","rose","3"\n"b/c.png","tulip","4"\n',
        "path, kind , age\na.png, rose,3 \nb/c.png,tulip , 4\n",
        "age,path,kind\n3,a.png,rose\n4,b/c.png,tulip\n",
        "path,kind,age\n./a.png,rose,3\nb//c.png,tulip,4\n",
        PLAIN + "a.png,rose,3\n",  # said twice, and the same
    ],
)
def test_what_programs_write_is_read(tmp_path: Path, content: str) -> None:
    assert read_table(written(tmp_path, content)) == EXPECTED


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("path,kind\na.png,rose\nb.png,tulip,more\n", "labels.csv, line 3: 3 cells, but 2 columns"),
        ("path,kind,age\na.png,rose,3\n\nb.png,tulip\n", "labels.csv, line 4: 2 cells, but 3 columns"),
        ("path,kind\na.png,rose\nb.png,tulip\na.png,tulip\n", "line 4: a.png was there before, with other labels"),
        ("path,kind\n./a.png,rose\na.png,tulip\n", "line 3: a.png was there before"),
        ("path,kind,kind\na.png,rose,tulip\n", "labels.csv, line 1: each column needs a name of its own"),
        (",path,kind\n0,a.png,rose\n", "labels.csv, line 1: each column needs a name of its own"),
        ("path,kind\n,rose\n", "labels.csv, line 2: no path"),
        ("file,kind\na.png,rose\n", r"labels.csv needs a column path .* \['file', 'kind'\]"),
        ("path\na.png\n", "labels.csv needs a column path and another one"),
        ("", "labels.csv needs a column path"),
        ("path,kind\n", "labels.csv has no line"),
        ('path,kind\na.png,"rose\nb.png,tulip\n', "labels.csv, line 3: unexpected end of data"),
        ('path,kind\na.png,"rose"y\n', "labels.csv, line 2: "),
        ("path,kind\na.png,rose\nb.png,Krätze\n".encode("latin-1"), "labels.csv, line 3: this is not UTF-8"),
        (PLAIN.encode("utf-16"), "labels.csv, line 1: this is not UTF-8"),
        ("path,kind\na.png," + "x" * 200_000, "labels.csv, line 2: field larger"),
        ("x" * 200_000, "labels.csv, line 1: field larger"),
    ],
)
def test_what_cannot_be_read_is_named_by_file_and_line(tmp_path: Path, content: str | bytes, complaint: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(TrainingError, match=complaint) as caught:
        label_reader(str(path))
    assert str(path) in str(caught.value) and caught.value.code == "labels_table"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_any_cells_come_back_as_the_writer_had_them(tmp_path: Path, delimiter: str) -> None:
    """Drawn cells full of delimiters, quotes and line ends, written by the standard library's writer."""
    rng = np.random.default_rng(0)
    letters = list("abc äß,;\t\"'\n\r=")
    rows: dict[str, dict[str, str]] = {}
    for number in range(200):
        cells = ["".join(rng.choice(letters, rng.integers(1, 9))).strip() for _ in range(3)]
        rows[f"{number}/{cells[0].replace(chr(0), '')}x.png"] = {"kind": cells[1], "mood": cells[2]}
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(["path", "kind", "mood"])
    writer.writerows([path, *labels.values()] for path, labels in rows.items())
    assert read_table(written(tmp_path, "\ufeff" + text.getvalue())) == rows


def test_the_longest_end_of_a_path_decides(tmp_path: Path) -> None:
    read = label_reader(str(written(tmp_path, "path,kind\na.png,none\nx/a.png,near\n/abs/x/a.png,exact\n")))
    assert [read(name) for name in ("/abs/x/a.png", "/other/x/a.png", "y/a.png", "b.png")] == [
        {"kind": "exact"},
        {"kind": "near"},
        {"kind": "none"},
        None,
    ]


@pytest.mark.parametrize("odd", ["nan", "inf", "-Infinity", "1e999", "three", ""])
def test_numbers_are_finite(odd: str) -> None:
    assert as_numbers("age", np.array(["3", "4.5", "1e3"])).tolist() == [3.0, 4.5, 1000.0]
    with pytest.raises(TrainingError, match="label age is no "):
        as_numbers("age", np.array(["3", odd]))
