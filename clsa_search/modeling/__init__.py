"""The model: meta-architecture, re-ID branches, CLSA heads, identity classifiers and losses."""

from clsa_search.modeling.backbones import StagesFPN, build_resnet_stages_fpn_backbone
from clsa_search.modeling.heads import CLSAHead, CLSAHeads
from clsa_search.modeling.id_classifier import (
    ID_CLASSIFIER_REGISTRY,
    OIMClassifier,
    SoftmaxClassifier,
)
from clsa_search.modeling.losses import alignment_loss, identity_loss
from clsa_search.modeling.person_search_rcnn import PersonSearchRCNN
from clsa_search.modeling.reid_branch import (
    REID_BRANCH_REGISTRY,
    CropBranch,
    SharedBranch,
    build_reid_branch,
)
from clsa_search.modeling.reid_sampling import FILLER, select_training_boxes

__all__ = [
    "FILLER",
    "ID_CLASSIFIER_REGISTRY",
    "REID_BRANCH_REGISTRY",
    "CLSAHead",
    "CLSAHeads",
    "CropBranch",
    "OIMClassifier",
    "PersonSearchRCNN",
    "SharedBranch",
    "SoftmaxClassifier",
    "StagesFPN",
    "alignment_loss",
    "build_reid_branch",
    "build_resnet_stages_fpn_backbone",
    "identity_loss",
    "select_training_boxes",
]
