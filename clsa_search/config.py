"""Config keys of person search, beside Detectron2's own: MODEL.REID, some of SOLVER and TEST."""

from detectron2.config import CfgNode as CN

from clsa_search.argument_checks import check_type


def add_clsa_search_config(cfg: CN) -> None:
    """Add the keys with their defaults: CLSA of the paper (arXiv 1807.08582) with a ResNet-50.

    A comment says so if the paper does not give a value.

    Raises:
        InputError: `cfg` is no config.
    """
    check_type("cfg", cfg, CN, "a config of Detectron2, as get_cfg() returns")
    # registers the models and datasets, which Detectron2 finds by name
    import clsa_search.data.catalog  # noqa: F401
    import clsa_search.modeling  # noqa: F401

    cfg.MODEL.META_ARCHITECTURE = "PersonSearchRCNN"
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 1  # person
    # PersonROIHeads: number of classes of the detector that the weights come from, without the
    # background, and the position of the person among them.
    cfg.MODEL.ROI_HEADS.PRETRAINED_CLASSES = 1
    cfg.MODEL.ROI_HEADS.PERSON_CLASS = 0
    _add_datasets(cfg)
    _add_staged_backbones(cfg.MODEL)
    _add_branch(cfg)
    _add_objective(cfg.MODEL.REID)
    _add_computation(cfg)


def _add_datasets(cfg: CN) -> None:
    # The next keys are for JSON files that TRAIN and TEST name by their path.
    # Folder of the images; "" for the folder of the file.
    cfg.DATASETS.IMAGE_ROOT = ""
    # Field of the identity in annotations; CVAT writes "attributes.track_id".
    cfg.DATASETS.ID_FIELD = "person_id"
    # Name or id of the category of persons; "" if a file has only one.
    cfg.DATASETS.CATEGORY = ""


def _add_staged_backbones(node: CN) -> None:
    # ConvNeXt, Swin and networks of timm: MODEL.BACKBONE.NAME "build_convnext_fpn_backbone" and so
    # on, MODEL.REID.BACKBONE.NAME "build_convnext_backbone" and so on, with "swin" and "timm" in
    # its place. FREEZE_AT is read as for a ResNet.
    for name in ("CONVNEXT", "SWIN", "TIMM"):
        node[name] = CN()
        # Share of the images that skip the last block in training; blocks below skip fewer ones.
        node[name].DROP_PATH = 0.1
        # Outputs. A feature pyramid needs its IN_FEATURES; the re-ID branch reads LEVELS instead.
        node[name].OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    for name in ("CONVNEXT", "SWIN"):
        # Number of blocks of each of the four stages, and channels of res2; [] and 0 for those of
        # SIZE.
        node[name].DEPTHS = []
        node[name].WIDTH = 0
    # "tiny", "small", "base" or "large".
    node.CONVNEXT.SIZE = "tiny"
    # "t", "s" or "b".
    node.SWIN.SIZE = "t"
    # 1, or 2 for Swin V2.
    node.SWIN.VERSION = 1
    # Name in timm, such as "vit_small_patch14_dinov2"; timm is an optional package.
    node.TIMM.NAME = ""


