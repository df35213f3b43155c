"""Compare two pictures whose codes are near: are they copies, or do they only look alike?

A code says what a picture shows, so two photographs of one scene may have nearly equal codes. Here their structure is
correlated: the grey picture at 32 x 32 less its large areas, turned and cropped a little, and shifted to the best fit.
Copies that were saved again, scaled, blurred, brightened, made grey, cropped to 85% or turned by five degrees correlate
at .87 and above; nearest neighbours that are not copies at .2 (photographs) to .55 (faces in one pose). No part may
differ: if two pictures share only their middle, or one has text on it, at least one of 4 x 4 parts does not fit. The
worst part of copies still correlates at .45.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt
from PIL import Image

from retrieval.arrays import Pixels

ALIKE, PART_ALIKE = 0.85, 0.4  # the whole, and each of its 4 x 4 parts
HINT = 0.2  # uncropped and unturned; copies that were cropped to 90% or turned by five degrees have at least .3
PARTS, FAINT = 4, 0.25  # a part with less than a quarter of its share of the structure is ignored
SIDE = 32
SCALES, ANGLES = (1.0, 0.95, 0.9, 0.85), (-5.0, 0.0, 5.0)  # crops of copies, as a share; turns, in degrees
REACH = 3  # largest shift between two pictures, in pixels of 32
AREA = 5  # structure wider than this, in pixels of 32, is a large area
FLAT = 1.0  # standard deviation in grey levels below which a picture is blank

Spectra = npt.NDArray[np.complex64]
Turn = Callable[[Pixels], Pixels]
TURNS: dict[str, tuple[tuple[str, Turn], ...]] = {  # invariance -> (name, function) of each turn that also counts
    "mirror": (("mirrored", lambda x: x[:, ::-1]),),
    "rotate": tuple((f"turned by {90 * k} degrees", partial(np.rot90, k=-k)) for k in (1, 2, 3)),
}


def turns_of(invariant: Sequence[str]) -> list[tuple[str, Turn]]:
    """The turns that count as copies, beside the unchanged picture.

    Raises:
        ValueError: there is no such invariance.
    """
    for word in invariant:
        if word not in TURNS:
            raise ValueError(f"invariant has no {word!r}; it knows {', '.join(TURNS)}")
    return [turn for word in invariant for turn in TURNS[word]]


class Fingerprint:
    """Spectra of the structure of a picture that was squeezed into a square, uint8 (s, s, 3)."""

    def __init__(self, pixels: Pixels) -> None:
        self._image = Image.fromarray(pixels).convert("L")
        grey = np.asarray(self._image, np.float32)
        self.is_flat, self.grey = bool(grey.std() < FLAT), float(grey.mean())
        self.itself = _spectra([self._image])  # (1, 32, 17)

    @cached_property
    def variants(self) -> Spectra:
        """Spectra of the picture, cropped and turned a little: (v, 32, 17)."""
        return _spectra([_cut_and_turned(self._image, scale, angle) for scale in SCALES for angle in ANGLES])


def likeness(a: Fingerprint, b: Fingerprint) -> float:
    """How well the structure of two pictures fits, 1 if it is equal. From ``ALIKE`` on they are copies.

    If the whole fits but a part does not, it is the correlation of that part.
    """
    if a.is_flat or b.is_flat:
        return 1.0 if a.is_flat and b.is_flat and abs(a.grey - b.grey) < FLAT else 0.0
    hint = _best_fit(a.itself, b.itself).whole
    if hint < HINT:
        return hint
    best = max((_best_fit(x.itself, y.variants) for x, y in ((a, b), (b, a))), key=lambda fit: fit.whole)
    if best.whole >= ALIKE and (part := best.worst_part()) < PART_ALIKE:
        return part
    return best.whole


def _cut_and_turned(image: Image.Image, scale: float, angle: float) -> Image.Image:
    if (scale, angle) == (1.0, 0.0):
        return image
    cosine, sine = scale * np.cos(np.radians(angle)), scale * np.sin(np.radians(angle))
    middle = image.width / 2
    across = (cosine, -sine, middle * (1 - cosine + sine))
    down = (sine, cosine, middle * (1 - sine - cosine))
    return image.transform(image.size, Image.Transform.AFFINE, (*across, *down), Image.Resampling.BILINEAR)


def _spectra(images: list[Image.Image]) -> Spectra:
    """Spectra (n, 32, 17) of the grey values less their local average, faded out to the border, scaled to length 1."""
    small = (image.resize((SIDE, SIDE), Image.Resampling.BOX) for image in images)
    grey = np.stack([np.asarray(image, np.float32) for image in small])
    margin = AREA // 2
    padded = np.pad(grey, ((0, 0), (margin, margin), (margin, margin)), mode="edge")
    columns = np.sum([padded[:, :, start : start + SIDE] for start in range(AREA)], axis=0)
    areas = np.sum([columns[:, start : start + SIDE] for start in range(AREA)], axis=0)
    fine = (grey - areas / AREA**2) * FADING
    fine -= fine.mean((1, 2), keepdims=True)
    lengths = np.linalg.norm(fine, axis=(1, 2), keepdims=True)
    return np.asarray(np.fft.rfft2(fine / np.maximum(lengths, 1e-6)), np.complex64)


@dataclass(frozen=True)
class Fit:
    """The best correlation of two structures: spectra (32, 17), the second rolled by ``shift``."""

    whole: float
    one: Spectra
    other: Spectra
    shift: tuple[int, int]

    def worst_part(self) -> float:
        """The correlation of the part that fits worst at this shift."""
        a, b = (np.fft.irfft2(spectrum, (SIDE, SIDE)) for spectrum in (self.one, self.other))
        return _worst_part(a, np.roll(b, self.shift, (0, 1)))


def _best_fit(one: Spectra, others: Spectra) -> Fit:
    """The best fit over all variants and shifts within ``REACH``; only that part of the inverse FFT is computed."""
    window = (DOWN @ (one.conj() * others) @ ACROSS).real
    variant, down, across = np.unravel_index(window.argmax(), window.shape)
    return Fit(float(window.max()), one[0], others[variant], (REACH - int(down), REACH - int(across)))


def _worst_part(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """The lowest correlation among 4 x 4 parts of two structures (32, 32), without parts that are faint in both."""
    side = SIDE // PARTS
    a, b = (x.reshape(PARTS, side, PARTS, side).swapaxes(1, 2).reshape(PARTS**2, -1) for x in (a, b))
    strength = np.maximum((a**2).sum(1), (b**2).sum(1))
    strong = strength > FAINT / PARTS**2
    return float(((a * b).sum(1)[strong] / strength[strong]).min(initial=1.0))


_window = np.sqrt(np.hanning(SIDE + 2)[1:-1])
FADING = np.outer(_window, _window).astype(np.float32)
_shifts, _waves = np.arange(-REACH, REACH + 1), np.arange(SIDE)
_half = np.where((_waves[: SIDE // 2 + 1] % (SIDE // 2)) == 0, 1, 2)  # the other half is its conjugate
DOWN = (np.exp(2j * np.pi * np.outer(_shifts, _waves) / SIDE) / SIDE).astype(np.complex64)
ACROSS = np.exp(2j * np.pi * np.outer(_waves[: SIDE // 2 + 1], _shifts) / SIDE) / SIDE
ACROSS = (ACROSS * _half[:, None]).astype(np.complex64)
