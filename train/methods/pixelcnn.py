"""A PixelGAN autoencoder: an encoder, and a network that decodes a code pixel by pixel, slowly but exactly.

Makhzani and Frey, "PixelGAN Autoencoders" (arXiv 1706.00531), with the decoder of PixelCNN++ (Salimans et al.,
arXiv 1701.05517): p(x|z) = prod_i p(x_i | x_1 .. x_(i-1), z), rows from top to bottom, each from left to right.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._higher_order_ops.while_loop import while_loop

from retrieval.errors import TrainingError
from train.adversaries import ADVERSARIES
from train.losses import at_least_float32
from train.method import Batch, Method, descend_apart, detached, likely, own
from train.networks import Encoder, dense_layers
from train.recipe import Recipe

SIDE_PX = 32
CHANNELS, BLOCKS, MIXTURE = 48, 6, 5
EACH = 10  # parameters of a component: its weight, three means, three scales, three couplings of colours
ADVERSARY_WEIGHT = 0.02  # relative to the nats per value
LEAST_LOG_SCALE = -7.0


class CausalConv(nn.Conv2d):
    """A convolution that sees the rows above; with ``right``, also its own row up to and including its own pixel."""

    def __init__(self, in_channels: int, out_channels: int, right: bool) -> None:
        super().__init__(in_channels, out_channels, (2, 2) if right else (2, 3))
        self.padding_of_sides = (1, 0, 1, 0) if right else (1, 1, 1, 0)  # left, right, top, bottom

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(F.pad(input, self.padding_of_sides))


class GatedBlock(nn.Module):
    """h + tanh(a) sigmoid(b), where (a, b) depend on h, the code and the other stream (PixelCNN++, section 2.5)."""

    def __init__(self, latent_dim: int, right: bool) -> None:
        super().__init__()
        self.conv = CausalConv(2 * CHANNELS, CHANNELS, right)
        self.gates = CausalConv(2 * CHANNELS, 2 * CHANNELS, right)
        self.of_code = nn.Linear(latent_dim, 2 * CHANNELS)
        self.of_other = nn.Conv2d(CHANNELS, CHANNELS, 1) if right else None

    def forward(self, h: Tensor, code: Tensor, other: Tensor | None = None) -> Tensor:
        seen = self.conv(both_signs(h))
        if self.of_other is not None and other is not None:
            seen = seen + self.of_other(F.elu(other))
        a, b = (self.gates(both_signs(seen)) + self.of_code(code)[:, :, None, None]).chunk(2, dim=1)
        return h + torch.tanh(a) * torch.sigmoid(b)


def both_signs(h: Tensor) -> Tensor:
    """elu of h and of -h (PixelCNN++)."""
    return F.elu(torch.cat([h, -h], dim=1))


class PixelByPixel(nn.Module, ABC):
    """The distribution of each pixel, given those before it and the code; calling the network decodes codes."""

    dice: Tensor

    def __init__(self, image_size: int) -> None:
        super().__init__()
        self.image_size = image_size
        # The random numbers are drawn once, so that a code always gives the same picture.
        dice = torch.rand(MIXTURE + 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
        self.register_buffer("dice", dice.clamp(1e-4, 1 - 1e-4)[None])

    @abstractmethod
    def distributions(self, x: Tensor, code: Tensor) -> Tensor:
        """Pictures (n, 3, s, s) in [-1, 1], codes (n, d) -> parameters of mixtures (n, MIXTURE, EACH, s, s)."""

    def forward(self, code: Tensor) -> Tensor:
        """Decode: (n, d) -> (n, 3, s, s) in [-1, 1], of 256 levels.

        With its dice, each pixel is a function of those before it. So all are drawn at once, given what was drawn the
        last time, until nothing changes any more: after i times the first i pixels are what they would be if they were
        drawn one after the other, and mostly far more are (Wiggers and Hoogeboom, arXiv 2002.09928, algorithm 1).
        """
        x = code.new_zeros(1, 3, self.image_size, self.image_size) + 0 * code.sum(dim=1)[:, None, None, None]
        times, changes = torch.tensor(0, device=code.device), torch.tensor(True, device=code.device)
        most = self.image_size**2

        def is_left(times: Tensor, changes: Tensor, x: Tensor) -> Tensor:
            return changes & (times < most)

        def draw_again(times: Tensor, changes: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            drawn = as_levels(draw(self.distributions(x, code), self.dice))
            return times + 1, (drawn != x).any(), drawn

        drawn: Tensor = while_loop(is_left, draw_again, (times, changes, x))[2]  # type: ignore[no-untyped-call]
        return drawn


def as_levels(x: Tensor) -> Tensor:
    """Pictures in [-1, 1] with the 256 levels of those that are learnt from."""
    return ((x + 1) * 127.5).round() / 127.5 - 1


def framed(x: Tensor) -> Tensor:
    """Pictures (n, 3, s, s) with a plane of ones, which tells grey from the zeros of the padding."""
    return torch.cat([x, torch.ones_like(x[:, :1])], dim=1)


def as_mixtures(numbers: Tensor) -> Tensor:
    """(n, MIXTURE * EACH, s, s) -> (n, MIXTURE, EACH, s, s), at least float32."""
    return at_least_float32(numbers).view(len(numbers), MIXTURE, EACH, *numbers.shape[2:])


class PixelCNN(PixelByPixel):
    """One stream sees the rows above, the other also the pixels to the left."""

    def __init__(self, image_size: int, latent_dim: int) -> None:
        super().__init__(image_size)
        self.first_down = CausalConv(4, CHANNELS, right=False)
        self.first_right = CausalConv(4, CHANNELS, right=True)
        self.down = nn.ModuleList(GatedBlock(latent_dim, right=False) for _ in range(BLOCKS))
        self.right = nn.ModuleList(GatedBlock(latent_dim, right=True) for _ in range(BLOCKS))
        self.head = nn.Conv2d(CHANNELS, MIXTURE * EACH, 1)

    def distributions(self, x: Tensor, code: Tensor) -> Tensor:
        seen = framed(x)
        down = self.first_down(F.pad(seen, (0, 0, 1, 0))[:, :, :-1])  # shifted down a row, to hide its own row
        right = down + self.first_right(F.pad(seen, (1, 0))[:, :, :, :-1])  # and right a pixel
        for of_down, of_right in zip(self.down, self.right, strict=True):
            down = of_down(down, code)
            right = of_right(right, code, down)
        return as_mixtures(self.head(F.elu(right)))


def parts(numbers: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Log weights (n, k, s, s), means, log scales and couplings (n, k, 3, s, s) of mixtures (n, k, EACH, s, s)."""
    weights, means, log_scales, couplings = torch.split(numbers, [1, 3, 3, 3], dim=2)
    return weights[:, :, 0].log_softmax(dim=1), means, log_scales.clamp_min(LEAST_LOG_SCALE), couplings.tanh()