def _add_branch(cfg: CN) -> None:
    cfg.MODEL.REID = reid = CN()
    # Source of the feature maps of a box: "CropBranch" (a second backbone on crops of the image, as
    # in the paper), "SharedBranch" (the feature maps of the detector's backbone, pooled) or
    # "Res5Branch" (the detector's res4, pooled, and a second res5 on it).
    reid.NAME = "CropBranch"
    # Feature maps to match, lowest first: outputs of the backbone (SharedBranch: of the detector's
    # backbone or its pyramid). The last one is the source (the teacher) of the alignment.
    reid.LEVELS = ["res3", "res4", "res5"]
    # SharedBranch: (height, width) of the pooled feature map of every level, in cells.
    reid.POOL_SIZE = [16, 8]
    # NAE and SeqNet: of two detections with a larger IoU, the less confident one is dropped.
    reid.NMS_THRESH_TEST = 0.5
    # CropBranch: (height, width) of the crops in pixels.
    reid.CROP_SIZE = [256, 128]

    # CropBranch: its backbone. The keys are those of MODEL.BACKBONE and MODEL.RESNETS.
    reid.BACKBONE = CN()
    # Name in Detectron2's BACKBONE_REGISTRY.
    reid.BACKBONE.NAME = "build_resnet_backbone"
    # Number of first stages with fixed weights: 0 none, 1 the stem, 2 the stem and res2.
    reid.BACKBONE.FREEZE_AT = 0
    # DEPTH, NORM, STRIDE_IN_1X1 and so on. OUT_FEATURES is not read: the outputs are LEVELS.
    reid.BACKBONE.RESNETS = cfg.MODEL.RESNETS.clone()
    reid.BACKBONE.RESNETS.NORM = "BN"
    _add_staged_backbones(reid.BACKBONE)
    _add_reid_resnet(reid.BACKBONE)
    _add_crop_input(reid)
    _add_head(reid)


def _add_reid_resnet(backbone: CN) -> None:
    # Stride of res5: 2, or 1 for a grid of twice the size; the latter with
    # "build_reid_resnet_backbone" and "build_convnext_backbone".
    backbone.LAST_STRIDE = 2
    # The next keys are for "build_reid_resnet_backbone": the ResNets of re-ID projects.
    # Max pool of the stem: "padded" (3 x 3 with padding), "ceil_mode" (3 x 3 without padding,
    # rounded up) or "2x2".
    backbone.STEM = CN()
    backbone.STEM.POOL = "padded"
    # Whether a ReLU follows the first convolution.
    backbone.STEM.RELU = True
    # Whether half of the channels have instance norm in res2 to res4 (IBN-a).
    backbone.IBN = False
    # Number of last blocks of res2 to res5 with a non-local block behind.
    backbone.NON_LOCAL = [0, 0, 0, 0]


def _add_crop_input(reid: CN) -> None:
    # CropBranch: the pixels that its backbone expects; empty values are those of the detector.
    reid.INPUT = CN()
    # Order of the channels: "RGB" or "BGR", as INPUT.FORMAT.
    reid.INPUT.FORMAT = ""
    # Mean and standard deviation of each channel in this order, for pixels of 0 to 255.
    reid.INPUT.PIXEL_MEAN = []
    reid.INPUT.PIXEL_STD = []

    # CropBranch, in training only: probability that a crop loses a random rectangle (Zhong et al.,
    # arXiv 1708.04896), and probability that it is scaled down and up again.
    reid.AUGMENT = CN()
    reid.AUGMENT.ERASING = 0.0
    reid.AUGMENT.BLUR = 0.0

    # ONNXBranch: the ONNX file, relative to the folder of MODEL.WEIGHTS; "" for the file beside
    # the weights with their name and the suffix .onnx. The only level is "onnx".
    reid.ONNX = CN()
    reid.ONNX.FILE = ""
    # Name of the output with the embeddings; "" for the only output.
    reid.ONNX.OUTPUT = ""


def _add_head(reid: CN) -> None:
    # The head of each level: "CLSAHead" (average pool, FC, norm, ReLU, FC; the paper does not give
    # the widths) or "PooledHead" (pool and neck, as most re-ID networks).
    reid.HEAD = CN()
    reid.HEAD.NAME = "CLSAHead"
    # D: width of the embedding of a level. PooledHead without FC: the channels of the level.
    reid.HEAD.EMBED_DIM = 256
    # CLSAHead: width of the first FC layer.
    reid.HEAD.HIDDEN_DIM = 512
    # CLSAHead: any norm of Detectron2; "" for none.
    reid.HEAD.NORM = "BN"
    # "gem" (generalized mean with a learned exponent) or "avg" (average).
    reid.HEAD.POOL = "gem"
    # Exponent of the generalized mean before the training.
    reid.HEAD.GEM_P = 3.0
    # What follows the embedding: "none" or "bn" (batch norm; CLSAHead's has no bias: BNNeck, Luo et
    # al., arXiv 1903.07071). PooledHead also has "fc_bn" (FC, batch norm) and "fc_bn_relu". People
    # are classified and ranked by the embeddings behind the neck.
    reid.HEAD.NECK = "bn"


