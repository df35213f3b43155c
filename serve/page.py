"""The page: what lies in ``serve/gallery``, read once when the server starts, so that no request names a file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

GALLERY = Path(__file__).parent / "gallery"
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webp": "image/webp",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".txt": "text/plain; charset=utf-8",
}
PLAIN = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>latent</title></head>
<body><h1>latent</h1>
<p>This installation has no gallery. The API answers:</p>
<ul><li><a href="/api/v1/status">status</a></li><li><a href="/api/v1/items">items</a></li>
<li><a href="/api/v1/openapi.json">openapi.json</a></li></ul>
</body></html>
"""


@dataclass(frozen=True)
class Part:
    """A file of the page."""

    content: bytes
    kind: str

    @property
    def tag(self) -> str:
        return f'"{hashlib.sha256(self.content).hexdigest()[:32]}"'


def read_page(folder: Path = GALLERY) -> dict[str, Part]:
    """The files of the page by their path: ``index.html``, ``assets/NAME``."""
    assets = sorted((folder / "assets").rglob("*")) if (folder / "assets").is_dir() else []
    files = [folder / "index.html", *assets]
    page = {
        file.relative_to(folder).as_posix(): Part(file.read_bytes(), KINDS[file.suffix])
        for file in files
        if file.suffix in KINDS and file.is_file()
    }
    return {"index.html": Part(PLAIN.encode(), KINDS[".html"]), **page}
