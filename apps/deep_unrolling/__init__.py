"""Deep unrolling: message passing with denoisers, and generators of images.

Report: "Proximal + Learning Methods for Image Inverse Problems", sections 2.3 and 2.4,
after Metzler et al., 2017, "Learned D-AMP" (arXiv:1704.06625), and Mardani et al.,
2019, "Deep Generative Adversarial Neural Networks for Compressive Sensing MRI"
(arXiv:1706.00051).

Claims: Onsager's term makes the error of what is denoised white and Gaussian (10, 11),
so that any denoiser recovers images from random measurements (D-AMP), and a trained one
in ten layers does it better and faster (LDAMP, 12); a generator that is made consistent
with what was measured (GANCS, 13 to 15) recovers images from a part of k-space in
milliseconds.

Two experiments, both or those of `--experiment`:

    compressive    random measurements of 5 to 25 %: D-AMP with each denoiser, LDAMP,
                   and LDIT, which is LDAMP without Onsager's term; PSNR, time, the
                   distribution of the error, state evolution
    undersampling  one frequency in 2, 4, 6 or 8: GANCS beside zero-filling, total
                   variation and wavelets; SNR, SSIM, milliseconds an image

    python -m zoo.apps.deep_unrolling                 # quick: 64 x 64, 128 x 128
    python -m zoo.apps.deep_unrolling --preset=cpu    # all methods, 128 x 128
    python -m zoo.apps.deep_unrolling --preset=paper  # 256 x 256, fast transforms
"""

from zoo.apps.deep_unrolling.compressive import Compressive
from zoo.apps.deep_unrolling.undersampling import Undersampling

EXPERIMENTS = (Compressive, Undersampling)

__all__ = ["EXPERIMENTS", "Compressive", "Undersampling"]
