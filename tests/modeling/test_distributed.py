"""Two processes have the losses, gradients and buffers of one process on the images of both."""

import pytest
import torch
from detectron2.data.detection_utils import annotations_to_instances
from detectron2.modeling import build_model
from detectron2.structures import BoxMode
from detectron2.utils.events import EventStorage

from clsa_search.engine import load_config
from clsa_search.structures import UNLABELED
from tests.support.processes import run_together
from tests.support.tiny import ROOT, TINY_MODEL

PIDS = [[0, 1, UNLABELED], [2, UNLABELED, UNLABELED], [1, 0, 2], [UNLABELED, 2, 1]]
# Nothing is random: every anchor is a proposal, and every proposal is a sample. So every image has
# the same number of samples; Detectron2 divides the detector's losses by it in each process.
FIXED = [
    *("MODEL.RPN.BATCH_SIZE_PER_IMAGE", "1000000", "MODEL.RPN.NMS_THRESH", "1.0"),
    *("MODEL.RPN.PRE_NMS_TOPK_TRAIN", "1000000", "MODEL.RPN.POST_NMS_TOPK_TRAIN", "1000000"),
    *("MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", "1000000"),
    *("MODEL.ROI_HEADS.POSITIVE_FRACTION", "1.0", "MODEL.PROPOSAL_GENERATOR.MIN_SIZE", "1"),
    *("MODEL.REID.PROPOSALS_PER_IMAGE", "0", "MODEL.REID.NUM_IDS", "3"),
]


def make_input(number):
    """Return 96 x 72 noise with three boxes of different sizes, equal on every call."""
    generator = torch.Generator().manual_seed(number)
    boxes = [[4, 8, 20, 60], [30, 20, 44, 60], [60, 30 - number, 72, 66]]
    annotations = [{"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0} for box in boxes]
    instances = annotations_to_instances(annotations, (72, 96))
    instances.gt_pids = torch.tensor(PIDS[number])
    image = torch.randint(0, 255, (3, 72, 96), generator=generator)
    return {"image": image, "instances": instances}


def build(opts):
    torch.manual_seed(0)
    config = str(ROOT / "configs" / "clsa_small_synthetic_demo.yaml")
    model = build_model(load_config(config, [*TINY_MODEL, *FIXED, *opts])).train()
    model.proposal_generator.rpn_head.anchor_deltas.weight.data.zero_()
    for classifier in model.reid_criterion.classifiers.values():
        for value in classifier.parameters():
            value.data *= 100  # small initial weights give uniform predictions
    return model


def run_steps(model, inputs):
    """Run two steps without changing weights; return {name: tensor} of losses and gradients.

    In the second step, OIM's lookup table has the rows of the first.
    """
    results = {}
    for step in range(2):
        model.zero_grad()
        with EventStorage():
            losses = model(inputs)
        sum(losses.values()).backward()
        results |= {f"{name} of step {step}": loss.detach() for name, loss in losses.items()}
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                name = f"gradient of {name.removeprefix('module.')} in step {step}"
                results[name] = parameter.grad.clone()
    buffers = {name: value for name, value in model.named_buffers() if "reid_criterion" in name}
    return results | {name.removeprefix("module."): value for name, value in buffers.items()}


def run_share(rank, opts, folder):
    model = torch.nn.parallel.DistributedDataParallel(build(opts), broadcast_buffers=False)
    inputs = [make_input(number) for number in (2 * rank, 2 * rank + 1)]
    torch.save(run_steps(model, inputs), folder / f"{rank}")


@pytest.mark.parametrize(
    "opts",
    [
        [],
        ["MODEL.REID.CLASSIFIER", "OIMClassifier", "MODEL.REID.OIM.QUEUE_SIZE", "7"],
        ["MODEL.REID.NAME", "SharedBranch"],
        [
            *("MODEL.REID.CLASSIFIER", "OIMClassifier", "MODEL.REID.HEAD.NECK", "bn"),
            *("MODEL.REID.TRIPLET.WEIGHT", "1.0", "MODEL.REID.ALIGN.SAME_PERSON_WEIGHT", "1.0"),
            *("MODEL.REID.ALIGN.DECORRELATION_WEIGHT", "1.0"),
        ],
    ],
    ids=["crop", "oim", "shared", "pairs"],
)
def test_two_processes_train_as_one_process(opts, tmp_path):
    # norms with statistics over the rows of both processes
    norms = [
        *("MODEL.RESNETS.NORM", "naiveSyncBN_N", "MODEL.FPN.NORM", "naiveSyncBN_N"),
        *("MODEL.REID.BACKBONE.RESNETS.NORM", "naiveSyncBN_N"),
        *("MODEL.REID.HEAD.NORM", "naiveSyncBN_N", "MODEL.ROI_BOX_HEAD.NORM", "naiveSyncBN_N"),
    ]
    one = run_steps(build(opts + norms), [make_input(i) for i in range(4)])
    run_together(run_share, opts + norms, tmp_path)
    two = [torch.load(tmp_path / f"{rank}") for rank in range(2)]
    for name, expected in one.items():
        if name.startswith("loss"):  # of the process's own images
            actual = (two[0][name] + two[1][name]) / 2
        else:
            actual = two[0][name]
            torch.testing.assert_close(
                actual, two[1][name], msg=f"{name} differs between processes"
            )
        # the synchronized norm computes its variance as a difference, and loses some digits; the
        # gradient of a pool's exponent is nearly 0 behind a norm
        distance = (actual.float() - expected).norm() / expected.float().norm().clamp(min=1e-5)
        assert distance < 0.1, f"{name}: {actual}, expected {expected}"
    assert any(name.startswith("gradient of reid_heads") for name in one)
    assert ("reid_criterion.classifiers.res5.queue" in one) == ("OIMClassifier" in opts)
