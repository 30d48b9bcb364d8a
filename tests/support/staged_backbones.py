"""ConvNeXt and Swin small enough for tests, as config and as torchvision's classifier."""

from functools import partial

import torch
from torchvision.models import SwinTransformer
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformerBlockV2

from clsa_search.modeling.staged_backbone import STAGES

DEPTHS, WIDTH = (1, 1, 2, 2), 32
KINDS = {
    "convnext": ("convnext", "CONVNEXT", []),
    "swin": ("swin", "SWIN", []),
    "swin-v2": ("swin", "SWIN", ["VERSION", 2]),
}
"""Part of the builder's name, config node, and keys of the node, by the kind of network."""


def staged_opts(kind, *, detector=True, reid=True):
    """Return KEY VALUE pairs for small backbones of a kind; crops are 64 x 32."""
    name, node, keys = KINDS[kind]
    keys = [*keys, "DEPTHS", str(list(DEPTHS)), "WIDTH", WIDTH, "DROP_PATH", "0.2"]
    pairs = list(zip(keys[::2], keys[1::2], strict=True))
    opts = ["MODEL.REID.CROP_SIZE", "[64, 32]"]
    if detector:
        opts += ["MODEL.BACKBONE.NAME", f"build_{name}_fpn_backbone"]
        opts += [word for key, value in pairs for word in (f"MODEL.{node}.{key}", value)]
    if reid:
        opts += ["MODEL.REID.BACKBONE.NAME", f"build_{name}_backbone"]
        for key, value in pairs:
            opts += [f"MODEL.REID.BACKBONE.{node}.{key}", value]
    return opts


def build_classifier(kind):
    """Return torchvision's network of the same size in evaluation mode, with random weights."""
    if kind == "convnext":
        widths = [WIDTH << i for i in range(len(DEPTHS))]
        sizes = zip(widths, [*widths[1:], None], DEPTHS, strict=True)
        network = ConvNeXt([CNBlockConfig(*size) for size in sizes], num_classes=3)
    else:
        window, version = (7, {}) if kind == "swin" else (8, {"block": SwinTransformerBlockV2})
        if version:
            version["downsample_layer"] = PatchMergingV2
        heads = [max((WIDTH << i) // 32, 1) for i in range(len(DEPTHS))]
        network = partial(SwinTransformer, [4, 4], WIDTH, list(DEPTHS), heads, [window] * 2)(
            num_classes=3, **version
        )
    return randomize(network)


@torch.no_grad()
def randomize(network):
    """Give every parameter random values that matter; return the network in evaluation mode."""
    for name, value in network.named_parameters():
        if "logit_scale" in name:
            continue
        if value.squeeze().dim() < 2:
            low, high = (0.5, 1.5) if name.endswith(("weight", "scale")) else (-0.2, 0.2)
            value.uniform_(low, high)
    return network.eval()


def list_layers(backbone):
    """Return the layers of a StagedBackbone in the order of torchvision's `features`."""
    layers = [backbone.stem, backbone.stages[0]]
    for down, *blocks in backbone.stages[1:]:
        layers += [down, torch.nn.Sequential(*blocks)]
    return layers


def copy_weights(classifier, backbone):
    """Copy the weights of torchvision's classifier."""
    for own, other in zip(list_layers(backbone), classifier.features, strict=True):
        own.load_state_dict(other.state_dict())
    norm = classifier.classifier[0] if hasattr(classifier, "classifier") else classifier.norm
    backbone.get_submodule(f"norm_{STAGES[-1]}").load_state_dict(norm.state_dict())
