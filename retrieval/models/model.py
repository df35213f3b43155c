"""Encode pictures and decode codes with the ONNX graphs of a bundle. No torch.

* encoder: ``images`` uint8 (n, s, s, 3) -> ``code`` float32 (n, d), ``realism`` (n,), ``spread`` (n,)
* generator: ``code`` float32 (n, d) -> ``images`` uint8 (n, s, s, 3)
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from index.forks import abandon, watch
from retrieval.arrays import Floats, Pixels
from retrieval.atomic import write
from retrieval.defaults import DECODE_SCALE, DEFAULT_MODEL, Device
from retrieval.errors import ModelError, PictureRefused
from retrieval.models.bundle import (
    DESCRIPTION,
    SHIPPED,
    added_models,
    own_models,
    read_description,
    shipped_models,
    verified,
    write_description,
)
from retrieval.models.description import ENCODER, GENERATOR, fault_of
from retrieval.models.learnt import FIELD, Learnt, read
from retrieval.models.prior import FIELD as PRIOR
from retrieval.models.prior import drawn
from retrieval.models.sessions import Graph
from retrieval.pictures.given import is_file, is_opened, pixels_of
from retrieval.pictures.tasks import Frame

if TYPE_CHECKING:
    from PIL import Image

    from retrieval.pictures.given import Given

BATCH = 64
FRAMES: dict[str, Frame] = {"centre": "square", "whole": "whole", "pad": "thumbnail"}
CORRECTIONS, DAMPING = 3, np.float32(0.4)  # of the latent, in ``Model.decode``


@dataclass(frozen=True)
class Encoded:
    """``codes`` float32 (n, d); ``realism`` -avg(E(x)) and ``spread`` std(E(x)), float32 (n,); ``unfamiliarity``, the
    share of what the model learnt that is less unusual, float32 (n,), NaN where that is not known."""

    codes: Floats
    realism: Floats
    spread: Floats
    unfamiliarity: Floats


def load_model(name: str | os.PathLike[str] = DEFAULT_MODEL, device: Device = "auto") -> Model:
    """Open a shipped model or one that this user added by its name, or any bundle by its folder (``./name`` if the name
    is one of those).

    Raises:
        ModelError: there is no such model, or its bundle is damaged.
    """
    folder = _folder_of(os.fspath(name))
    if not os.path.isfile(folder / DESCRIPTION):
        known = ", ".join([*shipped_models(), *added_models()]) or "none here"
        raise ModelError(
            f"no model {os.fspath(name)!r}: neither a shipped or added name ({known}) "
            f"nor a folder with a readable {DESCRIPTION}"
        )
    return Model(folder, device)


def _folder_of(name: str) -> Path:
    if name in shipped_models():
        return SHIPPED / name
    own = own_models()
    return own / name if own and name in added_models() else Path(name)


class Model:
    """An opened bundle. Encoder and generator are loaded on first use. Any thread and any forked process may use it,
    and it can be pickled.
    """

    def __init__(
        self,
        folder: Path,
        device: Device = "auto",
        *,
        facts: dict[str, Any] | None = None,
        threads: int | None = None,
    ) -> None:
        """Open the bundle in ``folder``; ``facts`` take the place of those in its description.

        ``threads`` run its graphs, by default one per core.
        """
        self.folder = folder
        self.device = device
        self._threads = threads
        self.facts = facts or read_description(folder)
        self.name: str = self.facts["name"]
        self.image_size: int = self.facts["image_size"]
        self.painted_size: int = self.facts.get("painted_size", self.image_size)  # the side of what G paints
        self.looks: int = self.facts.get("looks", 1)
        self.latent_dim: int = self.facts["latent_dim"] * self.looks
        self._graphs: dict[str, Graph] = {}
        self._opening = threading.Lock()
        watch(self)

    def __repr__(self) -> str:
        return f"Model({self.name!r}, {self.image_size} px, {self.latent_dim} dimensions, {os.fspath(self.folder)!r})"

    @property
    def standardized(self) -> bool:
        """Whether every code has mean 0 and standard deviation 1; then both metrics give the same order."""
        return bool(self.facts["normalisation"] == "standardized")

    @property
    def frame(self) -> Frame:
        """What of a picture the encoder is shown."""
        return "looks" if self.looks > 1 else FRAMES[self.facts.get("preprocess", "centre")]

    def with_looks(self, looks: int) -> Model:
        """This model with one look at a picture, its central square; or with two: the whole picture too, squeezed.

        Two looks are mirrored as well, and a look's codes are averaged. Their codes stand side by side, so a code has
        twice as many numbers, and encoding takes four times as long. G decodes the whole picture's part.

        Raises:
            ModelError: the model has classes, or sees pictures otherwise.
        """
        if looks == self.looks:
            return self
        facts = {**self.facts, "looks": looks}
        if fault := fault_of(facts):
            raise ModelError(f"model {self.name} {fault}")
        return Model(self.folder, self.device, facts=facts, threads=self._threads)

    @property
    def has_encoder(self) -> bool:
        return ENCODER in self.facts["files"]

    @property
    def classes(self) -> list[str]:
        """The classes, one for each of the last dimensions of a code; empty for most models."""
        return list(self.facts.get("classes", []))

    @property
    def decode_scale(self) -> float:
        """The factor of a picture's code when it is decoded."""
        return float(self.facts.get("decode_scale", DECODE_SCALE))

    @property
    def digest(self) -> str:
        """SHA-256 of the encoder, and of its looks if there are two. Models with the same digest give the same codes.

        Raises:
            ModelError: the bundle has no encoder.
        """
        self._check_encoder()
        alone = str(self.facts["files"][ENCODER])
        return alone if self.looks == 1 else hashlib.sha256(f"{alone}, {self.looks} looks".encode()).hexdigest()

    @cached_property
    def learnt(self) -> Learnt | None:
        """How the pictures that it learnt from look to it. None if neither this bundle nor a shipped one of the same
        encoder says.
        """
        table = self.facts.get(FIELD) or next(
            (facts[FIELD] for facts in _shipped_facts() if FIELD in facts and _same_encoder(facts, self.facts)), None
        )
        return None if table is None else read(table)

    @property
    def has_generator(self) -> bool:
        return GENERATOR in self.facts["files"]

    def encode(self, pictures: Sequence[Given] | Pixels) -> Floats:
        """Codes float32 (n, d) of pictures: a list of paths, of uint8 (h, w, 3) and of Pillow's pictures, or one uint8
        (n, h, w, 3). Pillow's pictures are turned upright by their EXIF.

        Raises:
            PictureRefused: a file cannot be read as a picture; the message names it.
            ValueError: an array of another dtype or shape.
            ModelError: the bundle has no encoder.
        """
        return self.encode_fully(pictures).codes

    def encode_fully(self, pictures: Sequence[Given] | Pixels) -> Encoded:
        """As ``encode``, with realism and spread."""
        if isinstance(pictures, str | bytes | os.PathLike) or is_opened(pictures):
            raise TypeError("encode takes a list of pictures: encode([picture])")
        if isinstance(pictures, np.ndarray):
            pictures = list(_checked(pictures))
        return self.encode_squares([_unless_refused(one) for one in self.squares(pictures)])

    def encode_squares(self, squares: Sequence[Pixels] | Pixels) -> Encoded:
        """Encode uint8 (n, s, s, 3) that already have the model's size, in batches; with two looks, (n, 2s, s, 3)."""
        side = self.image_size
        shape = (self.looks * side, side, 3)
        squares = np.asarray(squares, np.uint8) if len(squares) else np.empty((0, *shape), np.uint8)
        if squares.shape[1:] != shape:
            raise ValueError(f"squares must be (n, {', '.join(map(str, shape))}), not {squares.shape}")
        if self.looks == 1:
            return self._held_against_learnt(self._encode(squares), squares)
        parts = [self._look(squares[:, at * side : (at + 1) * side]) for at in range(self.looks)]
        whole = replace(parts[-1], codes=np.concatenate([one.codes for one in parts], axis=1))
        return self._held_against_learnt(whole, squares[:, -side:])

    def _held_against_learnt(self, encoded: Encoded, squares: Pixels) -> Encoded:
        """With the unfamiliarity of pictures uint8 (n, s, s, 3), if it is known what was learnt."""
        if self.learnt is None or not len(squares):
            return encoded
        rank = self.learnt.unfamiliarity(encoded.realism, encoded.spread, squares)
        return replace(encoded, unfamiliarity=np.asarray(rank, np.float32))

    def _look(self, squares: Pixels) -> Encoded:
        """Codes averaged with those of the mirror images; realism and spread of the pictures as they are."""
        seen, mirrored = self._encode(squares), self._encode(squares[:, :, ::-1])
        mean = np.asarray((seen.codes + mirrored.codes) / 2, np.float32)
        return replace(seen, codes=standardize(mean) if self.standardized else mean)

    def _encode(self, squares: Pixels) -> Encoded:
        """Encode uint8 (n, s, s, 3) as they are: codes (n, d) of the encoder's own length."""
        if not len(squares):
            nothing = np.empty(0, np.float32)
            return Encoded(np.empty((0, self._own_dim), np.float32), nothing, nothing, nothing)
        fixed = self.facts.get("batch")
        step = fixed or BATCH
        batches = [squares[i : i + step] for i in range(0, len(squares), step)]
        outputs = [self._encode_batch(batch, fixed or len(batch)) for batch in batches]
        codes, realism, spread = (np.concatenate(parts) for parts in zip(*outputs, strict=True))
        return Encoded(codes, realism, spread, np.full(len(codes), np.nan, np.float32))

    def _encode_batch(self, batch: Pixels, n: int) -> list[Floats]:
        """Outputs of a batch that is filled up to ``n`` pictures."""
        filled = batch if len(batch) == n else np.concatenate([batch, batch[-1:].repeat(n - len(batch), 0)])
        wanted = {"code": ((n, self._own_dim), "float32"), "realism": ((n,), "float32"), "spread": ((n,), "float32")}
        return [output[: len(batch)] for output in self._encoder.run("images", filled, wanted)]

    def paint(self, z: Floats) -> Pixels:
        """G(z) of latents (n, d): uint8 (n, s, s, 3). With two looks, d is half of a code's length.

        Raises:
            ModelError: the bundle has no generator.
            ValueError: the latents have another shape.
        """
        z = np.asarray(z, dtype=np.float32)
        if z.ndim != 2 or z.shape[1] != self._own_dim:
            raise ValueError(f"latents must be (n, {self._own_dim}), not {z.shape}")
        batches = [self._paint_batch(z[i : i + BATCH]) for i in range(0, len(z), BATCH)]
        return np.concatenate([np.empty((0, *self._shape), np.uint8), *batches])

    def _paint_batch(self, z: Floats) -> Pixels:
        wanted = {"images": ((len(z), *self._shape), "uint8")}
        return np.asarray(self._generator.run("code", z, wanted)[0], np.uint8)

    def decode(self, codes: Floats, scale: float | None = None, *, look: int = 0) -> Pixels:
        """Decode codes (n, d) to pictures uint8 (n, s, s, 3).

        With ``scale`` the result is G(scale * code); the O-GAN paper uses 0.9. Without, the first latent z is
        ``decode_scale`` * code. If codes are standardized, as O-GAN's are, a damped fixed-point iteration corrects z
        three times: z <- z + 0.4 (code - N(E(G(z)))). The result is the one of the four decoded pictures whose code
        correlates best with the given code. With two looks, the part of the whole picture is decoded, or that of its
        centre (``look`` 1).

        Raises:
            ModelError: the bundle has no generator.
            ValueError: the codes have another shape, or there is no such look.
        """
        codes = np.asarray(codes, np.float32)
        if codes.ndim != 2 or codes.shape[1] != self.latent_dim:
            raise ValueError(f"codes must be (n, {self.latent_dim}), not {codes.shape}")
        if look not in range(self.looks):
            raise ValueError(f"look must be below {self.looks}, not {look}")
        codes = codes[:, look * self._own_dim : (look + 1) * self._own_dim]
        z = np.float32(self.decode_scale if scale is None else scale) * codes
        return self._corrected(z, standardize(codes)) if scale is None and self.standardized else self.paint(z)

    def _corrected(self, z: Floats, wanted: Floats) -> Pixels:
        """Decode first latents ``z`` (n, d) and correct them until the pictures' codes are near ``wanted`` (n, d)."""
        best, agreement = np.zeros((len(z), *self._shape), np.uint8), np.full(len(z), -np.inf)
        for _ in range(1 + CORRECTIONS):
            painted = self.paint(z)
            seen = self.encode_painted(painted).codes
            rho = (wanted * seen).mean(axis=1)
            nearer = rho > agreement
            best[nearer], agreement[nearer] = painted[nearer], rho[nearer]
            z = z + DAMPING * (wanted - seen)
        return best

    def interpolate(self, start: Floats, end: Floats, steps: int, *, scale: float | None = None) -> Pixels:
        """Decode ``steps`` codes on the line from one code (d,) to another, both included: uint8 (steps, s, s, 3).

        Raises:
            ModelError: the bundle has no generator.
            ValueError: fewer than two steps.
        """
        if steps < 2:
            raise ValueError(f"a way needs two steps at least, not {steps}")
        t = np.linspace(0, 1, steps, dtype=np.float32)[:, None]
        return self.decode((1 - t) * start + t * end, scale)

    def sample(self, count: int, seed: int = 0, *, of_class: str | None = None) -> Pixels:
        """Decode ``count`` draws from the prior: uint8 (count, s, s, 3). Equal seeds give equal pictures.

        Raises:
            ModelError: the bundle has no generator or no class ``of_class``.
        """
        return self.paint(self.draw_codes(count, seed, of_class=of_class)[:, : self._own_dim])

    def draw_codes(self, count: int, seed: int = 0, *, of_class: str | None = None) -> Floats:
        """Draw latents from the prior, float32 (count, d): z ~ N(0, I), around a random one of the model's ``centres``
        if it has any; or of the Gaussian that was fitted to its codes. With classes, the last dimensions are one-hot:
        ``of_class``, or a random class. With two looks, both see the same.

        Raises:
            ModelError: the model has no class ``of_class``.
        """
        rng, ways = np.random.default_rng(seed), len(self.classes)
        if prior := self.facts.get(PRIOR):
            codes = drawn(prior, count, rng)
            return np.tile(standardize(codes) if self.standardized else codes, self.looks)
        z = rng.standard_normal((count, self._own_dim - ways), dtype=np.float32)
        if of_class is not None:
            y = np.full(count, self.class_number(of_class))
        elif ways:
            y = rng.integers(0, ways, count)
        elif centres := self.facts.get("centres"):
            return np.tile(z + np.array(centres, np.float32)[rng.integers(0, len(centres), count)], self.looks)
        else:
            return np.tile(z, self.looks)
        return np.concatenate([z, np.eye(ways, dtype=np.float32)[y]], axis=1)

    def draw_noise(self, count: int, seed: int = 0) -> Floats:
        """Draw differences between codes, float32 (count, d): N(0, I), or as codes differ from their mean if a Gaussian
        was fitted to them.
        """
        if prior := self.facts.get(PRIOR):
            drawn_codes = drawn(prior, count, np.random.default_rng(seed)) - np.array(prior["mean"], np.float32)
            return np.tile(np.asarray(drawn_codes, np.float32), self.looks)
        return np.random.default_rng(seed).standard_normal((count, self.latent_dim), dtype=np.float32)

    def with_class(self, codes: Floats, name: str) -> Floats:
        """Copy codes (n, d) and replace their class.

        Raises:
            ModelError: the model has no such class.
        """
        changed, ways = np.array(codes, np.float32), len(self.classes)
        number = self.class_number(name)
        changed[:, -ways:] = np.eye(ways, dtype=np.float32)[number]
        return changed

    def class_number(self, name: str) -> int:
        """Index of a class in ``classes``.

        Raises:
            ModelError: there is no such class.
        """
        if not self.classes:
            raise ModelError(f"model {self.name} knows no classes: it was trained without labels", code="no_classes")
        if name not in self.classes:
            known = ", ".join(self.classes[:12]) + (", ..." if len(self.classes) > 12 else "")
            raise ModelError(f"model {self.name} knows no class {name!r}; it knows {known}")
        return self.classes.index(name)

    def write_to(self, folder: Path, generator: bool = True) -> None:
        """Check the bundle's files and write them into an empty folder; G only with ``generator``.

        Raises:
            ModelError: the bundle is damaged.
            OSError: ``folder`` cannot be written.
        """
        contents = {name: self._verified(name) for name in self.facts["files"] if generator or name != GENERATOR}
        files = {name: self.facts["files"][name] for name in contents}
        for name, content in contents.items():
            write(folder / name, content)
        write_description(folder, {**self.facts, "files": files})

    def check(self) -> None:
        """Compare the bundle's files with their SHA-256.

        Raises:
            ModelError: a file is missing, or is not the one that ``model.json`` describes.
        """
        for name in self.facts["files"]:
            self._verified(name)

    def _check_encoder(self) -> None:
        if not self.has_encoder:
            raise ModelError(
                f"model {self.name} has no encoder: it draws samples, but turns no picture into a code; "
                "use another model to index, query and reconstruct"
            )

    @property
    def _own_dim(self) -> int:
        """The length of a look's code, and of G's latents."""
        return int(self.facts["latent_dim"])

    @property
    def _shape(self) -> tuple[int, int, int]:
        return (self.painted_size, self.painted_size, 3)

    def squares(self, pictures: Sequence[Given]) -> list[Pixels | PictureRefused]:
        """The encoder's input for each picture, uint8 (s, s, 3), or why a file has none. Worker processes decode files.

        Raises ValueError as ``encode``.
        """
        from retrieval.pictures.shared import decode_all
        from retrieval.pictures.workers import Task

        tasks = [Task(os.fspath(picture), frame=self.frame) for picture in pictures if is_file(picture)]
        opened = [None if is_file(picture) else _opened(picture) for picture in pictures]
        # The first file of a process waits for a worker to start: time to open the encoder.
        of_files = iter(decode_all(tasks, self.image_size, self.open_encoder) if tasks else ())
        return [next(of_files).pixels_or_refusal() if one is None else self._squared(one) for one in opened]

    def _squared(self, picture: Pixels | PictureRefused) -> Pixels | PictureRefused:
        if isinstance(picture, PictureRefused):
            return picture
        from retrieval.pictures.decode import framed  # Pillow, which files do not need in this process

        return framed(picture, self.image_size, self.frame)

    def encoder_graph(self) -> bytes:
        """The bytes of ``encoder.onnx``, checked.

        Raises:
            ModelError: the bundle has no encoder, or it is damaged.
        """
        self._check_encoder()
        return self._verified(ENCODER)

    def encode_painted(self, pictures: Pixels) -> Encoded:
        """As ``encode_squares``, of what G paints, uint8 (n, p, p, 3), scaled to the encoder's side if it differs."""
        return self._encode(self._scaled(pictures, self.image_size))

    def as_painted(self, pictures: Pixels) -> Pixels:
        """Pictures uint8 (n, s, s, 3) scaled to the side of what G paints, to be compared with it."""
        return self._scaled(pictures, self.painted_size)

    def _scaled(self, pictures: Pixels, side: int) -> Pixels:
        if pictures.shape[1] == side or not len(pictures):
            return pictures
        from retrieval.pictures.decode import framed

        return np.stack([framed(one, side, "square") for one in pictures])

    def open_encoder(self) -> None:
        """Load the encoder now, and not when it is first used.

        Raises:
            ModelError: it is damaged, or the device is not available.
        """
        if self.has_encoder:
            self._graph(ENCODER)

    @property
    def _encoder(self) -> Graph:
        self._check_encoder()
        return self._graph(ENCODER)

    @property
    def _generator(self) -> Graph:
        if not self.has_generator:
            raise ModelError(f"model {self.name} has no generator, so nothing can be decoded or sampled with it")
        return self._graph(GENERATOR)

    def _graph(self, name: str) -> Graph:
        graph = self._graphs.get(name)
        if graph is not None:
            return graph
        with self._opening:
            if name not in self._graphs:
                self._graphs[name] = Graph(self.folder / name, self._verified(name), self.device, self._threads)
            return self._graphs[name]

    def _verified(self, name: str) -> bytes:
        return verified(self.folder, name, self.facts["files"][name])

    def after_fork(self) -> None:
        for graph in self._graphs.values():
            abandon(graph)
        self._graphs, self._opening = {}, threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(Model, facts=self.facts, threads=self._threads), (self.folder, self.device)


