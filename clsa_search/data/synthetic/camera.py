"""Cameras: fixed viewpoints on a street, with lens and sensor.

World frame: X to the right, Y up, Z away from the camera, in statures of an average adult (1.72 m).
The ground is flat: at image row y below the horizon, a stature is `(y - horizon) / eye_height`
pixels. Lower feet in the image mean a larger person.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

STYLES = ("shops", "square", "road", "park", "plaza", "dusk")


@dataclass(frozen=True)
class Camera:
    """Fixed viewpoint with its lens and sensor.

    Args:
        cam_id: camera id, from 1.
        style: one of `STYLES`.
        horizon: row of the vanishing point / image height.
        vanish: column of the vanishing point / image width.
        eye_height: height of the camera above the ground in statures.
        walls: X of the edges of the street in statures.
        far: size of a stature at the far end / image height.
        gain: color cast, factors of blue, green, red.
        exposure: factor of brightness.
        gamma: exponent of brightness.
        blur: Gaussian sigma in pixels at image height 240.
        noise: sigma in gray levels.
        light: unit direction to the light (right, up, toward the viewer).
        seed: seed of the street.
    """

    cam_id: int
    style: str
    horizon: float
    vanish: float
    eye_height: float
    walls: tuple[float, float]
    far: float
    gain: tuple[float, float, float]
    exposure: float
    gamma: float
    blur: float
    noise: float
    light: tuple[float, float, float]
    seed: int


def sample_cameras(rng: np.random.Generator, count: int, *, far: float) -> list[Camera]:
    """Sample cameras with ids from 1 and the styles in turn; `far` as in `Camera`."""
    return [_sample_camera(rng, number, far) for number in range(count)]


def _sample_camera(rng: np.random.Generator, number: int, far: float) -> Camera:
    style = STYLES[number % len(STYLES)]
    light = np.array([rng.choice((-1, 1)) * rng.uniform(0.3, 0.7), 0.6, rng.uniform(0.3, 0.7)])
    light /= np.linalg.norm(light)
    dusk = style == "dusk"
    cast = rng.uniform(-0.14, 0.14)
    return Camera(
        cam_id=number + 1,
        style=style,
        horizon=float(rng.uniform(0.20, 0.34)),
        vanish=float(rng.uniform(0.3, 0.7)),
        eye_height=float(rng.uniform(0.72, 0.95)),
        walls=(float(-rng.uniform(3.5, 6.5)), float(rng.uniform(3.5, 6.5))),
        far=far,
        gain=(float(1 + cast), float(1 + rng.uniform(-0.04, 0.04)), float(1 - cast)),
        exposure=float(rng.uniform(0.55, 0.68) if dusk else rng.uniform(0.82, 1.18)),
        gamma=float(rng.uniform(0.85, 1.2)),
        blur=float(rng.uniform(0.1, 0.6)),
        noise=float(rng.uniform(1.5, 5.0) * (1.4 if dusk else 1)),
        light=(float(light[0]), float(light[1]), float(light[2])),
        seed=int(rng.integers(2**31)),
    )


def stature_at(camera: Camera, rows: np.ndarray, height: int) -> np.ndarray:
    """Return the pixels of a stature at image rows."""
    return (rows - camera.horizon * height) / camera.eye_height


def foot_row(camera: Camera, stature: float, height: int) -> float:
    """Return the row of the feet of a stature in pixels."""
    return camera.horizon * height + stature * camera.eye_height


def walkable_columns(camera: Camera, stature: float, width: int) -> tuple[float, float]:
    """Return the columns of the street's edges for a stature in pixels."""
    center = camera.vanish * width
    return center + camera.walls[0] * stature, center + camera.walls[1] * stature


def simulate_sensor(image: np.ndarray, camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """Apply color cast, exposure (random per image), blur and noise."""
    height, width = image.shape[:2]
    levels = np.arange(256, dtype=np.float32) / 255
    exposure = camera.exposure * rng.uniform(0.92, 1.08)
    table = np.stack([(levels**camera.gamma) * exposure * g * 255 for g in camera.gain], axis=1)
    image = cv2.LUT(image, np.clip(table, 0, 255).astype(np.uint8)[None])
    sigma = camera.blur * height / 240
    if sigma > 0.2:
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    noise = rng.standard_normal((height, width, 1), np.float32) * camera.noise
    tint = rng.standard_normal((height // 2 + 1, width // 2 + 1, 3), np.float32)
    tint = cv2.resize(tint, (width, height)) * (0.5 * camera.noise)
    return np.clip(image + noise + tint, 0, 255).astype(np.uint8)
