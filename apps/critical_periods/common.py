"""What the experiments on critical periods share: networks, flags, training."""

import functools
import shutil

import keras
import numpy as np
from absl import flags

from zoo.apps.critical_periods.numbers import AVERAGED, BASELINE, CONTROL, settings
from zoo.data import (
    Blur,
    LabelPermutation,
    VerticalFlip,
    WhiteNoise,
    without_class,
)
from zoo.metrics import loss_and_accuracy, predict_logits
from zoo.models import alexnet, all_cnn, mlp, resnet
from zoo.study import Section, Study, distribute, jit_compile, load_data
from zoo.study.branching import (
    BranchingTraining,
    common_length,
    get_state,
    set_state,
)
from zoo.study.study import check_different
from zoo.study.tuning import around, hold, refuse_hyperband, tuned

# Test images: all, those of the class that is withheld, and the others.
PARTS = ("test", "withheld", "others")
CLEAN, CLASS = "clean", "class"
DEFICITS = ("blur", "flip", "labels", "noise", CLASS)
SMALL_CNN = (12, 12, 24, 24, 24, 24, 24, 24)
MODELS = {
    "small_fc": functools.partial(mlp, units=(500, 500, 500)),
    # The network of Achille et al. for MNIST.
    "fc": functools.partial(mlp, units=(2500, 2000, 1500, 1000, 500)),
    "small_cnn": functools.partial(all_cnn, filters=SMALL_CNN),
    "cnn": functools.partial(all_cnn, filters=(96, 96, *(192,) * 6)),
    "resnet18": functools.partial(resnet, 18),
    "small_alexnet": functools.partial(alexnet, filters=(16, 32), units=(96, 48)),
    "alexnet": alexnet,
}
# Those with dropout and with a pooling whose side can be chosen.
ADJUSTABLE = ("small_cnn", "cnn", "small_alexnet", "alexnet")
# Seconds that an image of 28 x 28 takes in an epoch, and a run at least; two cores.
SECONDS, SECONDS_A_RUN = {"small_fc": 1e-4, "small_cnn": 7e-4}, 3.0