def _shipped_facts() -> Iterator[dict[str, Any]]:
    return (read_description(SHIPPED / name) for name in shipped_models())


def _same_encoder(facts: dict[str, Any], others: dict[str, Any]) -> bool:
    return bool(facts["files"].get(ENCODER) == others["files"].get(ENCODER))


def standardize(codes: Floats) -> Floats:
    """N(v) = (v - avg v) / std v along the last axis, (..., d). A constant vector becomes zeros."""
    centred = codes - codes.mean(axis=-1, keepdims=True)
    return np.asarray(centred / np.maximum(codes.std(axis=-1, keepdims=True), 1e-8), np.float32)


def _unless_refused(pixels: Pixels | PictureRefused) -> Pixels:
    if isinstance(pixels, PictureRefused):
        raise pixels
    return pixels


def _opened(picture: Pixels | Image.Image) -> Pixels | PictureRefused:
    """The pixels of what is no file."""
    if not is_opened(picture) and not isinstance(picture, np.ndarray):
        raise TypeError(f"a picture is a path, uint8 (h, w, 3) or one of Pillow's, not {type(picture).__name__}")
    try:
        (pixels,) = _checked(pixels_of(picture)[None])
    except PictureRefused as refusal:
        return refusal
    return np.asarray(pixels)


def _checked(pictures: Pixels) -> Pixels:
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[3] != 3:
        raise ValueError(f"pictures must be uint8 (n, h, w, 3), not {pictures.dtype} {pictures.shape}")
    if len(pictures) and not pictures[0].size:
        raise ValueError(f"pictures must have pixels, not shape {pictures.shape}")
    return pictures
