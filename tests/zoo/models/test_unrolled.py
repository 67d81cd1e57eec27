"""Unrolled networks: they are the methods, and training never makes them worse."""

import json
import re

import keras
import numpy as np
import pytest

from zoo.data import bernoulli_gaussian
from zoo.layers import (
    BernoulliGaussianShrinkage,
    ExponentialShrinkage,
    GridShrinkage,
    LampBlock,
    ListaBlock,
    PiecewiseLinearShrinkage,
    SoftShrinkage,
    SplineShrinkage,
)
from zoo.metrics import nmse
from zoo.models.unrolled import (
    Stage,
    UnrolledNetwork,
    lamp,
    layerwise,
    lista,
    lvamp,
    pretrained,
    train,
)
from zoo.models.unrolled.pretrained import FOLDER, PUBLIC, RECIPES, fixture
from zoo.solvers import sparse

CARD = (FOLDER / "README.md").read_text(encoding="utf-8")
PROBLEM = bernoulli_gaussian((50, 100), snr=30.0)
Y, X = PROBLEM.sample(40, dtype="float64")
SHRINKAGES = (
    SoftShrinkage,
    BernoulliGaussianShrinkage,
    ExponentialShrinkage,
    SplineShrinkage,
    PiecewiseLinearShrinkage,
    GridShrinkage,
)


def bernoulli(dtype="float64"):
    return BernoulliGaussianShrinkage(PROBLEM.sparsity, dtype=dtype)


def methods(depth):
    """Networks in float64, and what they are before training."""
    matrix, wide = PROBLEM.matrix, {"dtype": "float64"}
    noise = PROBLEM.noise_variance
    limits = {"iterations": depth, "tolerance": 0.0}
    soft = SoftShrinkage(dtype="float64")
    return {
        "ista": (
            lista(matrix, depth, 0.02, **wide),
            sparse.ista(matrix, Y, 0.02, **limits),
        ),
        "coupled ista": (
            lista(matrix, depth, 0.02, "coupled", **wide),
            sparse.ista(matrix, Y, 0.02, **limits),
        ),
        "fista": (
            lista(matrix, depth, 0.02, momentum=True, **wide),
            sparse.fista(matrix, Y, 0.02, **limits),
        ),
        "amp": (
            lamp(matrix, depth, soft, "amp", **wide),
            sparse.amp(matrix, Y, soft, **limits),
        ),
        "vamp": (
            lvamp(matrix, depth, bernoulli(), noise, **wide),
            sparse.vamp(matrix, Y, bernoulli(), noise, **limits),
        ),
    }


def test_untrained_networks_are_the_methods():
    for name, (network, solved) in methods(12).items():
        found = network.predict_all(Y)[-1]
        np.testing.assert_allclose(found, solved.x, rtol=0, atol=1e-10, err_msg=name)


def test_each_depth_is_the_network_of_so_many_layers():
    network = lvamp(PROBLEM.matrix, 5, bernoulli(), dtype="float64")
    every = network.predict_all(Y, batch_size=16)
    assert every.shape == (5, 40, 100)
    for depth in (1, 3, 5):
        short = network.truncate(depth)
        assert short.depth == depth
        np.testing.assert_allclose(
            short.predict_all(Y)[-1], every[depth - 1], rtol=0, atol=1e-12
        )


def test_truncated_and_grown_networks_share_their_weights():
    network = lamp(PROBLEM.matrix, 3)
    longer = network.grow(LampBlock(None, tied_to=network.blocks[0]))
    assert (longer.depth, network.depth) == (4, 3)
    assert longer.blocks[0].linear is longer.blocks[3].linear
    scale = network.truncate(1).blocks[0].linear.back_matrix
    scale.assign(0 * scale)
    assert not longer.predict(Y.astype("float32"), verbose=0).any()


@pytest.mark.parametrize("build", [lista, lamp, lvamp])
@pytest.mark.parametrize("tied", [True, False])
def test_networks_reload_bit_equal(build, tied, tmp_path):
    network = build(PROBLEM.matrix, 3, tied=tied)
    network.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras")
    y = Y.astype("float32")
    np.testing.assert_array_equal(loaded.predict_all(y), network.predict_all(y))
    shared = loaded.blocks[0].linear is loaded.blocks[2].linear
    assert shared == tied
    assert len(loaded.weights) == len(network.weights)


def test_untied_copies_are_alike_and_apart():
    network = lamp(PROBLEM.matrix, 3, bernoulli("float32"))
    copy = network.untie()
    y = Y.astype("float32")
    np.testing.assert_array_equal(copy.predict_all(y), network.predict_all(y))
    matrices = [block.linear.back_matrix for block in copy.blocks]
    assert len({id(matrix) for matrix in matrices}) == 3
    matrices[1].assign(0 * matrices[1])
    assert network.predict(y, verbose=0).any()
    assert not np.array_equal(copy.predict_all(y)[1], network.predict_all(y)[1])
    np.testing.assert_array_equal(copy.predict_all(y)[0], network.predict_all(y)[0])


