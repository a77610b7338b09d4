"""Folders in which tests of `diffcodec train` work."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from diffcodec.config import ModelConfig


def write_place(folder: Path, model: ModelConfig) -> Path:
    """Put a grid of 16 tiles of 8 x 8 pixels (grid.png) and a configuration (tiny.json) into a folder; returns it."""
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "grid.png")
    (folder / "tiny.json").write_text(json.dumps(model.to_dict()))
    return folder
