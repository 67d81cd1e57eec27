"""Weights of the package: none is missing, damaged, or without its sum."""

import hashlib
import importlib
import pathlib

import numpy as np
import pytest

import zoo.models
from zoo.models.denoisers import pretrained
from zoo.models.weight_files import read, sums

ROOT = pathlib.Path(zoo.models.__file__).parent
FOLDERS = sorted({path.parent for path in ROOT.glob("*/weights/*/*.npz")})


def test_there_are_weights_of_denoisers_generators_projectors_and_unrolled_networks():
    assert {folder.parts[-3] for folder in FOLDERS} == {
        *("denoisers", "gancs", "projector", "unrolled")
    }


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: "/".join(path.parts[-3:]))
def test_the_sum_of_every_file_is_known(folder):
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.glob("*.npz")
    }
    assert sums(folder) == found


def test_a_damaged_file_is_one_line_that_names_it(tmp_path, monkeypatch):
    folder = tmp_path / "natural_images"
    folder.mkdir()
    path = folder / "unet_25.npz"
    np.savez(path, np.zeros(3))
    (folder / "SHA256SUMS").write_text(f"{'0' * 64}  unet_25.npz\n")
    with pytest.raises(ValueError, match=r"unet_25\.npz is damaged: its SHA-256 is"):
        read(path)
    module = importlib.import_module("zoo.models.denoisers.pretrained")
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match=r"Install the package again$"):
        pretrained("unet_25")
