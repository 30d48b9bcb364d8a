"""A step in half precision or in parts makes the update of the whole batch in float32."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from detectron2.solver.build import maybe_add_gradient_clipping
from detectron2.utils.events import EventStorage
from torch import nn
from torch._dynamo.utils import counters

from clsa_search.engine import AccumulatingTrainer, PersonSearchTrainer
from clsa_search.engine.precision import (
    prepare_for_inference,
    prepare_for_training,
    read_test_dtype,
)
from clsa_search.errors import InputError
from tests.support.devices import DEVICES
from tests.support.model_inputs import compute_losses, training_input
from tests.support.training import SIX_STEPS, train

FP16 = ["SOLVER.AMP.ENABLED", "True"]
BF16 = [*FP16, "SOLVER.AMP.DTYPE", "bfloat16"]
IN_PARTS = ["SOLVER.ACCUMULATION_STEPS", "2"]


class Line(nn.Module):
    """A model y = wx with squared error that records its calls."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1, bias=False)
        self.sizes, self.dtypes = [], []

    def forward(self, batch):
        out = self.layer(torch.stack([example["x"] for example in batch]))
        self.sizes.append(len(batch))
        self.dtypes.append(out.dtype)
        error = out.float().squeeze(1) - torch.tensor([example["y"] for example in batch])
        return {"loss_line": (error**2).mean()}


class Repeated(list):
    """A loader that repeats one batch endlessly."""

    batch_size = property(len)

    def __iter__(self):
        examples = list(super().__iter__())
        while True:
            yield examples


def make_trainer(*, clip=None, scale=0.1, **options):
    """Return a trainer on four examples; `scale` multiplies their targets."""
    torch.manual_seed(0)
    model = Line()
    batch = [{"x": torch.randn(3), "y": scale * y} for y in (1.0, -2.0, 3.0, 0.5)]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    if clip:
        cfg = get_cfg()
        cfg.SOLVER.CLIP_GRADIENTS.ENABLED = True
        cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE = "norm"
        cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE = clip
        optimizer = maybe_add_gradient_clipping(cfg, optimizer)
    return AccumulatingTrainer(model, Repeated(batch), optimizer, **options)


def step(trainer, count=1):
    """Return the weights after `count` steps and the last loss."""
    with EventStorage() as storage:
        for trainer.iter in range(count):
            trainer.run_step()
    loss = storage.latest()["total_loss"][0]
    return trainer.model.layer.weight.detach().clone(), loss


@pytest.mark.parametrize("parts", [2, 4])
def test_parts_add_up_to_the_whole_batch(parts):
    whole, loss = step(make_trainer(), count=3)
    trainer = make_trainer(accumulation_steps=parts)
    weights, loss_of_parts = step(trainer, count=3)
    torch.testing.assert_close(weights, whole)
    assert loss_of_parts == pytest.approx(loss)
    assert trainer.model.sizes == [4 // parts] * parts * 3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_makes_about_the_same_update(dtype):
    expected, _ = step(make_trainer(), count=3)
    trainer = make_trainer(amp_dtype=dtype, accumulation_steps=2)
    weights, _ = step(trainer, count=3)
    assert set(trainer.model.dtypes) == {dtype} and weights.dtype == torch.float32
    torch.testing.assert_close(weights, expected, rtol=0.02, atol=0.02)
    assert not torch.equal(weights, expected)


def test_gradients_are_clipped_without_the_loss_scale():
    before = make_trainer().model.layer.weight.detach().clone()
    for dtype in (None, torch.bfloat16, torch.float16):
        trainer = make_trainer(clip=0.01, amp_dtype=dtype)
        weights, _ = step(trainer)
        assert (weights - before).norm().item() == pytest.approx(0.1 * 0.01, rel=1e-3), dtype


def test_an_overflow_skips_the_update_and_lowers_the_scale():
    trainer = make_trainer(scale=1e3, amp_dtype=torch.float16)
    before = trainer.model.layer.weight.detach().clone()
    scale = trainer.grad_scaler.get_scale()
    assert torch.equal(step(trainer)[0], before), "gradients beyond float16"
    assert trainer.grad_scaler.get_scale() == scale / 2
    after, _ = step(trainer, count=20)
    assert not torch.equal(after, before) and after.isfinite().all()


@pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.float16])
def test_a_loss_of_nan_ends_the_run_before_the_update(dtype):
    trainer = make_trainer(scale=float("nan"), amp_dtype=dtype)
    before = trainer.model.layer.weight.detach().clone()
    with pytest.raises(FloatingPointError, match="loss_line"):
        step(trainer)
    assert torch.equal(trainer.model.layer.weight, before)


def test_the_scale_is_resumed():
    first = make_trainer(scale=1e3, amp_dtype=torch.float16)
    step(first, count=5)
    second = make_trainer(scale=1e3, amp_dtype=torch.float16)
    second.load_state_dict(first.state_dict())
    assert second.grad_scaler.get_scale() == first.grad_scaler.get_scale() < 2.0**16
    plain = make_trainer()
    plain.load_state_dict(first.state_dict())  # float16 for a part of a run
    first.load_state_dict(plain.state_dict())


