"""A guard for CI: two ratios that a regression would multiply, with margins that a busy machine does not reach.

* `index build` compared with only decoding the same files with as many workers;
* a cold query compared with `import faiss`.

Prints the ratios and exits with 1 if one exceeds its margin.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from beside import SIZES, Line, alternately, arguments_of, latent, make_photos, tell

from retrieval.pictures.workers import DecoderPool, Task

LEAST_INGEST, MOST_COLD = 0.2, 12.0


def main() -> None:
    arguments = arguments_of(__doc__, pictures=(1500, "files"), rounds=(3, "rounds"))
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        paths, index = make_photos(scratch / "photos", arguments.pictures, SIZES["0.1 MP"]), scratch / "index"

        def decode() -> None:
            with DecoderPool(64) as pool:
                for _ in pool.map(Task(str(path)) for path in paths):
                    pass

        def build() -> None:
            shutil.rmtree(index, ignore_errors=True)
            latent("index", "build", str(scratch / "photos"), "--index", str(index))

        seconds = alternately(
            arguments.rounds,
            decode=decode,
            build=build,
            query=lambda: latent("query", str(paths[0]), "--index", str(index)),
            faiss=lambda: subprocess.run([sys.executable, "-c", "import faiss"], check=True),
        )
    ingest, cold = seconds["decode"] / seconds["build"], seconds["query"] / seconds["faiss"]
    lines = [
        Line("index build", f"{seconds['build']:.2f} s", f"decoding {seconds['decode']:.2f} s", ingest, LEAST_INGEST),
        Line(
            "cold query", f"{seconds['query']:.2f} s", f"import faiss {seconds['faiss']:.2f} s", cold, at_most=MOST_COLD
        ),
    ]
    tell("guard", lines, arguments)
    sys.exit(any(line.verdict == "missed" for line in lines))


if __name__ == "__main__":
    main()
