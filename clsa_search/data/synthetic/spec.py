"""Parameters of a synthetic dataset, and presets."""

from __future__ import annotations

from dataclasses import dataclass

from clsa_search.errors import InputError

MIN_POSITIVES = 3  # of each query


@dataclass(frozen=True, kw_only=True)
class SyntheticSpec:
    """Parameters of a synthetic dataset.

    Args:
        seed: seed of all random choices.
        train_ids: number of training identities.
        test_ids: number of gallery identities.
        train_images: number of training images.
        gallery_images: number of gallery images.
        width: width of an image in pixels.
        height: height of an image in pixels.
        min_height: smallest height of a person in pixels.
        max_height: largest height of a person in pixels; 0 is the image height.
        min_people: fewest people per image.
        max_people: most people per image.
        unlabeled_fraction: share of people with unknown identity.
        sibling_fraction: share of identities that differ from another by one attribute.
        cameras: number of cameras.
        min_visible: smallest visible part of a person.
    """

    seed: int = 0
    train_ids: int = 120
    test_ids: int = 40
    train_images: int = 480
    gallery_images: int = 160
    width: int = 320
    height: int = 240
    min_height: int = 20
    max_height: int = 0
    min_people: int = 3
    max_people: int = 8
    unlabeled_fraction: float = 0.2
    sibling_fraction: float = 0.25
    cameras: int = 6
    min_visible: float = 0.4

    def __post_init__(self) -> None:
        for name, low, high in (
            ("seed", 0, 2**63), ("train_ids", 1, 10**6), ("test_ids", 1, 10**6),
            ("train_images", 1, 10**7), ("gallery_images", 2, 10**7),
            ("width", 64, 8192), ("height", 64, 8192), ("min_height", 12, self.tallest),
            ("max_height", 0, self.height), ("min_people", 1, self.max_people),
            ("max_people", 1, 50), ("unlabeled_fraction", 0, 0.9), ("sibling_fraction", 0, 0.9),
            ("cameras", 2, 50), ("min_visible", 0.2, 0.9),
        ):  # fmt: skip
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"synthetic scenes: {name} is {value}; expected {low} to {high}")
        most = min(self.train_ids, self.test_ids)
        if self.max_people > most:
            raise InputError(
                f"synthetic scenes: max_people is {self.max_people}; expected at most the number "
                f"of identities per split, {most}: an identity occurs once per image"
            )
        self._check_counts("train", self.train_ids, self.train_images, 2)
        self._check_counts("test", self.test_ids, self.gallery_images, MIN_POSITIVES + 2)

    def _check_counts(self, split: str, ids: int, images: int, fewest: int) -> None:
        people = images * (self.min_people + self.max_people) / 2
        boxes_per_id = people * (1 - self.unlabeled_fraction) / ids
        if boxes_per_id < fewest or images < fewest:
            raise InputError(
                f"synthetic scenes: {images} images for {split}_ids {ids} show each identity "
                f"about {min(boxes_per_id, images):.1f} times; expected {fewest}: use more "
                f"images or fewer identities"
            )

    @property
    def tallest(self) -> int:
        """Return the largest height of a person in pixels."""
        return self.max_height or self.height


PRESETS = {
    # Easy enough to learn in ten minutes on two processor cores.
    "demo": SyntheticSpec(
        train_ids=200, train_images=800, min_height=24, max_people=7, sibling_fraction=0.1,
        cameras=4, min_visible=0.6,
    ),
    "full": SyntheticSpec(
        train_ids=600, test_ids=300, train_images=4000, gallery_images=1500, width=960, height=720,
        cameras=8,
    ),
}  # fmt: skip
