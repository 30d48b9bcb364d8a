"""A stand-in for a public re-ID network: the re-ID part of a small model of ours."""

from detectron2.config import get_cfg
from detectron2.modeling import build_model

from clsa_search.checkpoint.public_weights import UNUSED_SUFFIXES, PublicEmbedder
from clsa_search.config import add_clsa_search_config
from clsa_search.config_values import set_value

_RESNET = "MODEL.REID.BACKBONE.RESNETS"
SMALL = {
    f"{_RESNET}.WIDTH_PER_GROUP": 4,
    f"{_RESNET}.STEM_OUT_CHANNELS": 8,
    f"{_RESNET}.RES2_OUT_CHANNELS": 16,
    "MODEL.REID.HEAD.HIDDEN_DIM": 16,
    "MODEL.REID.HEAD.EMBED_DIM": 8,
    "MODEL.REID.CROP_SIZE": [32, 16],
}


def build_small_embedder():
    """Return the re-ID branch and the heads of a small model with random weights."""
    cfg = get_cfg()
    add_clsa_search_config(cfg)
    cfg.MODEL.DEVICE = "cpu"
    for key, value in SMALL.items():
        set_value(cfg, key, value)
    tensors = {
        name: value
        for name, value in build_model(cfg).state_dict().items()
        if name.startswith("reid_") and not name.endswith(UNUSED_SUFFIXES)
    }
    return PublicEmbedder("reid.pth", "small network", tensors, dict(SMALL))
