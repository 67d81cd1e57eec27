"""Measurements of a quantum state by Pauli strings, without their matrices."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from zoo import _backend
from zoo._types import Array
from zoo.layers.checks import check_count, check_seed
from zoo.layers.sensing.base import SensingOperator

LARGEST_NUM_QUBITS = 16
# Numbers in the table that one step of `combine` and of `pull` makes: 2 MB in float32,
# which caches hold.
TABLE_SIZE = 2**19

# A string's letter by its bit of `x` and twice that of `z`.
LETTERS = "IXZY"


@keras.saving.register_keras_serializable(package="zoo")
class PauliSensing(SensingOperator):
    """Expectations `y_i = tr(P_i rho)` of Pauli strings in a state `rho = U U^H`.

    A string of `q` letters is the Kronecker product of 2 x 2 matrices: the identity
    `I`, or one of

    `X = [[0, 1], [1, 0]]`,  `Y = [[0, -i], [i, 0]]`,  `Z = [[1, 0], [0, -1]]`

    With the bits of `x` where it has an `X` or a `Y`, and those of `z` where it has a
    `Z` or a `Y`, for `d = 2^q` rows of the state

    `tr(P rho) = i^|x & z| sum_k (-1)^|z & k| rho[k, k ^ x]`

    Two masks a string is all that is stored, and nothing of the size of `rho` is
    formed. Sums over the low bits of `k`, which strings share, are matrix products:
    `256 d^2` operations a column for `m` of about `8 d`. Each string then sums over the
    high bits alone.

    A complex factor of `d` rows is given as a real one of `2 d`, see `to_stacked`.
    Two different factors measure `Re tr(P_i U V^H)`.

    Args:
        strings: list of str over `"IXYZ"`, of one length; the first letter belongs to
            the most significant bit of a row's index, as in `numpy.kron`. Or a pair of
            int arrays `[m]`, the masks `(x, z)`.
        num_qubits: int from 1 to 16, `q`. Needed with masks; strings tell it.
        **kwargs: `name`, `dtype`.

    Call arguments:
        u: `[..., 2 * 2^q, r]`, the real above the imaginary part.
        v: the same. Defaults to `u`.

    Returns:
        `[..., m]`.

    Raises:
        ValueError: letters other than `"IXYZ"`, strings of different lengths, masks
            that are no ints from 0 to `2^q - 1`, or a string that comes twice.

    Example:

    >>> import numpy as np
    >>> operator = PauliSensing(["ZZ", "XY", "YX", "XX"])
    >>> bell = np.array([[1], [0], [0], [1j]]) / np.sqrt(2)  # (|00> + i|11>) / sqrt(2)
    >>> [round(float(y), 4) for y in operator(to_stacked(bell))]
    [1.0, 1.0, 1.0, 0.0]

    Reference:

    - Gross et al., 2010, "Quantum State Tomography via Compressed Sensing",
      [arXiv:0909.3304](https://arxiv.org/abs/0909.3304)
    """

    def __init__(
        self,
        strings: Sequence[str] | tuple[Array, Array],
        num_qubits: int | None = None,
        **kwargs: Any,
    ) -> None:
        x, z, num_qubits = _read(strings, num_qubits)
        super().__init__((2**num_qubits,) * 2, len(x), hermitian=True, **kwargs)
        self.num_qubits = num_qubits
        self.x_masks = self.add_data("x_masks", x.astype("int32"))
        self.z_masks = self.add_data("z_masks", z.astype("int32"))
        # Matrix products take `8 d^2` operations a low index and column. A string
        # gathers a number a high index, which is as slow as some 1,350 of them.
        size = self.shape[0]
        bits = round(math.log2(13 * math.sqrt(len(x) / size)))
        self._low = 2 ** min(max(bits, 0), num_qubits)
        self._high = size // self._low
        self._step = min(self._high, max(1, TABLE_SIZE // (2 * size * self._low)))

    @classmethod
    def random(
        cls, num_qubits: int, num_measurements: int, seed: int = 0, **kwargs: Any
    ) -> "PauliSensing":
        """Draws distinct strings, all sets of them equally likely.

        The identity is not drawn: its expectation is the trace, which is known.

        Args:
            num_qubits: int from 1 to 16, `q`.
            num_measurements: int from 1 to `4^q - 1`, `m`.
            seed: int. Defaults to 0.
            **kwargs: `name`, `dtype`.

        Returns:
            A `PauliSensing`.

        Raises:
            ValueError: `num_qubits` or `num_measurements` is outside what is allowed.

        Example:

        >>> PauliSensing.random(num_qubits=8, num_measurements=3).strings
        ['XIXIZZYY', 'YZIZZIYI', 'YYIXXIIX']
        """
        count = 4 ** check_num_qubits(num_qubits) - 1
        if check_count("num_measurements", num_measurements) > count:
            raise ValueError(
                f"`num_measurements` must be {count} at most: so many strings of "
                f"{num_qubits} qubits are not the identity. "
                f"Received: num_measurements={num_measurements}"
            )
        draw = np.random.default_rng(check_seed(seed)).choice
        keys = 1 + draw(count, num_measurements, replace=False)
        return cls((keys >> num_qubits, keys % 2**num_qubits), num_qubits, **kwargs)

    @property
    def strings(self) -> list[str]:
        """List of str, the strings in the order of the measurements."""
        x, z = (
            ops.convert_to_numpy(masks)[:, None] >> np.arange(self.num_qubits)[::-1] & 1
            for masks in (self.x_masks, self.z_masks)
        )
        letters = np.array(list(LETTERS))[x + 2 * z]
        return letters.view(f"U{self.num_qubits}")[:, 0].tolist()

    def compute_scale(self) -> float:
        return math.sqrt(self.num_measurements / self.shape[0])

    def lift(self, factor: Array, side: Literal["left", "right"] = "left") -> Array:
        return self.to_factor(factor, side)

    def combine(self, left: Array, right: Array) -> Array:
        shifted, signed = self._shift(right), self._sign(left)
        address, row = self._locate()

        def partial_sums(step):
            table = ops.matmul(shifted, _backend.take(signed, step, axis=-3))
            table = ops.reshape(table, (*ops.shape(table)[:-2], -1))
            places, signs = self._gather(address, row, step, table.dtype)
            return ops.sum(_backend.take(table, places, axis=-1) * signs, axis=-2)

        return ops.sum(self._for_each_step(partial_sums), axis=0)

    def pull(self, e: Array, right: Array) -> Array:
        e = self.to_float(e)
        batch = ops.shape(e)[:-1]
        e = ops.transpose(ops.reshape(e, (-1, self.num_measurements)))
        shifted = ops.swapaxes(self._shift(right), -1, -2)
        address, row = self._locate()
        sizes = (2, self._low, ops.shape(right)[-1], 2, self._step, self._low)
        hadamard = ops.cast(_hadamard(self._low), e.dtype)[:, None, None, None]

        def partial_pull(step):
            places, signs = self._gather(address, row, step, e.dtype)
            values = signs[..., None] * e
            table = ops.segment_sum(
                ops.reshape(values, (-1, ops.shape(e)[-1])),
                ops.reshape(places, (-1,)),
                2 * self.shape[0] * self._step * self._low,
            )
            table = ops.reshape(ops.transpose(table), (*batch, self.shape[0], -1))
            table = ops.matmul(shifted, table)
            table = ops.reshape(table, (*ops.shape(table)[:-2], *sizes))
            return ops.sum(table * hadamard, axis=-1)

        parts = self._for_each_step(partial_pull)
        # [step, ..., plane, low, rank, parity, in step]
        b = len(parts.shape) - 5
        order = (b + 3, b, 0, b + 4, b + 1, b + 2)
        parts = ops.transpose(parts, (*range(1, b), *order))
        parts = ops.reshape(parts, (*ops.shape(parts)[:-5], *ops.shape(right)[-2:]))
        return parts[..., 0, :, :] - _times_i(parts[..., 1, :, :])

    def _for_each_step(self, function):
        """Returns `function(step)` of all steps, stacked."""
        steps = np.arange(self._high // self._step)
        # Of Keras's loops, the one with a gradient on all backends and under XLA.
        return function(0)[None] if len(steps) == 1 else ops.map(function, steps)

    def _shift(self, factor):
        """The numbers at `k ^ low` for all `low`: `[..., k, (plane, low, rank)]`."""
        size = self.shape[0]
        k, plane, low = np.ogrid[:size, :2, : self._low]
        rows = _backend.take(
            factor, (plane * size + (k ^ low)).reshape(size, -1), axis=-2
        )
        return ops.reshape(rows, (*ops.shape(rows)[:-3], size, -1))

    def _sign(self, factor):
        """Factors and `i` times them, with all signs of the low bits of `z`.

        `[..., step, (plane, low, rank), (parity, in step, low z)]`
        """
        *batch, _, rank = ops.shape(factor)
        both = ops.stack([factor, _times_i(factor)], axis=-3)
        sizes = (2, 2, self._high // self._step, self._step, self._low, rank)
        both = ops.reshape(both, (*batch, *sizes))
        b = len(batch)
        order = (b + 2, b + 1, b + 4, b + 5, b, b + 3)
        both = ops.transpose(both, (*range(b), *order))[..., None]
        hadamard = ops.cast(_hadamard(self._low), both.dtype)[:, None, None, None]
        sizes = (sizes[2], 2 * self._low * rank, -1)
        return ops.reshape(both * hadamard, (*batch, *sizes))

    def _locate(self):
        """Each string's place in a table `[k, parity, in step, low z]`, and its row.

        Strings with an even number of `Y` see the real part, others the imaginary one.
        """
        x, z = (ops.convert_to_tensor(masks) for masks in (self.x_masks, self.z_masks))
        count = ops.take(_count_bits(self.shape[0]), ops.bitwise_and(x, z))
        address = (2 * x + count % 2) * (self._step * self._low) + z % self._low
        return address, (count // 2 % 2) * self._high + z // self._low

    def _gather(self, address, row, step, dtype):
        """Places in the table of a step, and signs, both `[in step, m]`."""
        high = np.arange(self._high).reshape(-1, self._step)
        shift = high * (2 * self._step * self._low**2) + high[0] * self._low
        shift = ops.take(shift.astype("int32"), step, axis=0)
        hadamard = _hadamard(self._high).reshape(-1, self._step, self._high)
        signs = np.concatenate([hadamard, -hadamard], axis=-1)
        signs = ops.take(ops.cast(signs, dtype), step, axis=0)
        address = ops.bitwise_xor(address, shift[:, None])
        return address, _backend.take(signs, row, axis=-1)

    def _flops(self, rank):
        size, m = self.shape[0], self.num_measurements
        return 16 * rank * size**2 * self._low + 6 * m * self._high

    def get_config(self):
        return {
            **super().get_config(),
            "num_qubits": self.num_qubits,
            "num_measurements": self.num_measurements,
        }

    @classmethod
    def from_config(cls, config):
        """Makes a layer of the saved sizes; its strings come with the weights."""
        config = dict(config)
        q, m = config.pop("num_qubits"), config.pop("num_measurements")
        keys = np.arange(m)
        return cls((keys >> q, keys % 2**q), q, **config)


def to_stacked(factor: Array) -> Array:
    """Returns a complex factor `[..., d, r]` as a real one `[..., 2d, r]`.

    The real part is above the imaginary one, as `PauliSensing` takes factors.

    Example:

    >>> import numpy as np
    >>> np.asarray(to_stacked(np.array([[1.0 + 2.0j], [3.0]]))).ravel().tolist()
    [1.0, 3.0, 2.0, 0.0]
    """
    return ops.concatenate([ops.real(factor), ops.imag(factor)], axis=-2)


def to_complex(factor: Array) -> Array:
    """Returns a real factor `[..., 2d, r]`, as `to_stacked` makes it, as a complex one.

    Example:

    >>> import numpy as np
    >>> factor = to_stacked(np.array([[1.0 + 2.0j], [3.0]]))
    >>> np.asarray(to_complex(factor))
    array([[1.+2.j],
           [3.+0.j]])
    """
    real, imaginary = ops.split(factor, 2, axis=-2)
    # `ops.view_as_complex` knows complex64 alone.
    double = keras.backend.standardize_dtype(real.dtype) == "float64"
    dtype = "complex128" if double else "complex64"
    return ops.cast(real, dtype) + 1j * ops.cast(imaginary, dtype)


def _times_i(factor):
    """`i` times a complex factor that is given as a real one."""
    real, imaginary = ops.split(factor, 2, axis=-2)
    return ops.concatenate([-imaginary, real], axis=-2)


def _hadamard(size):
    """`(-1)^|i & j|`, `[size, size]`."""
    matrix = np.ones((1, 1), "float32")
    while len(matrix) < size:
        matrix = np.kron(np.array([[1, 1], [1, -1]], "float32"), matrix)
    return matrix


def _count_bits(size):
    """The number of ones of each number below `size`, a power of two."""
    counts = np.zeros(1, "int32")
    while len(counts) < size:
        counts = np.concatenate([counts, counts + 1])
    return counts


def check_num_qubits(num_qubits):
    """Returns `num_qubits`, an int from 1 to 16."""
    if check_count("num_qubits", num_qubits) > LARGEST_NUM_QUBITS:
        raise ValueError(
            f"`num_qubits` must be {LARGEST_NUM_QUBITS} at most. "
            f"Received: num_qubits={num_qubits}"
        )
    return num_qubits


def _read(strings, num_qubits):
    """Returns masks `x` and `z`, int64 arrays `[m]`, and the number of qubits."""
    if not isinstance(strings, (list, tuple, np.ndarray)) or len(strings) == 0:
        raise ValueError(
            "`strings` must be a list of strings, or a pair of masks. "
            f"Received: strings={strings!r}"
        )
    if any(isinstance(string, str) for string in strings):
        x, z = _read_letters(strings)
        letters = len(strings[0])
        if num_qubits is not None and check_num_qubits(num_qubits) != letters:
            raise ValueError(
                f"`num_qubits` must be the {letters} letters of a string. "
                f"Received: num_qubits={num_qubits}"
            )
        num_qubits = check_num_qubits(letters)
    else:
        masks = _check_masks(strings)
        x, z = _check_range(masks, check_num_qubits(num_qubits))
    keys = (x << num_qubits) + z
    order = np.argsort(keys, kind="stable")
    again = order[1:][keys[order[1:]] == keys[order[:-1]]]
    if len(again):
        i = again.min()
        first = np.flatnonzero(keys == keys[i])[0]
        raise ValueError(
            f"`strings` must be distinct. Received: string {i} is string {first} again"
        )
    return x, z, num_qubits


def _read_letters(strings):
    """Returns the masks of a list of str."""
    for i, string in enumerate(strings):
        if not (isinstance(string, str) and len(string) == len(strings[0]) > 0):
            raise ValueError(
                "`strings` must all be str of one length. "
                f"Received: strings[0]={strings[0]!r}, strings[{i}]={string!r}"
            )
    text = np.frombuffer("".join(strings).encode("utf-32-le"), "uint32")
    _, is_x, is_z, is_y = letters = [text == ord(letter) for letter in LETTERS]
    known = np.any(letters, axis=0).reshape(len(strings), -1).all(axis=1)
    if not known.all():
        i = np.flatnonzero(~known)[0]
        raise ValueError(
            f"`strings` must be of the letters I, X, Y and Z. "
            f"Received: strings[{i}]={strings[i]!r}"
        )
    q = len(strings[0])
    values = 1 << np.arange(q)[::-1]
    return [bits.reshape(-1, q) @ values for bits in (is_x | is_y, is_z | is_y)]


def _check_masks(masks):
    """Returns a pair of masks as arrays of ints."""
    arrays = [np.asarray(ops.convert_to_numpy(mask)) for mask in masks]
    shapes = [array.shape for array in arrays]
    kinds = {array.dtype.kind for array in arrays}
    if len(shapes) != 2 or shapes[0] != shapes[1] or len(shapes[0]) != 1:
        raise ValueError(
            "`strings` as masks must be a pair of arrays of one length. "
            f"Received: arrays of shapes {shapes}"
        )
    if not kinds <= set("iu"):
        raise ValueError(
            "`strings` as masks must be ints. "
            f"Received: masks of dtypes {[array.dtype.name for array in arrays]}"
        )
    return arrays


def _check_range(masks, num_qubits):
    """Returns masks as int64 arrays."""
    low, high = np.min(masks), np.max(masks)
    if low < 0 or high >= 2**num_qubits:
        raise ValueError(
            f"`strings` as masks of {num_qubits} qubits must be from 0 to "
            f"{2**num_qubits - 1}. "
            f"Received: masks from {low} to {high}"
        )
    return [array.astype("int64") for array in masks]
