"""A second look at two pictures whose codes are near: are they copies, or do they merely look alike?

Codes say what a picture shows, so two photographs of one scene may have nearly the same. Here their structure is laid
over each other: what remains of each after the large areas are taken away, in grey, at 32 x 32, turned and cut a
little, and shifted to where it fits best. Copies that were saved anew, scaled, blurred, brightened, made grey, cut to
85% or turned by five degrees correlate at .87 and above, nearest neighbours that are no copies at .2 (photographs) to
.55 (faces in one pose).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from retrieval.images import Pixels

ALIKE = 0.85
SIDE = 32
SCALES, ANGLES = (1.0, 0.95, 0.9, 0.85), (-5.0, 0.0, 5.0)  # what may have been cut away; degrees
REACH = 3  # pixels of 32 that one may lie beside the other
AREA = 5  # what is wider counts as a large area
FLAT = 1.0  # grey levels: what varies less shows nothing

Spectra = npt.NDArray[np.complex64]


@dataclass(frozen=True)
class Look:
    """What is compared of a picture: its spectrum (1, 32, 17), and those of its variants (v, 32, 17)."""

    itself: Spectra
    variants: Spectra
    is_flat: bool
    grey: float


def look(pixels: Pixels) -> Look:
    """Prepare a picture that was squeezed into a square, uint8 (s, s, 3), for comparisons."""
    image = Image.fromarray(pixels).convert("L")
    variants = [_cut_and_turned(image, scale, angle) for scale in SCALES for angle in ANGLES]
    spectra = _spectra([image, *variants])
    grey = np.asarray(image, np.float32)
    return Look(spectra[:1], spectra[1:], bool(grey.std() < FLAT), float(grey.mean()))


def likeness(a: Look, b: Look) -> float:
    """How well the structure of two pictures fits, 1 where it is the same; from ``ALIKE`` on they are copies."""
    if a.is_flat or b.is_flat:
        return 1.0 if a.is_flat and b.is_flat and abs(a.grey - b.grey) < FLAT else 0.0
    return max(_best_fit(a.itself, b.variants), _best_fit(b.itself, a.variants))


def _cut_and_turned(image: Image.Image, scale: float, angle: float) -> Image.Image:
    if (scale, angle) == (1.0, 0.0):
        return image
    cosine, sine = scale * np.cos(np.radians(angle)), scale * np.sin(np.radians(angle))
    middle = image.width / 2
    across = (cosine, -sine, middle * (1 - cosine + sine))
    down = (sine, cosine, middle * (1 - sine - cosine))
    return image.transform(image.size, Image.Transform.AFFINE, (*across, *down), Image.Resampling.BILINEAR)


def _spectra(images: list[Image.Image]) -> Spectra:
    """Of grey values (n, 32, 32) less their local average, fading out towards the border, of length 1."""
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


def _best_fit(one: Spectra, others: Spectra) -> float:
    """The highest correlation over all shifts within reach."""
    fits = np.fft.irfft2(one.conj() * others, (SIDE, SIDE))
    near = np.r_[-REACH : REACH + 1]
    return float(fits[:, near[:, None], near].max())


_window = np.sqrt(np.hanning(SIDE + 2)[1:-1])
FADING = np.outer(_window, _window).astype(np.float32)
