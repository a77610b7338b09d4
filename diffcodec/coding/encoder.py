"""The encoder: makes files from pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffcodec.bitstream.container import Container, Header, write_container
from diffcodec.bitstream.lengths import LengthCoder
from diffcodec.channel import ChannelId
from diffcodec.coding.packets import Packets, encoded_packets
from diffcodec.coding.report import Bitstream, Report, StepReport, Stopwatch
from diffcodec.coding.step_coding import OutgoingPayload
from diffcodec.coding.trajectory import CodecContext, Trajectory
from diffcodec.diffusion.schedule import NoiseLevel
from diffcodec.diffusion.windows import check_numbers
from diffcodec.images import Picture
from diffcodec.images.error import psnr_db, squared_error
from diffcodec.lossless.coder import LosslessCoder
from diffcodec.lossless.payload import LosslessPayload, pixel_checksum
from diffcodec.lossless.stored import store
from diffcodec.model.levels import Level


@dataclass(frozen=True)
class EncodedPicture:
    """One encoded picture of a batch.

    Args:
        container: content of the file.
        payload: with its costs; None for a stored picture.
        restored: what the decoder's `mean` will restore, (H, W, 3) or (H, W); None if it was not asked for.
        ceiling: the best that any file of the model can restore, likewise; None if that is the original.
        residual_bits: information of the last step to t = 0.
    """

    container: Container
    payload: OutgoingPayload | None
    restored: NDArray[np.uint8] | None
    ceiling: NDArray[np.uint8] | None = None
    residual_bits: float = 0.0

    @cached_property
    def data(self) -> bytes:
        """The file."""
        return write_container(self.container)

    def bitstream(self, picture: Picture, watch: Stopwatch) -> Bitstream:
        """The file with its report.

        Args:
            picture: the original.
            watch: the picture's share of the times.
        """
        with watch.coding():
            data = self.data
        header, payload = self.container.header, self.payload or OutgoingPayload(LengthCoder())
        error = math.nan if self.restored is None else squared_error(picture.pixels, self.restored)
        alpha_bytes, metadata_bytes = len(self.container.alpha or b""), len(self.container.metadata or b"")
        report = Report(
            width=picture.width,
            height=picture.height,
            mode=picture.mode,
            timestep=header.timestep,
            steps=payload.steps,
            channel=ChannelId(header.channel).name.lower(),
            effort=header.effort,
            file_bytes=len(data),
            header_bytes=len(data) - len(self.container.payload) - alpha_bytes - metadata_bytes,
            alpha_bytes=alpha_bytes,
            metadata_bytes=metadata_bytes,
            side_bits=payload.side_bits,
            path_bits=payload.path_bits,
            ideal_bits=payload.ideal_bits,
            delivered_bits=payload.delivered_bits,
            residual_bits=self.residual_bits,
            bpd=8 * len(data) / picture.pixels.size,
            bpp=8 * len(data) / header.pixels,
            psnr_db=psnr_db(error),
            rmse=math.sqrt(error),
            ceiling_psnr_db=None if self.ceiling is None else psnr_db(squared_error(picture.pixels, self.ceiling)),
            network_s=watch.network_s,
            coding_s=watch.coding_s,
        )
        return Bitstream(data, report)


@dataclass(frozen=True)
class Sent:
    """A batch of pictures, sent down to the trajectory's current level.

    Args:
        payloads: one per picture.
        trajectory: advanced in place by the next step, so that states of large pictures are in memory only once.
        steps: number of steps taken.
        x_0: of the pictures, (N, C, H, W).
    """

    payloads: list[OutgoingPayload]
    trajectory: Trajectory
    steps: int
    x_0: Tensor

    @property
    def x_t(self) -> Tensor:
        """The state, (N, C, H, W)."""
        return self.trajectory.x_t

    @property
    def level(self) -> NoiseLevel:
        """Its noise level."""
        return self.trajectory.level

    @property
    def estimate(self) -> Tensor:
        """The x_0 estimate at this level, (N, C, H, W), as the decoder shows it. May evaluate the network."""
        return self.trajectory.checked_estimate()


@dataclass(frozen=True)
class Encoder:
    """Encodes pictures of one size and colour mode.

    Args:
        context: network, tables, geometry, channel.
        watch: measures the times.
    """

    context: CodecContext
    watch: Stopwatch

    def start(self, pictures: Sequence[Picture], end: Level) -> tuple[Trajectory, Tensor]:
        """The trajectory to a level, at its start, and x_0 of the pictures, (N, C, H, W)."""
        trajectory = Trajectory(self.context, end, len(pictures), self.watch)
        signal, canvas = self.context.signal, self.context.canvas
        x_0 = torch.stack([signal.from_pixels(picture.pixels, canvas) for picture in pictures])
        return trajectory, x_0.to(trajectory.device)

    def ceiling(self, x_0: Tensor) -> NDArray[np.uint8] | None:
        """The best that any file of one picture, x_0 (1, C, H, W), can restore; None if that is the original."""
        with self.watch.coding():
            return self.context.signal.ceiling(x_0[0], self.context.canvas)

    def new_payload(self) -> OutgoingPayload:
        """A payload of no steps."""
        return OutgoingPayload(LengthCoder(self.context.tables.length_weights))

    def send(self, pictures: Sequence[Picture], end: Level) -> Iterator[Sent]:
        """Send pictures down to a level; yields after every step, always the same payloads and trajectory."""
        trajectory, x_0 = self.start(pictures, end)
        payloads = [self.new_payload() for _ in pictures]
        for step, stop in trajectory.steps():
            self.send_step(trajectory, step, stop, x_0, payloads)
            yield Sent(payloads, trajectory, step + 1, x_0)

    def send_step(
        self, trajectory: Trajectory, step: int, stop: Level, x_0: Tensor, payloads: Sequence[OutgoingPayload]
    ) -> None:
        """Send one step of pictures, x_0 (N, C, H, W), and move the trajectory."""
        watch, before = replace(self.watch), [replace(payload) for payload in payloads]
        estimate = trajectory.estimate()
        with self.watch.coding():
            errors = self.context.signal.coded(x_0 - estimate, self.context.canvas)
            check_numbers(errors)
            displacement = self.context.steps.send(step, stop, errors, payloads)
            trajectory.advance(step, stop, displacement)
        network_s, coding_s = self.watch.network_s - watch.network_s, self.watch.coding_s - watch.coding_s
        for payload, old in zip(payloads, before, strict=True):
            payload.steps += (
                StepReport(
                    timestep=trajectory.timestep,
                    log_snr=trajectory.level.log_snr,
                    ideal_bits=payload.ideal_bits - old.ideal_bits,
                    delivered_bits=payload.delivered_bits - old.delivered_bits,
                    path_bits=payload.path_bits - old.path_bits,
                    side_bits=payload.side_bits - old.side_bits,
                    network_s=network_s / len(payloads),
                    coding_s=coding_s / len(payloads),
                ),
            )

    def encode(self, pictures: Sequence[Picture], header: Header, *, restore: bool = True) -> list[EncodedPicture]:
        """Files that end at the header's timestep, which is not 0.

        Args:
            pictures: of one size and colour mode.
            header: of the files.
            restore: whether to restore the pictures, too, which takes one more evaluation of the network.
        """
        sent = last(self.send(pictures, self.context.tables.level(header.timestep)))
        restored: list[NDArray[np.uint8] | None] = [None] * len(pictures)
        ceilings = restored
        if restore:
            estimate = sent.estimate
            with self.watch.coding():
                restored = [self.context.signal.to_pixels(x_0, self.context.canvas) for x_0 in estimate]
            ceilings = [self.ceiling(x_0[None]) for x_0 in sent.x_0]
        with self.watch.coding():
            return [
                EncodedPicture(
                    Container(header, payload.writer.getvalue(), *encoded_packets(picture)), payload, own, ceiling
                )
                for picture, own, ceiling, payload in zip(pictures, restored, ceilings, sent.payloads, strict=True)
            ]

    def encode_exactly(
        self, pictures: Sequence[Picture], header: Header, *, may_store: bool = True
    ) -> list[EncodedPicture]:
        """Files for t = 0: each picture from the state, or in the stored form, that makes its file the shortest.

        Args:
            pictures: of one size and colour mode.
            header: of the files.
            may_store: whether the stored form is tried.
        """
        coder = self.context.lossless_coder
        with self.watch.coding():
            packets = [encoded_packets(picture) for picture in pictures]
            best = [
                _stored(picture, header, own.metadata) if may_store else None
                for picture, own in zip(pictures, packets, strict=True)
            ]
        starts = coder.starts()
        for sent in self.send(pictures, self.context.levels.levels[-1]):
            if sent.steps in starts:
                estimate = sent.estimate
                with self.watch.coding():
                    coded = [
                        self._exact(picture, header, own, coder, sent.steps, x_0, payload.copy())
                        for picture, own, x_0, payload in zip(pictures, packets, estimate, sent.payloads, strict=True)
                    ]
                    best = [_shorter(*pair) for pair in zip(coded, best, strict=True)]
            # Once the steps alone cost more than the best file, no later step can give a shorter one.
            spent = [payload.writer.information_bits / 8 for payload in sent.payloads]
            if all(each is not None and cost > len(each.data) for cost, each in zip(spent, best, strict=True)):
                break
        return [each for each in best if each is not None]

    def _exact(
        self,
        picture: Picture,
        header: Header,
        packets: Packets,
        coder: LosslessCoder,
        steps: int,
        x_0: Tensor,
        payload: OutgoingPayload,
    ) -> EncodedPicture:
        """The lossless file of a picture, from its estimate (C, H, W) after `steps` steps. Extends the payload."""
        before = payload.writer.information_bits
        levels = self.context.signal.grey_levels(x_0, self.context.canvas)
        coder.write(picture.pixels, levels, steps, payload.writer)
        content = LosslessPayload(steps, None, pixel_checksum(picture.pixels), payload.writer.getvalue())
        bits = payload.writer.information_bits - before
        return EncodedPicture(
            Container(header, content.to_bytes(), *packets), payload, picture.pixels, residual_bits=bits
        )


def last(sent: Iterator[Sent]) -> Sent:
    """The last item: the state at the end of the trajectory."""
    for each in sent:
        reached = each
    return reached


def _shorter(coded: EncodedPicture, best: EncodedPicture | None) -> EncodedPicture:
    return coded if best is None else min(coded, best, key=lambda each: len(each.data))


def _stored(picture: Picture, header: Header, metadata: bytes | None) -> EncodedPicture:
    """The stored form. An empty alpha packet marks that it includes an alpha plane. It has no noise, so no seed."""
    kind, body = store(picture)
    header = replace(header, seed=0)
    container = Container(
        header, LosslessPayload(0, kind, 0, body).to_bytes(), None if picture.alpha is None else b"", metadata
    )
    return EncodedPicture(container, None, picture.pixels, residual_bits=8.0 * len(body))
