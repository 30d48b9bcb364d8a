"""The config keys that person search adds to Detectron2's, all under MODEL.REID."""

from detectron2.config import CfgNode as CN


def add_clsa_search_config(cfg: CN) -> None:
    """Add the defaults: CLSA as in the paper (ECCV 2018, arXiv 1807.08582) with a ResNet-50.

    Where the paper's value is not known, the comment says so.
    """
    cfg.MODEL.META_ARCHITECTURE = "PersonSearchRCNN"
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 1  # person

    cfg.MODEL.REID = reid = CN()
    # Stages of the re-ID trunk that are matched, lowest first. The last one is the source (teacher)
    # of the alignment, the others are its targets.
    reid.LEVELS = ["res3", "res4", "res5"]
    # (height, width) in pixels of the ROI crops that the re-ID trunk sees.
    reid.CROP_SIZE = [256, 128]
    # The re-ID trunk, in the words of MODEL.RESNETS (DEPTH, NORM, ...). OUT_FEATURES is LEVELS.
    reid.RESNETS = cfg.MODEL.RESNETS.clone()
    reid.RESNETS.NORM = "BN"
    # First stages of the re-ID trunk that do not train (0 none, 1 the stem, 2 the stem and res2).
    reid.FREEZE_AT = 0
    # Training boxes of an image: every annotated box and at most so many proposals
    # (IoU >= ROI_HEADS.IOU_THRESHOLDS) that inherit an identity. The paper keeps all of them.
    reid.PROPOSALS_PER_IMAGE = 16
    # Number of training identities P. 0: as many as DATASETS.TRAIN holds.
    reid.NUM_IDS = 0

    # The head of each level: pool, FC, norm, ReLU, FC -> embedding; widths are not in the paper.
    reid.HEAD = CN()
    reid.HEAD.HIDDEN_DIM = 512
    reid.HEAD.EMBED_DIM = 256
    reid.HEAD.NORM = "BN"

    # Weight of each level's identity cross-entropy.
    reid.ID_WEIGHT = 1.0
    # Cross-level semantic alignment: WEIGHT * T^2 * KL(source || target).
    reid.ALIGN = CN()
    reid.ALIGN.WEIGHT = 1.0
    reid.ALIGN.TEMPERATURE = 3.0  # T
    # True: the source is a fixed teacher. False: it moves toward its targets as well.
    reid.ALIGN.DETACH_SOURCE = False
