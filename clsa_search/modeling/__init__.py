"""The model: meta-architecture, re-ID branch, CLSA heads and losses."""

from clsa_search.modeling.clsa_head import CLSAHead, CLSAHeads
from clsa_search.modeling.identity import SoftmaxClassifier
from clsa_search.modeling.losses import alignment_loss, identity_loss
from clsa_search.modeling.person_search_rcnn import PersonSearchRCNN
from clsa_search.modeling.reid_branch import CropBranch
from clsa_search.modeling.training_boxes import FILLER, select_training_boxes

__all__ = [
    "FILLER",
    "CLSAHead",
    "CLSAHeads",
    "CropBranch",
    "PersonSearchRCNN",
    "SoftmaxClassifier",
    "alignment_loss",
    "identity_loss",
    "select_training_boxes",
]
