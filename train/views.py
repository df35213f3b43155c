"""A second view of a picture: randomly cropped, rotated, mirrored and recoloured."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from train.data import Draws


@dataclass(frozen=True)
class ViewStrength:
    """How much a second view may differ from its picture."""

    crop: float  # the least share of the side that is kept
    aspect: float  # largest |log| of the stretch
    rotation: float  # largest angle, radians
    light: float  # largest relative change of contrast; brightness changes by up to this share of half the range
    colour: float  # largest relative change of saturation
    grey: float  # probability that all colour is removed


VIEWS = {
    "gentle": ViewStrength(crop=0.88, aspect=0.0, rotation=0.1, light=0.15, colour=0.3, grey=0.1),
    "strong": ViewStrength(crop=0.45, aspect=0.1, rotation=0.1, light=0.4, colour=0.8, grey=0.1),
}


def second_view(x: Tensor, strength: ViewStrength, draws: Draws) -> Tensor:
    """One view of each picture: (n, 3, s, s) in [-1, 1] -> the same shape and range."""
    u = draws.uniform(10).to(x.dtype)
    with torch.autocast(x.device.type, enabled=False):  # positions in bfloat16 are off by a pixel
        moved = F.affine_grid(_windows(u[:, :6], strength), list(x.shape), align_corners=False)
        view = F.grid_sample(x, moved, padding_mode="reflection", align_corners=False)
    return _coloured(view, u[:, 6:], strength).contiguous(memory_format=torch.channels_last)


def _windows(u: Tensor, strength: ViewStrength) -> Tensor:
    """The window of each view, as an affine map of [-1, 1]^2: (n, 2, 3) from uniform (n, 6)."""
    side = between(u[:, 0], strength.crop, 1)
    stretch = between(u[:, 1], -strength.aspect, strength.aspect).exp()
    width, height = (side * stretch).clamp(max=1), (side / stretch).clamp(max=1)
    angle = between(u[:, 2], -strength.rotation, strength.rotation)
    mirrored = torch.where(u[:, 3] < 0.5, -1.0, 1.0)
    dx, dy = between(u[:, 4], -1, 1) * (1 - width), between(u[:, 5], -1, 1) * (1 - height)
    upper = torch.stack([width * angle.cos() * mirrored, -height * angle.sin(), dx], dim=1)
    lower = torch.stack([width * angle.sin() * mirrored, height * angle.cos(), dy], dim=1)
    return torch.stack([upper, lower], dim=1)


def _coloured(x: Tensor, u: Tensor, strength: ViewStrength) -> Tensor:
    """Change contrast, brightness and saturation of (n, 3, s, s) by uniform (n, 4)."""
    u = u[:, :, None, None, None]
    contrast, brightness = (between(u[:, i], -strength.light, strength.light) for i in range(2))
    saturation = 1 + between(u[:, 2], -strength.colour, strength.colour)
    saturation = torch.where(u[:, 3] < strength.grey, 0.0, saturation)
    x = x * (1 + contrast) + brightness
    grey = x.mean(dim=1, keepdim=True)
    return (grey + (x - grey) * saturation).clamp(-1, 1)


def between(u: Tensor, low: float, high: float) -> Tensor:
    """Map uniform numbers in [0, 1) to [low, high)."""
    return low + (high - low) * u
