"""What the experiments on margins share: flags, data, the network, its training."""

import keras
from absl import flags

from zoo.data import corrupt_labels
from zoo.models import convnet
from zoo.study import distribute, fit, jit_compile, load_data
from zoo.study.report import counted
from zoo.study.tuning import Comparison, around, between, hold


class MarginStudy(Comparison):
    """An experiment of the report on margins: one data set, small networks, Adam."""

    name = "margins"

    @classmethod
    def define_flags(cls):
        flags.DEFINE_list("loss", None, "Losses to compare.")
        flags.DEFINE_list("corruption", None, "Fractions of wrong training labels.")
        flags.DEFINE_list("width", None, "Widths of the network.")
        flags.DEFINE_list("dropout", None, "Rates of dropout of the population.")
        flags.DEFINE_list("weight_decay", None, "Decoupled decays of the population.")
        flags.DEFINE_float("learning_rate", None, "Of Adam.", lower_bound=0.0)
        flags.DEFINE_float(
            "t1",
            None,
            "Temperature of the bi-tempered logarithm.",
            lower_bound=0.0,
            upper_bound=1.999,
        )
        flags.DEFINE_float(
            "t2", None, "Temperature of the bi-tempered softmax.", lower_bound=0.0
        )
        flags.DEFINE_integer(
            "held_out", None, "Classes that embeddings never see.", lower_bound=2
        )

    def prepare(self, config):
        """Loads the data, and reads lists of numbers as such."""
        for name, (low, high) in {
            "corruption": (0.0, 1.0),
            "dropout": (0.0, 0.95),
            "weight_decay": (0.0, 10.0),
        }.items():
            if hasattr(config, name):
                self.check_numbers(config, name, low, high)
        if hasattr(config, "width"):
            self.check_numbers(config, "width", 1, 2**16, int)
        if hasattr(config, "dataset"):
            if len(config.dataset) != 1:
                raise ValueError(
                    f"--dataset={','.join(config.dataset)} must name one data set"
                )
            self.data = load_data(config.dataset[0], config)

    def check_losses(self, config, known):
        self.check_choices(config, "loss", known)

    def space(self, hp, config):
        hold(hp, config)
        between(hp, config, "width", sampling="log")
        around(hp, config, "learning_rate")
        least = max(config.batch_size // 4, 1)
        most = min(4 * config.batch_size, len(self.data.train[0]))
        hp.Int("batch_size", min(least, most), most, sampling="log")

    def wrong_labels(self, hp, seed, part="train"):
        """Returns the labels of a part, the point's fraction of them wrong."""
        _, labels = getattr(self.data, part)
        return corrupt_labels(
            labels, hp.get("corruption"), self.data.num_classes, seed=seed
        )

    def settings(self, config):
        """Says in a sentence what was trained on what."""
        data = self.data
        return (
            f"Data: {data.name}, {data.source}; {len(data.train[0])} images of "
            f"{'x'.join(map(str, data.input_shape))} to train on. Adam, learning rate "
            f"{config.learning_rate}, batches of {config.batch_size}, "
            f"{counted(config.epochs, 'epoch')}, {counted(config.runs, 'seed')}."
        )


def network(data, width, dropout=0.0):
    """Builds the network of Amid et al. (2019), which has `width=32`."""
    return convnet(
        data.input_shape,
        data.num_classes,
        filters=(width, 2 * width),
        units=(32 * width,),
        dropout=dropout,
    )


def train(
    model,
    images,
    labels,
    config,
    *,
    loss=None,
    weight_decay=0.0,
    metrics=True,
    **kwargs,
):
    """Compiles with Adam and fits; `kwargs` are those of `zoo.study.fit`."""
    with distribute.scope(config):
        model.compile(
            keras.optimizers.Adam(
                config.learning_rate, weight_decay=weight_decay or None
            ),
            loss or keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=(
                [keras.metrics.SparseCategoricalAccuracy("accuracy")]
                if metrics
                else None
            ),
            jit_compile=jit_compile(config),
        )
    return fit(model, images, labels, config, **kwargs)