def _add_objective(reid: CN) -> None:
    # P: number of training identities. 0: the number of identities in DATASETS.TRAIN.
    reid.NUM_IDS = 0
    # Largest number of proposals of an image that train the re-ID branch, beside all ground-truth
    # boxes. A proposal needs an IoU of ROI_HEADS.IOU_THRESHOLDS. The paper uses all proposals.
    reid.PROPOSALS_PER_IMAGE = 16
    # Whether these are the boxes as the box head refines them (of a cascade, its last stage), as at
    # inference, in place of the proposals.
    reid.REFINED_BOXES = False
    # Smallest IoU of a refined box and its ground-truth box, before and after REFINED_SWITCH.
    reid.REFINED_IOUS = [0.5, 0.7]
    # Share of the training after which the second IoU holds.
    reid.REFINED_SWITCH = 0.5
    _add_classifiers(reid)
    _add_identity_losses(reid)
    _add_alignment(reid)


def _add_classifiers(reid: CN) -> None:
    # Embeddings to logits over the identities: "SoftmaxClassifier", "CosineClassifier" or
    # "OIMClassifier".
    reid.CLASSIFIER = "SoftmaxClassifier"
    # CosineClassifier: scaled cosines with a margin (CosFace, Wang et al., CVPR 2018, arXiv
    # 1801.09414). s: factor of the cosines; the paper has 64, for faces.
    reid.COSINE = CN()
    reid.COSINE.SCALE = 30.0
    # m: margin of the true identity's cosine in the identity loss. 0: a plain cosine softmax.
    reid.COSINE.MARGIN = 0.35
    # OIMClassifier: online instance matching (Xiao et al., CVPR 2017, arXiv 1604.01850).
    reid.OIM = CN()
    # Q: number of slots of the circular queue of unlabeled embeddings, used as further negatives.
    reid.OIM.QUEUE_SIZE = 5000
    # Share of the old row in the new row of an identity in the lookup table, in [0, 1).
    reid.OIM.MOMENTUM = 0.5
    # Divisor of the cosines; the text of the paper says 0.1.
    reid.OIM.TEMPERATURE = 1 / 30


def _add_identity_losses(reid: CN) -> None:
    # Weight of the identity cross-entropy of each level.
    reid.ID_WEIGHT = 1.0
    # Label smoothing of the cross-entropy: share of the target that is spread over all identities.
    reid.LABEL_SMOOTHING = 0.0
    # Levels with an identity cross-entropy; [] for every level.
    reid.ID_LEVELS = []
    # Batch-hard triplet loss (Hermans et al., arXiv 1703.07737) of ID_LEVELS, before the neck, over
    # the boxes of all processes and the OIM lookup table. 0: none.
    reid.TRIPLET = CN()
    reid.TRIPLET.WEIGHT = 0.0
    # Smallest wanted difference of the distances; 0 for the soft margin.
    reid.TRIPLET.MARGIN = 0.3
    # Whether the distances are those of embeddings of unit length, from 0 to 2. With OIMClassifier
    # they always are.
    reid.TRIPLET.NORMALIZE = False


