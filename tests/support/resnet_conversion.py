"""Models with two narrow ResNets, and their features."""

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.modeling import build_model

from clsa_search.checkpoint import (
    save_weights,
)
from clsa_search.engine import load_config
from tests.support.tiny import ROOT, TINY_MODEL, load_tool

BACKBONES = ("backbone.bottom_up", "reid_branch.backbone")
RESNETS = ("MODEL.RESNETS", "MODEL.REID.BACKBONE.RESNETS")
COMMAND = vars(load_tool("convert_weights"))
CONFIG_FILE = str(ROOT / "configs" / "clsa_small_synthetic_demo.yaml")


def options(stride_in_1x1=False, norm="BN", **values):
    """Return KEY VALUE pairs of a model with two narrow ResNet-50."""
    both = {"DEPTH": "50", "WIDTH_PER_GROUP": "4", "STEM_OUT_CHANNELS": "64"}
    both |= {"RES2_OUT_CHANNELS": "256", "STRIDE_IN_1X1": str(stride_in_1x1), "NORM": norm}
    both |= values
    return [
        *TINY_MODEL,
        *(w for key in RESNETS for k, v in both.items() for w in (f"{key}.{k}", v)),
    ]


def config(*opts, **values):
    return load_config(CONFIG_FILE, [*options(**values), *opts])


@torch.no_grad()
def randomize_norms(network):
    for name, value in [*network.named_parameters(), *network.named_buffers()]:
        if value.dim() == 1 and value.is_floating_point():
            low, high = (0.5, 1.5) if name.endswith(("weight", "running_var")) else (-0.2, 0.2)
            value.uniform_(low, high)
    return network.eval()


def load(cfg, converted, folder):
    """Return a new model with the converted weights, loaded by Detectron2's own checkpointer."""
    save_weights(converted, str(folder / "out" / "converted.pth"))
    assert set(torch.load(folder / "out" / "converted.pth")) == {"model"}  # no heuristics
    model = build_model(cfg).eval()
    missing = DetectionCheckpointer(model).load(str(folder / "out" / "converted.pth"))
    assert not missing  # the rest of the checkpoint
    return model


@torch.no_grad()
def backbone_features(model, image):
    """Return res5 of both backbones for an image (3, H, W) in the config's channel order."""
    images = model.preprocess_image([{"image": image}])
    return [model.get_submodule(backbone)(images.tensor)["res5"] for backbone in BACKBONES]


def assert_same_features(actual, expected):
    atol = 1e-4 * float(expected.abs().max())
    for features in actual:
        torch.testing.assert_close(features, expected, rtol=0, atol=atol)


def fold_norms(network):
    """Make the norms scale and shift only."""
    for norm in (m for m in network.modules() if hasattr(m, "running_var")):
        norm.running_mean.zero_()
        norm.running_var.fill_(1 - norm.eps)


def caffe2_names(state, *, folded):
    """Return a backbone's tensors as arrays, with the names of Caffe2's model zoo."""
    words = [(".conv1.", ".branch2a."), (".conv2.", ".branch2b."), (".conv3.", ".branch2c.")]
    words += [("stem.branch2a.norm", "res.conv1.bn"), ("stem.branch2a", "conv1")]
    words += [(".shortcut.", ".branch1."), (".norm.", ".bn."), ("bn.bias", "bn.b")]
    words += [("bn.weight", "bn.s" if folded else "bn.gamma"), ("weight", "w"), (".", "_")]
    blobs = {}
    for name, value in state.items():
        if not (folded and "running" in name) and "batches" not in name:
            for old, new in words:
                name = name.replace(old, new)
            blobs[name] = value.numpy()
    return blobs
