"""Checkpoints of SeqNet and NAE: what is recognized, taken, and refused by its name."""

import pytest
import torch

from clsa_search.checkpoint.public_weights import StateDict
from clsa_search.checkpoint.search_layouts import find_searcher
from clsa_search.errors import InputError
from tests.support.public_searchers import PublicSearcher

MARK = "roi_heads.embedding_head"
PROJECTOR = f"{MARK}.projectors.feat_res5.0.weight"


@pytest.fixture(scope="module")
def states():
    return {name: PublicSearcher(name).state_dict() for name in ("NAE", "SeqNet")}


def find(state):
    return find_searcher(StateDict("epoch_19.pth", dict(state)))


@pytest.mark.parametrize(("name", "max_iou"), [("NAE", 0.4), ("SeqNet", 0.5)])
def test_names_and_shapes_tell_the_model(states, name, max_iou):
    found = find(states[name])
    assert found.name == f"{name} R50-C4"
    assert found.config["MODEL.META_ARCHITECTURE"] == name
    assert found.config["MODEL.REID.NMS_THRESH_TEST"] == max_iou
    assert found.config["MODEL.RESNETS.WIDTH_PER_GROUP"] == 4
    assert found.config["MODEL.REID.HEAD.EMBED_DIM"] == 128
    assert (found.config["INPUT.MIN_SIZE_TEST"], found.config["INPUT.FORMAT"]) == (900, "RGB")


def test_anchors_are_sorted_by_size_and_the_background_comes_last(states):
    state = dict(states["SeqNet"])
    state["rpn.head.cls_logits.bias"] = torch.arange(15.0)  # 3 ratios of 5 sizes each
    state["roi_heads.faster_rcnn_predictor.cls_score.bias"] = torch.tensor([7.0, 8.0])
    state["roi_heads.faster_rcnn_predictor.bbox_pred.bias"] = torch.arange(8.0)
    tensors = find(state).tensors
    logits = tensors["proposal_generator.rpn_head.objectness_logits.bias"]
    assert logits.tolist() == [0, 5, 10, 1, 6, 11, 2, 7, 12, 3, 8, 13, 4, 9, 14]
    assert tensors["roi_heads.box_predictor.cls_score.bias"].tolist() == [8, 7]
    assert tensors["roi_heads.box_predictor.bbox_pred.bias"].tolist() == [4, 5, 6, 7]


@pytest.mark.parametrize("name", ["NAE", "SeqNet"])
def test_names_of_newer_torchvision_and_of_parallel_training(states, name):
    plain = states[name]
    new = {
        f"module.{key.replace('head.conv.0.0.', 'head.conv.')}": value
        for key, value in plain.items()
    }
    expected, found = find(plain).tensors, find(new).tensors
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[key], found[key]) for key in expected)


def rename(state, old, new):
    return {key.replace(old, new): value for key, value in state.items()}


def without(state, *names):
    return {key: value for key, value in state.items() if key not in names}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda x: rename(x, MARK, f"{MARK}_2nd"), "holds COAT, whose", id="COAT"),
        pytest.param(
            lambda x: {**x, PROJECTOR: x[PROJECTOR][..., None, None]}, r"holds NAE\+", id="NAE+"
        ),
        pytest.param(
            lambda x: without(x, f"{MARK}.rescaler.weight"),
            "holds a searching model without norm-aware",
            id="OIM",
        ),
        pytest.param(
            lambda x: without(x, "rpn.head.cls_logits.bias"),
            "not a complete SeqNet: 'rpn.head.cls_logits.bias' is missing",
            id="no RPN",
        ),
        pytest.param(
            lambda x: {**x, "rpn.head.cls_logits.bias": torch.zeros(9)},
            "not a complete SeqNet",
            id="nine anchors",
        ),
        pytest.param(
            lambda x: {k: v for k, v in x.items() if ".layer3." not in k},
            "not a complete SeqNet: .*ResNet-50, -101 or -152",
            id="no res4",
        ),
    ],
)
def test_other_models_are_refused_by_name(states, change, message):
    with pytest.raises(InputError, match=rf"^epoch_19.pth: {message}"):
        find(change(states["SeqNet"]))


def test_other_names_are_none_of_its_business(states):
    assert find({"backbone.conv1.weight": torch.zeros(1)}) is None
