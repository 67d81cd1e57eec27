"""Differentiable games with known equilibria, and the parts of any game's Hessian."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from zoo._backend.gradients import vjp
from zoo._types import Array


@keras.saving.register_keras_serializable(package="zoo")
class Point(keras.Layer):
    """A player that is one vector of weights, which calling it returns.

    Args:
        start: vector, the weights' first values.

    Example:

    >>> tuple(Point([1.0, 2.0])().shape)
    (2,)
    """

    def __init__(self, start: Array, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.start = np.asarray(start, "float64").tolist()
        self.position = self.add_weight(
            shape=(len(self.start),),
            initializer=lambda shape, dtype: ops.convert_to_tensor(self.start, dtype),
            name="position",
        )
        self.built = True

    def call(self, inputs=None):
        return ops.convert_to_tensor(self.position)

    def get_config(self):
        return {**super().get_config(), "start": self.start}


@keras.saving.register_keras_serializable(package="zoo")
class QuadraticGame:
    """A game of quadratic losses, whose simultaneous gradient is `xi(w) = H w + b`.

    `L_i(w) = 1/2 w_i^T H_ii w_i + w_i^T sum_{j != i} H_ij w_j + b_i^T w_i`

    `H = S + A`, symmetric and antisymmetric, is the game's Hessian everywhere. With
    `A = 0` it is a potential game: all follow the slope of one function. With `S = 0`
    it is a Hamiltonian game: gradient flow circles around the equilibrium.

    The game itself is what a `GameTrainer` takes for `losses`.

    Args:
        hessian: matrix `[d, d]`, whose block on the diagonal of each player is
            symmetric.
        sizes: list of the players' numbers of weights, which sum to d.
        offset: vector `[d]`, b. Defaults to zeros.

    Raises:
        ValueError: sizes, shapes or symmetry are not as above, or not all is finite.

    Example:

    >>> game = QuadraticGame([[0.0, 1.0], [-1.0, 0.0]], sizes=[1, 1])
    >>> game.is_hamiltonian, game.is_potential, game.equilibrium.tolist()
    (True, False, [0.0, 0.0])

    Reference:

    - Balduzzi, Racaniere, Martens, Foerster, Tuyls and Graepel, 2018, "The mechanics of
      n-player differentiable games", [arXiv:1802.05642](https://arxiv.org/abs/1802.05642)
    """

    def __init__(
        self, hessian: Array, sizes: Sequence[int], offset: Array | None = None
    ) -> None:
        hessian = np.asarray(hessian, "float64")
        sizes = [int(size) for size in sizes]
        d = sum(sizes)
        if not sizes or min(sizes) < 1:
            raise ValueError(f"`sizes` must be >= 1 each. Received: sizes={sizes}")
        if hessian.shape != (d, d):
            raise ValueError(
                f"`hessian` must be of shape {(d, d)}, the sum of sizes {sizes}. "
                f"Received: shape {hessian.shape}"
            )
        offset = np.zeros(d) if offset is None else np.asarray(offset, "float64")
        if offset.shape != (d,):
            raise ValueError(
                f"`offset` must be of shape {(d,)}. Received: shape {offset.shape}"
            )
        if not (np.isfinite(hessian).all() and np.isfinite(offset).all()):
            raise ValueError("`hessian` and `offset` must be finite. Received: NaN/inf")
        self.hessian, self.sizes, self.offset = hessian, sizes, offset
        self.names = [f"player_{i + 1}" for i in range(len(sizes))]
        ends = np.cumsum(sizes)
        self.slices = [
            slice(e - s, e) for e, s in zip(ends.tolist(), sizes, strict=True)
        ]
        for name, own in zip(self.names, self.slices, strict=True):
            block = hessian[own, own]
            if not np.allclose(block, block.T):
                raise ValueError(
                    "`hessian` must have symmetric blocks on its diagonal. "
                    f"Received: another for {name}"
                )

    @property
    def symmetric(self) -> np.ndarray:
        """S, the part of a potential game."""
        return (self.hessian + self.hessian.T) / 2

    @property
    def antisymmetric(self) -> np.ndarray:
        """A, the part of a Hamiltonian game."""
        return (self.hessian - self.hessian.T) / 2

    @property
    def is_potential(self) -> bool:
        return np.allclose(self.antisymmetric, 0)

    @property
    def is_hamiltonian(self) -> bool:
        return np.allclose(self.symmetric, 0)

    @property
    def equilibrium(self) -> np.ndarray:
        """Where `xi = 0`, nearest to the origin: a Nash equilibrium if S >= 0.

        Raises:
            ValueError: there is none.
        """
        point = np.linalg.lstsq(self.hessian, -self.offset, rcond=None)[0]
        if not np.allclose(self.hessian @ point, -self.offset):
            raise ValueError("`equilibrium` must exist. Received: xi is 0 nowhere")
        return point

    def players(
        self, start: Array | dict[str, Array], dtype: str = "float64"
    ) -> dict[str, Point]:
        """Makes a `Point` a player.

        Args:
            start: vector `[d]`, or dict of players' names to theirs.
            dtype: of the weights.

        Returns:
            Dict of names, `"player_1"` and so on, to layers.
        """
        if isinstance(start, dict):
            start = np.concatenate([start[name] for name in self.names])
        start = np.asarray(start, "float64")
        if start.shape != self.offset.shape:
            raise ValueError(
                f"`start` must be of shape {self.offset.shape}. "
                f"Received: shape {start.shape}"
            )
        return {
            name: Point(start[own], dtype=dtype, name=name)
            for name, own in zip(self.names, self.slices, strict=True)
        }

    def __call__(
        self, players: Mapping[str, Callable[..., Array]], batch: Any = None
    ) -> dict[str, Array]:
        """Returns a dict of the players' losses, scalars; the batch is ignored."""
        points = [players[name]() for name in self.names]
        losses = {}
        for i, (name, own) in enumerate(zip(self.names, self.slices, strict=True)):
            pull = ops.convert_to_tensor(self.offset[own], points[i].dtype)
            for j, (other, point) in enumerate(zip(self.slices, points, strict=True)):
                block = ops.convert_to_tensor(self.hessian[own, other], point.dtype)
                force = ops.matmul(block, point)
                pull = pull + (0.5 * force if i == j else force)
            losses[name] = ops.sum(points[i] * pull)
        return losses

    def get_config(self):
        return {
            "hessian": self.hessian.tolist(),
            "sizes": self.sizes,
            "offset": self.offset.tolist(),
        }

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def __repr__(self) -> str:
        kinds = {"potential": self.is_potential, "Hamiltonian": self.is_hamiltonian}
        kind = ", ".join(kind for kind, holds in kinds.items() if holds) or "mixed"
        return f"<QuadraticGame sizes={self.sizes}, {kind}>"


