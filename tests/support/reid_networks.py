"""Re-ID networks in the layouts of public projects, as files and as models."""

import numpy as np
import torch
from detectron2.modeling import build_model

from clsa_search.engine import load_config
from clsa_search.export.exportable import CropEmbedder
from tests.support.public_reid import FastReID, StrongBaseline, Torchreid, randomize
from tests.support.tiny import ROOT, TINY_MODEL

CONFIG_FILE = str(ROOT / "configs" / "clsa_small_synthetic_demo.yaml")

DETECTORS = {
    "BGR": [
        *("INPUT.FORMAT", "BGR", "MODEL.PIXEL_MEAN", "[103.53, 116.28, 123.675]"),
        *("MODEL.PIXEL_STD", "[1.0, 1.0, 1.0]"),
    ],
    "RGB": [
        *("INPUT.FORMAT", "RGB", "MODEL.PIXEL_MEAN", "[123.675, 116.28, 103.53]"),
        *("MODEL.PIXEL_STD", "[58.395, 57.12, 57.375]"),
    ],
    "RGB, other statistics": [
        *("INPUT.FORMAT", "RGB", "MODEL.PIXEL_MEAN", "[127.5, 127.5, 127.5]"),
        *("MODEL.PIXEL_STD", "[127.5, 127.5, 127.5]"),
    ],
}


TRANSREID = {"pool": "2x2", "relu": False}


GEM = {"gem": 2.3, "learned": True, "non_local": True}


NETWORKS = {
    "torchreid": (Torchreid, {}, None),
    "torchreid-fc512": (Torchreid, {"fc": True}, None),
    "fastreid-bot": (FastReID, {}, None),
    "fastreid-bot ibn": (FastReID, {"ibn": True}, None),
    "fastreid-bot R101": (FastReID, {"blocks": (3, 4, 23, 3)}, None),
    "fastreid-bot 0.1.1": (FastReID, {"early": True}, None),
    "fastreid-agw 0.1.1": (FastReID, {"early": True, **GEM}, "fastreid-agw"),
    "fastreid-sbs 0.1.1": (FastReID, {"early": True, **GEM}, "fastreid-sbs"),
    "fastreid-agw": (FastReID, {"gem": 3.0, "non_local": True}, None),
    "fastreid-sbs": (FastReID, GEM, None),
    "fastreid-sbs ibn": (FastReID, {**GEM, "ibn": True}, None),
    "strong-baseline": (StrongBaseline, {"pool": "padded", "relu": False}, "strong-baseline"),
    "strong-baseline ibn": (StrongBaseline, {"pool": "padded", "ibn": True}, "strong-baseline"),
    "strong-baseline no neck": (
        StrongBaseline,
        {"pool": "padded", "relu": False, "neck": False},
        "strong-baseline",
    ),
    "transreid": (StrongBaseline, TRANSREID, "transreid"),
    "solider": (StrongBaseline, {"pool": "2x2"}, "solider"),
    "solider reduced": (StrongBaseline, {"pool": "2x2", "reduced": True}, "solider"),
}


def save(network, folder, **more):
    """Write a checkpoint as training codes do: with DataParallel's prefix and NumPy's scalars."""
    tensors = {f"module.{name}": value for name, value in network.state_dict().items()}
    path = str(folder / "reid.pth.tar")
    torch.save({"state_dict": {**tensors, **more}, "rank1": np.float64(0.9), "epoch": 60}, path)
    return path


def make(name):
    torch.manual_seed(0)
    kind, options, preset = NETWORKS[name]
    return randomize(kind(**options)), preset


def build(embedder, *opts):
    """Return a model with the embedder, and its config."""
    config = [word for pair in embedder.config.items() for word in pair]
    cfg = load_config(CONFIG_FILE, [*TINY_MODEL, *map(str, config), *opts])
    model = build_model(cfg).eval()
    left = model.load_state_dict(embedder.tensors, strict=False)
    assert not left.unexpected_keys
    reid = ("reid_branch.", "reid_heads.")
    missing = [name for name in left.missing_keys if name.startswith(reid)]
    assert all(name.endswith("num_batches_tracked") for name in missing)
    return model, cfg


@torch.no_grad()
def model_embeddings(model, cfg, crops):
    """Return the model's embeddings of RGB crops."""
    crops = crops if cfg.INPUT.FORMAT == "RGB" else crops.flip(1)
    return CropEmbedder.from_model(model, cfg)(crops)
