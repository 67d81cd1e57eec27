"""LDAMP of a denoiser that comes with trained weights."""

from typing import Any

from zoo.layers.operators import LinearOperator
from zoo.losses.checks import check_choice
from zoo.models.denoisers import pretrained as pretrained_denoiser
from zoo.models.denoisers.pretrained import names
from zoo.models.ldamp.network import LdampNetwork, ldamp

# Of 0 to 55 grey levels. Above, where D-AMP begins, it does no worse on the validation
# photographs than one that was trained for 2 to 500.
DENOISER = "unet_0-55"


def pretrained(
    operator: LinearOperator,
    depth: int = 10,
    *,
    denoiser: str = DENOISER,
    **kwargs: Any,
) -> LdampNetwork:
    """Returns LDAMP whose layers share a denoiser that was trained on photographs.

    The denoiser knows no operator, so this serves every size of image and number of
    measurements.

    Args:
        operator: a `zoo.layers.operators.LinearOperator` of images of one channel.
        depth: int, layers. Defaults to 10.
        denoiser: str, the name of `zoo.models.denoisers.pretrained`, one that is given
            the level. D-AMP begins at about `255 sqrt(n / M) |x| / sqrt(n)` grey levels
            and ends at a few. Defaults to `"unet_0-55"`.
        **kwargs: as for `zoo.models.ldamp.ldamp`.

    Returns:
        A `zoo.models.ldamp.LdampNetwork`.

    Raises:
        ValueError: there is no such denoiser.

    Example: a photograph, from half as many measurements as pixels.

    >>> from zoo.data import load_natural_images
    >>> from zoo.layers.operators import GaussianMatrix
    >>> from zoo.metrics import psnr
    >>> image = load_natural_images("test")["camera"][None, ::4, ::4]
    >>> operator = GaussianMatrix((64, 64, 1), 2048)
    >>> network = pretrained(operator)
    >>> bool(psnr(network.predict(operator(image), verbose=0), image)[0] > 24)
    True
    """
    check_choice("denoiser", denoiser, names())
    return ldamp(operator, pretrained_denoiser(denoiser), depth, **kwargs)
