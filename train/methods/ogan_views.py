"""O-GAN + views: an O-GAN whose code is also trained to ignore small alterations. Not the papers' method."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from train.losses import standardize, twin_loss
from train.method import Batch, detached
from train.methods import ogan
from train.settings import declare
from train.views import VIEWS, second_view

REDUNDANCY = 0.2  # weight of correlations between dimensions, relative to that of each with its twin


@dataclass(frozen=True)
class Settings(ogan.Settings):
    views: str = declare("gentle", "How far views may be from their pictures.", choices=("gentle", "strong"))
    view_weight: float = declare(0.5, "Weight of their comparison.", at_least=0, hidden=True)
    views_first: float = declare(
        0.0, "Share of the run in which views alone teach E, before the game.", at_least=0, below=1, hidden=True
    )


class OGANViews(ogan.OGAN):
    """O-GAN with one more term in E's loss, which makes the codes of a picture and of an altered view of it agree.

    Nothing in O-GAN's loss ties the codes of real pictures to the prior. This term makes codes invariant to cropping,
    rotation, mirroring and light, and their dimensions uncorrelated, as those of z are.
    """

    settings: Settings

    def accumulate_gradients(self, batch: Batch) -> dict[str, Tensor]:
        """One step's gradients of both networks; before the game begins, of E alone."""
        if batch.share_done < self.settings.views_first:
            return self.learn_views(batch)
        return super().accumulate_gradients(batch)

    def learn_views(self, batch: Batch) -> dict[str, Tensor]:
        """E minimises the comparison of two views of each picture, for less than half of the game's time."""
        views = self.comparison(self.encoder(self.view(batch)), batch)
        views.backward()  # type: ignore[no-untyped-call]
        return detached({"views": views})

    def further_terms(self, batch: Batch, raw_real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        return {**super().further_terms(batch, raw_real, fake), "views": self.comparison(raw_real, batch)}

    def comparison(self, raw: Tensor, batch: Batch) -> Tensor:
        """The weighted twin loss of codes of pictures, raw (n, d), and of a further view of each: a scalar."""
        twins = twin_loss(standardize(raw), standardize(self.encoder(self.view(batch))), REDUNDANCY)
        return self.settings.view_weight * twins

    def view(self, batch: Batch) -> Tensor:
        """The next view of each picture, (n, 3, s, s)."""
        return second_view(batch.x, VIEWS[self.settings.views], batch.draws)
