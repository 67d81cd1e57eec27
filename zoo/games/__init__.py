"""Games with known equilibria, and the trainer that plays them."""

from zoo.games.differentiable import (
    Point,
    QuadraticGame,
    bilinear_game,
    game_hessian,
    random_quadratic_game,
)
from zoo.games.gan import R1, R2, GANLoss, GradientPenalty, gan
from zoo.games.matrix import (
    MatrixGame,
    Strategy,
    matching_pennies,
    odds_and_evens,
    random_game,
    random_matrix_game,
    rock_paper_scissors,
)
from zoo.games.play import play
from zoo.games.trainer import GameTrainer

__all__ = [
    "R1",
    "R2",
    "GANLoss",
    "GameTrainer",
    "GradientPenalty",
    "MatrixGame",
    "Point",
    "QuadraticGame",
    "Strategy",
    "bilinear_game",
    "game_hessian",
    "gan",
    "matching_pennies",
    "odds_and_evens",
    "play",
    "random_game",
    "random_matrix_game",
    "random_quadratic_game",
    "rock_paper_scissors",
]
