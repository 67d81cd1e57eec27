"""Named image sets: embedded, from official files, or from TensorFlow Datasets."""

import dataclasses
import numbers
import os
import pathlib
import urllib.error
import urllib.request

import numpy as np

from zoo.data.formats import read_official

_HOLD_OUT, _SUBSET, _NOISE = range(3)  # Independent random streams of one seed.
_DIGITS_TEST = 360
_DIGITS = tuple("0123456789")
_FASHION = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"
_CIFAR10 = "airplane,automobile,bird,cat,deer,dog,frog,horse,ship,truck"
_CIFAR100 = (
    "apple,aquarium_fish,baby,bear,beaver,bed,bee,beetle,bicycle,bottle,bowl,boy,"
    "bridge,bus,butterfly,camel,can,castle,caterpillar,cattle,chair,chimpanzee,clock,"
    "cloud,cockroach,couch,crab,crocodile,cup,dinosaur,dolphin,elephant,flatfish,"
    "forest,fox,girl,hamster,house,kangaroo,keyboard,lamp,lawn_mower,leopard,lion,"
    "lizard,lobster,man,maple_tree,motorcycle,mountain,mouse,mushroom,oak_tree,orange,"
    "orchid,otter,palm_tree,pear,pickup_truck,pine_tree,plain,plate,poppy,porcupine,"
    "possum,rabbit,raccoon,ray,road,rocket,rose,sea,seal,shark,shrew,skunk,skyscraper,"
    "snail,snake,spider,squirrel,streetcar,sunflower,sweet_pepper,table,tank,"
    "telephone,television,tiger,tractor,train,trout,tulip,turtle,wardrobe,whale,"
    "willow_tree,wolf,woman,worm"
)


@dataclasses.dataclass(frozen=True)
class _Spec:
    """What is known of a set before it is read; `url` is its publisher's."""

    shape: tuple[int, ...]
    class_names: tuple[str, ...]
    url: str | None = None


_SPECS = {
    "digits": _Spec((8, 8, 1), _DIGITS),
    "fashion_mnist": _Spec(
        (28, 28, 1),
        tuple(_FASHION.split(",")),
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    ),
    "mnist": _Spec((28, 28, 1), _DIGITS, "https://storage.googleapis.com"),
    "cifar10": _Spec(
        (32, 32, 3), tuple(_CIFAR10.split(",")), "https://www.cs.toronto.edu"
    ),
    "cifar100": _Spec(
        (32, 32, 3), tuple(_CIFAR100.split(",")), "https://www.cs.toronto.edu"
    ),
}


