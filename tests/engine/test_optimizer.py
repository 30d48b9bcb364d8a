"""SGD and AdamW, and learning rates by layer."""

import copy
from pathlib import Path

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone, build_model
from torch import nn

from clsa_search.engine import PersonSearchTrainer
from clsa_search.engine.optimizer import SCALES, build_optimizer, scale_layers
from clsa_search.errors import InputError
from tests.support.training import SIX_STEPS, check_equal, resume_copy, train


def find_rates(model, optimizer):
    """Return the learning rate and the weight decay of each parameter by its name."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {
        names[parameter]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


def test_rates_fall_toward_the_input_of_both_backbones(tiny_cfg):
    tiny_cfg.merge_from_list(["SOLVER.LAYER_DECAY", "0.5", "SOLVER.BASE_LR", "0.32"])
    model = build_model(tiny_cfg)
    rates = find_rates(model, build_optimizer(tiny_cfg, model))
    assert set(rates) == {name for name, x in model.named_parameters() if x.requires_grad}
    layers = {"stem": 0.01, "res2": 0.02, "res3": 0.04, "res4": 0.08, "res5": 0.16}
    seen = set()
    for name, (rate, _) in rates.items():
        backbone = name.startswith(("backbone.bottom_up.", "reid_branch.backbone."))
        layer = name.split("backbone.")[-1].removeprefix("bottom_up.").split(".")[0]
        assert rate == pytest.approx(layers[layer] if backbone else 0.32), name
        seen.add((name.split(".")[0], layer) if backbone else "rest")
    assert len(seen) == 11


class Layers(Backbone):
    """A backbone of two blocks that counts its layers itself."""

    depth = 2

    def __init__(self, blocks=2):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(1, 1) for _ in range(blocks))

    def forward(self, x):
        return {}

    def layer_depth(self, name):
        return int(name.split(".")[1]) + 1


class Unlayered(Backbone):
    """A backbone that does not count its layers."""

    def forward(self, x):
        return {}


def test_a_backbone_counts_its_layers_itself():
    model = nn.ModuleDict({"backbone": Layers(), "head": nn.Linear(1, 1)})
    factors = scale_layers(model, 0.1)
    by_name = {name: factors.get(x, 1) for name, x in model.named_parameters() if "weight" in name}
    assert list(by_name.values()) == pytest.approx([0.01, 0.1, 1])


def test_a_backbone_without_layers_is_refused(tiny_cfg):
    tiny_cfg.SOLVER.LAYER_DECAY = 0.9
    model = nn.ModuleDict({"one": Layers(), "two": Unlayered()})
    with pytest.raises(InputError, match="LAYER_DECAY is 0.9, but Unlayered has no layers; .*1.0"):
        build_optimizer(tiny_cfg, model)


@pytest.mark.parametrize("kind", ["convnext", "swin"])
def test_layers_and_scales_of_convnext_and_swin(tiny_cfg, kind):
    tiny_cfg.merge_from_list(["SOLVER.LAYER_DECAY", "0.5", "SOLVER.WEIGHT_DECAY", "0.05"])
    tiny_cfg.merge_from_list(["SOLVER.BASE_LR", "1.0", "SOLVER.WEIGHT_DECAY_NORM", "0.01"])
    options = tiny_cfg.MODEL[kind.upper()]
    options.DEPTHS, options.WIDTH = [1, 1, 2, 1], 8
    builder = BACKBONE_REGISTRY.get(f"build_{kind}_backbone")
    model = builder(tiny_cfg, ShapeSpec(channels=3))
    rates = find_rates(model, build_optimizer(tiny_cfg, model))
    trained = {name: rates[name] for name, x in model.named_parameters() if x.requires_grad}
    assert {rate for rate, _ in trained.values()} <= {0.5**n for n in range(1, 7)}
    assert trained["norm_res5.weight"][0] == 0.5
    assert {rate for name, (rate, _) in trained.items() if name.startswith("stem")} <= {0.5**6}
    scales = [x for name, x in trained.items() if name.split(".")[-1] in SCALES]
    assert scales and all(decay == 0.01 for _, decay in scales)


@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_norms_and_biases_decay_by_their_own_keys(tiny_cfg, name):
    tiny_cfg.merge_from_list(["SOLVER.OPTIMIZER", name, "SOLVER.WEIGHT_DECAY", "0.05"])
    tiny_cfg.SOLVER.WEIGHT_DECAY_NORM, tiny_cfg.SOLVER.WEIGHT_DECAY_BIAS = 0.01, 0.02
    model = nn.ModuleDict({"fc": nn.Linear(2, 2), "norm": nn.LayerNorm(2)})
    optimizer = build_optimizer(tiny_cfg, model)
    assert type(optimizer).__name__ == name
    decays = {key: decay for key, (_, decay) in find_rates(model, optimizer).items()}
    assert decays == {
        "fc.weight": 0.05,
        "fc.bias": 0.02,
        "norm.weight": 0.01,
        "norm.bias": 0.02,
    }


def test_adamw_is_that_of_torch(tiny_cfg):
    tiny_cfg.merge_from_list(
        ["SOLVER.OPTIMIZER", "AdamW", "SOLVER.MOMENTUM", "0.8", "SOLVER.WEIGHT_DECAY", "0.1"]
    )
    tiny_cfg.SOLVER.CLIP_GRADIENTS.ENABLED = False
    own = nn.Linear(3, 2)
    theirs = copy.deepcopy(own)
    rate = tiny_cfg.SOLVER.BASE_LR
    adamw = torch.optim.AdamW(theirs.parameters(), rate, betas=(0.8, 0.999), weight_decay=0.1)
    pairs = ((own, build_optimizer(tiny_cfg, own)), (theirs, adamw))
    for _ in range(3):
        rows = torch.randn(4, 3)
        for model, optimizer in pairs:
            optimizer.zero_grad()
            model(rows).square().sum().backward()
            optimizer.step()
    assert torch.equal(own.weight, theirs.weight) and torch.equal(own.bias, theirs.bias)


def test_warm_up_and_cosine_scale_every_group(tiny_cfg):
    tiny_cfg.merge_from_list(["SOLVER.LAYER_DECAY", "0.5", "SOLVER.MAX_ITER", "10"])
    tiny_cfg.merge_from_list(["SOLVER.WARMUP_ITERS", "2", "SOLVER.WARMUP_FACTOR", "0.5"])
    assert tiny_cfg.SOLVER.LR_SCHEDULER_NAME == "WarmupCosineLR"
    optimizer = build_optimizer(tiny_cfg, nn.Sequential(Layers(), nn.Linear(1, 1)))
    full = [group["lr"] for group in optimizer.param_groups]
    scheduler = PersonSearchTrainer.build_lr_scheduler(tiny_cfg, optimizer)
    factors = []
    for _ in range(11):
        shares = {g["lr"] / rate for g, rate in zip(optimizer.param_groups, full, strict=True)}
        assert max(shares) == pytest.approx(min(shares))
        factors.append(max(shares))
        optimizer.step()
        scheduler.step()
    assert len(full) == 3 and factors[0] == 0.5
    assert factors[5] == pytest.approx(0.5) and factors[10] == pytest.approx(0, abs=1e-9)


def test_everything_together_resumes_exactly(tiny_cfg, tmp_path):
    """AdamW, layers, half precision, accumulation, clipping, warm-up and cosine, an average.

    And pairs of scenes, refined boxes, several scales, epochs.
    """
    tiny_cfg.merge_from_list([*SIX_STEPS, "SOLVER.OPTIMIZER", "AdamW", "SOLVER.LAYER_DECAY", "0.7"])
    tiny_cfg.merge_from_list(["SOLVER.AMP.ENABLED", "True", "SOLVER.AMP.DTYPE", "bfloat16"])
    tiny_cfg.merge_from_list(["SOLVER.ACCUMULATION_STEPS", "2", "SOLVER.EMA.ENABLED", "True"])
    assert tiny_cfg.SOLVER.CLIP_GRADIENTS.ENABLED and tiny_cfg.SOLVER.WARMUP_ITERS == 4
    tiny_cfg.merge_from_list(["DATALOADER.SAMPLER_TRAIN", "SceneIdentitySampler"])
    tiny_cfg.merge_from_list(["SOLVER.IMS_PER_BATCH", "4", "SOLVER.EPOCHS", "3.0"])
    tiny_cfg.merge_from_list(["MODEL.REID.REFINED_BOXES", "True"])
    train(tiny_cfg)
    whole = Path(tiny_cfg.OUTPUT_DIR)
    without = ["model_final.pth", "curves.png"]
    resume_copy(tiny_cfg, whole, tmp_path / "a", "model_0000002.pth", lines=0, without=without)
    check_equal(tmp_path / "a", whole)


def test_a_run_cannot_go_on_with_another_optimizer(tiny_cfg):
    tiny_cfg.merge_from_list(SIX_STEPS)
    train(tiny_cfg)
    tiny_cfg.SOLVER.OPTIMIZER = "AdamW"
    with pytest.raises(InputError, match="SOLVER.OPTIMIZER is 'AdamW', but 'SGD'"):
        train(tiny_cfg, resume=True)
