"""Drawing of the empty street of a camera, in the world frame of `camera`."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from clsa_search.data.synthetic.camera import Camera, foot_row, stature_at
from clsa_search.data.synthetic.facades import draw_facade

_FOCAL = 1.1  # focal length in image widths
_HAZE = (196, 190, 182)
_PAVING = {
    "slabs": ((150, 154, 158), (120, 123, 128)),
    "brick": ((98, 112, 142), (80, 92, 116)),
    "cobbles": ((118, 120, 122), (92, 94, 97)),
    "asphalt": ((92, 91, 90), (86, 85, 84)),
    "marble": ((176, 184, 190), (150, 156, 164)),
    "grass": ((62, 116, 92), (50, 98, 76)),
    "gravel": ((140, 160, 174), (124, 144, 158)),
}


@lru_cache(maxsize=16)
def draw_background(camera: Camera, width: int, height: int) -> np.ndarray:
    """Draw the empty street, (height, width, 3) uint8 BGR, read-only and cached."""
    rng = np.random.default_rng(camera.seed)
    size = (2 * height, 2 * width)
    image = _sky(rng, camera, *size)
    _ground(image, rng, camera)
    _far_end(image, rng, camera)
    for side in (0, 1):
        if camera.style != "park" and (side == 0 or camera.style != "square"):
            _wall(image, rng, camera, side)
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    small.flags.writeable = False
    return small


def smooth_noise(rng: np.random.Generator, height: int, width: int, cells: int) -> np.ndarray:
    """Return (height, width) float32 smooth noise with about `cells` hills over the height."""
    grid = (cells, max(round(cells * width / height), 2))
    noise = rng.normal(size=grid).astype(np.float32)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def _sky(rng: np.random.Generator, camera: Camera, height: int, width: int) -> np.ndarray:
    top, low = {
        "dusk": ((120, 88, 70), (150, 160, 205)),
        "plaza": ((120, 130, 136), (168, 176, 180)),
    }.get(camera.style, ((205, 160, 112), (232, 220, 205)))
    fade = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    fade = np.clip(fade / camera.horizon, 0, 1)
    sky = (1 - fade) * np.array(top, np.float32) + fade * np.array(low, np.float32)
    cloud = smooth_noise(rng, height, width, 9) + 0.5 * smooth_noise(rng, height, width, 22)
    cover = np.clip(0.5 * cloud[..., None] + 0.1, 0, 0.8)
    white = np.array((238, 236, 234), np.float32) * (0.6 if camera.style == "dusk" else 1)
    return np.clip(sky * (1 - cover) + white * cover, 0, 255).astype(np.uint8)


def _far_end(image: np.ndarray, rng: np.random.Generator, camera: Camera) -> None:
    """Draw the far end of the street: hazy houses, or trees."""
    height, width = image.shape[:2]
    base = int(foot_row(camera, camera.far * height, height))
    if camera.style == "park":
        _tree_line(image, rng, base)
    column = 0
    while column < width and camera.style != "park":
        wide = int(width * rng.uniform(0.16, 0.34))
        tall = int(base * rng.uniform(0.75, 1.2))
        stature = max(int(camera.far * height), 4)
        house = draw_facade(rng, tall, wide, stature, lit=camera.style == "dusk")
        top = max(base - tall, 0)
        part = house[tall - (base - top) :, : width - column]
        faded = cv2.addWeighted(part, 0.78, np.full_like(part, _HAZE), 0.22, 0)
        image[top:base, column : column + part.shape[1]] = faded
        column += wide


def _tree_line(image: np.ndarray, rng: np.random.Generator, base: int) -> None:
    """Draw three rows of trees, the nearest brightest, above a hedge, in place."""
    width = image.shape[1]
    for depth in range(3):
        for _ in range(12 + 6 * depth):
            x, y = rng.uniform(0, width), base * rng.uniform(0.45, 0.85)
            radius = base * rng.uniform(0.16, 0.32)
            tint = np.array((66, 122, 88)) * (0.55 + 0.2 * depth + rng.uniform(-0.08, 0.08))
            tint *= rng.uniform(0.88, 1.12, 3)
            for leaf in range(90):
                angle, reach = rng.uniform(0, 2 * np.pi), radius * np.sqrt(rng.uniform())
                spot = int(x + reach * np.cos(angle)), int(y + 0.8 * reach * np.sin(angle))
                bright = 0.62 + 0.5 * leaf / 90 - 0.3 * np.sin(angle) * reach / radius
                size = max(int(radius * rng.uniform(0.1, 0.26)), 1)
                cv2.circle(image, spot, size, tuple((tint * bright).tolist()), -1, cv2.LINE_AA)
    hedge = slice(int(0.84 * base), base)
    leaves = 1 + 0.25 * smooth_noise(rng, base - hedge.start, width, 6)[..., None]
    image[hedge] = np.clip(np.array((44, 84, 60)) * leaves, 0, 255).astype(np.uint8)


def _ground(image: np.ndarray, rng: np.random.Generator, camera: Camera) -> None:
    """Draw the paving and, in some styles, a road."""
    height, width = image.shape[:2]
    first = int(camera.horizon * height) + 1
    rows = np.arange(first, height, dtype=np.float32)[:, None] + 0.5
    stature = stature_at(camera, rows, height)
    x = (np.arange(width, dtype=np.float32)[None] + 0.5 - camera.vanish * width) / stature
    z = np.broadcast_to(_FOCAL * width / stature, x.shape)
    kinds = {
        "shops": ("slabs", "brick"), "square": ("cobbles", "slabs"), "road": ("slabs",),
        "park": ("grass",), "plaza": ("marble",), "dusk": ("brick", "slabs"),
    }  # fmt: skip
    choices = kinds[camera.style]
    ground = _paving(choices[int(rng.integers(len(choices)))], x, z, stature, rng)
    if camera.style == "park":
        path = np.abs(x - 0.6 * np.sin(0.35 * z)) < 1.9
        ground = np.where(path[..., None], _paving("gravel", x, z, stature, rng), ground)
    if camera.style in ("road", "dusk"):
        _road(ground, x, z, _paving("asphalt", x, z, stature, rng))
    blotches = smooth_noise(rng, height - first, width, 12)[..., None]
    ground = ground * (1 + 0.035 * blotches) * rng.normal(1, 0.035, (*x.shape, 1))
    fade = np.clip(0.8 * np.exp(-stature / (0.05 * height)), 0, 0.35)[..., None]
    ground = ground * (1 - fade) + np.array(_HAZE) * fade
    image[first:] = np.clip(ground, 0, 255).astype(np.uint8)


def _paving(
    kind: str, x: np.ndarray, z: np.ndarray, stature: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return the (rows, columns, 3) colors of the ground at world points."""
    stone, joint = (np.array(c, np.float32) for c in _PAVING[kind])
    if kind in ("asphalt", "grass", "gravel"):
        speckle = rng.normal(0, 1, (*x.shape, 1)).astype(np.float32)
        return stone + (joint - stone) * np.clip(0.5 + speckle, 0, 2)
    wide, deep = {"slabs": (0.5, 0.5), "brick": (0.24, 0.12), "marble": (0.8, 0.8)}.get(
        kind, (0.16, 0.16)
    )
    row = np.floor(z / deep)
    column = x / wide + 0.5 * (row % 2) * (kind != "marble")
    in_joint = (np.abs(column % 1 - 0.5) > 0.47) | (np.abs(z / deep % 1 - 0.5) > 0.47)
    tone = np.sin(np.floor(column) * 12.9898 + row * 78.233) * 43758.5453 % 1
    sharp = np.clip(stature * deep / 8, 0, 1)[..., None]  # far joints blur into the stone
    plain = stone * (0.92 + 0.16 * tone[..., None])
    detailed = np.where(in_joint[..., None], joint, plain)
    return detailed * sharp + (0.8 * stone + 0.2 * joint) * (1 - sharp)


