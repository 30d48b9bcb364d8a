"""The order of the training records: the sampler of a config, and the orientation of images."""

from collections.abc import Iterable, Sequence

import numpy as np
from detectron2.config import CfgNode
from detectron2.utils import comm

from clsa_search.data.crop_mapper import uses_crops
from clsa_search.data.samplers import EpochSampler, IdentitySampler
from clsa_search.data.scene_sampler import SceneIdentitySampler
from clsa_search.errors import InputError
from clsa_search.structures import UNLABELED


def build_sampler(cfg: CfgNode, records: Sequence[dict], seed: int) -> Iterable[int]:
    """Build DATALOADER.SAMPLER_TRAIN: endless record numbers of this process.

    Raises:
        InputError: the batches cannot be filled; see :class:`.IdentitySampler` and
            :class:`.SceneIdentitySampler`.
    """
    name = cfg.DATALOADER.SAMPLER_TRAIN
    batch_size = cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size()
    if name == "SceneIdentitySampler":
        return SceneIdentitySampler(
            [_list_people(record) for record in records],
            find_landscape(records, group=cfg.DATALOADER.ASPECT_RATIO_GROUPING),
            group_size=batch_size // cfg.SOLVER.ACCUMULATION_STEPS,
            seed=seed,
        )
    if name != "IdentitySampler":
        return EpochSampler(len(records), seed=seed)
    if not uses_crops(cfg):
        raise InputError(
            "DATALOADER.SAMPLER_TRAIN is 'IdentitySampler'; expected 'TrainingSampler' or "
            "'SceneIdentitySampler', because an image of MODEL.META_ARCHITECTURE PersonSearchRCNN "
            "holds several identities"
        )
    people = [next(iter(_list_people(record)), UNLABELED) for record in records]
    return IdentitySampler(
        people, group_size=cfg.DATALOADER.IMS_PER_IDENTITY, batch_size=batch_size, seed=seed
    )


def find_landscape(records: Iterable[dict], *, group: bool) -> np.ndarray:
    """Return (N,) bool, True for images to group as wider than high; all False without `group`."""
    return np.array([group and record["width"] > record["height"] for record in records])


def _list_people(record: dict) -> set[int]:
    """Return the labeled identities of an image."""
    return {a["person_id"] for a in record["annotations"]} - {UNLABELED}
