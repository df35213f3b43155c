"""Encoder and generator: strided convolutions down to 4x4 and back, with the reference shapes of O-GAN.

At 128 px, the paper's encoder has five 5x5 stride-2 convolutions of 64..1024 channels and a dense layer with
128 outputs; the generator mirrors it (Su, "O-GAN", arXiv 1903.01931, section 4).
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.losses import at_least_float32
from train.recipe import SEED_PX, Shape

BN_EPS = 1e-3  # the reference's (Keras) BatchNorm
BN_MOMENTUM = 0.01  # as torch defines it: the weight of the new batch
SLOPE = 0.2  # of LeakyReLU below zero


def batch_norm(channels: int, affine: bool = True) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=BN_EPS, momentum=BN_MOMENTUM, affine=affine)


class DownConv(nn.Conv2d):
    """Stride-2 convolution that halves the side exactly: 4x4 pads (1,1), 5x5 pads (1,2) as TensorFlow's 'same'."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, bias: bool) -> None:
        super().__init__(in_channels, out_channels, kernel, stride=2, padding=1, bias=bias)
        self.extra = kernel - 4

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(F.pad(input, (0, self.extra, 0, self.extra)) if self.extra else input)


class UpConv(nn.ConvTranspose2d):
    """The transpose of ``DownConv``: doubles the side exactly."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, bias: bool) -> None:
        super().__init__(in_channels, out_channels, kernel, stride=2, padding=1, bias=bias)
        self.extra = kernel - 4

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        grown = super().forward(input, output_size)
        return grown[..., : grown.shape[-2] - self.extra, : grown.shape[-1] - self.extra]


class SelfModulatedNorm(nn.Module):
    """BatchNorm whose scale and shift come from a small network of z (Chen et al., arXiv 1810.01365, eq. 2-3).

    h' = (1 + gamma(z)) * (h - mu) / sigma + beta(z)
    """

    def __init__(self, channels: int, latent_dim: int, hidden: int = 32) -> None:
        super().__init__()
        self.norm = batch_norm(channels, affine=False)
        self.modulation = nn.Sequential(nn.Linear(latent_dim, hidden), nn.ReLU(), nn.Linear(hidden, 2 * channels))

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        gamma, beta = self.modulation(z)[:, :, None, None].chunk(2, dim=1)
        return torch.addcmul(beta, self.norm(h), 1 + gamma)


class PlainNorm(nn.Module):
    """BatchNorm with the signature of ``SelfModulatedNorm``."""

    def __init__(self, channels: int, latent_dim: int) -> None:
        super().__init__()
        self.norm = batch_norm(channels)

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        normalised: Tensor = self.norm(h)
        return normalised


class Encoder(nn.Module):
    """E: pictures (n, 3, s, s) in [-1, 1] -> raw codes (n, d) float32, not yet standardized.

    ``avg(E(x))`` is the headless O-GAN critic and N(E(x)) the code. Critics of other methods share this architecture;
    a critic that must treat each picture alone has no BatchNorm (``normalised=False``).
    """

    def __init__(
        self, shape: Shape, latent_dim: int, normalised: bool = True, biased: bool = True, in_channels: int = 3
    ) -> None:
        super().__init__()
        channels = [in_channels, *shape.channels]
        stages: list[nn.Module] = []
        for stage, (c_in, c_out) in enumerate(pairwise(channels)):
            has_norm = normalised and stage > 0  # makes the convolution's bias redundant
            stages.append(DownConv(c_in, c_out, shape.kernel, bias=biased and not has_norm))
            if has_norm:
                stages.append(batch_norm(c_out))
            stages.append(nn.LeakyReLU(SLOPE))
        self.features = nn.Sequential(*stages)
        self.head = nn.Linear(channels[-1] * SEED_PX**2, latent_dim, bias=biased)
        self.apply(initialise if normalised else initialise_unnormalised)

    def forward(self, x: Tensor) -> Tensor:
        features = self.features(x).flatten(1)
        with torch.autocast(features.device.type, enabled=False):  # sums over thousands of terms: float32
            raw: Tensor = self.head(at_least_float32(features))
        return raw


class Generator(nn.Module):
    """G: codes (n, d) -> pictures (n, 3, s, s) in [-1, 1]."""

    def __init__(self, shape: Shape, latent_dim: int) -> None:
        super().__init__()
        channels = shape.channels[::-1]
        norm = SelfModulatedNorm if shape.self_modulated else PlainNorm
        self.dense = nn.Linear(latent_dim, channels[0] * SEED_PX**2, bias=False)
        self.norms = nn.ModuleList(norm(c, latent_dim) for c in channels)
        outputs = [*channels[1:], 3]
        last = len(outputs) - 1  # the only convolution without BatchNorm after it
        self.convs = nn.ModuleList(
            UpConv(c_in, c_out, shape.kernel, bias=stage == last)
            for stage, (c_in, c_out) in enumerate(zip(channels, outputs, strict=True))
        )
        self.apply(initialise)

    def forward(self, z: Tensor) -> Tensor:
        h = self.dense(z).unflatten(1, (-1, SEED_PX, SEED_PX))
        for norm, conv in zip(self.norms, self.convs, strict=True):
            h = conv(F.relu(norm(h, z)))
        return torch.tanh(at_least_float32(h))


def initialise(module: nn.Module) -> None:
    """Weights N(0, 0.02) as in the reference, biases 0."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def initialise_unnormalised(module: nn.Module) -> None:
    """Weights that keep the signal's variance without BatchNorm (He et al., arXiv 1502.01852, eq. 14)."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight, a=SLOPE)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class JointCritic(nn.Module):
    """D(x, z): pictures (n, 3, s, s) and codes (n, d) -> scores (n,) float32, low for a real picture and its code.

    Convolutions process x, a dense layer processes z, three more dense layers process both. No BatchNorm sees z.
    """

    def __init__(
        self, shape: Shape, latent_dim: int, normalised: bool = True, biased: bool = True, hidden: int = 512
    ) -> None:
        super().__init__()
        self.tower = Encoder(shape, hidden, normalised, biased)
        self.dense = nn.Linear(latent_dim, hidden, bias=biased)
        self.both = dense_layers([2 * hidden, hidden, hidden, 1], biased)
        self.dense.apply(initialise_unnormalised)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        seen = F.leaky_relu(torch.cat([self.tower(x), self.dense(z)], dim=1), SLOPE)
        return at_least_float32(self.both(seen))[:, 0]


def dense_layers(sizes: list[int], biased: bool = True) -> nn.Sequential:
    """Dense layers of these sizes with LeakyReLU between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs, bias=biased), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers[:-1]).apply(initialise_unnormalised)


def normal_sample(raw: Tensor, noise: Tensor) -> Tensor:
    """mu + sigma e: means and logarithms of variances (n, 2 d), e ~ N(0, I) (n, d) -> (n, d)."""
    mean, log_variance = raw.chunk(2, dim=1)
    return mean + (0.5 * log_variance).exp() * noise


def count_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
