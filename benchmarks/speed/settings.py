"""Choices and default sizes of the speed benchmark, without heavy imports."""

from dataclasses import dataclass, replace

FIELD_SIZE = (900, 1500)  # (height, width): the largest test image of the field
CAMERA_SIZE = (1080, 1920)  # (height, width): images of PRW before resizing
DTYPES = ("float32", "float16", "bfloat16")
BRANCHES = {"crop": "CropBranch", "shared": "SharedBranch"}


@dataclass(frozen=True)
class DatasetSize:
    """Size of a published test set.

    Args:
        images: number of images.
        detections: number of detections.
        queries: number of queries.
        identities: number of identities.
        labeled: number of detections with an identity.
        galleries: images per gallery of each protocol; 0 is every image but the query image.
        cbgm: k1 and k2 of CBGM re-ranking.
    """

    images: int
    detections: int
    queries: int
    identities: int
    labeled: int
    galleries: tuple[int, ...]
    cbgm: tuple[int, int]

    def scale(self, share: float) -> "DatasetSize":
        """Return a scaled size, at least 1 of everything."""

        def scaled(count: int) -> int:
            return max(1, round(share * count)) if count else 0

        return replace(
            self,
            images=scaled(self.images),
            detections=scaled(self.detections),
            queries=scaled(self.queries),
            identities=scaled(self.identities),
            labeled=scaled(self.labeled),
            galleries=tuple(map(scaled, self.galleries)),
        )


DATASET_SIZES = {
    "CUHK-SYSU": DatasetSize(
        *(6978, 38000, 2900, 2900, 11600), galleries=(50, 100, 500, 1000, 2000, 4000), cbgm=(10, 3)
    ),
    "PRW": DatasetSize(6112, 38000, 2057, 450, 19127, galleries=(0,), cbgm=(30, 4)),
}
