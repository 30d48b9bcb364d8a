"""ConvNeXt and Swin after optimization, in half precision, and compiled."""

import copy
from functools import partial

import pytest
import torch
from detectron2.modeling import build_model
from torch._dynamo.utils import counters

from benchmarks.speed.inputs import generate_inputs
from clsa_search.engine.precision import prepare_for_inference, prepare_for_training
from clsa_search.modeling.optimize import optimize_for_inference
from tests.support.model_inputs import compute_losses, training_input
from tests.support.staged_backbones import DEPTHS, KINDS, randomize, staged_opts


@pytest.fixture(params=KINDS)
def cfg(request, tiny_cfg):
    torch.manual_seed(0)
    tiny_cfg.merge_from_list(staged_opts(request.param))
    return tiny_cfg


@torch.inference_mode()
def test_an_optimized_model_gives_the_same_results(cfg):
    model = build_model(cfg).eval()
    randomize(model.backbone.bottom_up), randomize(model.reid_branch.backbone)
    inputs = generate_inputs(2, size=(96, 128), boxes=3)
    expected = model(inputs)
    optimize_for_inference(model)
    for one, other in zip(model(inputs), expected, strict=True):
        assert len(one["instances"]) == len(other["instances"]) > 0
        for kind in ("instances", "queries"):
            torch.testing.assert_close(
                one[kind].embeddings, other[kind].embeddings, atol=1e-5, rtol=0
            )


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gives_nearly_the_same_embeddings(cfg, dtype):
    model = build_model(cfg).eval()
    inputs = generate_inputs(2, size=(96, 128), boxes=5)
    expected = torch.cat([output["queries"].embeddings for output in model(inputs)])
    optimize_for_inference(model, dtype)
    outputs = model(inputs)
    rows = torch.cat([output["queries"].embeddings for output in outputs])
    assert rows.dtype == torch.float32 and not rows.equal(expected)
    assert (rows * expected).sum(dim=1).min() > 0.99
    assert all(len(output["instances"]) > 0 for output in outputs)


def compile_without_compiler(monkeypatch):
    torch._dynamo.reset()  # each function has a limited number of graphs
    monkeypatch.setattr("torch.compile", partial(torch.compile, backend="eager"))


@torch.inference_mode()
def test_a_compiled_backbone_takes_any_number_of_crops(cfg, monkeypatch):
    compile_without_compiler(monkeypatch)
    cfg.merge_from_list(["TEST.COMPILE", True])
    model = build_model(cfg).eval()
    plain = copy.deepcopy(model)
    prepare_for_inference(model, cfg)
    counters.clear()
    for count in (4, 3, 1, 0):
        crops = torch.randn(count, 3, *cfg.MODEL.REID.CROP_SIZE)
        expected = plain.reid_branch.forward_crops(crops)
        for level, maps in model.reid_branch.forward_crops(crops).items():
            torch.testing.assert_close(maps, expected[level], atol=1e-4, rtol=1e-4)
    assert 1 < counters["stats"]["unique_graphs"] <= 4
    assert not counters["graph_break"]


def test_compiled_stages_train_alike(cfg, monkeypatch):
    compile_without_compiler(monkeypatch)
    for node in (cfg.MODEL, cfg.MODEL.REID.BACKBONE):
        node.CONVNEXT.DROP_PATH = node.SWIN.DROP_PATH = 0.0
    plain = build_model(cfg)
    compiled = copy.deepcopy(plain)
    prepare_for_training(plain, cfg)
    cfg.SOLVER.COMPILE = True
    prepare_for_training(compiled, cfg)
    counters.clear()
    results = []
    for model in (plain, compiled):
        losses = compute_losses(model, [training_input(0, [0, 1]), training_input(1, [2])])
        results.append({name: loss.item() for name, loss in losses.items()})
    assert counters["stats"]["unique_graphs"] >= len(DEPTHS) and not counters["graph_break"]
    assert results[1] == pytest.approx(results[0], rel=1e-3, abs=1e-4)
    assert compiled.state_dict().keys() == plain.state_dict().keys()