def bilinear_game(matrix: Array) -> QuadraticGame:
    """The zero-sum game `L_1 = x^T M y = -L_2`, whose equilibrium is the origin.

    Args:
        matrix: `M`, `[len(x), len(y)]`.

    Returns:
        A Hamiltonian `QuadraticGame` of two players.

    Example:

    >>> bilinear_game([[1.0]]).hessian.tolist()
    [[0.0, 1.0], [-1.0, 0.0]]
    """
    matrix = np.atleast_2d(np.asarray(matrix, "float64"))
    rows, columns = matrix.shape
    hessian = np.zeros((rows + columns, rows + columns))
    hessian[:rows, rows:], hessian[rows:, :rows] = matrix, -matrix.T
    return QuadraticGame(hessian, [rows, columns])


def random_quadratic_game(
    sizes: Sequence[int], rotation: float, seed: int = 0
) -> QuadraticGame:
    """A random game between a potential and a Hamiltonian one.

    `H = (1 - rotation) S + rotation A`, with S positive definite and A antisymmetric
    between players, both of largest singular value 1: the origin is the only
    equilibrium, and a Nash equilibrium.

    Args:
        sizes: list of the players' numbers of weights.
        rotation: float from 0, a potential game, to 1, a Hamiltonian one.
        seed: int.

    Returns:
        A `QuadraticGame`.

    Raises:
        ValueError: `rotation` is outside [0, 1].

    Example:

    >>> random_quadratic_game([2, 2, 2], rotation=0.0)
    <QuadraticGame sizes=[2, 2, 2], potential>
    """
    if not 0 <= rotation <= 1:
        raise ValueError(
            f"`rotation` must be from 0 to 1. Received: rotation={rotation}"
        )
    generator = np.random.default_rng(seed)
    d = sum(sizes)
    # Curvatures from 0.1 to 1 along random directions.
    basis, _ = np.linalg.qr(generator.normal(size=(d, d)))
    symmetric = basis * np.linspace(0.1, 1.0, d) @ basis.T
    skew = generator.normal(size=(d, d))
    skew = skew - skew.T
    player = np.repeat(np.arange(len(sizes)), sizes)
    skew[player[:, None] == player] = 0
    norm = np.linalg.norm(skew, 2)
    skew = skew / norm if norm else skew
    return QuadraticGame((1 - rotation) * symmetric + rotation * skew, sizes)


def game_hessian(
    losses: Callable[[], Sequence[Array]], variables: Sequence[Sequence[keras.Variable]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The Hessian `d xi / d w` of a game at the point where its players stand.

    One backward pass a weight: for games of hundreds of weights, not of millions.

    Args:
        losses: callable without arguments that returns the list of n scalar losses.
        variables: list of n lists of the players' trainable variables.

    Returns:
        Three float64 arrays `[d, d]`: the Hessian, its symmetric and its antisymmetric
        part.

    Example:

    >>> import keras
    >>> x, y = keras.Variable([1.0]), keras.Variable([2.0])
    >>> H, S, A = game_hessian(
    ...     lambda: [ops.sum(x * x * y), ops.sum(x * y * y)], [[x], [y]]
    ... )
    >>> H.tolist(), A.tolist()
    ([[4.0, 2.0], [4.0, 2.0]], [[0.0, -1.0], [1.0, 0.0]])
    """
    everyone = [variable for one in variables for variable in one]

    def entries():
        values, _, pull = vjp(lambda: (losses(), None), everyone)
        gradients = [
            ops.zeros_like(variable) if gradient is None else gradient
            for i, one in enumerate(variables)
            for gradient, variable in zip(pull({i: 1.0}, one), one, strict=True)
        ]
        flat = ops.concatenate([ops.reshape(g, (-1,)) for g in gradients])
        return ops.unstack(flat), values

    xi, _, pull = vjp(entries, everyone)
    rows = [
        np.concatenate(
            [
                np.zeros(variable.shape).ravel() if g is None else np.ravel(g)
                for g, variable in zip(pull({k: 1.0}, everyone), everyone, strict=True)
            ]
        )
        for k in range(len(xi))
    ]
    hessian = np.array(rows, "float64")
    return hessian, (hessian + hessian.T) / 2, (hessian - hessian.T) / 2