def test_fewer_numbers_are_trained_where_layers_are_tied():
    counts = {
        (build.__name__, tied): sum(
            int(np.prod(weight.shape))
            for weight in build(PROBLEM.matrix, 4, tied=tied).trainable_weights
        )
        for build in (lista, lamp, lvamp)
        for tied in (True, False)
    }
    assert counts["lvamp", True] == 2 * 4 + 1
    assert counts["lamp", True] == 2 * 4 + 5000
    assert counts["lamp", False] == 4 * (2 + 5000)
    assert counts["lista", True] == 4 + 5000 + 10000


def test_support_selection_grows_with_depth():
    network = lista(PROBLEM.matrix, 12, coupling="analytic", select_support=True)
    shares = [block.trusted for block in network.blocks]
    np.testing.assert_allclose(shares[:3], [0.012, 0.024, 0.036])
    assert shares[-1] == 0.13


def test_training_improves_every_kind_and_resumes_from_where_it_was(tmp_path):
    problem = bernoulli_gaussian((50, 100), snr=30.0)
    stages = [Stage(40, learning_rate=0.1), Stage(20, supervise="last")]
    settings = {"validation": (Y.astype("float32"), X), "evaluate_every": 10}

    def network():
        return lvamp(problem.matrix, 3, BernoulliGaussianShrinkage(0.5), 1e-2)

    whole = network()
    records = train(whole, problem, stages, **settings)
    first, second = records
    assert first["accepted"] and first["after"] < first["before"] - 1
    assert second["before"] == pytest.approx(first["after"], abs=1e-6)
    assert second["after"] <= second["before"]
    error = nmse(whole.predict_all(Y.astype("float32"))[-1], X)
    assert error == pytest.approx(second["after"], abs=1e-6)
    # Killed in the second stage: the first stands, the second is made again.
    killed = network()

    class Kill(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if (tmp_path / "stage_1.npz").exists():
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(killed, problem, stages, folder=tmp_path, callbacks=[Kill()], **settings)
    resumed = network()
    again = train(resumed, problem, stages, folder=tmp_path, **settings)
    assert again == records
    for one, other in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    # All has ended: nothing is trained any more.
    done = network()
    calls = []
    callback = keras.callbacks.LambdaCallback(
        on_train_begin=lambda logs: calls.append(logs)
    )
    train(done, problem, stages, folder=tmp_path, callbacks=[callback], **settings)
    assert not calls
    np.testing.assert_array_equal(
        done.predict(Y, verbose=0), whole.predict(Y, verbose=0)
    )
    other = [Stage(41, learning_rate=0.1), stages[1]]
    with pytest.raises(ValueError, match="`folder` must be new, or hold this very"):
        train(network(), problem, other, folder=tmp_path, **settings)


def test_a_folder_of_another_training_is_refused(tmp_path):
    stages = [Stage(2, batch_size=8)]
    y, x = Y.astype("float32"), X

    def run(noise=1e-2, problem=PROBLEM, validation=(y, x), evaluate_every=20):
        network = lvamp(PROBLEM.matrix, 1, noise_variance=noise)
        kwargs = {"validation": validation, "evaluate_every": evaluate_every}
        return train(network, problem, stages, folder=tmp_path, **kwargs)

    records = run()
    assert run() == records
    louder = bernoulli_gaussian((50, 100), snr=5.0)
    assert np.array_equal(louder.matrix, PROBLEM.matrix)
    for other in (
        {"noise": 1.0},
        {"problem": louder},
        {"validation": (y[:9], x[:9])},
        {"evaluate_every": 1},
    ):
        with pytest.raises(ValueError, match="hold this very training"):
            run(**other)


def test_a_stage_makes_its_updates_and_no_more():
    updates = []
    count = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: updates.append(batch)
    )
    network = lvamp(PROBLEM.matrix, 1)
    validation = (Y.astype("float32"), X)
    kwargs = {"validation": validation, "callbacks": [count]}
    train(network, PROBLEM, [Stage(5, batch_size=8)], evaluate_every=3, **kwargs)
    assert len(updates) == 5


def test_half_precision_trains_on_large_batches():
    network = lamp(PROBLEM.matrix, 1, dtype="mixed_float16")
    (record,) = train(
        network,
        PROBLEM,
        [Stage(10, batch_size=9000)],
        validation=(Y.astype("float32"), X),
        evaluate_every=5,
    )
    assert record["best"] is not None
    assert record["after"] < record["before"]


def test_a_stage_that_diverges_is_taken_back():
    network = lamp(PROBLEM.matrix, 1, bernoulli("float32"))
    before = network.get_weights()
    validation = (Y.astype("float32"), X)
    (record,) = train(
        network,
        PROBLEM,
        [Stage(20, learning_rate=1e3)],
        validation=validation,
        evaluate_every=5,
    )
    assert not record["accepted"]
    assert record["after"] == record["before"]
    for one, other in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)
    assert all(weight.trainable for weight in network.trainable_weights)


