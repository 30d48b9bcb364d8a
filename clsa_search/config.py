"""The config keys that person search adds to Detectron2's: MODEL.REID, some of SOLVER and TEST."""

from detectron2.config import CfgNode as CN


def add_clsa_search_config(cfg: CN) -> None:
    """Add the defaults: CLSA as in the paper (ECCV 2018, arXiv 1807.08582) with a ResNet-50.

    Where the paper's value is not known, the comment says so.
    """
    # Detectron2 finds models and datasets by name once these modules are imported.
    import clsa_search.data.catalog  # noqa: F401
    import clsa_search.modeling  # noqa: F401

    cfg.MODEL.META_ARCHITECTURE = "PersonSearchRCNN"
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 1  # person
    _add_reid(cfg)
    _add_computing(cfg)


def _add_reid(cfg: CN) -> None:
    cfg.MODEL.REID = reid = CN()
    # Where the features of a box come from: "CropBranch" (a backbone of its own on crops of the
    # image, the paper's way) or "SharedBranch" (the detector's own feature maps, pooled).
    reid.NAME = "CropBranch"
    # Stages of the backbone that are matched, lowest first. The last one is the source (teacher) of
    # the alignment.
    reid.LEVELS = ["res3", "res4", "res5"]
    # SharedBranch: (height, width) of the grid that each level's feature map is pooled to.
    reid.POOL_SIZE = [16, 8]
    # CropBranch: (height, width) in pixels of the ROI crops that the re-ID backbone sees.
    reid.CROP_SIZE = [256, 128]
    # CropBranch: its backbone, with the keys of MODEL.BACKBONE and MODEL.RESNETS. RESNETS.
    # OUT_FEATURES is ignored: the outputs are LEVELS.
    reid.BACKBONE = CN()
    reid.BACKBONE.NAME = "build_resnet_backbone"
    # Number of first stages that do not train: 0 none, 1 the stem, 2 the stem and res2.
    reid.BACKBONE.FREEZE_AT = 0
    reid.BACKBONE.RESNETS = cfg.MODEL.RESNETS.clone()
    reid.BACKBONE.RESNETS.NORM = "BN"
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

    # What turns embeddings into logits over the identities: "SoftmaxClassifier" or "OIMClassifier".
    reid.CLASSIFIER = "SoftmaxClassifier"
    # Online instance matching (Xiao et al., CVPR 2017, arXiv 1604.01850).
    reid.OIM = CN()
    reid.OIM.QUEUE_SIZE = 5000  # Q: the latest unlabeled people, as further negatives
    reid.OIM.MOMENTUM = 0.5  # share of its old row that an identity keeps
    reid.OIM.TEMPERATURE = 1 / 30  # what cosines are divided by; the paper's text has 0.1

    # Weight of each level's identity cross-entropy, and the levels that have one ([]: every level).
    reid.ID_WEIGHT = 1.0
    reid.ID_LEVELS = []
    # Cross-level semantic alignment: WEIGHT * T^2 * KL(source || target).
    reid.ALIGN = CN()
    reid.ALIGN.WEIGHT = 1.0
    reid.ALIGN.TEMPERATURE = 3.0  # T
    # True: the source is a fixed teacher. False: it moves toward its targets as well, which was
    # worse by 5 points of mAP where both were tried (docs/ablation.md); not in the paper.
    reid.ALIGN.DETACH_SOURCE = True
    # Levels that are pulled toward the source; []: every level below it.
    reid.ALIGN.TARGETS = []
    # Whether people of unknown identity are aligned too: it needs no label.
    reid.ALIGN.UNLABELED = True


def _add_computing(cfg: CN) -> None:
    # Convolutions and matrix products where AMP.ENABLED: "float16" (the loss is scaled) or
    # "bfloat16". Losses and whatever else is delicate stay in float32.
    cfg.SOLVER.AMP.DTYPE = "float16"
    # Parts that each process splits its share of IMS_PER_BATCH into, to train with a batch that
    # memory does not hold. Batch norm sees one part at a time.
    cfg.SOLVER.ACCUMULATION_STEPS = 1

    # Backbones, pyramid, RPN and box head at inference: "float32", "float16" or "bfloat16". Boxes,
    # scores and the heads of the re-ID stay in float32.
    cfg.TEST.DTYPE = "float32"
    # Whether torch compiles the backbone of MODEL.REID, whose crops are all of one size. It takes a
    # C++ compiler on a CPU, and seconds at the first pictures.
    cfg.TEST.COMPILE = False
    # Images of one size that a process computes together at inference.
    cfg.TEST.IMS_PER_BATCH = 4
