"""The re-ID branch alone: trained on crops, its weights fill a person-search model."""

import pytest
import torch
from detectron2.modeling import build_model

from clsa_search.checkpoint.checkpointer import PersonSearchCheckpointer
from clsa_search.engine import load_config
from clsa_search.engine.trainer import PersonSearchTrainer
from clsa_search.errors import InputError
from tests.support.tiny import ROOT

CONFIG = str(ROOT / "configs" / "reid_small_synthetic_demo.yaml")


@pytest.fixture
def reid_opts(tiny_opts, tiny_data):
    return [
        *tiny_opts,
        *("DATASETS.TRAIN", f"('crops:{tiny_data / 'train.json'}',)"),
        *("DATASETS.TEST", f"('crops:{tiny_data / 'gallery.json'}',)"),
        *("SOLVER.IMS_PER_BATCH", "6", "DATALOADER.IMS_PER_IDENTITY", "2"),
    ]


def test_training_on_crops_learns_and_is_evaluated(reid_opts):
    opts = ["SOLVER.MAX_ITER", "80", "SOLVER.BASE_LR", "0.05", "MODEL.REID.ALIGN.WEIGHT", "0.0"]
    trainer = PersonSearchTrainer(load_config(CONFIG, [*reid_opts, *opts]))
    trainer.resume_or_load(resume=False)
    trainer.train()
    losses = [value for value, _ in trainer.storage.history("total_loss").values()]
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    latest = trainer.storage.latest()
    assert latest["detection/recall"][0] == 100  # every crop is one detection
    assert latest["search/mAP"][0] > latest["chance/mAP"][0]


def test_its_checkpoint_fills_the_branch_of_a_person_search_model(reid_opts, tiny_opts, tmp_path):
    reid = build_model(load_config(CONFIG, reid_opts))
    PersonSearchCheckpointer(reid, str(tmp_path)).save("model_final")
    config = str(ROOT / "configs" / "clsa_small_synthetic_demo.yaml")
    model = build_model(load_config(config, tiny_opts))
    PersonSearchCheckpointer(model).load_weights(str(tmp_path / "model_final.pth"))
    filled = model.state_dict()
    for name, value in reid.state_dict().items():
        assert torch.equal(filled[name], value), name


def test_embeddings_equal_those_of_the_person_search_model_on_the_same_crops(reid_opts, tiny_opts):
    reid = build_model(load_config(CONFIG, reid_opts)).eval()
    crops = torch.randint(0, 255, (2, 3, 32, 16), dtype=torch.uint8)
    inputs = [{"image": crop, "height": 40, "width": 20} for crop in crops]
    with torch.no_grad():
        outputs = reid([inputs[0] | {"query_ids": torch.tensor([4])}, inputs[1]])
        normalized = (crops.to(reid.device) - reid.pixel_mean) / reid.pixel_std
        expected = reid.reid_heads.concatenate(
            reid.reid_heads(reid.reid_branch.forward_crops(normalized))
        )
    query, detection = outputs[0]["queries"], outputs[1]["instances"]
    torch.testing.assert_close(query.embeddings, expected[:1])
    torch.testing.assert_close(detection.embeddings, expected[1:])
    assert len(outputs[0]["instances"]) == 0 and query.query_ids.tolist() == [4]
    assert detection.pred_boxes.tensor.tolist() == [[0, 0, 20, 40]]


def test_a_training_batch_of_one_crop_is_refused(reid_opts):
    model = build_model(load_config(CONFIG, reid_opts))
    crop = {"image": torch.zeros(3, 32, 16, dtype=torch.uint8), "person_id": 0}
    with pytest.raises(InputError, match="batch has 1 crop; expected 2 .* SOLVER.IMS_PER_BATCH"):
        model([crop])


def test_a_branch_that_needs_a_detector_is_refused(reid_opts):
    cfg = load_config(CONFIG, [*reid_opts, "MODEL.REID.NAME", "SharedBranch"])
    with pytest.raises(InputError, match="SharedBranch"):
        build_model(cfg)


def test_scenes_instead_of_crops_are_refused(reid_opts, tiny_data):
    opts = [*reid_opts, "DATASETS.TRAIN", f"('{tiny_data / 'train.json'}',)"]
    with pytest.raises(InputError, match='several people or none.*"crops:"'):
        PersonSearchTrainer(load_config(CONFIG, opts))


def test_identities_are_not_sampled_from_scenes(tiny_opts, demo_config_file):
    opts = [*tiny_opts, "DATALOADER.SAMPLER_TRAIN", "IdentitySampler"]
    with pytest.raises(InputError, match="SAMPLER_TRAIN is 'IdentitySampler'"):
        PersonSearchTrainer(load_config(demo_config_file, opts))
