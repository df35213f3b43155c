"""A decoder that does what its file says, in worker processes only: they find it in a ``sitecustomize`` module."""

from __future__ import annotations

from pathlib import Path

RIGGED = """
import os, pickle, signal, struct, sys, time
from pathlib import Path

from PIL import Image, ImageFile

HERE = Path(__file__).parent


class Opening:
    def __reduce__(self):
        return open, (str(HERE / "owned"), "w")


def forge(data):
    for number in range(3, 30):  # one of them is the pipe to the parent
        try:
            os.write(number, data)
        except OSError:
            pass


def head(*sizes):
    return struct.pack("<B?16s??4IQ", 2, True, bytes(16), False, False, *sizes)


def busy(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def fill(path):
    with open(path, "w") as file:
        file.write("x")


DEEDS = {
    "decode": lambda: None,
    "pickle": lambda: forge(pickle.dumps(Opening())),
    "garbage": lambda: forge(os.urandom(200)),
    "flood": lambda: forge(head(8, 8, 1 << 31, 1 << 31, 1 << 62)),
    "too long": lambda: forge(head(8, 8, 8, 8, 193) + bytes(193)),
    "too short": lambda: forge(head(8, 8, 8, 8, 0)),
    "busy": lambda: busy(0.5),
    "busy for ever": lambda: busy(1e9),
    "crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "steer": lambda: (_ for _ in ()).throw(ValueError("\\x1b]0;owned\\x07\\x1b[2J\\u202e" * 100)),
    "write": lambda: fill(HERE / "owned"),
    "open files": lambda: [open(__file__) for _ in range(100)],
    "want memory": lambda: [bytearray(64 << 20) for _ in range(1000)],
}


class Rigged(ImageFile.ImageFile):
    format = "RIGGED"

    def _open(self):
        self.deed = self.fp.read().decode().removeprefix("RIGGED:")
        self._mode, self._size = "RGB", (8, 8)

    def load(self):
        DEEDS[self.deed]()
        self.im = Image.core.fill("RGB", (8, 8), (1, 2, 3))
        return None


Image.register_open(Rigged.format, Rigged, lambda prefix: prefix.startswith(b"RIGGED:"))
"""


def install(folder: Path) -> Path:
    """Put the decoder into a new ``folder``, which goes into the search path."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(RIGGED)
    return folder


def write_rigged(folder: Path, deed: str) -> Path:
    path = folder / f"{deed}.jpg"
    path.write_text(f"RIGGED:{deed}")
    return path
