"""ALI: adversarially learned inference (Dumoulin et al., arXiv 1606.00704)."""

from __future__ import annotations

from train.methods.bigan import BiGAN


class ALI(BiGAN):
    """BiGAN with z = mu(x) + sigma(x) e, e ~ N(0, I) (ALI, eq. 4)."""

    stochastic = True
