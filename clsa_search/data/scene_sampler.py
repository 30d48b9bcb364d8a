"""Sampling of images of several people: each person of a batch should be in two of its images."""

import itertools
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence, Set

import numpy as np
from detectron2.utils import comm
from torch.utils.data import Sampler

from clsa_search.errors import InputError

_BOTH = (False, True)
_CANDIDATES = 8  # images of an identity to choose from; few, because frames of a video are alike


class SceneIdentitySampler(Sampler[int]):
    """Endless record numbers in groups of images with common identities.

    A group begins with the next image of a random order. Then follow its partners: they show as
    many of the identities without a partner as possible, and as few new ones as possible. With
    nobody left to pair, the next image of the order follows. Images without identities are spread
    over the groups, in their last places.

    Every image comes once per epoch on average: a partner may come one epoch early, and is left out
    of the next one. The groups of an epoch are shuffled, and the processes take turns group by
    group. The order is a function of seed and position.

    Args:
        identities: labeled identities of each image.
        landscape: (N,) bool; the images of a group are equal in it. All equal for no grouping.
        group_size: images per group; they are trained on together.
        seed: seed of the order.

    Raises:
        InputError: a group is a single image, or no two images share an identity.
    """

    def __init__(
        self, identities: Sequence[Set[int]], landscape: np.ndarray, *, group_size: int, seed: int
    ) -> None:
        if group_size < 2:
            raise InputError(
                "DATALOADER.SAMPLER_TRAIN is 'SceneIdentitySampler', but SOLVER.IMS_PER_BATCH "
                "leaves 1 image for each process and each of SOLVER.ACCUMULATION_STEPS; expected "
                "2 images or more"
            )
        self.identities = identities
        self.orientations = [np.flatnonzero(landscape == x).tolist() for x in (False, True)]
        self.group_size = group_size
        self.seed = seed
        if not any(pool.images for pool in self._make_pools()):
            raise InputError(
                "DATALOADER.SAMPLER_TRAIN is 'SceneIdentitySampler', but no identity of "
                "DATASETS.TRAIN is in two images of one orientation; expected 'TrainingSampler'"
            )

    def __iter__(self) -> Iterator[int]:
        groups = itertools.islice(self._all(), comm.get_rank(), None, comm.get_world_size())
        return itertools.chain.from_iterable(groups)

    def _all(self) -> Iterator[list[int]]:
        pools = self._make_pools()
        for epoch in itertools.count():
            rng = np.random.default_rng((self.seed, epoch))
            groups = [group for pool in pools for group in pool.take_epoch(rng, self.group_size)]
            yield from (groups[i] for i in rng.permutation(len(groups)))

    def _make_pools(self) -> list["_Pool"]:
        return [_Pool({row: self.identities[row] for row in rows}) for rows in self.orientations]


class _Pool:
    """Images of one orientation, with the number of times until each has come often enough.

    Args:
        identities: labeled identities of each image.
    """

    def __init__(self, identities: dict[int, Set[int]]) -> None:
        images = defaultdict(list)
        for row, people in identities.items():
            for person in people:
                images[person].append(row)
        self.images = {person: rows for person, rows in images.items() if len(rows) > 1}
        self.identities = {row: people & self.images.keys() for row, people in identities.items()}
        self.due = dict.fromkeys(identities, 0)  # below 0 for an image that came early

    def take_epoch(self, rng: np.random.Generator, group_size: int) -> Iterator[list[int]]:
        """Yield the groups of an epoch; the images left over are due in the next one too."""
        self.due = {row: count + 1 for row, count in self.due.items()}
        order = rng.permutation(list(self.due)).tolist()
        place = {row: i for i, row in enumerate(order)}
        self._shown = {x: sorted(rows, key=place.__getitem__) for x, rows in self.images.items()}
        # by whether an image has identities
        self._queues = {x: deque(r for r in order if bool(self.identities[r]) is x) for x in _BOTH}
        self._left = {x: sum(max(self.due[r], 0) for r in self._queues[x]) for x in _BOTH}
        while sum(self._left.values()) >= group_size:
            yield self._take_group(group_size)

    def _take_group(self, size: int) -> list[int]:
        # images without identities are spread evenly
        others = self._left[False] * size // sum(self._left.values())
        if others == size - 1:  # the last image would have no partner
            others = size
        group: list[int] = []
        once: set[int] = set()  # identities of one image of the group
        seen: set[int] = set()
        while len(group) < size:
            places = size - others - len(group)
            row = self._find_partner(group, once, seen) if places > 0 else None
            if row is None:
                row = self._take_next(places > 1, group)
            people = self.identities[row]
            self._left[bool(people)] -= self.due[row] > 0
            self.due[row] -= 1
            group.append(row)
            once, seen = (once - people) | (people - seen), seen | people
        return group

    def _find_partner(self, group: list[int], once: set[int], seen: set[int]) -> int | None:
        """Return the best image with an identity of `once`, if there is one."""
        for least in (1, 0):  # 0 for images that come early
            candidates = [
                row
                for person in sorted(once)
                for row in itertools.islice(
                    (x for x in self._shown[person] if self.due[x] >= least and x not in group),
                    _CANDIDATES,
                )
            ]
            if candidates:
                return max(candidates, key=lambda row: self._rate(row, once, seen))
        return None

    def _rate(self, row: int, once: set[int], seen: set[int]) -> tuple[int, int]:
        people = self.identities[row]
        return len(people & once), -len(people - seen)

    def _take_next(self, with_identities: bool, group: list[int]) -> int:
        """Take the next due image, if possible with identities or without, as wished.

        It is one of the group already only if no other image is due.
        """
        kinds = (with_identities, not with_identities)
        for avoided in (group, []):
            for queue in (self._queues[kind] for kind in kinds):
                for _ in range(len(queue)):
                    row = queue.popleft()
                    is_free = self.due[row] > 0 and row not in avoided
                    if self.due[row] > is_free:
                        queue.append(row)
                    if is_free:
                        return row
        raise AssertionError("no image is due")