@dataclasses.dataclass(frozen=True, eq=False)
class ImageSet:
    """A labelled image set in three parts.

    Each part is a pair of float32 images `(n, height, width, channels)` in
    [0, 1] and int32 labels `(n,)`.

    Args:
        name: The set's name.
        train: The training part.
        validation: The part held out of the training part; may be empty.
        test: The test part.
        num_classes: Number of classes.
        class_names: The classes' names, by label.
        source: One sentence that says where the data came from.

    Example:

    >>> load_images("digits")
    ImageSet(name='digits', num_classes=10, source="scikit-learn's embedded digits")
    """

    name: str
    train: tuple[np.ndarray, np.ndarray] = dataclasses.field(repr=False)
    validation: tuple[np.ndarray, np.ndarray] = dataclasses.field(repr=False)
    test: tuple[np.ndarray, np.ndarray] = dataclasses.field(repr=False)
    num_classes: int
    class_names: tuple[str, ...] = dataclasses.field(repr=False)
    source: str

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one image: `(height, width, channels)`."""
        return self.train[0].shape[1:]


def load_images(
    name: str = "digits",
    data_dir: str | os.PathLike[str] | None = None,
    *,
    validation: float = 0.1,
    per_class: int | None = None,
    limit: int | None = None,
    label_noise: float = 0.0,
    seed: int = 0,
) -> ImageSet:
    """Loads a named image set, split and subsampled by a seed.

    | name | image | training + test images |
    |---|---|---|
    | `"digits"` | 8 x 8 x 1 | 1,437 + 360, embedded in scikit-learn |
    | `"mnist"` | 28 x 28 x 1 | 60,000 + 10,000 |
    | `"fashion_mnist"` | 28 x 28 x 1 | 60,000 + 10,000 |
    | `"cifar10"` | 32 x 32 x 3 | 50,000 + 10,000 |
    | `"cifar100"` | 32 x 32 x 3 | 50,000 + 10,000, fine labels |

    `digits` needs no file and no network. scikit-learn gives it no test part: ours
    is one fixed stratified split, whatever the seed. The other sets are read from
    official files in `data_dir`, in `data_dir/<name>` (`fashion_mnist` or
    `fashion-mnist`) or in the folder that the official archive unpacks there: IDX,
    gzipped or not, CIFAR binary and CIFAR Python. Where there is no such file,
    TensorFlow Datasets reads what it prepared in `data_dir`, or downloads it.

    The training part is changed in this order: `validation` is held out, stratified
    by class; `per_class` and then `limit` keep a subset; `label_noise` is added.
    Smaller subsets are parts of larger ones of the same seed. The same seed gives
    the same arrays from the same source; TensorFlow Datasets keeps the images in
    another order than the official files.

    Args:
        name: One of the names above.
        data_dir: Folder of the official files, or of TensorFlow Datasets, whose own
            default is taken when `None`.
        validation: Part of the training images to hold out: a fraction in [0, 1),
            or an integer count.
        per_class: Training images of each class to keep; `None` keeps all.
        limit: Training images to keep, spread over the classes as evenly as can be;
            `None` keeps all.
        label_noise: Fraction of the training images, in [0, 1], that get a label
            drawn uniformly from the other classes.
        seed: Integer that decides the hold-out, the subset and the noise.

    Returns:
        An `ImageSet`.

    Raises:
        ValueError: If an argument is out of its range or a file is damaged.
        FileNotFoundError: If `data_dir` does not exist, or the data is in none of
            the places.

    Example:

    >>> data = load_images("digits", per_class=10)
    >>> data.train[0].shape, data.test[0].shape
    ((100, 8, 8, 1), (360, 8, 8, 1))

    Reference:

    - LeCun, Bottou, Bengio, Haffner (1998), Gradient-based learning applied to
      document recognition, Proceedings of the IEEE 86(11): MNIST.
    - Xiao, Rasul, Vollgraf (2017), Fashion-MNIST, arXiv:1708.07747.
    - Krizhevsky (2009), Learning multiple layers of features from tiny images,
      technical report, University of Toronto: CIFAR-10 and CIFAR-100.
    """
    if name not in _SPECS:
        raise ValueError(f"`name` must be one of {list(_SPECS)}. Received: {name!r}")
    if not _is_number(seed, numbers.Integral) or seed < 0:
        raise ValueError(f"`seed` must be an integer of at least 0. Received: {seed!r}")
    if not _is_number(label_noise) or not 0 <= label_noise <= 1:
        raise ValueError(f"`label_noise` must be in [0, 1]. Received: {label_noise!r}")
    if data_dir is not None:
        data_dir = pathlib.Path(data_dir).expanduser()
        if not data_dir.is_dir():
            raise FileNotFoundError(
                f"`data_dir` must be an existing folder. Received: {str(data_dir)!r}"
            )
    spec = _SPECS[name]
    num_classes = len(spec.class_names)
    (images, labels), test, source = _read(name, data_dir)
    scale = 16 if name == "digits" else 255

    held_out, kept = _hold_out(labels, validation, seed)
    kept = kept[_subset(labels[kept], num_classes, per_class, limit, seed)]
    noisy = _add_label_noise(labels[kept], num_classes, label_noise, seed)
    return ImageSet(
        name=name,
        train=(_to_unit(images[kept], scale), noisy),
        validation=(_to_unit(images[held_out], scale), labels[held_out]),
        test=(_to_unit(test[0], scale), test[1]),
        num_classes=num_classes,
        class_names=spec.class_names,
        source=source,
    )


def _read(name, data_dir):
    """Returns the uint8 train and test parts and where they came from."""
    if name == "digits":
        return _read_digits()
    spec = _SPECS[name]
    official = data_dir and read_official(
        name, data_dir, spec.shape, len(spec.class_names)
    )
    return official or _read_tfds(name, data_dir)


def _read_digits():
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = digits.images.astype(np.uint8)[..., np.newaxis]
    labels = digits.target.astype(np.int32)
    test, train = _stratify(labels, _DIGITS_TEST, np.random.default_rng(0))
    parts = [(images[part], labels[part]) for part in (train, test)]
    return *parts, "scikit-learn's embedded digits"


def _read_tfds(name, data_dir):
    import tensorflow as tf
    import tensorflow_datasets as tfds

    builder = tfds.builder(name, data_dir=data_dir, try_gcs=False)

    def read(split):
        dataset = builder.as_dataset(
            split=split,
            as_supervised=True,
            read_config=tfds.ReadConfig(try_autocache=False),
        )
        images, labels = zip(*tfds.as_numpy(dataset.batch(1024)), strict=True)
        return np.concatenate(images), np.concatenate(labels).astype(np.int32)

    try:
        try:
            train = read("train")
        except AssertionError:  # TFDS has nothing prepared.
            _download(builder)
            train = read("train")
        test = read("test")
    except (tf.errors.OpError, KeyError, ValueError) as error:
        raise ValueError(
            f"{builder.data_path}: TensorFlow Datasets cannot read what was "
            f"prepared there ({_one_line(error)})."
        ) from error
    return train, test, f"TensorFlow Datasets, {builder.info.full_name}"


def _download(builder):
    import tensorflow_datasets as tfds

    name = builder.name
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    try:
        _check_online(_SPECS[name].url)
        builder.download_and_prepare(download_config=config)
    except Exception as error:  # TFDS's failures share no base class.
        embedded = "take digits, which needs no file"
        if name == "fashion_mnist":
            embedded += (
                ", or install Debian's package dataset-fashion-mnist and pass "
                "--data_dir=/usr/share/datasets/fashion-mnist"
            )
        raise FileNotFoundError(
            f"`{name}` was not found and cannot be downloaded ({_one_line(error)}): "
            "(1) put its official files into a folder and pass it as --data_dir; or "
            '(2) on a machine with a network run python -c "import '
            f"tensorflow_datasets as tfds; tfds.load('{name}', data_dir='DIR')\" and "
            f"copy DIR here as --data_dir; or (3) {embedded}."
        ) from error


def _check_online(url):
    """Raises `OSError` without a network, where TFDS would retry for minutes."""
    try:
        request = urllib.request.Request(url, method="HEAD")
        urllib.request.urlopen(request, timeout=10).close()
    except urllib.error.HTTPError:
        pass  # An answer is an answer.


def _hold_out(labels, validation, seed):
    """Returns the indices held out and those left."""
    n = len(labels)
    is_count = _is_number(validation, numbers.Integral)
    if not _is_number(validation) or not 0 <= validation < (n if is_count else 1):
        raise ValueError(
            "`validation` must be a fraction in [0, 1) or an integer from 0 to "
            f"{n - 1}. Received: {validation!r}"
        )
    count = validation if is_count else min(round(validation * n), n - 1)
    return _stratify(labels, count, np.random.default_rng([seed, _HOLD_OUT]))


def _stratify(labels, count, rng):
    """Splits indices into `count` in proportion to the classes, and the others."""
    quantile = (_class_ranks(labels, rng) + 0.5) / np.bincount(labels)[labels]
    order = np.lexsort((labels, quantile))
    return np.sort(order[:count]), np.sort(order[count:])


def _subset(labels, num_classes, per_class, limit, seed):
    """Returns the indices that `per_class` and `limit` keep."""
    ranks = _class_ranks(labels, np.random.default_rng([seed, _SUBSET]))
    kept = np.arange(len(labels))
    if per_class is not None:
        smallest = np.bincount(labels, minlength=num_classes).min()
        _check_count("per_class", per_class, smallest, "the smallest class")
        kept = kept[ranks < per_class]
    if limit is not None:
        _check_count("limit", limit, len(kept), "the training images")
        order = np.lexsort((labels[kept], ranks[kept]))
        kept = np.sort(kept[order[:limit]])
    return kept


def _class_ranks(labels, rng):
    """Gives each sample its place, from 0, in a random order of its class."""
    shuffled = rng.permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    sizes = np.bincount(labels)
    ranks = np.empty(len(labels), np.int64)
    ranks[by_class] = np.arange(len(labels)) - np.repeat(
        np.cumsum(sizes) - sizes, sizes
    )
    return ranks


def _add_label_noise(labels, num_classes, fraction, seed):
    rng = np.random.default_rng([seed, _NOISE])
    changed = rng.permutation(len(labels))[: round(fraction * len(labels))]
    shift = rng.integers(1, num_classes, size=len(labels))[changed]
    noisy = labels.copy()
    noisy[changed] = (labels[changed] + shift) % num_classes
    return noisy


def _to_unit(images, scale):
    return np.divide(images, scale, dtype=np.float32)


def _is_number(value, kind=numbers.Real):
    return isinstance(value, kind) and not isinstance(value, bool)


def _check_count(name, value, most, of):
    if not _is_number(value, numbers.Integral) or not 1 <= value <= most:
        raise ValueError(
            f"`{name}` must be an integer from 1 to {most} ({of}). Received: {value!r}"
        )


def _one_line(error):
    return " ".join(f"{type(error).__name__}: {error}".split())
