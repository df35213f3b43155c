"""The real server: times beside the searcher in this process, memory under load, and how soon its page shows pictures.

``python benchmarks/serve.py`` asks by id, with 1, 8 and 32 clients, and prints p50 and p99. ``--minutes 60`` asks all
kinds of things, four clients at once, and prints the memory of the server and of its workers each minute. ``--page``
opens the page in Chromium, twenty times, and prints when the first pictures are painted, and the bytes that were sent.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from threading import local
from urllib.parse import quote

import httpx
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent))

from retrieval import Question, Retriever, Searcher, Term, ask

PICTURES, QUERIES, K, SIDE_PX = 2000, 1000, 10, 32
CLIENTS = (1, 8, 32)
LOADING, PAUSE_S = 4, 0.2  # clients of the long load, and what each waits between two requests
PAINTED = """new Promise(done => {
  const shown = () => [...document.querySelectorAll('#grid img')].filter(one => one.complete && one.naturalWidth > 0);
  const look = () => shown().length >= 12 ? requestAnimationFrame(() => done(performance.now())) : setTimeout(look, 5);
  look();
})"""


@dataclass
class Running:
    """A server, the link that opens its page, and its token."""

    process: subprocess.Popen[str]
    link: str
    token: str

    @property
    def origin(self) -> str:
        return self.link.partition("/?")[0]


def write_pictures(folder: Path, count: int) -> None:
    """Pictures of a few soft colours, each of its own, in folders of a thousand."""
    rng = np.random.default_rng(0)
    for number in range(count):
        if number % 1000 == 0:
            (folder / f"{number // 1000:03d}").mkdir(parents=True)
        small = Image.fromarray(rng.integers(0, 256, (3, 3, 3), np.uint8))
        path = folder / f"{number // 1000:03d}" / f"{number:06d}.jpg"
        small.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC).save(path, quality=90)


@contextmanager
def server(home: Path) -> Iterator[Running]:
    command = [sys.executable, "-c", "from cli.main import main; main()", "serve", "--index", str(home / ".latent")]
    command += ["--port", "0", "--no-open", "--token-file", str(home / "token")]
    paths = os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    own = os.environ | {"PYTHONPATH": paths, "XDG_CACHE_HOME": str(home / "cache")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=own) as process:
        try:
            assert process.stdout is not None
            link = process.stdout.readline().strip()
            yield Running(process, link, (home / "token").read_text().strip())
        finally:
            process.terminate()


def memory_mb(process: int) -> tuple[float, float]:
    """Memory of a process and of its children in MB, what each has for itself alone.

    What several share is left out: a share of it (PSS) grows whenever another process on the machine ends.
    """
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    for task in Path(f"/proc/{process}/task").iterdir():
        children += (task / "children").read_text().split()
    return _own_mb(str(process)), sum(_own_mb(child) for child in set(children))


def _own_mb(process: str) -> float:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1000


def timed(calls: Sequence[Callable[[int], object]], ids: list[int], clients: int) -> list[tuple[float, float]]:
    """p50 and p99 of each call in milliseconds. They take turns, since the machine may be busy with other things."""

    def one(number: int) -> list[float]:
        took = []
        for call in calls:
            began = time.perf_counter()
            call(number)
            took.append(1000 * (time.perf_counter() - began))
        return took

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(one, ids[:50]))  # connections and caches
        took = np.array(list(pool.map(one, ids)))
    return [(float(np.percentile(its, 50)), float(np.percentile(its, 99))) for its in took.T]


def over_http(port: int, token: str) -> Callable[[str], bytes]:
    """What gets a route's answer, by a connection of each thread's own."""
    mine = local()

    def get(route: str) -> bytes:
        if not hasattr(mine, "connection"):
            mine.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        mine.connection.request("GET", f"/api/v1/{route}", headers={"Authorization": f"Bearer {token}"})
        answer = mine.connection.getresponse()
        content: bytes = answer.read()
        assert answer.status == 200, content
        return content

    return get


def table(home: Path) -> None:
    """p50 and p99 over HTTP beside the searcher in this process."""
    with server(home) as running, Searcher.open(home / ".latent") as searcher:
        _table(running, searcher)


def _table(running: Running, searcher: Searcher) -> None:
    port = int(running.origin.rpartition(":")[2])
    get = over_http(port, running.token)
    paths = {one.id: one.path for one in searcher.pictures()}
    numbers = np.random.default_rng(0).choice(sorted(paths), QUERIES).tolist()

    def here(number: int) -> object:
        return ask(searcher, Question((Term(1.0, paths[number]),), k=K))

    def query(number: int) -> object:
        return get(f"query?id={number}&k={K}")

    def thumbnail(number: int) -> object:
        return get(f"items/{number}/thumbnail?size=256")

    def painting(number: int) -> object:
        return get(f"items/{number}/painting")

    def step(number: int) -> object:
        """What a slider between two pictures asks for each time."""
        code = json.loads(get(f"interpolate?a={number}&b={numbers[0]}&t=0.3"))["code"]
        return get(f"paint?code={quote(code, safe='')}")

    print("| clients | searcher p50, p99 ms | HTTP query | thumbnail, seen before | painting | step of a slider |")
    print("|---|---|---|---|---|---|")
    for clients in CLIENTS:
        timed([thumbnail], sorted(set(numbers)), clients)
        cells = [*timed([here, query], numbers, clients), *timed([thumbnail], numbers, clients)]
        cells += [*timed([painting], numbers[:100], clients), *timed([step], numbers[:100], clients)]
        print(f"| {clients} | " + " | ".join(f"{p50:.1f}, {p99:.1f}" for p50, p99 in cells) + " |", flush=True)


def ask_all_the_time(running: Running, ids: list[int], seed: int, stopped: threading.Event) -> None:
    rng = np.random.default_rng(seed)
    with httpx.Client(base_url=f"{running.origin}/api/v1", timeout=60) as client:
        client.headers["Authorization"] = f"Bearer {running.token}"
        while not stopped.is_set():
            a, b = (int(one) for one in rng.choice(ids, 2))
            kind = rng.integers(7)
            if kind == 0:
                body = BytesIO()
                Image.fromarray(rng.integers(0, 256, (200, 300, 3), np.uint8)).save(body, "JPEG")
                client.post("/query?k=50", content=body.getvalue(), headers={"Content-Type": "image/jpeg"})
            elif kind == 1:
                code = client.get(f"/interpolate?a={a}&b={b}&t={rng.random():.3f}").json()["code"]
                client.get(f"/paint?code={quote(code, safe='')}")
            else:
                routes = (
                    f"/query?id={a}&k=100&copies=collapse",
                    f"/items/{a}/thumbnail?size={rng.choice([128, 256, 512])}",
                    f"/items/{a}/difference?id={b}",
                    f"/items?where={quote(f'width >= {rng.integers(10, 50)}')}&order=newest&limit=200&offset={a % 500}",
                    f"/items/{a}",
                )
                client.get(routes[kind - 2])
            time.sleep(PAUSE_S)


def load(home: Path, minutes: float) -> None:
    with Retriever.open(home / ".latent") as retriever:
        ids = [one.id for one in retriever.pictures()]
    with server(home) as running:
        stopped = threading.Event()
        clients = [threading.Thread(target=ask_all_the_time, args=(running, ids, n, stopped)) for n in range(LOADING)]
        for one in clients:
            one.start()
        print("| minute | server MB | workers MB | requests |\n|---|---|---|---|")
        began = time.monotonic()
        while time.monotonic() - began < 60 * minutes:
            time.sleep(60)
            own, workers = memory_mb(running.process.pid)
            metrics = httpx.get(
                f"{running.origin}/api/v1/metrics", headers={"Authorization": f"Bearer {running.token}"}
            ).text
            lines = [one for one in metrics.splitlines() if one.startswith("latent_requests_total")]
            count = sum(float(one.rpartition(" ")[2]) for one in lines)
            minute = round((time.monotonic() - began) / 60)
            print(f"| {minute} | {own:.1f} | {workers:.1f} | {count:,.0f} |", flush=True)
        stopped.set()
        for one in clients:
            one.join()


def page(home: Path) -> None:
    from playwright.sync_api import sync_playwright

    with server(home) as running, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        first = browser.new_context(viewport={"width": 1280, "height": 800})
        opened = first.new_page()
        opened.goto(running.link)
        state = first.storage_state()
        took, sent = [], []
        for _ in range(20):
            opened = browser.new_context(storage_state=state, viewport={"width": 1280, "height": 800}).new_page()
            bodies: list[int] = []
            opened.on(
                "response",
                lambda answer, bodies=bodies: "/api/" in answer.url or bodies.append(len(answer.body())),  # type: ignore[misc]
            )
            opened.goto(running.origin, wait_until="commit")
            took.append(float(opened.evaluate(PAINTED)))
            sent.append(sum(bodies))
            opened.context.close()
        browser.close()
    print(f"first pictures painted after {np.median(took):.0f} ms (median of {len(took)}; {max(took):.0f} ms at most)")
    print(f"the page itself: {max(sent) / 1000:.0f} kB")


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--minutes", type=float)
    words.add_argument("--page", action="store_true")
    words.add_argument("--pictures", type=int, default=PICTURES)
    words.add_argument("--model", help="of the index that is made")
    words.add_argument("--home", type=Path, help="where pictures and index are made, or lie already")
    given = words.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        home = given.home or Path(scratch)
        if not (home / ".latent").exists():
            write_pictures(home / "photos", given.pictures)
            Retriever.build(home / "photos", index=home / ".latent", model=given.model).close()
        if given.page:
            page(home)
        elif given.minutes:
            load(home, given.minutes)
        else:
            table(home)


if __name__ == "__main__":
    main()
