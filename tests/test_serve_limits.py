"""``latent serve`` under fire: bombs and broken files, and what its OpenAPI promises."""

from __future__ import annotations

import contextlib
import re
import struct
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval import Retriever
from tests.conftest import draw_shape, write_shapes

try:
    import fastapi  # noqa: F401
    import httpx  # noqa: F401
    import requests
    import schemathesis
    import uvicorn  # noqa: F401
    from hypothesis import HealthCheck, Phase, given, seed, settings
    from hypothesis.errors import Unsatisfiable
    from schemathesis import GenerationMode
    from schemathesis.core.failures import FailureGroup
    from schemathesis.specs.openapi.checks import positive_data_acceptance  # a schema cannot hold the filters' grammar

    from tests.serving import Site, ended, started, told
except ImportError:
    pytest.skip("these tests need the extra web, httpx and schemathesis", allow_module_level=True)

GROWTH_BYTES = 100 << 20  # of the server, after all that
BOMBS = 100
SHORT_S = 0.1
EXAMPLES = 4  # of each operation and way of drawing it: all in all less than a minute


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Path:
    home = tmp_path_factory.mktemp("fired-at")
    write_shapes(home / "photos", 24)
    Retriever.build(home / "photos", index=home / ".latent", model=str(tiny_bundle), workers=1).close()
    return home


@pytest.fixture(scope="module")
def site(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    scratch = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(scratch / "xdg"))
        site = started(home, "--allow-apply", token=scratch / "token", scratch=scratch)
    yield site
    assert ended(site) == 0 and "Traceback" not in site.log.read_text()


# uploads


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of(wide: int, high: int, content: bytes) -> bytes:
    """A PNG that claims to be so large, with some compressed content, whatever that is."""
    head = struct.pack(">IIBBBBB", wide, high, 8, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(content, 9)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def drawn_upload(rng: np.random.Generator) -> bytes:
    """A bomb, or a file that is broken in one of many ways."""
    picture = BytesIO()
    form = str(rng.choice(["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"]))
    draw_shape("disc", rng, int(rng.integers(32, 200))).save(picture, form)
    whole = bytearray(picture.getvalue())
    match rng.integers(6):
        case 0:  # more pixels than may be
            side = int(rng.integers(7_100, 60_000))
            return png_of(side, side, bytes(1 << 20))
        case 1:  # fewer, of which most are missing
            return png_of(7_000, int(rng.integers(3_000, 7_000)), bytes(int(rng.integers(1, 1 << 20))))
        case 2:  # much more than the head says
            return png_of(8, 8, bytes(64 << 20))
        case 3:
            return bytes(whole[: rng.integers(1, len(whole))])
        case 4:
            for place in rng.integers(0, len(whole), 40):
                whole[place] = rng.integers(256)
            return bytes(whole)
        case _:
            return rng.bytes(int(rng.integers(0, 100_000)))


def rss_bytes(site: Site) -> int:
    """The memory of the server itself; its workers have limits of their own."""
    said = re.search(r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{site.process.pid}/status").read_text(), re.MULTILINE)
    assert said is not None
    return 1024 * int(said[1])


def test_bombs_and_broken_files_cost_no_memory_and_break_nothing(site: Site) -> None:
    rng = np.random.default_rng(17)
    good = BytesIO()
    draw_shape("square", rng, 64).save(good, "PNG")
    expected = told(site.post(good.getvalue(), k=5))["hits"]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: told(site.post(good.getvalue(), k=5)), range(12)))  # threads and workers are there
        before = rss_bytes(site)
        uploads = [drawn_upload(rng) for _ in range(BOMBS)]
        answers = list(pool.map(site.post, uploads))
    for answer in answers:
        assert answer.status_code in (200, 413, 422, 429), answer.text
        assert "Traceback" not in answer.text and str(site.folder) not in answer.text and "/proc/" not in answer.text
    codes = [answer.json()["error"]["code"] for answer in answers if answer.status_code != 200]
    assert {"too_many_pixels", "picture_refused"} <= set(codes) and len(codes) > BOMBS // 2
    assert rss_bytes(site) - before < GROWTH_BYTES
    assert told(site.post(good.getvalue(), k=5))["hits"] == expected


def test_a_head_of_more_than_50_million_pixels_is_refused_before_it_is_decoded(site: Site) -> None:
    for wide, high, status in ((7_100, 7_100, 413), (1 << 20, 48, 413), (50_000_001, 1, 413), (5_000, 9_999, 422)):
        answer = site.post(png_of(wide, high, b""))
        assert answer.status_code == status, (wide, high, answer.text)


# OpenAPI


def test_the_openapi_is_true(site: Site) -> None:
    """What it allows is answered as it says, and so is what it does not allow; nothing breaks the server."""
    schema = schemathesis.openapi.from_dict(told(site.get("openapi.json")))
    schema.config.update(base_url=site.origin)
    tried: list[str] = []
    wrong: dict[str, str] = {}
    for found in schema.get_all_operations():
        operation = found.ok()
        for mode in GenerationMode:
            try:
                _try(operation, mode, site, tried)
            except FailureGroup as group:
                wrong[f"{operation.label} {mode}"] = "; ".join(str(one) for one in group.exceptions)
            except requests.RequestException as error:  # no answer
                wrong[f"{operation.label} {mode}"] = str(error)[:500]
    assert not wrong, "\n\n".join(f"{name}: {said}" for name, said in wrong.items())
    assert len(set(tried)) > 30


def _try(operation: Any, mode: GenerationMode, site: Site, tried: list[str]) -> None:
    @seed(5)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def answered(case: Any) -> None:
        if isinstance(case.query.get("seconds"), int | float) and case.query["seconds"] > SHORT_S:
            case.query["seconds"] = SHORT_S  # of a stream
        tried.append(operation.label)
        case.call_and_validate(headers=site.key, excluded_checks=[positive_data_acceptance])

    with contextlib.suppress(Unsatisfiable):  # nothing can be wrong with a request that takes nothing
        answered()
