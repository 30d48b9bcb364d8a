"""A dataset of a few small images and a model small enough to train in seconds."""

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np

from clsa_search.data import save_custom_json

ROOT = Path(__file__).parents[2]
COLORS = [(40, 40, 200), (40, 200, 40), (200, 40, 40), (40, 200, 200)]
_BACKBONE = "MODEL.REID.BACKBONE.RESNETS"
NARROW_MODEL = [
    *("MODEL.DEVICE", "cpu"),
    *("MODEL.RESNETS.DEPTH", "50", "MODEL.RESNETS.WIDTH_PER_GROUP", "4"),
    *("MODEL.RESNETS.STEM_OUT_CHANNELS", "8", "MODEL.RESNETS.RES2_OUT_CHANNELS", "16"),
    *(f"{_BACKBONE}.DEPTH", "50", f"{_BACKBONE}.WIDTH_PER_GROUP", "4"),
    *(f"{_BACKBONE}.STEM_OUT_CHANNELS", "8", f"{_BACKBONE}.RES2_OUT_CHANNELS", "16"),
    *("MODEL.FPN.OUT_CHANNELS", "8", "MODEL.ROI_BOX_HEAD.FC_DIM", "16"),
    *("MODEL.REID.HEAD.HIDDEN_DIM", "16", "MODEL.REID.HEAD.EMBED_DIM", "8"),
    *("MODEL.REID.CROP_SIZE", "[32, 16]"),
    *("MODEL.RPN.POST_NMS_TOPK_TEST", "20", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0"),
    *("INPUT.MIN_SIZE_TRAIN", "(72, 96)", "INPUT.MIN_SIZE_TEST", "96"),
    *("MODEL.REID.PROPOSALS_PER_IMAGE", "10", "SOLVER.BASE_LR", "0.02"),
    *("DATALOADER.NUM_WORKERS", "0", "SOLVER.IMS_PER_BATCH", "2", "SOLVER.WARMUP_ITERS", "0"),
]
"""KEY VALUE pairs that shrink a model until it trains in seconds."""

TINY_MODEL = [
    *NARROW_MODEL,
    # the losses of the paper, whose values the tests know
    *("MODEL.REID.HEAD.NECK", "none", "MODEL.REID.ALIGN.WEIGHT", "1.0"),
    *("MODEL.REID.ALIGN.SAME_PERSON_WEIGHT", "0.0", "MODEL.REID.ALIGN.RAMP", "0.0"),
    *("MODEL.REID.ALIGN.DECORRELATION_WEIGHT", "0.0"),
]
"""The same with the losses of the paper."""


def make_split(folder: Path, name: str, *, images: int, queries: bool) -> Path:
    """Write images of 96 x 72 with three colored blocks each; return the path of their JSON.

    Block k is person k, the last one is unlabeled. Sizes and positions change from image to image;
    every fourth image is empty.
    """
    rng = np.random.default_rng(images)
    folder.mkdir(parents=True, exist_ok=True)
    infos, annotations = [], []
    for i in range(images):
        image = rng.integers(90, 130, (72, 96, 3), dtype=np.uint8)
        infos.append(
            {"id": i, "file_name": f"{name}_{i}.png", "width": 96, "height": 72, "cam_id": i % 2}
        )
        for slot, pid in enumerate(rng.permutation(4)[:3] if i % 4 != 3 else ()):
            h = int(rng.integers(24, 60))
            x, y, w = 4 + 31 * slot, 72 - h - 4, h // 3
            image[y : y + h, x : x + w] = COLORS[pid]
            annotations.append(
                {"image_id": i, "bbox": [x, y, w, h], "person_id": int(pid) if pid < 3 else -1}
            )
        cv2.imwrite(str(folder / infos[-1]["file_name"]), image)
    firsts = {a["person_id"]: a for a in reversed(annotations) if a["person_id"] >= 0}
    save_custom_json(
        folder / f"{name}.json",
        images=infos,
        annotations=annotations,
        queries=list(firsts.values()) if queries else [],
    )
    return folder / f"{name}.json"


def load_tool(name: str) -> ModuleType:
    """Return the module of a command: clsa_search.commands.<name>, or tools/<name>.py."""
    if importlib.util.find_spec(f"clsa_search.commands.{name}"):
        return importlib.import_module(f"clsa_search.commands.{name}")
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
