"""The model: meta-architecture, re-ID branches, heads, criterion, identity classifiers, losses."""

from clsa_search.modeling.backbones import compute_features, feature_shapes
from clsa_search.modeling.clip_resnet import build_clip_resnet_backbone
from clsa_search.modeling.criterion import CLSACriterion
from clsa_search.modeling.heads import (
    REID_HEAD_REGISTRY,
    CLSAHead,
    LevelEmbeddings,
    PooledHead,
    ReIDHead,
    ReIDHeads,
)
from clsa_search.modeling.id_classifier import (
    ID_CLASSIFIER_REGISTRY,
    CosineClassifier,
    IDClassifier,
    OIMClassifier,
    SoftmaxClassifier,
)
from clsa_search.modeling.losses import (
    alignment_loss,
    batch_hard_triplet_loss,
    decorrelation_loss,
    identity_loss,
    same_person_loss,
)
from clsa_search.modeling.norm_aware import NAE, SeqNet
from clsa_search.modeling.onnx_branch import ONNXBranch
from clsa_search.modeling.pair_criterion import PairCriterion
from clsa_search.modeling.person_reid import PersonReID
from clsa_search.modeling.person_roi_heads import PersonROIHeads
from clsa_search.modeling.person_search_rcnn import PersonSearchRCNN
from clsa_search.modeling.reid_branch import (
    REID_BRANCH_REGISTRY,
    CropBranch,
    ReIDBranch,
    SharedBranch,
    build_reid_branch,
)
from clsa_search.modeling.reid_resnet import build_reid_resnet_backbone
from clsa_search.modeling.reid_sampling import FILLER, select_training_boxes
from clsa_search.modeling.res5 import MaxPooledRes5ROIHeads, Res5Branch
from clsa_search.modeling.staged_backbone import (
    StagedBackbone,
    build_convnext_backbone,
    build_swin_backbone,
)
from clsa_search.modeling.timm_backbone import TimmBackbone, build_timm_backbone

__all__ = [
    "FILLER",
    "ID_CLASSIFIER_REGISTRY",
    "REID_BRANCH_REGISTRY",
    "REID_HEAD_REGISTRY",
    "CLSACriterion",
    "CLSAHead",
    "CosineClassifier",
    "CropBranch",
    "IDClassifier",
    "LevelEmbeddings",
    "MaxPooledRes5ROIHeads",
    "NAE",
    "OIMClassifier",
    "ONNXBranch",
    "PairCriterion",
    "PersonReID",
    "PersonROIHeads",
    "PersonSearchRCNN",
    "PooledHead",
    "ReIDBranch",
    "ReIDHead",
    "ReIDHeads",
    "Res5Branch",
    "SeqNet",
    "SharedBranch",
    "SoftmaxClassifier",
    "StagedBackbone",
    "TimmBackbone",
    "alignment_loss",
    "batch_hard_triplet_loss",
    "build_clip_resnet_backbone",
    "build_convnext_backbone",
    "build_reid_branch",
    "build_reid_resnet_backbone",
    "build_swin_backbone",
    "build_timm_backbone",
    "compute_features",
    "decorrelation_loss",
    "feature_shapes",
    "identity_loss",
    "same_person_loss",
    "select_training_boxes",
]
