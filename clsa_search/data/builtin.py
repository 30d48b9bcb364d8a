"""The published datasets: where they lie, how they are read, and what has to be in them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from clsa_search.data.datasets import cuhk_sysu, movienet_ps
from clsa_search.data.datasets.posetrack21 import load_posetrack21
from clsa_search.data.datasets.prw import load_prw
from clsa_search.data.datasets.ssm_split import SearchLayout, load_protocol, load_searched
from clsa_search.data.galleries import Gallery


class Counts(NamedTuple):
    """What a split holds; None where the publications do not say or do not agree."""

    images: int | None = None
    boxes: int | None = None
    labeled: int | None = None
    identities: int | None = None
    queries: int | None = None


class GallerySize(NamedTuple):
    """How many queries a protocol has, and how many images are listed for each."""

    queries: int
    images: int


@dataclass(frozen=True)
class Benchmark:
    """A split of a published dataset."""

    folder: str  # below $DETECTRON2_DATASETS
    load: Callable[[Path], list[dict]]
    galleries: dict[str, Callable[[Path], Gallery]] = field(default_factory=dict)
    default_protocols: tuple[str, ...] = ()  # none: "all"
    counts: Counts = Counts()
    gallery_sizes: dict[str, GallerySize] = field(default_factory=dict)


# Xiao et al. 2017: 18,184 images, 6,978 of them to search; 5,532 identities to train, 2,900 queries
_CUHK_SYSU_TRAIN = Counts(images=11_206, identities=5_532)
_CUHK_SYSU_GALLERY = Counts(images=6_978, identities=2_900, queries=2_900)
_CUHK_SYSU_SIZES = {f"g{size}": GallerySize(2_900, size) for size in cuhk_sysu.GALLERY_SIZES} | {
    "occlusion": GallerySize(187, 100),
    "low_resolution": GallerySize(290, 100),
}
# counted in the annotation files of the release of April 2016; Zheng et al. 2017
_PRW_TRAIN = Counts(images=5_704, boxes=18_048, labeled=14_907, identities=483)
_PRW_TEST = Counts(images=6_112, boxes=25_062, labeled=19_127, queries=2_057)


def _bind(layout: SearchLayout) -> dict[str, Callable[[Path], Gallery]]:
    return {
        protocol: partial(load_protocol, layout=layout, protocol=protocol)
        for protocol in layout.gallery_files
    }


BENCHMARKS = {
    "cuhk_sysu_train": Benchmark(
        "cuhk_sysu", cuhk_sysu.load_cuhk_sysu_train, counts=_CUHK_SYSU_TRAIN
    ),
    "cuhk_sysu_gallery": Benchmark(
        "cuhk_sysu",
        partial(load_searched, layout=cuhk_sysu.LAYOUT),
        galleries=_bind(cuhk_sysu.LAYOUT),
        default_protocols=("g100",),
        counts=_CUHK_SYSU_GALLERY,
        gallery_sizes=_CUHK_SYSU_SIZES,
    ),
    "prw_train": Benchmark("prw", partial(load_prw, split="train"), counts=_PRW_TRAIN),
    "prw_gallery": Benchmark("prw", partial(load_prw, split="test"), counts=_PRW_TEST),
    **{
        f"movienet_ps_app{n}_train": Benchmark(
            "movienet_ps", partial(movienet_ps.load_movienet_ps_train, appearances=n)
        )
        for n in movienet_ps.APPEARANCES
    },
    "movienet_ps_gallery": Benchmark(
        "movienet_ps",
        partial(load_searched, layout=movienet_ps.LAYOUT),
        galleries=_bind(movienet_ps.LAYOUT),
        default_protocols=("g2000",),
    ),
    "posetrack21_train": Benchmark("posetrack21", partial(load_posetrack21, split="train")),
    "posetrack21_gallery": Benchmark("posetrack21", partial(load_posetrack21, split="val")),
}
