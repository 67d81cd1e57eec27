"""Plug-and-Play: denoisers in the place of priors, with certificates.

Report: "Proximal + Learning Methods for Image Inverse Problems", section 3, after
Ryu et al., 2019, "Plug-and-Play Methods Provably Converge with Properly Trained
Denoisers" (arXiv:1905.05406).

Claims: ADMM, DRS and FBS converge with a denoiser in the place of a prox where
`D - I` has a Lipschitz constant eps < 1 and the data term is strongly convex (19, 20);
the spectral norm of convolutions makes a network that fulfils it, and steadies the
iteration, also where the theorem says nothing.

Three experiments, all or those of `--experiment`:

    recovery     tasks x denoisers x methods: PSNR, SNR, SSIM, pictures, curves
    contraction  Figure 7: contraction over many iterations, the ratios of (19),
                 certificates
    projector    Figure 6: one network for five kinds of tasks, beside wavelets and a
                 network for each, after Chang et al., 2017, "One Network to Solve Them
                 All" (arXiv:1703.09912)

    python -m zoo.apps.plug_and_play                 # quick: 64 x 64 photographs
    python -m zoo.apps.plug_and_play --preset=cpu    # 128 x 128
    python -m zoo.apps.plug_and_play --preset=paper  # 256 x 256: a GPU
    python -m zoo.apps.plug_and_play --data_dir=slices --task=mri_radial
"""

from zoo.apps.plug_and_play.contraction import Contraction
from zoo.apps.plug_and_play.projector import Projector
from zoo.apps.plug_and_play.recovery import Recovery

EXPERIMENTS = (Recovery, Contraction, Projector)

__all__ = ["EXPERIMENTS", "Contraction", "Projector", "Recovery"]
