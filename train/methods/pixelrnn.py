"""The same as ``pixelcnn`` with an older decoder: rows of LSTMs, each of which remembers all rows above.

Van den Oord, Kalchbrenner and Kavukcuoglu, "Pixel Recurrent Neural Networks" (ICML 2016, arXiv 1601.06759): the Row
LSTM. Colours are mixtures of logistics, as in PixelCNN++, in place of 256 classes each.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.methods.pixelcnn import EACH, MIXTURE, PixelByPixel, PixelGAN, as_mixtures, framed

CHANNELS, LAYERS = 48, 4
FIRST, ALONG_ROW, FROM_ABOVE = 7, 3, 3  # pixels of the side of the first layer, and of a row that a layer sees


class MaskedConv(nn.Conv2d):
    """A convolution that sees the pixels before its own, in the order in which they are drawn: mask A of the paper; and
    with ``own`` its own, too: mask B. The code of a pixel may depend on all three colours of those before it.
    """

    mask: Tensor

    def __init__(self, in_channels: int, out_channels: int, size: tuple[int, int], *, own: bool) -> None:
        high, wide = size
        super().__init__(in_channels, out_channels, size, padding=(high // 2, wide // 2))
        places = torch.arange(high * wide).view(1, 1, high, wide)
        last = high // 2 * wide + wide // 2
        self.register_buffer("mask", (places <= last if own else places < last).to(torch.float32))

    def forward(self, input: Tensor) -> Tensor:
        weight = self.weight * self.mask.to(self.weight.dtype)
        return F.conv2d(input, weight, self.bias, padding=self.padding)


class RowLSTM(nn.Module):
    """An LSTM that goes from row to row, whose states and inputs are rows (eq. 3, with the code as another input):

    o, f, i = sigmoid(K_ss * h_(r-1) + K_is * x_r + W z), g = tanh(the same), c_r = f c_(r-1) + i g, h_r = o tanh(c_r),

    where * is a convolution along the row. The layer is x + h.
    """

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.of_row = MaskedConv(CHANNELS, 4 * CHANNELS, (1, ALONG_ROW), own=True)
        self.of_above = nn.Conv1d(CHANNELS, 4 * CHANNELS, FROM_ABOVE, padding=FROM_ABOVE // 2, bias=False)
        self.of_code = nn.Linear(latent_dim, 4 * CHANNELS, bias=False)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """(n, CHANNELS, s, s), (n, d) -> (n, CHANNELS, s, s)."""
        inputs = self.of_row(x) + self.of_code(code)[:, :, None, None]
        state = cell = x.new_zeros(()).expand(len(inputs), CHANNELS, x.shape[3])
        states: list[Tensor] = []
        for row in inputs.unbind(dim=2):
            gates, g = (row + self.of_above(state)).split([3 * CHANNELS, CHANNELS], dim=1)
            o, f, i = torch.sigmoid(gates).chunk(3, dim=1)
            cell = f * cell + i * torch.tanh(g)
            state = o * torch.tanh(cell)
            states.append(state)
        return x + torch.stack(states, dim=2)


class PixelRNN(PixelByPixel):
    """A first layer that sees what is near, rows of LSTMs, and two layers that see a pixel (table 1 of the paper)."""

    def __init__(self, image_size: int, latent_dim: int) -> None:
        super().__init__(image_size)
        self.first = MaskedConv(4, CHANNELS, (FIRST, FIRST), own=False)
        self.rows = nn.ModuleList(RowLSTM(latent_dim) for _ in range(LAYERS))
        self.head = nn.Sequential(
            nn.ReLU(), nn.Conv2d(CHANNELS, CHANNELS, 1), nn.ReLU(), nn.Conv2d(CHANNELS, MIXTURE * EACH, 1)
        )

    def distributions(self, x: Tensor, code: Tensor) -> Tensor:
        h = self.first(framed(x))
        for of_rows in self.rows:
            h = of_rows(h, code)
        return as_mixtures(self.head(h))


class PixelRNNAutoencoder(PixelGAN):
    """A PixelGAN autoencoder with a PixelRNN in place of the PixelCNN."""

    @staticmethod
    def new_decoder(image_size: int, latent_dim: int) -> PixelByPixel:
        return PixelRNN(image_size, latent_dim)
