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
    from diffcodec.checkpoint import Checkpoint, load_checkpoint
    from diffcodec.codec import DiffusionCodec
    from diffcodec.decoders import Decoder
    from diffcodec.images import Picture, read_picture, write_picture
    from diffcodec.results import Bitstream, Preview, Report
    from diffcodec.targets import Target

__version__ = "0.5.0"

__all__ = [
    "Bitstream",
    "Checkpoint",
    "Decoder",
    "DiffusionCodec",
    "Picture",
    "Preview",
    "Report",
    "Target",
    "__version__",
    "load_checkpoint",
    "read_picture",
    "write_picture",
]


def __getattr__(name: str) -> Any:
    """Public names are imported on first use: `import diffcodec` and `diffcodec --help` do not wait for torch."""
    modules = {
        "codec": ("DiffusionCodec",),
        "decoders": ("Decoder",),
        "results": ("Bitstream", "Preview", "Report"),
        "checkpoint": ("Checkpoint", "load_checkpoint"),
        "images": ("Picture", "read_picture", "write_picture"),
        "targets": ("Target",),
    }
    for module, names in modules.items():
        if name in names:
            return getattr(import_module(f"diffcodec.{module}"), name)
    raise AttributeError(f"module 'diffcodec' has no attribute {name!r}")
