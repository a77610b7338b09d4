"""The page itself: its template, filled with the frames of a stream.

Scripts and styles are inlined, and the page's Content-Security-Policy names them by their hashes and allows nothing
else but data URIs: neither the page, nor a name or a number that was put into it, can load or run anything.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
from html import escape
from importlib.resources import files
from string import Template

from diffcodec.bitstream.container import DEFAULT_MAX_PIXELS, StreamInfo, read_header
from diffcodec.codec import DiffusionCodec
from diffcodec.images import Picture
from diffcodec.results import Bitstream
from diffcodec.view.frames import LOSSY_QUALITY, Progress, Views, check_original, collect_views

SCRIPTS = ("geometry.js", "stage.js", "gestures.js", "curve.js", "viewer.js")
"""In the order in which they make one module."""


def make_page(
    codec: DiffusionCodec,
    stream: Bitstream | bytes,
    *,
    original: Picture | None = None,
    partial: bool = False,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    name: str = "the stream",
    original_name: str = "the original",
    progress: Progress = lambda done, steps: None,
) -> str:
    """An HTML page that shows what every prefix of a stream restores; it needs no network.

    Args:
        codec: with the model that made the stream.
        stream: what `compress` returned, or the bytes of a .dfc file.
        original: the picture that the stream was made from, to compare with.
        partial: if the stream is cut, show what there is instead of raising.
        max_pixels: refuse to decode more.
        name, original_name: of the files, for the page and for messages.
        progress: is told, after every step, how many are done and how many there are.

    Raises:
        StreamError: if the stream is damaged, cut (without `partial`), or of another model.
        ImageError: if the original is of another size, or in colour where the stream is grey.
    """
    data = bytes(stream)
    info = read_header(data, name=name)
    if original is not None:
        check_original(original, info, name=name, original_name=original_name)
    previews = codec.progressive(data, partial=partial, max_pixels=max_pixels, name=name)
    views = collect_views(previews, info, original, progress)
    return fill_template(
        title=escape(base_name(name)),
        summary=" · ".join(f"<span>{escape(part)}</span>" for part in summary(info, views, codec.checkpoint.card.name)),
        notes="".join(f"<li>{escape(note)}</li>" for note in notes(info, views)),
        data=script_data(views, info),
    )


def fill_template(*, title: str, summary: str, notes: str, data: str) -> str:
    """The template with its styles, its scripts and HTML that is safe to put there."""
    folder = files("diffcodec.view") / "template"
    style = (folder / "style.css").read_text(encoding="utf-8")
    script = "\n".join((folder / name).read_text(encoding="utf-8") for name in SCRIPTS)
    return Template((folder / "page.html").read_text(encoding="utf-8")).substitute(
        title=title, summary=summary, notes=notes, data=data, style=style, script=script,
        style_hash=policy_hash(style), script_hash=policy_hash(script),
    )  # fmt: skip


def base_name(path: str) -> str:
    """The last part of a path, in characters that can be written; a file's name may have others."""
    return os.path.basename(path).encode(errors="replace").decode()


def policy_hash(content: str) -> str:
    """How a Content-Security-Policy names an inline script or style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"


def summary(info: StreamInfo, views: Views, model: str) -> list[str]:
    """What the file is, in a few words each."""
    header = info.header
    return [
        f"{header.width} × {header.height} {views.mode}",
        f"{info.total_bytes:,} bytes",
        "lossless" if header.timestep == 0 else f"t = {header.timestep}",
        model,
    ]


def notes(info: StreamInfo, views: Views) -> list[str]:
    """What a person must know to trust what the page shows."""
    found = []
    if views.problem is not None:
        unverified = "" if views.verified else ", and no checksum vouches for all of them"
        found.append(
            f"The file {views.problem}. What there is before that makes {views.frames[-1].step} of {views.steps} steps"
            f"{unverified}."
        )
    if len(views.frames) < views.frames[-1].step:
        found.append(f"Since the picture is large, {len(views.frames)} of {views.frames[-1].step} steps are shown.")
    if info.alpha_bytes is not None and not views.mode.endswith("A"):
        found.append("Its alpha plane is missing.")
    if views.inlining.lossless:
        found.append("The pictures in this page are lossless copies.")
    else:
        found.append(
            f"Since the picture is large, it is shown as WebP of quality {LOSSY_QUALITY}, which adds small errors to "
            "what you see. The figures are those of the true pixels."
        )
    return found


def script_data(views: Views, info: StreamInfo) -> str:
    """What the scripts need, as JSON that can stand in HTML."""
    values = {
        "width": info.header.width,
        "height": info.header.height,
        "alpha": info.alpha_bytes is not None,
        "steps": views.steps,
        "totalBytes": info.total_bytes,
        "original": views.original,
        "frames": [
            {
                "step": frame.step,
                "timestep": frame.timestep,
                "bytes": frame.file_bytes,
                # JSON has no infinity: the PSNR of an exact restoration is null.
                "psnr": None if frame.psnr_db is None or math.isinf(frame.psnr_db) else round(frame.psnr_db, 3),
                "source": frame.source,
            }
            for frame in views.frames
        ],
    }
    return json.dumps(values).replace("<", "\\u003c")
