"""The sender's side: from pictures to files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffcodec.bitstream.container import ColourMode, Container, Header, write_container
from diffcodec.bitstream.lengths import LengthCoder
from diffcodec.channel import Channel, ChannelId
from diffcodec.diffusion.denoiser import Denoiser
from diffcodec.images import Picture, encode_alpha
from diffcodec.last_step import LastStep
from diffcodec.lossless.payload import LosslessPayload, pixel_checksum
from diffcodec.lossless.stored import store
from diffcodec.plane import Plane
from diffcodec.results import Bitstream, Report, Stopwatch
from diffcodec.tables import CodecTables, Level
from diffcodec.walk import Message, Transmission, Walk, transmit

_ERRORS_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Compressed:
    """One picture of a batch, on its way to a file.

    Args:
        container: what the file holds.
        message: what was sent, with its costs; None for a stored picture.
        steps: number of steps taken.
        restored: what the receiver will see, (H, W, 3) or (H, W).
        residual_bits: information of the last step to t = 0.
    """

    container: Container
    message: Message | None
    steps: int
    restored: NDArray[np.uint8]
    residual_bits: float = 0.0

    @cached_property
    def data(self) -> bytes:
        """The file."""
        return write_container(self.container)

    def stream(self, picture: Picture, share: Stopwatch) -> Bitstream:
        """The file, and what is to be said about it."""
        with share.coding():
            data = self.data
        header = self.container.header
        message = self.message or Message(LengthCoder())
        error = squared_error(picture.pixels, self.restored)
        alpha_bytes, metadata_bytes = len(self.container.alpha or b""), len(self.container.metadata or b"")
        report = Report(
            width=picture.width, height=picture.height, mode=picture.mode, timestep=header.timestep,
            steps=self.steps, channel=ChannelId(header.channel).name.lower(), effort=header.effort,
            file_bytes=len(data),
            header_bytes=len(data) - len(self.container.payload) - alpha_bytes - metadata_bytes,
            alpha_bytes=alpha_bytes, metadata_bytes=metadata_bytes,
            side_bits=message.side_bits, path_bits=message.path_bits,
            ideal_bits=message.ideal_bits, delivered_bits=message.delivered_bits, residual_bits=self.residual_bits,
            bpd=8 * len(data) / (header.pixels * (1 if header.colour is ColourMode.L else 3)),
            bpp=8 * len(data) / header.pixels,
            psnr_db=psnr_db(error), rmse=math.sqrt(error),
            network_seconds=share.network_s, coding_seconds=share.coding_s,
        )  # fmt: skip
        return Bitstream(data, report)


@dataclass(frozen=True)
class Sender:
    """Sends pictures of one size and colour mode.

    Args:
        denoiser: the network.
        tables: of the model.
        plane: geometry of the pictures.
        channel: simulates the samples.
        seed: of the shared randomness.
        level_list: index of the level list.
        watch: is given the times.
    """

    denoiser: Denoiser
    tables: CodecTables
    plane: Plane
    channel: Channel
    seed: int
    level_list: int
    watch: Stopwatch

    def start(self, pictures: Sequence[Picture], end: Level) -> tuple[Walk, Tensor]:
        """The walk to a level, at its start, and the pictures on their canvases (N, 3, H, W)."""
        device = next(self.denoiser.parameters()).device
        x_0 = torch.stack([self.plane.place(picture.pixels) for picture in pictures]).to(device)
        walk = Walk(
            self.denoiser, self.tables, self.plane, self.level_list, end, self.seed, len(pictures), self.watch
        )  # fmt: skip
        return walk, x_0

    def transmit(self, pictures: Sequence[Picture], end: Level) -> Iterator[Transmission]:
        """Send the pictures down to a level; yields after every step."""
        return transmit(*self.start(pictures, end), self.channel, self.tables.length_weights)

    def compress(self, pictures: Sequence[Picture], header: Header) -> list[Compressed]:
        """Files that end at the header's timestep, which is not 0."""
        sent = last(self.transmit(pictures, self.tables.level(header.timestep)))
        estimate = sent.estimate
        with self.watch.coding():
            return [
                Compressed(
                    Container(header, message.writer.getvalue(), *encoded_packets(picture)), message, sent.steps,
                    self.plane.pixels(canvas),
                )
                for picture, canvas, message in zip(pictures, estimate, sent.messages, strict=True)
            ]  # fmt: skip

    def compress_exactly(self, pictures: Sequence[Picture], header: Header, last_step: LastStep) -> list[Compressed]:
        """Files for t = 0: each picture from the state, or in the stored form, that makes its file the shortest."""
        with self.watch.coding():
            packets = [encoded_packets(picture) for picture in pictures]
            best = [_stored(picture, header, own.metadata) for picture, own in zip(pictures, packets, strict=True)]
        starts = last_step.starts()
        for sent in self.transmit(pictures, self.tables.lists[self.level_list].levels[-1]):
            if sent.steps in starts:
                estimate = sent.estimate
                with self.watch.coding():
                    coded = [
                        self._exact(picture, header, own, last_step, sent.steps, canvas, message.copy())
                        for picture, own, canvas, message in zip(
                            pictures, packets, estimate, sent.messages, strict=True
                        )
                    ]
                    best = [min(pair, key=lambda each: len(each.data)) for pair in zip(coded, best, strict=True)]
            # Nothing shorter can follow once the states alone have cost more than a whole file.
            spent = [message.writer.information_bits / 8 for message in sent.messages]
            if all(bytes_ > len(each.data) for bytes_, each in zip(spent, best, strict=True)):
                break
        return best

    def _exact(
        self, picture: Picture, header: Header, packets: Packets, last_step: LastStep, steps: int, estimate: Tensor,
        message: Message,
    ) -> Compressed:  # fmt: skip
        """The file of a picture, given its estimate (3, H, W), and the message of so many steps, which grows."""
        before = message.writer.information_bits
        last_step.write(picture.pixels, estimate, steps, message.writer)
        payload = LosslessPayload(steps, None, pixel_checksum(picture.pixels), message.writer.getvalue())
        bits = message.writer.information_bits - before
        return Compressed(Container(header, payload.to_bytes(), *packets), message, steps, picture.pixels, bits)


