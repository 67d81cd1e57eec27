"""Users of a cellular network who are to be told apart by their pilots."""

import dataclasses
import math
from typing import Literal

import numpy as np

from zoo.data.sparse import SparseProblem, check_sparsity, noise_share
from zoo.layers.checks import check_count
from zoo.losses.checks import check_choice, check_integer

# A user's waves: paths, their spread in angle, power of one that is scattered.
_PATHS = 5
_SPREAD = math.radians(10)
_SCATTERED = 10**-1.0
# Amplitude `1 / (1 + distance^4)`, where a cell is a hexagon of inner radius 1.
_EXPONENT = 4
# A base station's own cell, and the six around it.
_CELLS = (1, 7)


@dataclasses.dataclass(frozen=True, eq=False)
class ChannelProblem(SparseProblem):
    """Channels of the users who are active: see `random_access` and `massive_mimo`.

    Attributes:
        antennas: int, the signals of one draw of users, one for each direction that
            the antennas resolve; draws follow each other in a batch.
        users: int, of each cell.

    Example:

    >>> problem = massive_mimo(antennas=4, users=2, pilots=8, stacked=False)
    >>> y, x = problem.sample(4)  # one draw of users, heard in four directions
    >>> y.shape, x.shape, int(problem.mask.sum())  # 2 users of 7 cells; 2 of its own
    ((4, 8), (4, 14), 2)
    """

    antennas: int = 1
    users: int = 1

    @property
    def mask(self) -> np.ndarray:
        """Bool `[N]`: the entries of users in the base station's own cell."""
        return np.arange(self.matrix.shape[1]) % self._everyone < self.users

    @property
    def _everyone(self):
        return self.matrix.shape[1] // (1 if self._is_complex else 2)

    def _signals(self, generator, count):
        draws, everyone = -(-count // self.antennas), self._everyone
        rows, user = np.nonzero(generator.random((draws, everyone)) < self.sparsity)
        near = user < self.users
        amplitudes = _amplitudes(near, *generator.random((3, len(user))))
        turns = 2 * math.pi * generator.random((2, len(user)))
        angles = turns[0] + _SPREAD * generator.random((_PATHS, len(user)))
        scattered = generator.normal(size=(2, *angles.shape))
        paths = math.sqrt(_SCATTERED / 2) * (scattered[0] + 1j * scattered[1])
        paths = amplitudes * (np.exp(1j * turns[1]) + paths)
        # Each antenna turns the phase of a path by its angle once more.
        steps = np.exp(1j * angles)
        received = np.empty((len(user), self.antennas), "complex128")
        for antenna in range(self.antennas):
            received[:, antenna] = paths.sum(axis=0)
            paths *= steps
        x = np.zeros((draws, self.antennas, everyone), "complex128")
        x[rows, :, user] = np.fft.fft(received) / self.antennas
        x = x.reshape(-1, everyone)[:count]
        return x if self._is_complex else np.concatenate([x.real, x.imag], axis=-1)


def random_access(
    users: int = 512,
    pilots: int = 64,
    activity: float = 0.01,
    snr: float | None = 10.0,
    *,
    stacked: bool = True,
    seed: int = 0,
) -> ChannelProblem:
    """Draws the problem of compressive random access: which few users transmit?

    One antenna hears pilots of `users` in one cell, of whom each is active with
    probability `activity`: `y = A x + w` with the users' pilots, random QPSK of norm
    1, in the columns of `A`, and in `x` their channels, 0 of those who are silent.

    The channel of a user at a uniform place in a hexagon of inner radius 1 is the sum
    of 5 paths that share a wave of modulus 1 and add independent Gaussian ones of power
    0.1 (a Rice factor of 10 dB), times `1 / (1 + distance^4)`.

    These are the facts of the published code. It takes the SNR from the power of each
    batch; here it is of the expected power, which makes `noise_variance` one number.
    Whether the paper's text has the same numbers was not checked.

    Args:
        users: int >= 1. Defaults to 512.
        pilots: int >= 1, symbols of a pilot. Defaults to 64.
        activity: float in (0, 1]. Defaults to 0.01.
        snr: float, `E |A x|^2 / E |w|^2` in dB, or `None` for no noise. Defaults to
            10.0.
        stacked: bool, whether complex vectors `z` are given as real ones `[Re z; Im z]`
            and `A` as `[[Re A, -Im A], [Im A, Re A]]`, as published. Defaults to
            `True`.
        seed: int >= 0, of the pilots. Defaults to 0.

    Returns:
        A `ChannelProblem`; `signal_variance` is that of a user who is active.

    Raises:
        ValueError: an argument is outside what is allowed above.

    Example:

    >>> problem = random_access()
    >>> y, x = problem.sample(1000)
    >>> y.shape, x.shape, round(float(np.mean(x != 0)), 3)
    ((1000, 128), (1000, 1024), 0.01)

    Reference:

    - Borgerding, Schniter and Rangan, 2017, "AMP-Inspired Deep Networks for Sparse
      Linear Inverse Problems", [arXiv:1612.01183](https://arxiv.org/abs/1612.01183)
    """
    return _problem(1, 1, users, pilots, activity, snr, stacked, seed)


def massive_mimo(
    antennas: int = 64,
    users: int = 64,
    pilots: int = 64,
    cells: Literal[1, 7] = 7,
    snr: float | None = 20.0,
    *,
    stacked: bool = True,
    seed: int = 0,
) -> ChannelProblem:
    """Draws the problem of estimating all channels to a base station of many antennas.

    As `random_access`, but every user is active, those of six more cells around the
    base station's own are heard too, and their pilots disturb. What a path brings to a
    line of `antennas` turns by its angle from one to the next; the angles of a user lie
    within 10 degrees. A Fourier transform over the antennas, divided by their number,
    makes that few of the directions are strong, and each direction is a signal `x`.

    Users differ in distance, hence `signal_variance`, which has one number for each
    coordinate, is lower for the other cells; an error is measured on those of the own
    cell, `problem.mask`. What is said of the published code there holds here too.

    Args:
        antennas: int >= 1. Defaults to 64.
        users: int >= 1, of each cell. Defaults to 64.
        pilots: int >= 1, symbols of a pilot. Defaults to 64.
        cells: 1 or 7. Defaults to 7.
        snr: float, `E |A x|^2 / E |w|^2` in dB, or `None` for no noise. Defaults to
            20.0.
        stacked: bool, as for `random_access`. Defaults to `True`.
        seed: int >= 0, of the pilots. Defaults to 0.

    Returns:
        A `ChannelProblem`.

    Raises:
        ValueError: an argument is outside what is allowed above.

    Example:

    >>> problem = massive_mimo(stacked=False)
    >>> y, x = problem.sample(128)
    >>> y.shape, x.shape, int(problem.mask.sum()), x.dtype.name
    ((128, 64), (128, 448), 64, 'complex64')

    Reference:

    - Borgerding, Schniter and Rangan, 2017, "AMP-Inspired Deep Networks for Sparse
      Linear Inverse Problems", [arXiv:1612.01183](https://arxiv.org/abs/1612.01183)
    """
    return _problem(antennas, cells, users, pilots, 1.0, snr, stacked, seed)


def _problem(antennas, cells, users, pilots, activity, snr, stacked, seed):
    check_count("antennas", antennas)
    check_count("users", users)
    check_count("pilots", pilots)
    check_choice("cells", cells, _CELLS)
    activity = check_sparsity(activity, "activity")
    generator = np.random.default_rng(check_integer("seed", seed, 0))
    signs = generator.integers(2, size=(2, pilots, cells * users)) * 2 - 1
    matrix = (signs[0] + 1j * signs[1]) / math.sqrt(2 * pilots)
    near = np.arange(cells * users) < users
    variance = _channel_variance(antennas) * _mean_gain(near)
    # The columns have norm 1.
    noise_variance = activity * variance.sum() / pilots * noise_share(snr)
    if stacked:
        matrix = np.block([[matrix.real, -matrix.imag], [matrix.imag, matrix.real]])
        variance, noise_variance = np.tile(variance / 2, 2), noise_variance / 2
    return ChannelProblem(matrix, activity, noise_variance, variance, antennas, users)


def _amplitudes(near, height, side, sector):
    """Amplitudes of users in the own cell or the next, placed by uniform numbers."""
    point = np.sqrt(height) * (1 + 1j * math.tan(math.pi / 6) * (2 * side - 1))
    point = point * np.exp(1j * math.pi / 3 * np.floor(6 * sector))
    return 1 / (1 + np.abs(np.where(near, 0, 2) + point) ** _EXPONENT)


def _mean_gain(near):
    """The mean squared amplitude of users near and far, by Gauss' quadrature."""
    nodes, weights = np.polynomial.legendre.leggauss(32)
    nodes, weights = (nodes + 1) / 2, weights / 2
    sectors = (np.arange(6) + 0.5) / 6
    # In the square root of the height the integrand is smooth.
    root, side, sector = np.meshgrid(nodes, nodes, sectors, indexing="ij")
    weight = (2 * nodes * weights)[:, None, None] * weights[:, None] / 6

    def mean(own):
        return np.sum(weight * _amplitudes(own, root**2, side, sector) ** 2)

    return np.where(near, mean(True), mean(False))


def _channel_variance(antennas):
    """The mean power of a direction, at a gain of 1.

    `L (1 + scattered) + L (L - 1) |E e^(i n u)|^2` for antenna `n`, of angles `u` that
    are uniform within the spread, over the number of antennas once more.
    """
    shared = np.sinc(np.arange(antennas) * _SPREAD / (2 * math.pi)) ** 2
    powers = _PATHS * (1 + _SCATTERED) + _PATHS * (_PATHS - 1) * shared
    return powers.mean() / antennas
