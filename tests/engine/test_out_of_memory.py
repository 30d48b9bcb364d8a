"""Too little memory ends a run with a message that names the batch size and its key."""

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

from clsa_search.engine import PersonSearchCheckpointer, PersonSearchTrainer, TrainedModel, predict
from clsa_search.engine.memory import reported_out_of_memory
from clsa_search.errors import InputError
from clsa_search.modeling import PersonSearchRCNN
from clsa_search.retrieval.predictor import PersonSearchPredictor
from tests.support.devices import DEVICES
from tests.support.training import train

pytestmark = pytest.mark.parametrize("device", DEVICES, indirect=True)


@pytest.fixture
def greedy(monkeypatch, device):
    """Let the model allocate more memory than any machine has."""

    def preprocess_image(self, batched_inputs):
        return torch.empty(1 << 50, device=self.device)

    monkeypatch.setattr(PersonSearchRCNN, "preprocess_image", preprocess_image)


def test_training_names_its_batch_size(greedy, tiny_cfg):
    words = (
        "SOLVER.IMS_PER_BATCH is 2: out of memory .*; expected fewer images, or a larger "
        "SOLVER.ACCUMULATION_STEPS than 1"
    )
    with pytest.raises(InputError, match=words):
        train(tiny_cfg)


def test_evaluation_names_its_batch_size(greedy, tiny_cfg, tmp_path):
    model = build_model(tiny_cfg)
    PersonSearchCheckpointer(model, str(tmp_path)).save("model")
    tiny_cfg.MODEL.WEIGHTS = str(tmp_path / "model.pth")
    tiny_cfg.TEST.IMS_PER_BATCH = 3
    words = r"TEST.IMS_PER_BATCH is 3: out of memory \(.*\); expected fewer images"
    with pytest.raises(InputError, match=words):
        predict(tiny_cfg, tiny_cfg.DATASETS.TEST[0], str(tmp_path / "out"))
    with pytest.raises(InputError, match=words):
        PersonSearchTrainer.test(tiny_cfg, model)


def test_indexing_names_its_batch_size(greedy, tiny_cfg):
    predictor = PersonSearchPredictor(TrainedModel(build_model(tiny_cfg).eval(), tiny_cfg, ""))
    images = [np.zeros((72, 96, 3), np.uint8)] * 2
    with pytest.raises(InputError, match="a batch of 2 images: out of memory .*--batch-size"):
        predictor.detect(images)


def test_other_errors_pass(device):
    with pytest.raises(RuntimeError, match="size of tensor"), reported_out_of_memory("one", "two"):
        torch.ones(2, device=device) + torch.ones(3, device=device)
