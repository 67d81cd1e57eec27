"""What the search spaces of studies are made of."""

import types

from zoo.study.study import Study


class Comparison(Study):
    """A study whose report compares the runs of a grid, and is silent on a search."""

    def report(self, results, config):
        if config.search != "grid":
            # Its trials differ in what is tuned, too: they are no comparison.
            return []
        return self.sections(results, config)

    def sections(self, results, config):
        """Says what the runs of the grid show, a list of `zoo.study.Section`."""
        raise NotImplementedError


def hold(hp, config, *flags):
    """Declares what a search does not compare: the first of each list, one seed.

    Args:
        hp: `keras_tuner.HyperParameters`.
        config: the settings.
        flags: names of settings that are lists.

    Example:

    >>> import keras_tuner
    >>> hp = keras_tuner.HyperParameters()
    >>> config = types.SimpleNamespace(seed=0, width=[8, 16])
    >>> hold(hp, config, "width")
    >>> hp.values
    {'width': 8, 'seed': 0}
    """
    for flag in flags:
        hp.Fixed(flag, getattr(config, flag)[0])
    hp.Fixed("seed", config.seed)


def around(hp, config, *flags, factor=10.0):
    """Declares ranges, even in the logarithm, around settings that are not 0.

    Args:
        hp: `keras_tuner.HyperParameters`.
        config: the settings.
        flags: names of settings that are numbers.
        factor: float, of both ends to the setting. Defaults to 10.

    Example:

    >>> import keras_tuner
    >>> hp = keras_tuner.HyperParameters()
    >>> config = types.SimpleNamespace(learning_rate=0.1, weight_decay=0.0)
    >>> around(hp, config, "learning_rate", "weight_decay")
    >>> [(entry.name, entry.min_value, entry.max_value) for entry in hp.space]
    [('learning_rate', 0.01, 1.0)]
    """
    for flag in flags:
        value = getattr(config, flag)
        if value:
            hp.Float(flag, value / factor, value * factor, sampling="log")


def between(hp, config, *flags, sampling="linear"):
    """Declares ranges from the least to the greatest number of lists.

    A list of one number is held.

    Args:
        hp: `keras_tuner.HyperParameters`.
        config: the settings.
        flags: names of settings that are lists of numbers.
        sampling: as Keras Tuner has it. Defaults to `"linear"`.

    Example:

    >>> import keras_tuner
    >>> hp = keras_tuner.HyperParameters()
    >>> config = types.SimpleNamespace(dropout=[0.0, 0.4], width=[8])
    >>> between(hp, config, "dropout", "width")
    >>> dropout, width = hp.space
    >>> dropout.min_value, dropout.max_value, width.value
    (0.0, 0.4, 8)
    """
    for flag in flags:
        values = getattr(config, flag)
        least, most = min(values), max(values)
        if least == most:
            hp.Fixed(flag, least)
            continue
        whole = isinstance(least, int) and isinstance(most, int)
        declare = hp.Int if whole else hp.Float
        declare(flag, least, most, sampling=sampling)


def tuned(config, hp):
    """Returns the settings, with the numbers that a search has chosen in their place.

    Args:
        config: the settings.
        hp: `keras_tuner.HyperParameters`, the point.

    Example:

    >>> import keras_tuner
    >>> hp = keras_tuner.HyperParameters()
    >>> config = types.SimpleNamespace(learning_rate=0.1, loss=["hinge", "softmax"])
    >>> rate = hp.Float("learning_rate", 0.2, 1.0)
    >>> loss = hp.Choice("loss", config.loss)
    >>> tuned(config, hp)
    namespace(learning_rate=0.2, loss=['hinge', 'softmax'])
    """
    chosen = {
        name: value
        for name, value in hp.values.items()
        if name != "seed" and isinstance(getattr(config, name, None), int | float)
    }
    return types.SimpleNamespace(**{**vars(config), **chosen})


def tunable(config, flag, what, names):
    """Returns those values of a list that have something to tune.

    Args:
        config: the settings.
        flag: str, the name of the list.
        what: str, what is tuned, in words.
        names: the values that have it.

    Raises:
        ValueError: with one line, there are none.

    Example:

    >>> config = types.SimpleNamespace(method=["descent", "newton"])
    >>> tunable(config, "method", "steps", ["descent", "momentum"])
    ['descent']
    """
    values = getattr(config, flag)
    found = [value for value in values if value in names]
    if not found:
        raise ValueError(
            f"--search={config.search} tunes {what}, which --{flag}="
            f"{','.join(map(str, values))} lacks"
        )
    return found


def refuse_hyperband(config, why="changes epochs, which there are none of"):
    """Raises a `ValueError` of one line where a search cannot be by Hyperband."""
    if config.search == "hyperband":
        raise ValueError(f"--search=hyperband {why}: use random or bayesian")


def refuse_search(config, why):
    """Raises a `ValueError` of one line where an experiment has nothing to tune."""
    raise ValueError(
        f"--search={config.search} has nothing to tune in --experiment="
        f"{config.experiment}: {why}"
    )
