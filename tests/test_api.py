"""Every public name is documented, shown by an example, tested, and in the contents."""

import importlib
import inspect
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from zoo import data, layers, metrics, models, solvers, study
from zoo.layers import operators
from zoo.solvers import plug_and_play

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="module")
def docs():
    """Gives access to the modules that make the docs, which are in no package."""
    sys.path.insert(0, str(ROOT / "docs"))
    yield importlib.import_module
    sys.path.remove(str(ROOT / "docs"))


@pytest.fixture(scope="module")
def generate(docs):
    return docs("_generate")


@pytest.fixture(scope="module")
def markdown(docs):
    return docs("_markdown")


def run(code):
    """Runs code in a process of its own; returns what it prints."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_no_public_package_is_left_out(generate):
    folders = [*(ROOT / "zoo").iterdir(), *(ROOT / name for name in generate.SIBLINGS)]
    packages = {path.name for path in folders if (path / "__init__.py").exists()}
    assert {name for name in packages if name[0] != "_"} == set(generate.PACKAGES)


def test_every_name_has_a_docstring(generate):
    missing = [part.names[0] for part in generate.parts() if not part.summary]
    assert not missing, "\n".join(missing)


def test_every_name_has_an_example(generate):
    callables = [part for part in generate.parts() if callable(part.value)]
    examples = {
        part.names[0]: part.docstring.partition("\nExample:")[2] for part in callables
    }
    missing = [name for name, text in examples.items() if ">>> " not in text]
    assert not missing, "\n".join(missing)


def test_every_name_has_a_test(generate):
    parts = generate.parts()
    assert len(parts) > 250
    missing = [part.names[0] for part in parts if not generate.users(part, "tests")]
    assert not missing, "\n".join(missing)


def bare_names(function):
    """Returns the parameters without a type, and `return`; of a class, its own."""
    if inspect.isclass(function):
        function = function.__init__
    if not (getattr(function, "__module__", None) or "").startswith("zoo."):
        return []
    signature = inspect.signature(function)
    types = {name: one.annotation for name, one in signature.parameters.items()}
    types["return"] = signature.return_annotation
    empty = inspect.Signature.empty
    return [name for name, one in types.items() if one is empty and name != "self"]


def test_every_signature_has_types(generate):
    callables = [part for part in generate.parts() if callable(part.value)]
    bare = {part.names[0]: bare_names(part.value) for part in callables}
    missing = [f"{name}: {', '.join(found)}" for name, found in bare.items() if found]
    assert not missing, "\n".join(missing)


def test_types_that_are_missing_are_found():
    def half(x: float, y, *z, **kwargs: int): ...

    half.__module__ = "zoo.metrics"
    assert bare_names(half) == ["y", "z", "return"]


def test_the_contents_are_up_to_date(generate):
    text = (ROOT / "docs" / "contents.md").read_text(encoding="utf-8")
    assert text == generate.contents(), "write them anew: python docs/_generate.py"


def test_every_page_is_in_the_menu(generate):
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [path.relative_to(generate.DOCS) for path in generate.DOCS.rglob("*.md")]
    assert not [page for page in pages if f"- {page.as_posix()}\n" not in menu]


def test_every_model_card_is_linked(markdown):
    text = (markdown.DOCS / "model_cards.md").read_text(encoding="utf-8")
    cards = [path.relative_to(ROOT).as_posix() for path in markdown.CARDS]
    assert not [card for card in cards if f"(../{card})" not in text]


def test_every_reference_to_arxiv_is_found(generate):
    for part in generate.parts():
        _, _, section = part.docstring.partition("\nReference:\n")
        linked = "".join(generate.papers(part.docstring))
        assert linked.count("[arXiv:") == len(
            [item for item in section.split("\n- ") if "arXiv:" in item]
        ), part.names[0]


def test_used_names_are_those_imported_or_reached_by_dots(generate, tmp_path):
    path = tmp_path / "script.py"
    path.write_text(
        "import zoo.metrics\n"
        "from zoo import losses as these\n"
        "from zoo.layers.lamp import LampBlock as Block\n"
        "zoo.metrics.snr, these.base.reduce, others.LvampBlock\n"
        "'zoo.data.Blur'\n"
    )
    names = {name for name in generate.used(path) if name.startswith("zoo.")}
    assert {"zoo.metrics.snr", "zoo.losses.base.reduce"} < names
    assert "zoo.layers.lamp.LampBlock" in names
    assert not [name for name in names if "LvampBlock" in name or "Blur" in name]


def test_docstrings_become_markdown(markdown):
    docstring = """Halves.

    `y = x / 2`,
    `z = y / 2`

    Args:
        x, y: numbers: two
            of them.
        **kwargs: of `zoo.metrics.snr`.

    Returns:
        A float: a half.

    Example: of three.

    >>> halve(3)
    1.5
    >>> # `zoo.metrics.snr`

    Reference:

    - Euclid, 300
    """
    assert markdown.to_markdown(inspect.cleandoc(docstring)) == (
        "Halves.\n\n"
        "`y = x / 2`,  \n`z = y / 2`\n\n"
        "**Args**\n\n"
        "- `x, y`: numbers: two\n    of them.\n"
        "- `**kwargs`: of [`zoo.metrics.snr`][zoo.metrics.snr].\n\n"
        "**Returns**\n\nA float: a half.\n\n"
        "**Example:** of three.\n\n"
        "```pycon\n>>> halve(3)\n1.5\n>>> # `zoo.metrics.snr`\n```\n\n"
        "**Reference**\n\n- Euclid, 300"
    )


def test_links_lead_to_pages_and_to_nothing_else(markdown):
    text = (
        "[a](games.md) [b](../setup.py) [c](../zoo/models/unrolled/weights/README.md)"
    )
    linked = "[a](games.md) b [c](model_cards.md#trained-unrolled-networks)"
    assert markdown.link_files(text, markdown.DOCS) == linked
    page = markdown.DOCS / "guides"
    assert markdown.link_files("[a](../games.md)", page) == "[a](../games.md)"


def test_zoo_imports_in_50_ms_and_its_data_without_a_backend():
    code = (
        "import sys, time; start = time.process_time(); import zoo; "
        "print(time.process_time() - start); import zoo.data; "
        "print('keras' in sys.modules, 'tensorflow' in sys.modules); "
        "print(zoo.data.average_pool.__name__, 'Blur' in dir(zoo.data))"
    )
    seconds, *others = run(code).split("\n", 1)
    assert float(seconds) <= 0.05
    assert others == ["False False\naverage_pool True\n"]


def test_a_name_that_is_not_there_is_named():
    with pytest.raises(AttributeError, match=r"zoo\.data.*no attribute 'bluer'"):
        data.bluer  # noqa: B018


def test_normalizations_are_those_that_layers_are_made_of():
    made = {name: models.normalization_layer(name) for name in models.NORMALIZATIONS}
    assert made.pop("none") is None
    assert all(isinstance(layer, keras.layers.Layer) for layer in made.values())
    with pytest.raises(ValueError, match="normalization"):
        models.normalization_layer("another")


def test_values_that_are_not_finite_are_counted_and_the_first_is_found():
    data.check_finite("x", np.arange(3))
    data.check_finite("x", np.ones((2, 2)))
    message = "`x` must be finite. Received: 2 NaN .* the first at index \\(0, 1\\)"
    with pytest.raises(ValueError, match=message):
        data.check_finite("x", np.array([[0.0, np.nan], [-np.inf, 1.0]]))


def test_pooling_averages_blocks_of_each_channel():
    images = np.random.default_rng(0).normal(size=(2, 6, 6, 3))
    pooled = data.average_pool(images, 2)
    assert pooled.shape == (2, 2, 2, 3)
    np.testing.assert_allclose(pooled[1, 0, 1], images[1, :3, 3:].mean(axis=(0, 1)))
    np.testing.assert_array_equal(data.average_pool(images, 6), images)
    for size in (0, 4, 12):
        with pytest.raises(ValueError, match=f"Received: size={size}"):
            data.average_pool(images, size)


def test_logits_are_the_same_in_batches_of_any_size():
    dense, dropout = keras.layers.Dense(3), keras.layers.Dropout(0.5)
    model = keras.Sequential([keras.Input((4,)), dense, dropout])
    x = np.random.default_rng(0).normal(size=(7, 4)).astype("float32")
    logits = metrics.predict_logits(model, x)
    assert logits.dtype == "float64"
    np.testing.assert_allclose(logits, model(x), rtol=1e-6)
    np.testing.assert_allclose(metrics.predict_logits(model, x, 3), logits, rtol=1e-6)


def test_epochs_are_logged_and_batches_are_not(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x, y = np.ones((8, 2)), np.ones((8, 1))
    logs = study.EpochLogs(str(tmp_path))
    model.fit(x, y, batch_size=2, epochs=3, callbacks=[logs], verbose=0)
    (path,) = tmp_path.glob("train/events.*")
    tags = [
        (event.step, value.tag)
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
        if value.tag.startswith(("epoch_", "batch_"))
    ]
    assert [step for step, tag in tags if tag == "epoch_loss"] == [0, 1, 2]
    assert not [tag for _, tag in tags if tag.startswith("batch_")]


def test_results_are_of_public_types():
    problem = data.massive_mimo(antennas=2, users=2, pilots=4)
    assert type(problem) is data.ChannelProblem
    assert type(problem.batches(2)) is data.SparseBatches
    assert type(data.gaussian_grid(points_per_mode=2)) is data.GaussianMixture
    assert type(data.load_images("digits", limit=20)) is data.ImageSet

    result = solvers.ista(np.eye(2), np.ones((1, 2)), 0.1, iterations=2)
    assert type(result) is solvers.SparseResult
    solution = solvers.regret_matching_plus(np.eye(2), iterations=2)
    assert type(solution) is solvers.Solution

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    x, y = np.eye(2, dtype="float32"), np.arange(2)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    surface = metrics.LossSurface(model, x, y, loss)
    assert type(metrics.fisher_trace(model, x)) is metrics.FisherTrace
    found = metrics.top_eigenvalues(surface, k=1)
    assert type(found) is metrics.HessianEigenvalues
    density = metrics.spectral_density(surface, probes=1, iterations=2)
    assert type(density) is metrics.SpectralDensity
    sharpness = metrics.adaptive_sharpness(surface, rho=0.1, iterations=1)
    assert type(sharpness) is metrics.Sharpness

    convolution = keras.layers.Conv2D(1, 3, padding="same")
    network = keras.Sequential([keras.Input((4, 4, 1)), convolution])
    assert type(layers.lipschitz_report(network)) is layers.LipschitzReport
    assert isinstance(layers.SoftShrinkage(), layers.shrinkage.Shrinkage)
    prior = plug_and_play.TotalVariation(0.1)
    assert isinstance(prior, plug_and_play.Prior)
    image = np.ones((1, 4, 4, 1), "float32")
    operator = operators.Identity((4, 4, 1))
    recovered = plug_and_play.pnp_fbs(image, operator, prior, step=1.0, iterations=2)
    assert type(recovered) is plug_and_play.PlugAndPlayResult
    assert type(recovered.certificate) is plug_and_play.Certificate
