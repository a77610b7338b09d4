"""`diffcodec info`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from diffcodec.cli.batch.inputs import expand, label, read_input
from diffcodec.cli.failures import printable
from diffcodec.cli.options import complete_file
from diffcodec.errors import StreamError

if TYPE_CHECKING:
    from diffcodec.bitstream.container import StreamInfo


@click.command("info", short_help="Show the headers of .dfc files.")
@click.argument("files", nargs=-1, required=True, shell_complete=complete_file)
@click.option("-r", "--recursive", is_flag=True, help="Include subfolders.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per file.")
def command(files: tuple[str, ...], recursive: bool, as_json: bool) -> None:
    """Show the headers of .dfc files, without loading a network.

    For files of bundled models this includes the number of steps, and of evaluations of the network with
    `--decoder mean`. The default decoder may take two or three more.
    """
    from diffcodec.bitstream.container import read_header, what_is_wrong
    from diffcodec.channel.base import ChannelId
    from diffcodec.coding.cost import DecodingCost, decoding_cost
    from diffcodec.coding.stream import ParsedStream
    from diffcodec.model.description import describe_file, find_bundled

    def cost_of(data: bytes, info: StreamInfo) -> DecodingCost | None:
        """What it takes to restore a file; None if no bundled model made it, or its header is not to be trusted."""
        try:
            model = describe_file(find_bundled(info.header.fingerprint))
            return decoding_cost(ParsedStream.parse(data, partial=True, max_pixels=info.header.pixels), model)
        except StreamError:
            return None

    def show(source: str) -> None:
        data = read_input(source)
        info = read_header(data, name=label(source))
        header = info.header
        known = header.channel in tuple(ChannelId)
        alpha = info.alpha_bytes is not None
        cost = cost_of(data, info)
        values = {
            "file": source,
            "width": header.width,
            "height": header.height,
            "mode": header.colour.name + ("A" if alpha else ""),
            "timestep": header.timestep,
            "shortened_from_timestep": None if header.shortened is None else header.shortened.timestep,
            "shortened_to_steps": None if header.shortened is None else header.shortened.steps,
            "model": header.fingerprint.hex(),
            "channel": ChannelId(header.channel).name.lower() if known else f"unknown ({header.channel})",
            "effort": header.effort,
            "level_list": header.level_list,
            "steps": None if cost is None else cost.steps,
            "evaluations": None if cost is None else cost.evaluations,
            "pixel_evaluations": None if cost is None else cost.pixel_evaluations,
            "seed": header.seed,
            "file_bytes": len(data),
            "declared_bytes": info.total_bytes,
            "header_bytes": info.header_bytes,
            "check_bytes": info.check_bytes,
            "copy_bytes": info.front_bytes if header.repeats_front else 0,
            "payload_bytes": info.payload_bytes,
            "alpha_bytes": info.alpha_bytes or 0,
            "metadata_bytes": info.metadata_bytes or 0,
            "bpp": 8 * info.total_bytes / header.pixels,
            "complete": len(data) == info.total_bytes,
            "problem": what_is_wrong(data),
        }
        if as_json:
            click.echo(json.dumps(values))
            return
        if cost is not None:
            del values["level_list"]  # its number means something to the model only
        for key, value in values.items():
            if value is not None:
                shown = f"{value:.4f}" if key == "bpp" else value
                purpose = " to restore the mean" if "evaluations" in key else ""
                click.echo(printable(f"{key.replace('_', ' '):>23}  {shown}{purpose}"))

    expand(files, [".dfc"], recursive=recursive).show_each(show, as_json=as_json, key="file")
