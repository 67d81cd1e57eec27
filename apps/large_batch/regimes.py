"""The regimes of training with large batches, and one run of one."""

import dataclasses

import keras
import numpy as np

from zoo.apps.large_batch.common import MODELS, RULES, LargeBatchStudy
from zoo.apps.large_batch.regimes_report import write_sections
from zoo.data import augment_flip_crop, steps_per_epoch
from zoo.metrics import DistanceFromInitialization, EvaluateAtUpdates
from zoo.optimizers import LinearWarmup
from zoo.study import distribute, evaluate, fit, jit_compile, load_data
from zoo.study.tuning import around, hold, tuned

# Seconds a run, an update and a training image take; measured on two cores.
SECONDS = {"small_mlp": (2.0, 0.004, 2e-5), "small_cnn": (10.0, 0.01, 1.2e-4)}
# Points of a curve, and images of each part that it is measured on, at most.
EVALUATIONS, EVALUATED = 24, 2000


@dataclasses.dataclass(frozen=True)
class Regime:
    """How a run is trained: its batch, and what is done about its size."""

    batch_size: int
    ghosts: bool = False
    longer: bool = False
    scaled: bool = False


def regimes(config):
    """Returns the regimes by name: small batches first, then what is compared."""
    small, large = config.batch_size, config.large_batch_size
    table = {"SB": Regime(small), "LB": Regime(large)}
    if config.lr_rule != "fixed":
        table["LR"] = Regime(large, scaled=True)
    table["GBN"] = Regime(large, ghosts=True)
    table["LE"] = Regime(large, longer=True, scaled=True)
    table["GBN+LE"] = Regime(large, ghosts=True, longer=True, scaled=True)
    size = 2 * small
    while size < large:
        table[f"B{size}"] = Regime(size)
        size *= 2
    return table


