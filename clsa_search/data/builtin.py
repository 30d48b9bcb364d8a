"""The built-in datasets: where their files are, how to load them, and what they should hold."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from clsa_search.data.datasets import cuhk_sysu, movienet_ps
from clsa_search.data.datasets.posetrack21 import load_posetrack21
from clsa_search.data.datasets.prw import load_prw
from clsa_search.data.datasets.reid_folders import load_market_folders, load_msmt17
from clsa_search.data.datasets.ssm_split import SSMLayout, load_published_gallery
from clsa_search.data.galleries import Gallery
from clsa_search.data.reid_crops import REID, reid_gallery

SYNTHETIC_SPLITS = {
    "synthetic_train": "synthetic/train.json",
    "synthetic_gallery": "synthetic/gallery.json",
    "synthetic_demo_train": "synthetic_demo/train.json",
    "synthetic_demo_gallery": "synthetic_demo/gallery.json",
}
"""Custom JSON file below $DETECTRON2_DATASETS of each synthetic split."""


class Counts(NamedTuple):
    """Expected numbers of a split; None if publications name none or disagree."""

    images: int | None = None
    boxes: int | None = None
    labeled: int | None = None
    identities: int | None = None
    queries: int | None = None


class GallerySize(NamedTuple):
    """Expected number of queries of a protocol, and of gallery images per query."""

    queries: int
    images: int


@dataclass(frozen=True)
class PublishedSplit:
    """A split of a published dataset.

    Args:
        folder: folder of the dataset below $DETECTRON2_DATASETS.
        load: takes the folder and returns the records.
        galleries: by protocol, takes the folder and returns the gallery.
        default_protocols: protocols of an evaluation by default; empty for "all".
        counts: expected numbers.
        gallery_sizes: expected sizes by protocol.
    """

    folder: str
    load: Callable[[Path], list[dict]]
    galleries: dict[str, Callable[[Path], Gallery]] = field(default_factory=dict)
    default_protocols: tuple[str, ...] = ()
    counts: Counts = Counts()
    gallery_sizes: dict[str, GallerySize] = field(default_factory=dict)


# Xiao et al. 2017: 18,184 images, 6,978 of them in the gallery; 5,532 training identities
_CUHK_SYSU_TRAIN = Counts(images=11_206, identities=5_532)
_CUHK_SYSU_GALLERY = Counts(images=6_978, identities=2_900, queries=2_900)
_CUHK_SYSU_SIZES = {f"g{size}": GallerySize(2_900, size) for size in cuhk_sysu.GALLERY_SIZES} | {
    "occlusion": GallerySize(187, 100),
    "low_resolution": GallerySize(290, 100),
}
# counted in the annotation files of the release of April 2016; Zheng et al. 2017
_PRW_TRAIN = Counts(images=5_704, boxes=18_048, labeled=14_907, identities=483)
_PRW_GALLERY = Counts(images=6_112, boxes=25_062, labeled=19_127, queries=2_057)


def _galleries(layout: SSMLayout) -> dict[str, Callable[[Path], Gallery]]:
    return {
        protocol: partial(load_published_gallery, layout=layout, protocol=protocol)
        for protocol in layout.gallery_files
    }


_UNKNOWN = Counts()


def _crop_splits(
    name: str,
    folder: str,
    load: Callable[[Path, str], list[dict]],
    training: Counts = _UNKNOWN,
    gallery: Counts = _UNKNOWN,
) -> dict[str, PublishedSplit]:
    """Return the training and gallery split of a dataset of crops."""
    return {
        f"{name}_train": PublishedSplit(folder, lambda root: load(root, "train"), counts=training),
        f"{name}_gallery": PublishedSplit(
            folder,
            lambda root: load(root, "gallery"),
            galleries={REID: lambda root: reid_gallery(load(root, "gallery"))},
            default_protocols=(REID,),
            counts=gallery,
        ),
    }


PUBLISHED_SPLITS = {
    "cuhk_sysu_train": PublishedSplit(
        "cuhk_sysu",
        partial(cuhk_sysu.load_cuhk_sysu, split="train"),
        counts=_CUHK_SYSU_TRAIN,
    ),
    "cuhk_sysu_gallery": PublishedSplit(
        "cuhk_sysu",
        partial(cuhk_sysu.load_cuhk_sysu, split="gallery"),
        galleries=_galleries(cuhk_sysu.LAYOUT),
        default_protocols=("g100",),
        counts=_CUHK_SYSU_GALLERY,
        gallery_sizes=_CUHK_SYSU_SIZES,
    ),
    "prw_train": PublishedSplit("prw", partial(load_prw, split="train"), counts=_PRW_TRAIN),
    "prw_gallery": PublishedSplit("prw", partial(load_prw, split="gallery"), counts=_PRW_GALLERY),
    **{
        f"movienet_ps_{split}_train": PublishedSplit(
            "movienet_ps", partial(movienet_ps.load_movienet_ps, split=split)
        )
        for split in movienet_ps.TRAINING_SPLITS
    },
    "movienet_ps_gallery": PublishedSplit(
        "movienet_ps",
        partial(movienet_ps.load_movienet_ps, split="gallery"),
        galleries=_galleries(movienet_ps.LAYOUT),
        default_protocols=("g2000",),
    ),
    "posetrack21_train": PublishedSplit("posetrack21", partial(load_posetrack21, split="train")),
    "posetrack21_gallery": PublishedSplit(
        "posetrack21", partial(load_posetrack21, split="gallery")
    ),
    # Zheng et al. 2015, without junk: 12,936 crops of 751 people; 3,368 queries in 15,913 crops
    **_crop_splits(
        "market1501",
        "Market-1501-v15.09.15",
        load_market_folders,
        Counts(images=12_936, boxes=12_936, labeled=12_936, identities=751),
        Counts(queries=3_368),
    ),
    **_crop_splits("msmt17", "MSMT17_V1", load_msmt17),
    **_crop_splits("cuhk03_detected", "cuhk03-np/detected", load_market_folders),
    **_crop_splits("cuhk03_labeled", "cuhk03-np/labeled", load_market_folders),
}
"""Splits of the published datasets by name."""
