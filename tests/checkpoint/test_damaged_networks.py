"""Damaged files of public networks: every reader names the file, whatever is damaged."""

import random

import pytest
import torch
import torchvision

from clsa_search.checkpoint.backbone_layouts import read_backbone
from clsa_search.checkpoint.detector_layouts import read_detector
from clsa_search.checkpoint.reid_layouts import read_embedder
from clsa_search.checkpoint.search_layouts import read_searcher
from clsa_search.errors import InputError
from tests.support.public_backbones import name_convnext, name_solider, name_swin
from tests.support.public_reid import FastReID
from tests.support.public_searchers import PublicSearcher
from tests.support.staged_backbones import build_classifier


def read_branch(path):
    return read_backbone(path, backbone="reid_branch.backbone")


def build_resnet(**options):
    return torchvision.models.resnet50(weights=None, width_per_group=4, **options)


def make_detector():
    """Return zeros of the shapes of torchvision's detector."""
    with torch.device("meta"):
        build = torchvision.models.detection.fasterrcnn_resnet50_fpn
        state = build(weights=None, weights_backbone=None).state_dict()
    return {name: torch.zeros(value.shape) for name, value in state.items()}


NETWORKS = {
    "ResNet": (read_branch, lambda: build_resnet().state_dict()),
    "convnext": (read_branch, lambda: name_convnext(build_classifier("convnext"), "timm")),
    "swin": (read_branch, lambda: build_classifier("swin").state_dict()),
    "swin-v2": (read_branch, lambda: name_swin(build_classifier("swin-v2"), "paper")),
    "SOLIDER": (read_branch, lambda: name_solider(build_classifier("swin"))),
    "fast-reid": (read_embedder, lambda: FastReID(gem=3.0, non_local=True).state_dict()),
    "SeqNet": (read_searcher, lambda: PublicSearcher("SeqNet").state_dict()),
    "torchvision": (read_detector, make_detector),
}


def drop(state, name, chance):
    del state[name]


def reshape(state, name, chance):
    value = state[name]
    others = [torch.ones(()), torch.ones(3, 5), torch.ones(0), value[None], value[..., :1]]
    state[name] = chance.choice(others)


def rename(state, name, chance):
    state[chance.choice([5, None, "", name.upper(), name + ".0", "x" + name])] = state.pop(name)


def renumber(state, name, chance):
    numbers = [i for i, letter in enumerate(name) if letter.isdigit()] or [0]
    place = chance.choice(numbers)
    letter = chance.choice("0123456789x")
    state[name[:place] + letter + name[place + 1 :]] = state.pop(name)


def replace(state, name, chance):
    types = torch.complex64, torch.bool, torch.int64, torch.float64
    state[name] = chance.choice(["text", 3, None, [1], {}, state[name].to(chance.choice(types))])


DAMAGES = [drop, reshape, rename, renumber, replace]


@pytest.mark.filterwarnings("ignore:Casting complex values")
@pytest.mark.parametrize("network", NETWORKS)
def test_a_damaged_tensor_is_a_fault_of_the_file(network, monkeypatch):
    read, make = NETWORKS[network]
    content = {name: value.clone() for name, value in make().items() if value.dim()}
    monkeypatch.setattr("clsa_search.checkpoint.public_weights.read_checkpoint", lambda path: file)
    chance = random.Random(0)
    for damage in DAMAGES * 5:
        file = dict(content)
        for name in chance.sample([*file], chance.choice([1, 3, 30])):
            damage(file, name, chance)
        try:
            read("public.pth")
        except InputError as error:
            assert str(error).startswith("public.pth: ")
    file = content
    if network != "fast-reid":  # which needs its preset
        read("public.pth")