class CriticalPeriodsStudy(Study):
    """An experiment of the report on critical periods."""

    name = "critical_periods"
    objective = ("validation_accuracy", "max")

    @classmethod
    def define_flags(cls):
        flags.DEFINE_list("model", None, f"Networks: {', '.join(MODELS)}.")
        flags.DEFINE_list(
            "deficit", None, f"What is wrong at first: {', '.join(DEFICITS)}."
        )
        flags.DEFINE_list("deficit_epochs", None, "Epochs n with the deficit.")
        flags.DEFINE_list("onset", None, "Epochs before a window of the deficit.")
        flags.DEFINE_integer(
            "window_epochs",
            None,
            "Epochs of that window.",
            lower_bound=1,
            upper_bound=10**6,
        )
        flags.DEFINE_integer(
            "blur_size", None, "Side that images are blurred to.", lower_bound=1
        )
        flags.DEFINE_integer("withheld", None, "The class that is withheld.")
        flags.DEFINE_enum("optimizer", None, list(OPTIMIZERS), "SGD or Adam.")
        flags.DEFINE_float("learning_rate", None, "In the first epoch.")
        flags.DEFINE_float(
            "decay", None, "Factor of the learning rate each epoch; 1 fixes it."
        )
        flags.DEFINE_float("weight_decay", None, "Decoupled.", lower_bound=0.0)
        flags.DEFINE_enum(
            "normalization", None, ["none", "batch"], "Normalisation of all networks."
        )
        flags.DEFINE_float(
            "dropout",
            None,
            "Rate of dropout, which the fully connected and the residual lack.",
            lower_bound=0.0,
            upper_bound=0.9,
        )
        flags.DEFINE_integer(
            "pool_size",
            None,
            "Side of pooling, in AlexNet and before the CNN's classifier; 0: the "
            "network's own.",
            lower_bound=0,
        )
        flags.DEFINE_bool(
            "double_softmax", None, "Take the softmax twice, as the report did."
        )
        flags.DEFINE_integer(
            "fisher_images", None, "Images of the Fisher trace.", lower_bound=1
        )
        flags.DEFINE_integer(
            "fisher_every", None, "Epochs between Fisher traces.", lower_bound=1
        )
        flags.DEFINE_bool(
            "share_prefix",
            None,
            "Keep states where trainings part, and train what is common once.",
        )

    def prepare(self, config):
        # The last network, what it is for, and its first state by seed.
        self.compiled, self.first = (None, None), {}
        self.check_choices(config, "model", MODELS)
        self.check_choices(config, "deficit", DEFICITS)
        if "deficit_epochs" in vars(config):
            self.check_numbers(config, "deficit_epochs", 0, 1e6, int)
            config.deficit_epochs.sort()
            if not self.lengths(config):
                raise ValueError("--deficit_epochs=0 must hold a number above 0")
        refuse_hyperband(config, "changes the epochs, which are what is compared")
        if config.learning_rate <= 0:
            raise ValueError(f"--learning_rate={config.learning_rate} must be above 0")
        if not 0 < config.decay <= 1:
            raise ValueError(f"--decay={config.decay} must be above 0 and at most 1")
        if config.epochs < AVERAGED:
            raise ValueError(
                f"--epochs={config.epochs} must be at least {AVERAGED}: accuracies are "
                "averaged over the last"
            )
        check_different("dataset", config.dataset)
        self.data = {name: load_data(name, config) for name in config.dataset}
        for name, data in self.data.items():
            self._check_data(name, data, config)

    def _check_data(self, name, data, config):
        side = min(data.input_shape[:2])
        if "blur" in config.deficit and config.blur_size > side:
            raise ValueError(
                f"--blur_size={config.blur_size} must be at most the images' side, "
                f"{side} in {name}"
            )
        if not 0 <= config.withheld < data.num_classes:
            raise ValueError(
                f"--withheld={config.withheld} must be a class of {name}, from 0 to "
                f"{data.num_classes - 1}"
            )
        if CLASS in config.deficit and config.withheld not in data.train[1]:
            raise ValueError(
                f"--withheld={config.withheld} must be a class of the "
                f"{len(data.train[0])} training images of {name}, see --limit"
            )
        pooled = -(-side // 4)
        if {"cnn", "small_cnn"} & set(config.model) and config.pool_size > pooled:
            raise ValueError(
                f"--pool_size={config.pool_size} must be at most {pooled} for the "
                f"images of {name}, of side {side}"
            )
        if not 1 <= config.batch_size <= len(data.train[0]):
            raise ValueError(
                f"--batch_size={config.batch_size} must be at most the "
                f"{len(data.train[0])} training images of {name}"
            )

    def arms(self, config):
        """Returns what is compared: clean training, as long, and each deficit."""
        return [CONTROL, *config.deficit]

    def lengths(self, config):
        """Returns the numbers of epochs n that are not 0."""
        return [n for n in config.deficit_epochs if n]

    def path(self, values, config):
        """Returns the phase of each epoch at a point of the grid."""
        phase = phase_of(values["arm"])
        return (phase,) * values.get("n", 0) + (CLEAN,) * config.epochs

    def grid(self, hp, config):
        hp.Choice("dataset", config.dataset)
        hp.Choice("model", config.model)
        hp.Choice("arm", [BASELINE, *self.arms(config)])
        with hp.conditional_scope("arm", self.arms(config)):
            hp.Choice("n", self.lengths(config))
        self.seeds(hp, config)

    def space(self, hp, config):
        hold(hp, config, "dataset")
        hp.Choice("model", config.model)
        # The training without a deficit, to which the others are compared.
        for name, value in self.points(config)[0].items():
            hp.Fixed(name, value)
        around(hp, config, "learning_rate", "weight_decay")
        if config.decay < 1:
            hp.Float("decay", max(2 * config.decay - 1, 0.01), 1.0)

    def paths(self, config):
        """Returns all paths of the grid, each once."""
        points = self.points(config)
        return list(dict.fromkeys(self.path(point, config) for point in points))

    def points(self, config):
        """Returns the values that a path depends on, of each point."""
        return [{"arm": BASELINE}] + [
            {"arm": arm, "n": n}
            for arm in self.arms(config)
            for n in self.lengths(config)
        ]

    def seconds(self, values, config):
        if values["model"] not in SECONDS:
            return None
        path, trained = self.path(values, config), 0
        if config.share_prefix:
            others = self.paths(config)
            before = others[: others.index(path)]
            trained = max((common_length(path, one) for one in before), default=0)
        pixels = self.data[values["dataset"]].train[0].size
        an_epoch = SECONDS[values["model"]] * pixels / 28**2
        return SECONDS_A_RUN + (len(path) - trained) * an_epoch

    def run(self, hp, config, logdir):
        seed, name = hp.get("seed"), hp.get("model")
        dataset, path = hp.get("dataset"), self.path(hp.values, config)
        data = self.data[dataset]
        config = tuned(config, hp)
        model = self.model(dataset, name, seed, config)
        training = BranchingTraining(
            self.folder(config.logdir) / "states",
            [dataset, name, seed, config.learning_rate],
            # A search has other rates for each training.
            config.share_prefix and config.search == "grid",
        )
        records = training.run(
            model,
            path,
            [other for other in self.paths(config) if other != path],
            self.phases(data, config),
            config,
            seed=seed,
            logdir=logdir,
            record=self.recorder(model, data, config),
        )
        return {
            **scores(model, data),
            **last(records),
            "updates": float(keras.ops.convert_to_numpy(model.optimizer.iterations)),
            **curves(records),
        }

    def model(self, dataset, name, seed, config):
        """Returns an untrained network, of the weights that the global seed gives.

        Runs share its compiled step, and those of a seed its first state.
        """
        key = (dataset, name, config.learning_rate, config.weight_decay)
        if key != self.compiled[0]:
            model = self.build(name, self.data[dataset], config)
            self.compiled, self.first = (key, model), {seed: get_state(model)}
        elif seed not in self.first:
            self.first[seed] = get_state(self.build(name, self.data[dataset], config))
        set_state(self.compiled[1], self.first[seed])
        return self.compiled[1]

    def build(self, name, data, config):
        """Builds and compiles a network."""
        options = {"normalization": config.normalization}
        if config.dropout and name in ADJUSTABLE:
            options["dropout"] = config.dropout
        if config.pool_size and name in ADJUSTABLE:
            options["pool_size"] = config.pool_size
        with distribute.scope(config):
            model = MODELS[name](data.input_shape, data.num_classes, **options)
            if config.double_softmax:
                # By two operations: of a softmax Keras would take the inputs instead.
                outputs = keras.ops.exp(keras.ops.log_softmax(model.output))
                model = keras.Model(model.input, outputs, name=model.name)
            model.compile(
                OPTIMIZERS[config.optimizer](config),
                keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                metrics=[keras.metrics.SparseCategoricalAccuracy("accuracy")],
                jit_compile=jit_compile(config),
            )
            model.optimizer.build(model.trainable_variables)
        return model

    def report(self, results, config):
        sections = [Section("Setting", settings(self.data, config))]
        if config.search != "grid":
            # Its trials differ in the learning rate, too: they are no pairs.
            return sections
        trainings = len(config.dataset) * len(config.model) * config.runs
        if len(results.select()) >= trainings * len(self.points(config)):
            # What no training will branch from again.
            states = self.folder(config.logdir) / "states"
            shutil.rmtree(states, ignore_errors=True)
        for dataset in config.dataset:
            for model in config.model:
                point = {"dataset": dataset, "model": model}
                if len(results.select(**point)):
                    sections += self.sections(results, point, config)
        return sections

    def sections(self, results, point, config):
        """Returns the sections on one network and data set."""
        raise NotImplementedError

    def phases(self, data, config):
        """Returns what a phase trains on, by its name, as arguments of `fit`."""
        images, labels = data.train
        own = {"images": images, "labels": labels}
        corrupt = {
            "blur": lambda: Blur(config.blur_size),
            "flip": VerticalFlip,
            "labels": lambda: LabelPermutation(data.num_classes, config.seed),
            "noise": WhiteNoise,
        }
        phases = {CLEAN: own}
        for name in config.deficit:
            if name == CLASS:
                kept = without_class(images, labels, config.withheld)
                phases[name] = dict(zip(("images", "labels"), kept, strict=True))
            else:
                phases[name] = {**own, "map_fn": corrupt[name]().corrupt}
        if config.decay < 1:
            decay = keras.callbacks.LearningRateScheduler(
                lambda epoch: config.learning_rate * config.decay**epoch
            )
            phases = {
                name: {**phase, "callbacks": [decay]} for name, phase in phases.items()
            }
        return phases

    def recorder(self, model, data, config):
        """Returns the function that records an epoch."""
        ends = {len(path) for path in self.paths(config)}
        wanted = {end - back for end in ends for back in range(AVERAGED)}
        images, labels = data.test

        def record(epochs, logs):
            row = {"loss": float(logs["loss"]), "accuracy": float(logs["accuracy"])}
            if epochs in wanted:
                hits = predict_logits(model, images).argmax(axis=1) == labels
                withheld = labels == config.withheld
                for part, rows in zip(
                    PARTS, (slice(None), withheld, ~withheld), strict=True
                ):
                    row[f"{part}_accuracy"] = float(hits[rows].mean())
            extras = ("fisher", "learning_rate")
            return row | {
                name: float(value)
                for name, value in logs.items()
                if name.startswith(extras)
            }

        return record


def phase_of(arm):
    """Returns what a training has in the epochs of the deficit."""
    return CLEAN if arm in (BASELINE, CONTROL) else arm


def scores(model, data):
    """Returns the loss and the accuracy on each part of an image set."""
    return {
        f"{part}_{name}": value
        for part in ("train", "validation", "test")
        for name, value in zip(
            ("loss", "accuracy"),
            loss_and_accuracy(model, *getattr(data, part)),
            strict=True,
        )
    }


def last(records):
    """Returns the accuracies on test images, averaged over the last epochs."""
    return {
        f"{part}_accuracy": float(
            np.mean([row[f"{part}_accuracy"] for row in records[-AVERAGED:]])
        )
        for part in PARTS
    }


def curves(records):
    """Turns records into curves, NaN in epochs that lack a number."""
    names = dict.fromkeys(name for row in records for name in row)
    return {
        f"{name}_curve": np.array([row.get(name, np.nan) for row in records])
        for name in names
    }


def _sgd(config):
    return keras.optimizers.SGD(
        config.learning_rate, momentum=0.9, weight_decay=config.weight_decay or None
    )


def _adam(config):
    return keras.optimizers.Adam(
        config.learning_rate, weight_decay=config.weight_decay or None
    )


OPTIMIZERS = {"sgd": _sgd, "adam": _adam}
