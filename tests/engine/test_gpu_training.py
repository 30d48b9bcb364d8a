"""Training on a GPU: mixed precision with a loss scale, its resume, and the sampled boxes."""

import numpy as np
import pytest
import torch

from clsa_search.engine import PersonSearchTrainer
from clsa_search.modeling.batched_training import BatchedROIHeads, BatchedRPN
from tests.support.training import SIX_STEPS, train

HALVES = ["float16", "bfloat16"]
RECIPE = [
    *("SOLVER.OPTIMIZER", "AdamW", "SOLVER.BASE_LR", 0.001, "SOLVER.LAYER_DECAY", 0.7),
    *("SOLVER.EMA.ENABLED", True, "MODEL.REID.REFINED_BOXES", True),
    *("DATALOADER.SAMPLER_TRAIN", "SceneIdentitySampler"),
]


@pytest.fixture
def gpu_cfg(tiny_cfg):
    tiny_cfg.merge_from_list([*SIX_STEPS, "MODEL.DEVICE", "cuda"])
    return tiny_cfg


@pytest.mark.gpu
@pytest.mark.parametrize("recipe", [[], RECIPE], ids=["default", "recipe"])
@pytest.mark.parametrize("dtype", [None, *HALVES])
def test_a_resumed_run_continues(gpu_cfg, dtype, recipe):
    gpu_cfg.merge_from_list(recipe)
    if dtype:
        gpu_cfg.merge_from_list(["SOLVER.AMP.ENABLED", True, "SOLVER.AMP.DTYPE", dtype])
    whole, losses = train(gpu_cfg)
    assert np.isfinite(list(losses.values())).all()
    with open(f"{gpu_cfg.OUTPUT_DIR}/last_checkpoint", "w") as file:
        file.write("model_0000002.pth")
    resumed, rest = train(gpu_cfg, resume=True)
    assert set(rest) == {3, 4, 5}
    # sums of gradients on a GPU come in any order
    assert rest[3] == pytest.approx(losses[3], rel=1e-3)
    # a difference in the last digit may choose other boxes in the next steps
    assert rest == pytest.approx({i: losses[i] for i in rest}, rel=0.3)
    scale = whole._trainer.grad_scaler.state_dict()
    assert resumed._trainer.grad_scaler.state_dict() == scale and bool(scale) == (
        dtype == "float16"
    )


@pytest.mark.gpu
def test_half_precision_makes_about_the_same_losses(gpu_cfg):
    gpu_cfg.merge_from_list(["SOLVER.MAX_ITER", 1, "SOLVER.STEPS", ()])
    torch.manual_seed(0)  # of the weights
    loss = train(gpu_cfg)[1][0]
    for dtype in HALVES:
        gpu_cfg.merge_from_list(["SOLVER.AMP.ENABLED", True, "SOLVER.AMP.DTYPE", dtype])
        torch.manual_seed(0)
        assert train(gpu_cfg)[1][0] == pytest.approx(loss, rel=0.1)


@pytest.mark.gpu
def test_a_gpu_samples_whole_batches(gpu_cfg):
    model = PersonSearchTrainer(gpu_cfg).model
    assert type(model.proposal_generator) is BatchedRPN
    assert type(model.roi_heads) is BatchedROIHeads
    assert next(model.parameters()).device == torch.device("cuda", 0)
