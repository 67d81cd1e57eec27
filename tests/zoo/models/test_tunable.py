"""Builders that take Keras Tuner's hyper-parameters: what they choose, and tuners."""

import functools

import keras
import keras_tuner
import numpy as np
import pytest
from sklearn.datasets import load_digits

from zoo.layers import GhostBatchNorm
from zoo.losses import BiTemperedLogistic, LargeMargin, TemperatureSoftmax
from zoo.models import LargeMarginModel, tunable_classifier, tunable_network
from zoo.models.tunable import LOSSES, NETWORKS, OPTIMIZERS

IMAGE = ((8, 8, 1), 10)
SMALL = {"networks": ("mlp",), "optimizers": ("adam",)}


def chosen(**values):
    hp = keras_tuner.HyperParameters()
    hp.values = dict(values)
    return hp


@pytest.fixture(scope="module")
def digits():
    images, labels = load_digits(return_X_y=True)
    return images[:300].reshape(-1, 8, 8, 1).astype("float32") / 16, labels[:300]


@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_has_the_normalization_chosen(network):
    hp = chosen(network=network, normalization="ghost", virtual_batch_size=16)
    model = tunable_network(hp, *IMAGE)
    layers = [one for one in model.layers if isinstance(one, GhostBatchNorm)]
    assert layers and {one.virtual_batch_size for one in layers} == {16}
    assert model.output_shape == (None, 10)
    assert model.name == network
    # What was not chosen has no value that a tuner could show.
    assert ("units" in hp.values) == (network == "mlp")
    assert ("filters" in hp.values) == (network == "convnet")


def test_networks_have_the_sizes_chosen():
    hp = chosen(network="mlp", depth=2, units=40, normalization="none")
    model = tunable_network(hp, (5,), 3)
    shapes = [one.kernel.shape for one in model.layers if hasattr(one, "kernel")]
    assert [tuple(shape) for shape in shapes] == [(5, 40), (40, 40), (40, 3)]
    hp = chosen(network="convnet", filters=9, dropout=0.25, normalization="batch")
    model = tunable_network(hp, *IMAGE)
    assert model.get_layer("conv2").filters == 18
    assert model.get_layer("dense1_dropout").rate == 0.25
    layers = {type(one) for one in model.layers}
    assert keras.layers.BatchNormalization in layers


@pytest.mark.parametrize(
    ("loss", "values", "kind", "found"),
    [
        (
            "bi_tempered",
            {"t1": 0.5, "t2": 2.0, "label_smoothing": 0.1},
            BiTemperedLogistic,
            lambda loss: (loss.t1, loss.t2, loss.label_smoothing) == (0.5, 2.0, 0.1),
        ),
        (
            "temperature",
            {"gamma": 0.3},
            TemperatureSoftmax,
            lambda loss: loss.gamma == 0.3,
        ),
    ],
)
def test_losses_have_the_numbers_chosen(loss, values, kind, found):
    model = tunable_classifier(chosen(loss=loss, **values), *IMAGE, **SMALL)
    assert isinstance(model.loss, kind) and found(model.loss)
    assert model.optimizer.global_clipnorm is None


def test_a_large_margin_is_added_to_cross_entropy_and_clipped():
    hp = chosen(loss="large_margin", margin=0.7, margin_weight=2.0)
    model = tunable_classifier(hp, *IMAGE, **SMALL)
    assert isinstance(model, LargeMarginModel)
    assert isinstance(model.margin_loss, LargeMargin)
    assert (model.margin_loss.gamma, model.margin_weight) == (0.7, 2.0)
    assert isinstance(model.loss, keras.losses.SparseCategoricalCrossentropy)
    assert model.optimizer.global_clipnorm == 1.0