def coupled(means: Tensor, couplings: Tensor, red: Tensor, green: Tensor) -> Tensor:
    """Means of red, of green given red, and of blue given both (PixelCNN++, eq. 3)."""
    a, b, c = couplings.unbind(dim=2)
    r, g, blue = means.unbind(dim=2)
    return torch.stack([r, g + a * red, blue + b * red + c * green], dim=2)


def log_likelihood(x: Tensor, numbers: Tensor) -> Tensor:
    """log p of pictures (n, 3, s, s) of 256 levels in [-1, 1] under mixtures of logistics -> (n,), in nats.

    p(x) = sum_i w_i [sigmoid((x + 1/255 - m_i) / s_i) - sigmoid((x - 1/255 - m_i) / s_i)], where the lowest and the
    highest level extend to infinity (PixelCNN++, eq. 2).
    """
    weights, means, log_scales, couplings = parts(numbers)
    x = at_least_float32(x)
    apart = x[:, None] - coupled(means, couplings, x[:, None, 0], x[:, None, 1])
    upper = (apart + 1 / 255) * (-log_scales).exp()
    lower = (apart - 1 / 255) * (-log_scales).exp()
    within = (torch.sigmoid(upper) - torch.sigmoid(lower)).clamp_min(1e-12).log()
    x = x[:, None].expand_as(apart)
    levels = torch.where(x < -0.999, F.logsigmoid(upper), torch.where(x > 0.999, F.logsigmoid(-lower), within))
    return (levels.sum(dim=2) + weights).logsumexp(dim=1).sum(dim=(1, 2))


