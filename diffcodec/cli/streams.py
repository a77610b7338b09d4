"""Streams that commands read: parsed and checked once, before any model is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diffcodec.cli.batch.inputs import label, read_input

if TYPE_CHECKING:
    from diffcodec.codec import DiffusionCodec
    from diffcodec.coding.stream import ParsedStream
    from diffcodec.config import Precision
    from diffcodec.model.description import ModelDescription


def parse_input(source: str, *, partial: bool, max_pixels: int) -> ParsedStream:
    """Read and parse a .dfc file.

    Args:
        source: path, or - for standard input.
        partial: whether to accept a cut or damaged file.
        max_pixels: refuse larger pictures.

    Raises:
        StreamError: if it cannot be restored.
    """
    from diffcodec.coding.stream import ParsedStream

    return ParsedStream.parse(read_input(source), partial=partial, max_pixels=max_pixels, name=label(source))


def codec_for(
    stream: ParsedStream,
    model: str | None,
    *,
    allow_pickle: bool = False,
    tables: str | None = None,
    device: str = "cpu",
    precision: Precision = "auto",
) -> DiffusionCodec:
    """The codec with the named model, or else with the bundled one that made a file.

    Args:
        stream: the file.
        model: name of the model; None: the one that made the file.
        allow_pickle, tables: see `load_checkpoint`.
        device, precision: see `DiffusionCodec`.

    Raises:
        ConfigError: if there is no such device.
        CheckpointError: if there is no such model.
        ModelMismatchError: if no bundled model made the file.
    """
    if model is None:
        from diffcodec.model.description import find_bundled

        find_bundled(stream.header.fingerprint, stream.name)  # fails before torch is loaded
    from diffcodec.codec import DiffusionCodec

    if model:
        return DiffusionCodec.from_pretrained(
            model, allow_pickle=allow_pickle, tables=tables, device=device, precision=precision
        )
    return DiffusionCodec.for_stream(stream, device=device, precision=precision)


def model_for(
    stream: ParsedStream, model: str | None, *, allow_pickle: bool = False, tables: str | None = None
) -> ModelDescription:
    """The description of the named model, or else of the bundled one that made a file.

    Raises:
        CheckpointError, ModelMismatchError: as `codec_for`.
    """
    from diffcodec.model.description import describe_file, find_bundled
    from diffcodec.model.named import describe_model

    if model is None:
        return describe_file(find_bundled(stream.header.fingerprint, stream.name))
    return describe_model(model, allow_pickle=allow_pickle, tables=tables)