def _add_alignment(reid: CN) -> None:
    # Three losses between levels, chosen by docs/ablation.md; the paper (Base-CLSA-paper.yaml) has
    # the first one alone: WEIGHT * T^2 * KL(source || target) for each target. 0: none.
    reid.ALIGN = CN()
    reid.ALIGN.WEIGHT = 0.0
    # T: temperature of the softmax of source and target.
    reid.ALIGN.TEMPERATURE = 3.0
    # Whether the alignment leaves the source fixed. False also moves the source toward its targets,
    # at a cost of 5 points of mAP (docs/ablation.md). The paper does not give this choice.
    reid.ALIGN.DETACH_SOURCE = True
    # Levels that are aligned with the source; [] for every level below it.
    reid.ALIGN.TARGETS = []
    # Whether boxes of unknown identity are aligned too; the alignment needs no label.
    reid.ALIGN.UNLABELED = True
    # Weight of the loss that raises a target's similarity of two boxes of one person to the
    # source's. 0: none.
    reid.ALIGN.SAME_PERSON_WEIGHT = 1.0
    # Weight of the squared correlation of the levels' similarities over pairs of different people.
    # 0: none.
    reid.ALIGN.DECORRELATION_WEIGHT = 1.0
    # Whether these two losses see the embeddings behind the neck (MODEL.REID.HEAD.NECK).
    reid.ALIGN.BEHIND_NECK = True
    # Share of the training in which all three alignment weights rise from 0 to their value.
    reid.ALIGN.RAMP = 0.25


def _add_solver(solver: CN) -> None:
    # Length of the training in epochs of DATASETS.TRAIN; 0: MAX_ITER iterations. MAX_ITER then is
    # the unit of STEPS, WARMUP_ITERS, CHECKPOINT_PERIOD and TEST.EVAL_PERIOD, which keep their
    # proportion to it.
    solver.EPOCHS = 0.0
    # "SGD", or "AdamW" with MOMENTUM as its beta 1 and decoupled WEIGHT_DECAY.
    solver.OPTIMIZER = "SGD"
    # Factor of the learning rate per layer of a backbone, from its end to the input: 1.0 none.
    # The layers of a ResNet are its stem and stages, those of other backbones their blocks.
    solver.LAYER_DECAY = 1.0
    # Exponential moving average of the weights, evaluated and saved in place of the last ones.
    solver.EMA = CN()
    solver.EMA.ENABLED = False
    # Share of the old average after each step; less in the first steps.
    solver.EMA.DECAY = 0.999


def _add_computation(cfg: CN) -> None:
    # DATALOADER.SAMPLER_TRAIN: "TrainingSampler" (every image once per epoch),
    # "SceneIdentitySampler" (the same; images that share people come together) or, for crops,
    # "IdentitySampler".
    # Number of records per identity in a batch of the IdentitySampler.
    cfg.DATALOADER.IMS_PER_IDENTITY = 4

    # Number type of convolutions and matrix products if AMP.ENABLED: "float16" (with a scaled loss)
    # or "bfloat16". Losses and other delicate steps stay in float32.
    cfg.SOLVER.AMP.DTYPE = "float16"
    # Number of parts that IMS_PER_BATCH of a process is split into, one after the other, to train
    # with a batch larger than memory. Batch norm sees one part at a time.
    cfg.SOLVER.ACCUMULATION_STEPS = 1
    _add_solver(cfg.SOLVER)
    # Whether torch compiles the stages of the backbones for training, for a GPU. The first steps,
    # and the first ones with images of another size, take up to a minute longer.
    cfg.SOLVER.COMPILE = False

    # Number type of backbones, pyramid, RPN and box head at inference: "float32", "float16" or
    # "bfloat16", which a Swin V2 takes for "float16" too. Boxes, scores and re-ID heads stay in
    # float32.
    cfg.TEST.DTYPE = "float32"
    # CropBranch: whether torch compiles its backbone. On a CPU it needs a C++ compiler. The first
    # images take seconds longer.
    cfg.TEST.COMPILE = False
    # Number of images of one size in an inference batch of a process.
    cfg.TEST.IMS_PER_BATCH = 4
