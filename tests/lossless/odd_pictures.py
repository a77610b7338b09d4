"""Pictures that a codec may stumble over: tiny, flat, noisy, drawn, transparent, long."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from diffcodec.images import Picture
from tests.conftest import smooth_pixels


def screenshot(height: int, width: int) -> NDArray[np.uint8]:
    """A window with text and a button, as a screen shows it."""
    image = Image.new("RGB", (width, height), (240, 240, 240))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, width, 9), fill=(40, 80, 160))
    draw.text((2, 0), "File", fill=(255, 255, 255))
    draw.text((2, 11), "abc 123", fill=(0, 0, 0))
    draw.rectangle((width - 14, height - 8, width - 2, height - 2), outline=(90, 90, 90), fill=(200, 220, 200))
    return np.array(image)


def odd_pictures() -> dict[str, Picture]:
    """All of them by name."""
    rng = np.random.default_rng(7)

    def noise(*shape: int) -> NDArray[np.uint8]:
        return rng.integers(0, 256, shape).astype(np.uint8)

    def flat(value: int, *shape: int) -> NDArray[np.uint8]:
        return np.full(shape, value, np.uint8)

    rows, columns = np.mgrid[:16, :16]
    checks = ((rows + columns) % 2 * 255).astype(np.uint8)
    ramp = np.broadcast_to(np.arange(0, 240, 10, dtype=np.uint8), (10, 24))
    smooth, spot = smooth_pixels(16, 14, seed=2), flat(200, 15, 15, 3)
    spot[7, 8] = (3, 2, 1)
    return {
        "one-pixel": Picture(noise(1, 1, 3)),
        "one-grey-pixel": Picture(noise(1, 1)),
        "one-clear-pixel": Picture(noise(1, 1, 3), flat(0, 1, 1)),
        "one-grey-clear-pixel": Picture(noise(1, 1), flat(7, 1, 1)),
        "7x3": Picture(smooth_pixels(3, 7)),
        "3x7-grey": Picture(smooth_pixels(7, 3)[..., 0].copy()),
        "one-row": Picture(smooth_pixels(1, 37)),
        "one-column": Picture(smooth_pixels(37, 1)[..., 1].copy()),
        "wide": Picture(smooth_pixels(2, 64)),
        "33x31": Picture(smooth_pixels(31, 33, seed=4)),
        "grey": Picture(smooth_pixels(15, 16, seed=3)[..., 1].copy()),
        "grey-as-colour": Picture(np.repeat(smooth_pixels(12, 12, seed=5)[..., :1], 3, axis=2)),
        "alpha": Picture(smooth, smooth_pixels(16, 14, seed=9)[..., 0].copy()),
        "opaque-alpha": Picture(smooth, flat(255, 16, 14)),
        "hidden-colours": Picture(noise(9, 8, 3), flat(0, 9, 8)),
        "half-hidden": Picture(smooth_pixels(8, 9), rng.choice([0, 255], (8, 9)).astype(np.uint8)),
        "grey-alpha": Picture(smooth_pixels(11, 9)[..., 2].copy(), noise(11, 9)),
        "grey-opaque-alpha": Picture(smooth_pixels(5, 6)[..., 2].copy(), flat(255, 5, 6)),
        "noise": Picture(noise(16, 16, 3)),
        "grey-noise": Picture(noise(13, 12)),
        "black-and-white-noise": Picture((noise(12, 12, 3) // 128 * 255).astype(np.uint8)),
        "flat": Picture(flat(93, 20, 20, 3)),
        "black": Picture(flat(0, 16, 16, 3)),
        "white": Picture(flat(255, 16, 16, 3)),
        "grey-black": Picture(flat(0, 9, 9)),
        "spot": Picture(spot),
        "checkerboard": Picture(np.repeat(checks[..., None], 3, axis=2)),
        "stripes": Picture(np.repeat((columns % 2 * 255).astype(np.uint8)[..., None], 3, axis=2)),
        "gradient": Picture(np.stack([ramp, ramp[:, ::-1], ramp], axis=2)),
        "screenshot": Picture(screenshot(32, 48)),
        "few-colours": Picture(noise(4, 3)[rng.integers(0, 4, (14, 15))].astype(np.uint8)),
    }