def draw(numbers: Tensor, dice: Tensor) -> Tensor:
    """Sample each pixel's mixture: (n, k, EACH, s, s), uniform ``dice`` (1, k + 3, s, s) -> (n, 3, s, s)."""
    weights, means, log_scales, couplings = parts(numbers)
    k = weights.shape[1]
    chosen = (weights - (-dice[:, :k].log()).log()).argmax(dim=1, keepdim=True)  # Gumbel-max trick
    mask = (torch.arange(k, device=chosen.device).view(1, k, 1, 1) == chosen)[:, :, None].to(means.dtype)
    mean, log_scale, coupling = ((mask * v).sum(dim=1) for v in (means, log_scales, couplings))
    noise = log_scale.exp() * (dice[:, k:].log() - (1 - dice[:, k:]).log())
    red = (mean[:, 0] + noise[:, 0]).clamp(-1, 1)
    green = (mean[:, 1] + noise[:, 1] + coupling[:, 0] * red).clamp(-1, 1)
    blue = (mean[:, 2] + noise[:, 2] + coupling[:, 1] * red + coupling[:, 2] * green).clamp(-1, 1)
    return torch.stack([red, green, blue], dim=1)


class PixelGAN(Method):
    """A critic matches E's codes to N(0, I); the previous pixels provide what codes lack."""

    encoder: Encoder
    generator: PixelByPixel
    paints_slowly = True

    @classmethod
    def check_recipe(cls, recipe: Recipe) -> None:
        if recipe.image_size != SIDE_PX:
            raise TrainingError(f"method {recipe.method} draws one pixel after the other: {SIDE_PX} px only")

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        d = recipe.latent_dim
        self.encoder = Encoder(recipe.shape, d)
        self.generator = self.new_decoder(recipe.image_size, d)
        self.style_critic = dense_layers([d, 256, 256, 1])

    @staticmethod
    def new_decoder(image_size: int, latent_dim: int) -> PixelByPixel:
        """The network that draws."""
        return PixelCNN(image_size, latent_dim)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures (n, 3, s, s) -> code (n, d), realism and spread of codes near the prior (n,)."""
        return likely(self.encoder(x))

    def accumulate_gradients(self, batch: Batch) -> dict[str, Tensor]:
        """E and G minimise -log p(x | E(x)), in nats per value; E plays against a critic of codes (eq. 1 and 2)."""
        code, n = self.encoder(batch.x), len(batch.x)
        nats = -log_likelihood(batch.x, self.generator.distributions(batch.x, code)) / batch.x[0].numel()
        (leaf,) = own([code])
        scores = self.style_critic(torch.cat([batch.z, leaf]))[:, 0].float()
        game = ADVERSARIES["ns"]
        loss_d = game.critic(scores[:n], scores[n:], scores[:n]).mean()
        loss_g = ADVERSARY_WEIGHT * game.generator(scores[n:]).mean()
        nats.mean().backward(retain_graph=True)  # type: ignore[no-untyped-call]
        descend_apart(loss_d, loss_g, [leaf], [code])
        return detached({"bits": nats / math.log(2), "loss_d": loss_d, "loss_g": loss_g})