def squared_error(original: NDArray[np.uint8], restored: NDArray[np.uint8]) -> float:
    """Mean squared error in squared grey levels: a sum of integers, so that it does not depend on their order."""
    rows_at_once = max(1, _ERRORS_AT_ONCE // original[0].size)
    total = 0
    for start in range(0, len(original), rows_at_once):
        rows = slice(start, start + rows_at_once)
        total += int(np.square(original[rows].astype(np.int64) - restored[rows]).sum())
    return total / original.size


def psnr_db(error: float) -> float:
    """10 log10(255^2 / squared error); infinite if there is none."""
    return 10 * math.log10(255**2 / error) if error else math.inf


def last(sent: Iterator[Transmission]) -> Transmission:
    """What has been sent in the end."""
    for transmission in sent:
        reached = transmission
    return reached


class Packets(NamedTuple):
    """What a file holds besides the payload: alpha plane and metadata, encoded; None if there are none."""

    alpha: bytes | None
    metadata: bytes | None


def encoded_packets(picture: Picture) -> Packets:
    """The packets of a picture.

    Raises:
        ImageError: if its metadata is too long.
    """
    alpha = None if picture.alpha is None else encode_alpha(picture.alpha)
    return Packets(alpha, picture.metadata.to_bytes() if picture.metadata else None)


def _stored(picture: Picture, header: Header, metadata: bytes | None) -> Compressed:
    """The stored form; an alpha plane is part of it, which an empty alpha packet says. No noise, no seed."""
    kind, body = store(picture)
    header = replace(header, seed=0)
    container = Container(
        header, LosslessPayload(0, kind, 0, body).to_bytes(), None if picture.alpha is None else b"", metadata
    )  # fmt: skip
    return Compressed(container, None, 0, picture.pixels, 8.0 * len(body))
