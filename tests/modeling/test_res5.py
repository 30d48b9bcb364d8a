"""The branch with a res5 of its own in a model without a pyramid, in training too."""

import pytest
import torch
from detectron2.modeling import build_model

from clsa_search.engine import load_config
from clsa_search.errors import InputError
from tests.support.model_inputs import compute_losses, inference_input, training_input

C4 = [
    *("MODEL.BACKBONE.NAME", "build_resnet_backbone", "MODEL.RESNETS.OUT_FEATURES", "['res4']"),
    *("MODEL.RPN.IN_FEATURES", "['res4']", "MODEL.ROI_HEADS.IN_FEATURES", "['res4']"),
    *("MODEL.ANCHOR_GENERATOR.SIZES", "[[16, 32, 64]]", "MODEL.RESNETS.NORM", "BN"),
    *("MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", 14),
    *("MODEL.REID.NAME", "Res5Branch"),
]


def config(demo_config_file, tiny_opts, *opts):
    return load_config(demo_config_file, [*tiny_opts, *C4, *opts])


@pytest.fixture
def device():
    return torch.device("cpu")


def test_a_c4_model_with_a_res5_branch_trains(demo_config_file, tiny_opts):
    cfg = config(demo_config_file, tiny_opts, "MODEL.REID.LEVELS", "['res4', 'res5']")
    model = build_model(cfg)
    losses = compute_losses(model, [training_input(0, [0, 1]), training_input(1, [2])])
    assert {"loss_id_res4", "loss_id_res5", "loss_align_res4"} <= set(losses)
    sum(losses.values()).backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None]
    boxes = [[10.0, 5.0, 30.0, 50.0]]
    with torch.no_grad():
        (output,) = model.eval()([inference_input(0, boxes=boxes, query_ids=[3])])
    assert output["queries"].embeddings.shape == (1, 2 * cfg.MODEL.REID.HEAD.EMBED_DIM)


def test_levels_outside_of_the_branch_are_refused(demo_config_file, tiny_opts):
    cfg = config(demo_config_file, tiny_opts, "MODEL.REID.LEVELS", "['res3', 'res5']")
    with pytest.raises(InputError, match="expected one or more of res4, res5, lowest first"):
        build_model(cfg)