def test_a_new_layer_alone_leaves_the_others(tmp_path):
    network = lamp(PROBLEM.matrix, 3, SoftShrinkage(threshold=0.5))
    before = [block.get_weights() for block in network.blocks]
    count = len(network.trainable_weights)
    (record,) = train(
        network,
        PROBLEM,
        [Stage(30, depth=2, part="new", supervise="last", learning_rate=0.1)],
        validation=(Y.astype("float32"), X),
        evaluate_every=10,
    )
    assert record["accepted"]
    after = [block.get_weights() for block in network.blocks]
    for place in (0, 2):
        for one, other in zip(after[place], before[place], strict=True):
            np.testing.assert_array_equal(one, other)
    own = [block.shrinkage.get_weights() for block in network.blocks]
    assert own[1] != own[0]
    assert len(network.trainable_weights) == count


def test_layerwise_stages_extend_then_refine():
    stages = layerwise(2, extend=3, refine=5, batch_size=7)
    assert [(one.depth, one.part, one.steps) for one in stages] == [
        (1, "new", 3),
        (1, "all", 5),
        (2, "new", 3),
        (2, "all", 5),
    ]
    assert {(one.batch_size, one.supervise) for one in stages} == {(7, "last")}


@pytest.mark.parametrize("shrinkage", SHRINKAGES)
def test_growth_is_stable_with_every_shrinkage(shrinkage):
    problem = bernoulli_gaussian((30, 50), sparsity=0.25, seed=3)
    network = lamp(problem.matrix, 2, shrinkage())
    stages = [
        Stage(6, 2, "new", "last", 0.05, 100),
        Stage(6, 2, "all", "all", 0.05, 100),
    ]
    y, x = problem.sample(100, seed=9)
    for record in train(network, problem, stages, validation=(y, x), evaluate_every=3):
        assert np.isfinite(record["after"])
        assert record["after"] <= record["before"]


def test_records_can_be_written():
    network = lvamp(PROBLEM.matrix, 1)
    records = train(network, PROBLEM, [Stage(1)], validation=(Y.astype("float32"), X))
    assert json.loads(json.dumps(records)) == records


@pytest.mark.parametrize(
    ("name", "weights", "best"),
    [
        ("alista_6", PUBLIC, -23.1),
        ("alista_12", PUBLIC, -35.0),
        ("lamp_l1_8", PUBLIC, -35.0),
        ("lamp_l1_10", PUBLIC, -37.3),
        ("lista_6", PUBLIC, -22.1),
        ("lamp_bg_6", PUBLIC, -34.3),
        ("lamp_bg_6_untied", PUBLIC, -34.9),
        ("lamp_bg_8", PUBLIC, -41.1),
        ("lvamp_bg_8", PUBLIC, -44.85),
        ("lvamp_bg_12", f"{PUBLIC}_kappa15", -44.0),
        ("lvamp_bg_15", f"{PUBLIC}_kappa100", -41.1),
    ],
)
def test_trained_networks_are_as_good_as_said(name, weights, best):
    assert name in RECIPES[weights]
    _, y, x = fixture(weights)
    network = pretrained(name, weights)
    error = nmse(network.predict(y, verbose=0), x)
    assert error <= best
    assert f"| `{name}` " in CARD
    assert f"{error:.2f}" in CARD


def test_every_recipe_is_tested_and_on_the_card():
    names = {name for recipes in RECIPES.values() for name in recipes}
    assert names == set(re.findall(r"^\| `(\w+)` ", CARD, re.M))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: UnrolledNetwork([]), "`blocks` must hold layers of one of the kinds"),
        (
            lambda: UnrolledNetwork([keras.layers.Dense(3)]),
            "`blocks` must hold layers of one of the kinds",
        ),
        (
            lambda: UnrolledNetwork(
                [ListaBlock(PROBLEM.matrix), LampBlock(PROBLEM.matrix)]
            ),
            "`blocks` must hold layers of one of the kinds",
        ),
        (
            lambda: UnrolledNetwork(
                [LampBlock(PROBLEM.matrix), LampBlock(PROBLEM.matrix[:20])]
            ),
            r"`blocks` must be of one shape \(M, N\)",
        ),
        (lambda: lamp(PROBLEM.matrix, 0), "`depth` must be"),
        (lambda: lamp(PROBLEM.matrix, 2, 5), "`shrinkage` must be a zoo.layers"),
        (lambda: pretrained("lamp"), "`name` must be one of"),
        (lambda: pretrained("lamp_bg_8", "mine"), "`weights` must be one of"),
        (lambda: lamp(PROBLEM.matrix.T, 2), "`matrix` must have fewer rows"),
        (
            lambda: lamp(PROBLEM.matrix, 2).truncate(3),
            "`depth` must be at most 2. Received: depth=3",
        ),
        (lambda: Stage(0), "`steps` must be"),
        (lambda: Stage(1, part="some"), "`part` must be"),
        (lambda: Stage(1, learning_rate=0.0), "`learning_rate` must be"),
        (
            lambda: train(lamp(PROBLEM.matrix, 2), PROBLEM, [Stage(1, depth=3)]),
            "`stages` must have depths of at most 2. Received: depth=3",
        ),
    ],
)
def test_bad_input_is_one_clear_line(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
