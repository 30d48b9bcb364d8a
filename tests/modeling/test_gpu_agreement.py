"""CPU and GPU compute the same losses, gradients, detections and embeddings."""

import copy

import pytest
import torch
from detectron2.modeling import build_model

from clsa_search.modeling import CLSACriterion, LevelEmbeddings
from clsa_search.modeling.batched_training import batch_training
from tests.support.model_inputs import compute_losses, inference_input, training_input

pytestmark = pytest.mark.gpu
ALL = 10**6  # more samples than there are boxes: nothing is left to chance
BOXES = [[10.0, 5.0, 30.0, 50.0], [40.0, 8.0, 70.0, 60.0]]


@pytest.fixture(params=[False, True], ids=["float32", "TF32"])
def tolerance(request, monkeypatch):
    """Relative tolerance of results, without and with TF32 in convolutions.

    Boxes that TF32 moves across a threshold of the detector become other samples.
    """
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", request.param)
    return 0.1 if request.param else 1e-3


@pytest.fixture
def models(tiny_cfg):
    """The same model on a CPU and on a GPU."""
    model = build_model(tiny_cfg)
    for part in (model.proposal_generator, model.roi_heads):
        part.batch_size_per_image, part.positive_fraction = 2 * ALL, 0.5
    model.proposals_per_image = 0  # the choice of proposals is random
    for seed in range(3):  # statistics of batch norm
        compute_losses(model, [training_input(seed, [0, 1, 2]), training_input(seed + 9, [1])])
    return model, copy.deepcopy(model).to("cuda")


def difference(result, expected):
    """Return the norm of the difference relative to the norm of the expected tensor."""
    return ((result.cpu() - expected).norm() / expected.norm().clamp(min=1e-6)).item()


@pytest.mark.parametrize("batched", [False, True])
def test_losses_and_gradients(models, tolerance, batched):
    inputs = [training_input(0, [0, 1]), training_input(1, [2, -1]), training_input(2, [])]
    if batched:
        batch_training(models[1])
    expected, losses = (compute_losses(model, inputs) for model in models)
    assert losses.keys() == expected.keys()
    for name, loss in losses.items():
        assert loss.item() == pytest.approx(expected[name].item(), rel=2 * tolerance, abs=1e-4), (
            name
        )
    for one in (expected, losses):
        sum(one.values()).backward()
    on_cpu, on_gpu = (torch.cat([p.grad.flatten() for p in m.parameters()]) for m in models)
    # 0.032 in float32 on an H100: ReLUs and matches flip where values are close
    assert difference(on_gpu, on_cpu.detach()) < min(50 * tolerance, 0.7)


def name_levels(levels, rows):
    """Return the embeddings of rows (2, L, R, D)."""
    return LevelEmbeddings(*(dict(zip(levels, x, strict=True)) for x in rows))


@pytest.mark.parametrize("classifier", ["SoftmaxClassifier", "OIMClassifier"])
def test_every_loss_of_the_criterion(tiny_cfg, classifier):
    reid = tiny_cfg.MODEL.REID
    reid.CLASSIFIER, reid.ALIGN.SAME_PERSON_WEIGHT = classifier, 1.0
    reid.ALIGN.DECORRELATION_WEIGHT = reid.TRIPLET.WEIGHT = 1.0
    reid.HEAD.NECK = "bn"  # with OIM, the embeddings before it have tables of their own
    levels = ["res3", "res4", "res5"]
    on_cpu = CLSACriterion(tiny_cfg, levels)
    on_gpu = copy.deepcopy(on_cpu).cuda()
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):  # OIM learns at each step
        rows = torch.randn(2, 3, 9, reid.HEAD.EMBED_DIM, generator=generator)
        pids = torch.randint(-2, 3, (9,), generator=generator)
        expected = on_cpu(name_levels(levels, rows), pids)
        losses = on_gpu(name_levels(levels, rows.cuda()), pids.cuda())
        assert losses.keys() == expected.keys()
        for name, loss in losses.items():
            torch.testing.assert_close(loss.cpu(), expected[name], atol=1e-5, rtol=1e-4)
    for name, buffer in on_gpu.named_buffers():
        torch.testing.assert_close(buffer.cpu(), on_cpu.get_buffer(name), msg=name)


@torch.no_grad()
def test_embeddings(models, tolerance):
    example = inference_input(4, boxes=BOXES, query_ids=[0, 1])
    expected, result = (model.eval()([example])[0]["queries"] for model in models)
    assert difference(result.embeddings, expected.embeddings) < tolerance


@torch.no_grad()
def test_detections(models, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # it would reorder equal scores
    expected, result = (model.eval()([inference_input(4)])[0]["instances"] for model in models)
    assert abs(len(result) - len(expected)) <= 1 and len(expected) > 5
    distances = torch.cdist(expected.pred_boxes.tensor, result.pred_boxes.tensor.cpu(), p=1)
    nearest, index = distances.min(dim=1)
    close = nearest < 0.1
    assert close.float().mean() > 0.8  # near ties of a random model may fall differently
    assert difference(result.scores[index[close].cuda()], expected.scores[close]) < 1e-3
    embeddings = result.embeddings[index[close].cuda()]
    assert difference(embeddings, expected.embeddings[close]) < 1e-2
