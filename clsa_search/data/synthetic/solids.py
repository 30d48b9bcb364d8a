"""Tubes, the solids of people, and their painting on a canvas.

A tube has a straight axis, an elliptical cross-section with radii that vary along the axis, a
rounded cap at each end, and a texture wrapped around it. The canvas projects it orthographically
and keeps a depth buffer: near limbs hide far ones, and a pattern stays in its place on the body
when the person turns.

Body frame: X to the person's left, Y up, Z forward, in statures (1 = the person's height).
Textures: (V, U, 3) uint8 BGR; V runs along the axis from start to end with caps, U around it:
column 0 is the left of the body, U/4 the front, U/2 the right, 3U/4 the back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Point = tuple[float, float, float]
PITCH = 0.16  # radians; the camera looks down a little, so shoes have length
_AMBIENT = 0.50
_PROFILE_STEPS = 256


@dataclass(frozen=True)
class Tube:
    """One solid of a person, in statures.

    Args:
        start: (X, Y, Z) start of the axis.
        end: (X, Y, Z) end of the axis.
        widths: radii toward the sides of the body, equally spaced from start to end.
        texture: (V, U, 3) colors.
        depth: radius toward front and back / radius toward the sides.
        caps: lengths of the rounded ends.
        over: offset toward the viewer in the depth test; keeps cloth over the limbs.
        square: True shades the tube like a box.
    """

    start: Point
    end: Point
    widths: tuple[float, ...]
    texture: np.ndarray
    depth: float = 1.0
    caps: tuple[float, float] = (0.02, 0.02)
    over: float = 0.0
    square: bool = False


class Canvas:
    """Image with a depth buffer.

    Args:
        height: height in pixels.
        width: width in pixels.
        scale: pixels per stature.
        yaw: direction of the body in radians: 0 toward the viewer, pi/2 to the right of the image.
        light: unit direction to the light (right, up, toward the viewer).
    """

    def __init__(
        self,
        *,
        height: int,
        width: int,
        scale: float,
        yaw: float,
        light: tuple[float, float, float],
    ) -> None:
        self.color = np.zeros((height, width, 3), np.float32)
        self.depth = np.full((height, width), -np.inf, np.float32)
        self._scale = scale
        self._yaw = yaw
        self._light = (light[0], -light[1], light[2])

    def project(self, point: Point) -> Point:
        """Project a body point to canvas pixels (x, y, depth toward the viewer)."""
        across, up, forward = point
        right = across * np.cos(self._yaw) + forward * np.sin(self._yaw)
        near = forward * np.cos(self._yaw) - across * np.sin(self._yaw)
        height, width = self.depth.shape
        return (
            width / 2 + self._scale * right,
            0.92 * height - self._scale * (up * np.cos(PITCH) - near * np.sin(PITCH)),
            self._scale * (near * np.cos(PITCH) + up * np.sin(PITCH)),
        )

    def paint(self, tube: Tube) -> None:
        """Paint a tube in front of the farther pixels."""
        ax, ay, az = self.project(tube.start)
        bx, by, bz = self.project(tube.end)
        window = self._window(tube, (ax, ay), (bx, by))
        if window is None:
            return
        length = max(float(np.hypot(bx - ax, by - ay)), 1e-3)
        # An axis toward the viewer has no direction in the image: take it as upright.
        dx, dy = ((bx - ax) / length, (by - ay) / length) if length > 0.5 else (0.0, 1.0)
        rows, cols = window
        y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] + 0.5 - ay
        x = np.arange(cols.start, cols.stop, dtype=np.float32)[None] + 0.5 - ax
        along, across = x * dx + y * dy, x * dy - y * dx

        half, stretch, delta, shear = self._cross_section(tube)
        head, tail = (max(cap * self._scale, 0.5) for cap in tube.caps)
        step = np.clip(along * (_PROFILE_STEPS / length), 0, _PROFILE_STEPS).astype(np.int32)
        beyond = np.maximum(np.maximum(-along / head, (along - length) / tail), 0)
        radius = half[step] * np.sqrt(np.maximum(1 - beyond * beyond, 0))
        inside = np.abs(across) < radius
        along, radius = along[inside], radius[inside]
        side = across[inside] / radius
        bulge = np.sqrt(1 - side * side)
        axis = az + tube.over * self._scale + np.clip(along / length, 0, 1) * (bz - az)
        depth = axis + radius * (bulge * stretch + side * shear)

        nearer = depth > self.depth[window][inside]
        inside[inside] = nearer
        self.depth[window][inside] = depth[nearer]
        v = (along[nearer] + head) / (length + head + tail)
        texels = _look_up(tube.texture, v, np.arccos(side[nearer]) + delta)
        shade = self._shade(side[nearer], bulge[nearer], (dy, -dx), square=tube.square)
        self.color[window][inside] = texels * shade[:, None]

    def _window(
        self, tube: Tube, start: tuple[float, float], end: tuple[float, float]
    ) -> tuple[slice, slice] | None:
        """Return the rows and columns of a tube; None if it misses the canvas."""
        reach = self._scale * max(max(tube.widths) * max(1, tube.depth), *tube.caps) + 2
        height, width = self.depth.shape
        x0, x1 = sorted((start[0], end[0]))
        y0, y1 = sorted((start[1], end[1]))
        rows = slice(max(int(y0 - reach), 0), min(int(y1 + reach) + 1, height))
        cols = slice(max(int(x0 - reach), 0), min(int(x1 + reach) + 1, width))
        return (rows, cols) if rows.start < rows.stop and cols.start < cols.stop else None

    def _cross_section(self, tube: Tube) -> tuple[np.ndarray, float, float, float]:
        """Return the apparent radii in pixels and the shape of the ellipse toward the viewer.

        An ellipse (cos t, depth sin t) turned by yaw appears with half-width
        R = hypot(cos yaw, depth sin yaw); the point seen at side s of it is t = delta + acos(s),
        depth/R * sqrt(1 - s^2) + shear * s in front of the axis.
        """
        cos, sin = np.cos(self._yaw), np.sin(self._yaw)
        apparent = float(np.hypot(cos, tube.depth * sin))
        steps = np.linspace(0, len(tube.widths) - 1, _PROFILE_STEPS + 1)
        radii = np.interp(steps, np.arange(len(tube.widths)), tube.widths)
        delta = float(np.arctan2(tube.depth * sin, cos))
        shear = sin * cos * (tube.depth**2 - 1) / apparent
        half = (radii * apparent * self._scale).astype(np.float32)
        return half, tube.depth / apparent**2, delta, shear / apparent

    def _shade(
        self, side: np.ndarray, bulge: np.ndarray, across: tuple[float, float], *, square: bool
    ) -> np.ndarray:
        """Return the brightness of surface points.

        Args:
            side: positions across the axis, -1 to 1.
            bulge: heights toward the viewer.
            across: direction (right, down) of side 1.
            square: True turns normals near the edges only.
        """
        if square:
            side = side**5
            bulge = np.sqrt(1 - side * side)
        right, down, near = self._light
        lit = side * (across[0] * right + across[1] * down) + bulge * near
        return (_AMBIENT + 0.12 * bulge + (1 - _AMBIENT) * np.maximum(lit, 0)).astype(np.float32)


def _look_up(texture: np.ndarray, along: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Return (N, 3) texels at positions along the axis (0-1) and angles around it (radians)."""
    down, around = texture.shape[:2]
    v = np.clip((along * down).astype(np.int32), 0, down - 1)
    u = (angle * (around / (2 * np.pi))).astype(np.int32) % around
    return texture[v, u]
