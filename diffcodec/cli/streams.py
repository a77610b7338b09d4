"""Streams that commands read: checked before any model is looked for, then given the codec that restores them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diffcodec.bitstream.container import Reading, read_partial

if TYPE_CHECKING:
    from diffcodec.codec import DiffusionCodec


def check_stream(data: bytes, *, partial: bool, max_pixels: int, name: str) -> Reading:
    """What a .dfc file holds.

    Args:
        data: the file.
        partial: whether it may be cut or damaged.
        max_pixels: refuse larger pictures.
        name: of the file, for messages.

    Raises:
        StreamError: if it cannot be restored.
    """
    reading = read_partial(data, max_pixels=max_pixels, name=name)
    if not partial:
        reading.check(name)
    return reading


def codec_for(
    data: bytes, model: str | None, *, name: str, device: str = "cpu", allow_pickle: bool = False
) -> DiffusionCodec:
    """The codec with the model that was named, or else with the bundled one that made a file.

    Args:
        data: the file.
        model: its name; None if there is none.
        name: of the file, for messages.
        device: where the network runs.
        allow_pickle: see `load_checkpoint`.

    Raises:
        ConfigError: if there is no such device.
        CheckpointError: if there is no such model.
        ModelMismatchError: if no bundled model made the file.
    """
    from diffcodec.codec import DiffusionCodec
    from diffcodec.devices import check_device

    where = check_device(device)
    if model:
        return DiffusionCodec.from_pretrained(model, device=where, allow_pickle=allow_pickle)
    return DiffusionCodec.for_stream(data, device=where, name=name)
