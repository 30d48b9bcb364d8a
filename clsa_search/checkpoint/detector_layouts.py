"""Complete public detectors: Faster R-CNN with a ResNet and a pyramid, recognized by names."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from clsa_search.checkpoint.detector_config import (
    ANCHORS,
    DETECTRON2,
    TORCHVISION,
    read_shapes,
    read_zoo_values,
)
from clsa_search.checkpoint.other_detectors import name_network
from clsa_search.checkpoint.public_weights import (
    UNUSED_SUFFIXES,
    PublicDetector,
    StateDict,
    Tensors,
    read_state_dict,
    refuses_damaged,
)
from clsa_search.checkpoint.torchvision_names import rename_detector
from clsa_search.errors import InputError
from clsa_search.wording import count_noun

PERSON_CLASSES = {1: 0, 80: 0, 90: 0, 1203: 792, 1230: 804}
"""Position of the person by the number of classes: one class, COCO (two ways), LVIS 1.0 and 0.5."""

_PREDICTOR = "roi_heads.box_predictor.cls_score.weight"
_LEFT_OUT = re.compile(r"roi_heads\.(mask|keypoint)_")


@dataclass(frozen=True)
class _Project:
    """A project of detectors.

    Args:
        name: name of the project.
        mark: name of a tensor of its backbone.
        rename: state dict to tensors in our names.
        config: config values of its detectors.
        first_class: number of its first class; smaller ones are background.
    """

    name: str
    mark: str
    rename: Callable[[Tensors], Tensors]
    config: dict[str, Any]
    first_class: int


_PROJECTS = (
    _Project("Detectron2", "backbone.fpn_lateral2.weight", dict, DETECTRON2, 0),
    _Project("torchvision", "backbone.body.layer1.0.conv1.weight", rename_detector, TORCHVISION, 1),
)


@refuses_damaged
def read_detector(path: str, *, person_class: int | None = None) -> PublicDetector:
    """Read a detector.

    Args:
        path: path of the file.
        person_class: see :func:`find_detector`.

    Raises:
        InputError: the file cannot be read or holds another network; see also `find_detector`.
    """
    file = read_state_dict(path)
    detector = find_detector(file, person_class=person_class)
    if detector is None:
        found = name_network(file.tensors) or f"tensors such as {', '.join([*file.tensors][:3])}"
        raise InputError(
            f"{path}: {found}; expected a Faster R-CNN with a ResNet and a pyramid of Detectron2's "
            "model zoo (model_final_280758.pkl and others) or of torchvision "
            "(fasterrcnn_resnet50_fpn and fasterrcnn_resnet50_fpn_v2)"
        )
    return detector


def find_detector(file: StateDict, *, person_class: int | None = None) -> PublicDetector | None:
    """Return the detector in a file; None if the names are not those of a supported one.

    Masks and keypoints are left out; they have no effect on the boxes.

    Args:
        file: tensors of the file.
        person_class: number of the person among the classes, as the project counts them; by default
            it follows from the number of classes.

    Raises:
        InputError: the person's class is unknown, or a shape is that of no Faster R-CNN.
    """
    names = file.tensors
    project = next((x for x in _PROJECTS if {x.mark, _PREDICTOR} <= names.keys()), None)
    if project is None or any(name.startswith("reid_") for name in names):
        return None
    tensors = project.rename(file.tensors)
    left_out = [name for name in tensors if _LEFT_OUT.match(name)]
    ignored = [*left_out, *(x for x in tensors if x.startswith((ANCHORS, "pixel_")))]
    kept = {
        name: value.float()
        for name, value in tensors.items()
        if name not in ignored and not name.endswith(UNUSED_SUFFIXES)
    }
    config = project.config | read_shapes(file.path, kept)
    if project.name == "Detectron2":
        config |= read_zoo_values(tensors, config)
    classes = config["MODEL.ROI_HEADS.PRETRAINED_CLASSES"]
    person = _find_person(file.path, classes, person_class, project.first_class)
    groups, depth = config["MODEL.RESNETS.NUM_GROUPS"], config["MODEL.RESNETS.DEPTH"]
    return PublicDetector(
        path=file.path,
        name=f"Faster R-CNN {'X' if groups > 1 else 'R'}{depth}-FPN of {project.name}, "
        f"{count_noun(classes, 'class', 'classes')}",
        tensors=kept,
        config={**config, "MODEL.ROI_HEADS.PERSON_CLASS": person},
        report=[f"left out: masks and keypoints ({count_noun(len(left_out), 'tensor')})"]
        if left_out
        else [],
    )


def _find_person(path: str, classes: int, number: int | None, first: int) -> int:
    """Return the position of the person among the classes without the background."""
    if number is None and classes in PERSON_CLASSES:
        return PERSON_CLASSES[classes]
    expected = f"a number from {first} to {first + classes - 1}"
    if number is None:
        raise InputError(
            f"{path}: a detector of {classes} classes without their names; expected --person-class "
            f"with {expected}, the number of the person"
        )
    if not first <= number < first + classes:
        raise InputError(f"{path}: --person-class is {number}; expected {expected}")
    return number - first