@pytest.mark.parametrize(
    ("optimizer", "kind"),
    [("sgd", keras.optimizers.SGD), ("adam", keras.optimizers.Adam)],
)
def test_optimizers_have_the_numbers_chosen(optimizer, kind):
    rate = {f"{optimizer}_learning_rate": 0.0125}
    hp = chosen(optimizer=optimizer, **rate, momentum=0.75, weight_decay=1e-3)
    model = tunable_classifier(hp, *IMAGE, networks=("mlp",))
    assert type(model.optimizer) is kind
    assert float(model.optimizer.learning_rate) == pytest.approx(0.0125)
    assert model.optimizer.weight_decay == 1e-3
    if optimizer == "sgd":
        assert model.optimizer.momentum == 0.75


def test_one_build_declares_the_whole_space():
    hp = keras_tuner.HyperParameters()
    tunable_classifier(hp, *IMAGE)
    names = [entry.name for entry in hp.space]
    assert len(set(names)) == len(names)
    assert {"depth", "dropout", "virtual_batch_size", "t2", "gamma"} <= set(names)
    assert {"margin", "sgd_learning_rate", "adam_learning_rate"} <= set(names)
    choices = {one.name: one.values for one in hp.space if hasattr(one, "values")}
    assert choices["network"] == list(NETWORKS)
    assert choices["loss"] == list(LOSSES)
    assert choices["optimizer"] == list(OPTIMIZERS)
    hp = keras_tuner.HyperParameters()
    tunable_network(hp, (5,), 3)
    assert hp.space[0].values == ["mlp"]


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"networks": ("vgg",)}, "networks"),
        ({"networks": ()}, "networks"),
        ({"normalizations": ("layer",)}, "normalizations"),
        ({"losses": ("hinge",)}, "losses"),
        ({"optimizers": ["lion"]}, "optimizers"),
    ],
)
def test_unknown_names_are_refused(arguments, name):
    with pytest.raises(ValueError, match=f"`{name}` must hold some of"):
        tunable_classifier(keras_tuner.HyperParameters(), *IMAGE, **arguments)


def test_random_search_tunes_digits_and_keeps_the_best(digits, tmp_path):
    build = functools.partial(
        tunable_classifier,
        input_shape=(8, 8, 1),
        num_classes=10,
        networks=("mlp",),
    )
    tuner = keras_tuner.RandomSearch(
        build,
        keras_tuner.Objective("val_accuracy", "max"),
        max_trials=2,
        seed=1,
        directory=tmp_path,
    )
    tuner.search(*digits, validation_data=digits, epochs=2, verbose=0)
    trials = tuner.oracle.get_best_trials(2)
    assert len(trials) == 2 and trials[0].score >= trials[1].score
    points = [trial.hyperparameters.values for trial in trials]
    assert points[0] != points[1]
    model = tuner.get_best_models()[0]
    scores = model.evaluate(*digits, verbose=0, return_dict=True)
    np.testing.assert_allclose(scores["accuracy"], trials[0].score, atol=1e-6)


@pytest.mark.parametrize("tuner", ["BayesianOptimization", "Hyperband"])
def test_other_tuners_draw_every_branch(tuner, tmp_path):
    limit = (
        {"max_trials": 12} if tuner == "BayesianOptimization" else {"max_epochs": 30}
    )
    search = getattr(keras_tuner, tuner)(
        lambda hp: tunable_classifier(hp, (4,), 2, normalizations=("none", "ghost")),
        keras_tuner.Objective("val_accuracy", "max"),
        # Keras Tuner takes 0 for none.
        seed=1,
        directory=tmp_path,
        **limit,
    )
    drawn = []
    for number in range(12):
        trial = search.oracle.create_trial(str(number))
        if trial.status != "RUNNING":
            break
        point = trial.hyperparameters.values
        model = search.hypermodel.build(trial.hyperparameters)
        rate = f"{point['optimizer']}_learning_rate"
        assert float(model.optimizer.learning_rate) == pytest.approx(point[rate])
        assert ("margin" in point) == (point["loss"] == "large_margin")
        search.oracle.update_trial(trial.trial_id, {"val_accuracy": number / 12})
        trial.status = "COMPLETED"
        search.oracle.end_trial(trial)
        drawn.append((point["loss"], point["optimizer"]))
    assert len(set(drawn)) > 3
