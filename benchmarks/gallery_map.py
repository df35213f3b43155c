"""The map of ``latent serve`` at 100,000 points: the server's time and memory, and frames of the page in Chromium.

The index holds random codes in twelve groups and no files, so the pictures on the map are missing; all else is as ever.
Each frame moves or zooms the map as the mouse does. ``python benchmarks/gallery_map.py [POINTS]``
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from playwright.sync_api import Page, sync_playwright

from retrieval import Retriever, connect
from tests.browsing import CHROMIUM
from tests.conftest import add_codes, write_shapes

POINTS, FRAMES = 100_000, 120
SIZES_PX = ((360, 800), (1024, 800), (1920, 1080))
RUN = """async ([kind, frames]) => {
    const stage = document.querySelector("#map-stage");
    stage.setPointerCapture = () => {}; // there is no such pointer
    const { left, top, width, height } = stage.getBoundingClientRect();
    const send = (type, share, more) => {
        const Kind = type === "wheel" ? WheelEvent : PointerEvent;
        const place = { clientX: left + share * width, clientY: top + height / 2 };
        stage.dispatchEvent(new Kind(type, { bubbles: true, cancelable: true, pointerId: 1, ...place, ...more }));
    };
    const starts = [];
    if (kind === "move") send("pointerdown", 0.3);
    for (let frame = 0; frame <= frames; frame++) {
        starts.push(await new Promise(requestAnimationFrame));
        if (kind === "move") send("pointermove", 0.3 + 0.4 * Math.abs(Math.sin(frame / 20)));
        else send("wheel", 0.5, { deltaY: frame < frames / 2 ? -60 : 60 });
    }
    if (kind === "move") send("pointerup", 0.5);
    return starts.slice(1).map((start, at) => start - starts[at]);
}"""
DRAW = """async (frames) => {
    const { Camera, Plane, paint } = await import("/assets/plane.js");
    const canvas = document.querySelector("#map-points");
    const told = await (await fetch("/api/v1/map")).json();
    const plane = new Plane(new Float32Array(Uint8Array.from(atob(told.positions), (one) => one.charCodeAt(0)).buffer));
    const image = new ImageData(canvas.width, canvas.height);
    const camera = Object.assign(new Camera(), { width: canvas.width, height: canvas.height });
    const look = { inks: new Uint32Array(plane.count).fill(0xff00ff00), above: [], ground: 0xffffffff, sizePx: 2 };
    const took = [];
    for (let frame = 0; frame < frames; frame++) {
        const began = performance.now();
        camera.zoomAt(1.02);
        paint(image, plane, camera, look);
        canvas.getContext("2d").putImageData(image, 0, 0);
        took.push(performance.now() - began);
    }
    return took;
}"""


def told(milliseconds: list[float]) -> str:
    p50, p95 = np.percentile(milliseconds, (50, 95))
    return f"{p50:6.1f} ms at p50, {p95:6.1f} ms at p95"


def most_memory_mb(process: int) -> float:
    (kilobytes,) = re.findall(r"VmHWM:\s+(\d+)", Path(f"/proc/{process}/status").read_text())
    return int(kilobytes) / 1000


def measure_server(origin: str, token: str, process: int) -> None:
    before = most_memory_mb(process)
    began = time.perf_counter()
    client = connect(origin, token)
    told_map = client.map()
    print(f"made in {time.perf_counter() - began:.1f} s, {len(told_map.ids):,} pictures", end="; ")
    print(f"the server's most memory {before:.0f} -> {most_memory_mb(process):.0f} MB")


def measure_page(page: Page, address: str) -> None:
    began = time.perf_counter()
    page.goto(f"{address}/?view=map")
    page.wait_for_selector("#map-stage:not([aria-busy])", timeout=120_000)
    first_s = time.perf_counter() - began
    size = page.evaluate("[document.querySelector('#map-points').width, document.querySelector('#map-points').height]")
    sent = page.evaluate(
        "performance.getEntriesByType('resource').find(one => one.name.endsWith('/map')).decodedBodySize"
    )
    print(f"{sent / 1e6:.1f} MB of map", end="; ")
    print(f"{page.viewport_size}: canvas {size[0]} x {size[1]}, map drawn {first_s:.2f} s after the address was opened")
    page.uncheck("#map-prototypes")
    for kind in ("move", "zoom"):
        page.evaluate(RUN, [kind, 10])
        print(f"  {kind}: {told(page.evaluate(RUN, [kind, FRAMES]))} from frame to frame")
    print(f"  drawing alone: {told(page.evaluate(DRAW, FRAMES))}")


def main(points: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        write_shapes(home / "photos", 3)
        Retriever.build(home / "photos", index=home / ".latent").close()
        add_codes(home / ".latent", points - 3)
        command = [sys.executable, "-c", "from cli.main import main; main()", "serve", "--index", str(home / ".latent")]
        command += ["--port", "0", "--no-open", "--token-file", str(home / "token")]
        paths = os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
        environment: Any = os.environ | {"PYTHONPATH": paths}
        with (
            subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
            ) as server,
            sync_playwright() as driver,
        ):
            try:
                assert server.stdout is not None
                link = server.stdout.readline().strip()
                address = link.partition("/?")[0]
                measure_server(address, (home / "token").read_text().strip(), server.pid)
                browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
                context = browser.new_context()
                context.new_page().goto(link)
                state = context.storage_state()
                print(f"Chromium {browser.version}, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
                for width, height in SIZES_PX:
                    fresh = browser.new_context(viewport={"width": width, "height": height}, storage_state=state)
                    measure_page(fresh.new_page(), address)
                    fresh.close()
            finally:
                server.terminate()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else POINTS)
