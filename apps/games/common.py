"""What the experiments on games share: flags, and how lists of them are checked."""

from absl import flags

from zoo.study.tuning import Comparison, hold, refuse_hyperband


class GameStudy(Comparison):
    """An experiment of the report on optimisation in games."""

    name = "games"

    @classmethod
    def define_flags(cls):
        flags.DEFINE_list("method", None, "Methods to compare.")
        flags.DEFINE_list("setting", None, "Settings of the networks' training.")
        flags.DEFINE_list("game", None, "Games to play.")
        flags.DEFINE_list("players", None, "Numbers of players.")
        flags.DEFINE_integer(
            "iterations", None, "Updates of the networks.", lower_bound=1
        )
        flags.DEFINE_integer(
            "long_iterations",
            None,
            "Updates where the report trains longer.",
            lower_bound=1,
        )
        flags.DEFINE_integer(
            "tuned_iterations",
            None,
            "Updates of the settings that work; gradient descent takes twice as many.",
            lower_bound=1,
        )
        flags.DEFINE_integer(
            "check_every", None, "Updates between looks at samples.", lower_bound=1
        )
        flags.DEFINE_integer(
            "per_mode",
            None,
            "Points of each mode in a batch.",
            lower_bound=1,
            upper_bound=10**6,
        )
        flags.DEFINE_integer(
            "samples",
            None,
            "Settings that a search tries a method.",
            lower_bound=1,
            upper_bound=10**5,
        )
        flags.DEFINE_integer("steps", None, "Updates of a small game.", lower_bound=1)
        flags.DEFINE_integer(
            "actions",
            None,
            "Actions a player in random games.",
            lower_bound=2,
            upper_bound=10_000,
        )

    def space(self, hp, config):
        refuse_hyperband(config)
        hold(hp, config)