def _road(ground: np.ndarray, x: np.ndarray, z: np.ndarray, asphalt: np.ndarray) -> None:
    """Draw a road with curbs, a dashed line and a zebra crossing, in place."""
    near, far = -1.6, 2.4
    on = (x > near) & (x < far)
    ground[on] = asphalt[on]
    middle = (near + far) / 2
    dashes = on & (np.abs(x - middle) < 0.05) & (z % 2.4 < 1.2)
    zebra = on & (z % 14 > 8.0) & (z % 14 < 9.6) & ((x - near) % 0.6 < 0.3)
    ground[dashes | zebra] = (205, 208, 210)
    curb = (np.abs(x - near) < 0.07) | (np.abs(x - far) < 0.07)
    ground[curb] = (172, 174, 176)


def _wall(image: np.ndarray, rng: np.random.Generator, camera: Camera, side: int) -> None:
    """Draw the houses along one edge, toward the vanishing point, in place."""
    height, width = image.shape[:2]
    edge = camera.walls[side]
    center, horizon = camera.vanish * width, camera.horizon * height
    far = camera.far * height
    frame = (0 if side == 0 else width) - center
    near = max(frame / edge, far * 1.6)  # stature in pixels at the image border
    stature = 64
    long = _FOCAL * width * (1 / far - 1 / near)
    tall = 7.0
    house = draw_facade(
        rng, int(tall * stature), max(int(long * stature), 8), stature, lit=camera.style == "dusk"
    )
    rows, cols = house.shape[:2]
    corners = []
    for stature_px, column in ((near, 0), (far, cols)):
        foot = horizon + stature_px * camera.eye_height
        corners.append((column, rows, center + edge * stature_px, foot))
        corners.append((column, 0, center + edge * stature_px, foot - tall * stature_px))
    if side == 1:
        corners = [(cols - c, r, x, y) for c, r, x, y in corners]
    source = np.array([c[:2] for c in corners], np.float32)
    target = np.array([c[2:] for c in corners], np.float32)
    matrix = cv2.getPerspectiveTransform(source, target)
    warped = cv2.warpPerspective(house, matrix, (width, height), flags=cv2.INTER_AREA)
    ones = np.full((rows, cols), 255, np.uint8)
    mask = cv2.warpPerspective(ones, matrix, (width, height))[..., None] / 255.0
    shade = 0.78 if (camera.light[0] > 0) == (side == 1) else 1.0
    image[:] = (warped * shade * mask + image * (1 - mask)).astype(np.uint8)