@pytest.mark.parametrize("opts", [BF16, FP16], ids=["bfloat16", "float16"])
def test_a_resumed_run_in_half_precision_and_parts_is_exact(tiny_cfg, opts):
    tiny_cfg.merge_from_list([*SIX_STEPS, *opts, *IN_PARTS])
    whole, losses = train(tiny_cfg)
    assert np.isfinite(list(losses.values())).all()
    folder = tiny_cfg.OUTPUT_DIR
    with open(f"{folder}/last_checkpoint", "w") as file:
        file.write("model_0000002.pth")
    resumed, rest = train(tiny_cfg, resume=True)
    assert rest == {i: losses[i] for i in (3, 4, 5)}
    for name, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        ([*FP16, "SOLVER.AMP.DTYPE", "half"], "AMP.DTYPE is 'half'.*float16, bfloat16"),
        (["SOLVER.ACCUMULATION_STEPS", "3"], "ACCUMULATION_STEPS is 3.*divisor of 2"),
        (["SOLVER.ACCUMULATION_STEPS", "0"], "ACCUMULATION_STEPS is 0"),
    ],
)
def test_impossible_steps_are_errors(tiny_cfg, opts, message):
    tiny_cfg.merge_from_list(opts)
    with pytest.raises(InputError, match=message):
        PersonSearchTrainer(tiny_cfg)


def test_an_unsupported_amp_type_is_an_error(tiny_cfg, monkeypatch):
    def refuse(*args):
        raise RuntimeError("not implemented for 'Half'")

    monkeypatch.setattr("torch.nn.functional.conv2d", refuse)
    tiny_cfg.merge_from_list(FP16)
    with pytest.raises(InputError, match="float16, but cpu does not support it; expected bfloat16"):
        PersonSearchTrainer(tiny_cfg)


def test_a_cpu_trains_channels_last(tiny_cfg):
    weight = PersonSearchTrainer(tiny_cfg).model.backbone.bottom_up.res3[0].conv2.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not weight.is_contiguous()


@pytest.mark.parametrize("device", DEVICES, indirect=True)
def test_compiled_resnets_train_alike(tiny_cfg, device, monkeypatch):
    if device.type == "cpu":  # without the time of a compiler
        monkeypatch.setattr("torch.compile", partial(torch.compile, backend="eager"))
    plain = build_model(tiny_cfg)
    compiled = copy.deepcopy(plain)
    prepare_for_training(plain, tiny_cfg)
    tiny_cfg.SOLVER.COMPILE = True
    prepare_for_training(compiled, tiny_cfg)
    counters.clear()
    results = []
    for model in (plain, compiled):
        losses = compute_losses(model, [training_input(0, [0, 1]), training_input(1, [2])])
        sum(losses.values()).backward()
        results.append({name: loss.item() for name, loss in losses.items()})
    assert counters["stats"]["unique_graphs"] == 8 and not counters["graph_break"]
    assert results[1] == pytest.approx(results[0], rel=1e-3, abs=1e-4)
    expected, gradient = (
        torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
        for model in (plain, compiled)
    )
    assert (gradient - expected).norm() < 0.02 * expected.norm()
    assert compiled.state_dict().keys() == plain.state_dict().keys()


def test_a_model_that_cannot_be_compiled_is_refused(tiny_cfg, monkeypatch):
    tiny_cfg.merge_from_list(["TEST.COMPILE", True])

    def refuse(function):
        def fail(*args):
            raise RuntimeError("backend='inductor' raised:\nInvalidCxxCompiler: no g++\nand so on")

        return fail

    monkeypatch.setattr("torch.compile", refuse)
    model = build_model(tiny_cfg).eval()
    message = r"cannot compile for cpu here \(backend='inductor' raised: InvalidCxxCompiler: no g"
    with pytest.raises(InputError, match=f"TEST.COMPILE is True, but torch {message}"):
        prepare_for_inference(model, tiny_cfg)
    tiny_cfg.SOLVER.COMPILE = True
    with pytest.raises(InputError, match=f"SOLVER.COMPILE is True, but torch {message}"):
        prepare_for_training(model, tiny_cfg)
    tiny_cfg.MODEL.REID.NAME = "SharedBranch"
    with pytest.raises(InputError, match="TEST.COMPILE is True, but SharedBranch has no backbone"):
        prepare_for_inference(build_model(tiny_cfg).eval(), tiny_cfg)


def test_unknown_and_unsupported_types_are_refused(tiny_cfg, monkeypatch):
    assert read_test_dtype(tiny_cfg) is torch.float32
    tiny_cfg.TEST.DTYPE = "half"
    with pytest.raises(InputError, match="TEST.DTYPE is 'half'; expected one of float32, float16"):
        read_test_dtype(tiny_cfg)
    tiny_cfg.TEST.DTYPE = "float16"

    def refuse(*args):
        raise RuntimeError("\"slow_conv2d_cpu\" not implemented for 'Half'")

    monkeypatch.setattr("torch.nn.functional.conv2d", refuse)
    with pytest.raises(InputError, match="float16, but cpu does not support it; expected float32"):
        read_test_dtype(tiny_cfg)