class Regimes(LargeBatchStudy):
    """Trains with small and large batches and compares how they generalise."""

    experiment = "regimes"
    title = "Large batches and the generalisation gap"
    objective = ("validation_accuracy", "max")
    # Table 5 of the report: ResNet-50, validation accuracy in percent.
    published = {
        "cifar10": {
            "SB": 92.78,
            "LB": 90.32,
            "GBN": 91.48,
            "LE": 92.72,
            "GBN+LE": 94.13,
        },
        "cifar100": {
            "SB": 69.89,
            "LB": 65.26,
            "GBN": 68.03,
            "LE": 69.42,
            "GBN+LE": 71.04,
        },
    }
    presets = {
        "quick": {
            "dataset": ["digits"],
            "limit": 1280,
            "image_size": 0,
            "model": "small_mlp",
            "batch_size": 16,
            "large_batch_size": 256,
            "virtual_batch_size": 16,
            "epochs": 4,
            "runs": 2,
            "learning_rate": 0.01,
            "lr_rule": "sqrt",
            "schedule": "step",
            "warmup_epochs": 0,
            "momentum": 0.9,
            "weight_decay": 1e-4,
            "clip_norm": 5.0,
            "augment": False,
        },
    }
    presets["cpu"] = {
        **presets["quick"],
        "dataset": ["fashion_mnist"],
        "limit": 4096,
        "image_size": 14,
        "model": "small_cnn",
        "batch_size": 64,
        "large_batch_size": 1024,
        "virtual_batch_size": 64,
        "epochs": 15,
        "runs": 3,
        "learning_rate": 0.05,
    }
    # The report names network, data, optimizer and batches; the rest is our choice.
    presets["paper"] = {
        **presets["cpu"],
        "dataset": ["cifar10", "cifar100"],
        "limit": 0,
        "image_size": 0,
        "model": "resnet50",
        "epochs": 160,
        "learning_rate": 0.1,
        "lr_rule": "fixed",
        "weight_decay": 5e-4,
        "augment": True,
    }

    def prepare(self, config):
        if config.large_batch_size <= config.batch_size:
            raise ValueError(
                f"--large_batch_size={config.large_batch_size} must be above "
                f"--batch_size={config.batch_size}"
            )
        if not config.dataset:
            raise ValueError("--dataset must name one data set at least")
        if len(set(config.dataset)) < len(config.dataset):
            raise ValueError(f"--dataset names one twice: {','.join(config.dataset)}")
        self.data = {name: load_data(name, config) for name in config.dataset}
        for name, data in self.data.items():
            count = len(data.train[0])
            if config.large_batch_size > count:
                raise ValueError(
                    f"--large_batch_size={config.large_batch_size} must be at most the "
                    f"{count} training images of {name}"
                )

    def grid(self, hp, config):
        hp.Choice("dataset", config.dataset)
        hp.Choice("regime", list(regimes(config)))
        self.seeds(hp, config)

    def space(self, hp, config):
        hold(hp, config, "dataset")
        compared = regimes(config)
        hp.Choice("regime", list(compared))
        around(hp, config, "learning_rate", "weight_decay")
        hp.Float("momentum", 0.5, 0.99, sampling="reverse_log")
        ghosts = [name for name, regime in compared.items() if regime.ghosts]
        with hp.conditional_scope("regime", ghosts):
            most = max(config.large_batch_size // 2, 2)
            hp.Int("virtual_batch_size", min(8, most), most, sampling="log")

    def seconds(self, values, config):
        if config.model not in SECONDS:
            return None
        regime = regimes(config)[values["regime"]]
        images = len(self.data[values["dataset"]].train[0])
        images *= self._epochs(regime, config)
        start, an_update, an_image = SECONDS[config.model]
        return start + an_update * images / regime.batch_size + an_image * images

    def run(self, hp, config, logdir):
        config = tuned(config, hp)
        regime = regimes(config)[hp.get("regime")]
        seed = hp.get("seed")
        data = self.data[hp.get("dataset")]
        images, labels = data.train
        steps = steps_per_epoch(len(images), regime.batch_size)
        epochs = self._epochs(regime, config)
        updates = _spread(steps * epochs)
        evaluate_at = EvaluateAtUpdates(
            {
                "training": (images[:EVALUATED], labels[:EVALUATED]),
                "validation": tuple(part[:EVALUATED] for part in data.validation),
            },
            updates,
        )
        distance = DistanceFromInitialization(updates)
        model = self._model(data, regime, config, steps * epochs, steps)
        history = fit(
            model,
            images,
            labels,
            config,
            seed=seed,
            logdir=logdir,
            batch_size=regime.batch_size,
            epochs=epochs,
            callbacks=[evaluate_at, distance],
            map_fn=augment_flip_crop if config.augment else None,
        )
        return {
            **evaluate(model, data, config),
            "distance": history["distance"][-1],
            "updates": steps * epochs,
            **{f"{name}_curve": curve for name, curve in evaluate_at.curves.items()},
            "update_curve_in_epochs": evaluate_at.curves["update"] / steps,
            "distance_curve": distance.curve,
            "epoch_loss": np.array(history["loss"]),
        }

    def sections(self, results, config):
        return write_sections(self, results, config, regimes(config))

    def _epochs(self, regime, config):
        ratio = regime.batch_size / config.batch_size
        return round(config.epochs * ratio) if regime.longer else config.epochs

    def _model(self, data, regime, config, updates, steps):
        with distribute.scope(config):
            model = MODELS[config.model](
                data.input_shape,
                data.num_classes,
                normalization="ghost" if regime.ghosts else "batch",
                virtual_batch_size=config.virtual_batch_size,
            )
        ratio = regime.batch_size / config.batch_size
        rule = RULES[config.lr_rule if regime.scaled else "fixed"]
        rate = _schedule(config.schedule, config.learning_rate * rule(ratio), updates)
        if config.warmup_epochs:
            rate = LinearWarmup(rate, round(config.warmup_epochs * steps))
        with distribute.scope(config):
            model.compile(
                keras.optimizers.SGD(
                    rate,
                    momentum=config.momentum,
                    weight_decay=config.weight_decay or None,
                    global_clipnorm=config.clip_norm or None if regime.scaled else None,
                ),
                keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                metrics=[keras.metrics.SparseCategoricalAccuracy("accuracy")],
                jit_compile=jit_compile(config),
            )
        return model


def _schedule(kind, rate, updates):
    schedules = keras.optimizers.schedules
    if kind == "cosine":
        return schedules.CosineDecay(rate, updates)
    if kind == "step" and updates >= 4:
        drops = [updates // 2, updates * 3 // 4]
        return schedules.PiecewiseConstantDecay(drops, [rate, rate / 10, rate / 100])
    return rate


def _spread(updates):
    """Spaces at most `EVALUATIONS` numbers of updates evenly in their logarithm."""
    points = np.geomspace(1, updates, EVALUATIONS).round().astype(int)
    return np.unique(points).tolist()
