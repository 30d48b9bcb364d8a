"""Synthetic video of walking people with known identities.

Shape letters: N detections.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from clsa_search.data.synthetic.appearance import Appearance, Pose, sample_identities, sample_pose
from clsa_search.data.synthetic.camera import Camera, foot_row, sample_cameras, simulate_sensor
from clsa_search.data.synthetic.person import draw_person
from clsa_search.data.synthetic.scene import Item, ScenePerson, annotate
from clsa_search.data.synthetic.street import draw_background

WIDTH, HEIGHT = 640, 360
_MEAN_STATURE = 1.72  # meters
_STEPS = 1.9  # a second


@dataclass(frozen=True)
class Walk:
    """One person's way past a camera.

    Args:
        person: identity and height in pixels.
        pose: pose at the beginning.
        start: second of the entry.
        left: column of the center at the entry.
        speed: pixels a second, negative to the left; 0 stands.
        seconds: length of stay.
    """

    person: ScenePerson
    pose: Pose
    start: float
    left: float
    speed: float
    seconds: float


def sample_people(count: int, seed: int) -> list[Appearance]:
    """Sample the looks of people; every fourth one differs from another in one attribute only."""
    return sample_identities(np.random.default_rng(seed), count, sibling_fraction=0.25)


def plan_walks(
    people: Sequence[Appearance], camera: Camera, seconds: float, seed: int
) -> list[Walk]:
    """Let each person pass a camera once; one in five stands for a while."""
    rng = np.random.default_rng(seed)
    walks = []
    for number, appearance in enumerate(people):
        height = int(np.exp(rng.uniform(np.log(60), np.log(190))))
        pose = sample_pose(rng, appearance)
        if rng.random() < 0.2:
            stay = rng.uniform(6, 14)
            speed, left = 0.0, float(rng.uniform(0.15, 0.85) * WIDTH)
            pose = replace(pose, stride=0.05)
        else:
            speed = float(rng.choice((-1, 1)) * rng.uniform(0.5, 0.9) * height)
            stay, left = (WIDTH + height) / abs(speed), -height / 2
            left = left if speed > 0 else WIDTH - left
            yaw = np.sign(speed) * np.pi / 2 + rng.uniform(-0.4, 0.4)
            pose = replace(pose, yaw=float(yaw), stride=0.4)
        start = float(rng.uniform(-stay / 2, seconds - stay / 2))
        walks.append(Walk(ScenePerson(number, appearance, height), pose, start, left, speed, stay))
    return walks


def draw_frame(
    walks: Sequence[Walk], camera: Camera, background: np.ndarray, second: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw the people who are there at a second.

    Returns:
        (H, W, 3) uint8 RGB, boxes (N, 4) XYXY of the visible people and their identities (N,).
    """
    items = []
    for walk in walks:
        after = second - walk.start
        if 0 <= after <= walk.seconds:
            items.append(_draw_walker(walk, camera, after))
    items.sort(key=lambda item: item.stature)
    image = background.copy()
    for item in items:
        frame, own = item.windows(HEIGHT, WIDTH)
        part = item.cutout[own].astype(np.uint16)
        rest = image[frame] * (255 - part[..., 3:]) // 255
        image[frame] = np.minimum(part[..., :3] + rest, 255)
    rng = np.random.default_rng(round(1000 * second))
    image = simulate_sensor(image, camera, rng)
    inside = [item for item in items if _is_inside(item)]
    found = [one for one in annotate(inside, size=(HEIGHT, WIDTH)) if one["visibility"] >= 0.35]
    boxes = np.array([one["bbox"] for one in found], float).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    boxes += rng.normal(scale=0.02, size=boxes.shape) * (boxes[:, 3:] - boxes[:, 1:2])
    ids = np.array([one["person_id"] for one in found], int)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB), boxes, ids


def make_cameras(seed: int) -> list[tuple[Camera, np.ndarray]]:
    """Return two cameras and their empty streets."""
    cameras = sample_cameras(np.random.default_rng(seed), 2, far=0.07)
    return [(camera, draw_background(camera, WIDTH, HEIGHT)) for camera in cameras]


def _draw_walker(walk: Walk, camera: Camera, after: float) -> Item:
    phase = walk.pose.phase + np.pi * _STEPS * after * (walk.speed != 0)
    pose = replace(walk.pose, phase=float(phase))
    height = walk.person.height
    cutout = draw_person(walk.person.appearance, pose, height=height, light=camera.light)
    stature = height * _MEAN_STATURE / walk.person.appearance.stature
    left = round(walk.left + walk.speed * after - cutout.shape[1] / 2)
    return Item(cutout, stature, round(foot_row(camera, stature, HEIGHT)), walk.person, left)


def _is_inside(item: Item) -> bool:
    frame, _ = item.windows(HEIGHT, WIDTH)
    width = frame[1].stop - frame[1].start
    return width > 0.4 * item.cutout.shape[1] and frame[0].stop > frame[0].start
