"""A generated dataset with model outputs, and predictions of three images."""

import numpy as np
import pytest

from clsa_search.data import get_records
from clsa_search.evaluation import Predictions
from tests.support.evaluation_cases import generate_dataset
from tests.support.evaluator_cases import to_outputs, write_dataset
from tests.support.prediction_cases import IMAGES


@pytest.fixture
def dataset(tmp_path):
    """(name, records, model outputs by image id)."""
    records, predictions = generate_dataset(np.random.default_rng(3), images=9)
    write_dataset(tmp_path / "made.json", records)
    name = str(tmp_path / "made.json")
    return name, get_records(name), to_outputs(predictions)


@pytest.fixture
def predictions():
    return Predictions.from_images(IMAGES, {"dataset": "made", "config": None})
