"""A trained diffusion model as a progressive lossy image codec.

>>> from diffcodec import DiffusionCodec, read_picture
>>> codec = DiffusionCodec.from_pretrained()
>>> stream = codec.compress(read_picture("photo.png"), timestep=100)
>>> restored = codec.decompress(stream)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffcodec.calibration.calibrate import calibrate
    from diffcodec.codec import DiffusionCodec
    from diffcodec.coding.reconstruction import Reconstruction
    from diffcodec.coding.report import Bitstream, Report, Restoration
    from diffcodec.coding.stream import ParsedStream
    from diffcodec.coding.targets import Target
    from diffcodec.config import ScheduleConfig
    from diffcodec.images import Picture, read_picture, write_picture
    from diffcodec.model.checkpoint import Checkpoint
    from diffcodec.model.loading import load_checkpoint
    from diffcodec.model.tables import CodecTables

__version__ = "0.6.0.dev0"

__all__ = [
    "Bitstream",
    "Checkpoint",
    "CodecTables",
    "DiffusionCodec",
    "ParsedStream",
    "Picture",
    "Reconstruction",
    "Report",
    "Restoration",
    "ScheduleConfig",
    "Target",
    "__version__",
    "calibrate",
    "load_checkpoint",
    "read_picture",
    "write_picture",
]


def __getattr__(name: str) -> Any:
    """Import public names on first use, so that `import diffcodec` and `diffcodec --help` do not load torch."""
    modules = {
        "calibration.calibrate": ("calibrate",),
        "codec": ("DiffusionCodec",),
        "config": ("ScheduleConfig",),
        "coding.reconstruction": ("Reconstruction",),
        "coding.report": ("Bitstream", "Report", "Restoration"),
        "model.checkpoint": ("Checkpoint",),
        "model.loading": ("load_checkpoint",),
        "model.tables": ("CodecTables",),
        "images": ("Picture", "read_picture", "write_picture"),
        "coding.stream": ("ParsedStream",),
        "coding.targets": ("Target",),
    }
    for module, names in modules.items():
        if name in names:
            return getattr(import_module(f"diffcodec.{module}"), name)
    raise AttributeError(f"module 'diffcodec' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names, imported or not."""
    return sorted(__all__)
