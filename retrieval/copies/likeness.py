"""A comparison of two small pictures that takes a tenth of a millisecond, before the second look that takes fifty.

The structure of both is correlated: the grey picture at 32 x 32 less its large areas, cropped and turned a little, and
shifted to the best fit. Copies that were saved again, scaled, blurred, brightened, made grey, cropped to 85% or turned by
five degrees correlate at .87 and above, unless a part is hidden; nearest neighbours that are not copies at .2
(photographs) to .55 (faces in one pose).
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt
from PIL import Image

from retrieval.arrays import Pixels

HINT = 0.2  # uncropped and unturned; copies that were cropped to 90% or turned by five degrees have at least .3
SIDE = 32
SCALES, ANGLES = (1.0, 0.95, 0.9, 0.85), (-5.0, 0.0, 5.0)  # crops of copies, as a share; turns, in degrees
REACH = 3  # largest shift between two pictures, in pixels of 32
AREA = 5  # structure wider than this, in pixels of 32, is a large area

Spectra = npt.NDArray[np.complex64]


class Fingerprint:
    """Spectra of the structure of a grey picture, uint8 (h, w), of any shape: it is squeezed into a square."""

    def __init__(self, grey: Pixels) -> None:
        self._image = Image.fromarray(np.ascontiguousarray(grey)).resize(
            (2 * SIDE, 2 * SIDE), Image.Resampling.BILINEAR
        )
        self.itself = _spectra([self._image])  # (1, 32, 17)

    @cached_property
    def variants(self) -> Spectra:
        """Spectra of the picture, cropped and turned a little: (v, 32, 17)."""
        return _spectra([_cut_and_turned(self._image, scale, angle) for scale in SCALES for angle in ANGLES])


def likeness(a: Fingerprint, b: Fingerprint) -> float:
    """How well the structure of two pictures fits, 1 if it is equal."""
    hint = _best_fit(a.itself, b.itself)
    if hint < HINT:
        return hint
    return max(_best_fit(x.itself, y.variants) for x, y in ((a, b), (b, a)))


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


def _best_fit(one: Spectra, others: Spectra) -> float:
    """The best correlation over all variants and shifts within ``REACH``: only that part of the inverse FFT is computed."""
    return float((DOWN @ (one.conj() * others) @ ACROSS).real.max())


_window = np.sqrt(np.hanning(SIDE + 2)[1:-1])
FADING = np.outer(_window, _window).astype(np.float32)
_shifts, _waves = np.arange(-REACH, REACH + 1), np.arange(SIDE)
_half = np.where((_waves[: SIDE // 2 + 1] % (SIDE // 2)) == 0, 1, 2)  # the other half is its conjugate
DOWN = (np.exp(2j * np.pi * np.outer(_shifts, _waves) / SIDE) / SIDE).astype(np.complex64)
ACROSS = np.exp(2j * np.pi * np.outer(_waves[: SIDE // 2 + 1], _shifts) / SIDE) / SIDE
ACROSS = (ACROSS * _half[:, None]).astype(np.complex64)
