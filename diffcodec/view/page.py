"""The page: its template, filled with the frames of a stream.

Scripts and styles are inlined. The page's Content-Security-Policy allows only these, by their hashes, and data URIs:
nothing else can be loaded or run, not even through a name inserted into the page.
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

from diffcodec.bitstream.container import StreamInfo
from diffcodec.codec import DiffusionCodec
from diffcodec.coding.stream import ParsedStream
from diffcodec.config import DEFAULT_MAX_PIXEL_EVALUATIONS
from diffcodec.images import Picture
from diffcodec.view.frames import LOSSY_QUALITY, Progress, Views, check_original, collect_views

SCRIPTS = ("geometry.js", "stage.js", "gestures.js", "curve.js", "viewer.js")
"""Scripts in the order in which they are joined to one module."""


def make_page(
    codec: DiffusionCodec,
    stream: ParsedStream,
    *,
    original: Picture | None = None,
    original_name: str = "the original",
    progress: Progress = lambda done, steps: None,
    max_pixel_evaluations: int = DEFAULT_MAX_PIXEL_EVALUATIONS,
) -> str:
    """An HTML page that shows the restorations of every prefix of a stream; it loads nothing from the internet.

    Args:
        codec: with the model that made the stream.
        stream: the file; parse it with `partial` to show a cut one.
        original: the original picture, for comparison.
        original_name: name of its file, for messages.
        progress: called after every step with the number of steps done and of all steps.
        max_pixel_evaluations: see `DecompressionSettings`.

    Raises:
        StreamError: if the stream is damaged, made by another model, or takes too much work.
        ImageError: if the original has another size, or is in colour although the stream is grey.
    """
    info, name = stream.reading.info, stream.name
    if original is not None:
        check_original(original, info, name=name, original_name=original_name)
    restorations = codec.progressive(stream, max_pixel_evaluations=max_pixel_evaluations)
    views = collect_views(restorations, info, original, progress)
    return fill_template(
        title=escape(base_name(name)),
        summary=" · ".join(f"<span>{escape(part)}</span>" for part in summary(info, views, codec.model.card.name)),
        notes="".join(f"<li>{escape(note)}</li>" for note in notes(info, views)),
        data=script_data(views, info),
    )


def fill_template(*, title: str, summary: str, notes: str, data: str) -> str:
    """The template with its styles and scripts, and with escaped HTML."""
    folder = files("diffcodec.view") / "template"
    style = (folder / "style.css").read_text(encoding="utf-8")
    script = "\n".join((folder / name).read_text(encoding="utf-8") for name in SCRIPTS)
    return Template((folder / "page.html").read_text(encoding="utf-8")).substitute(
        title=title,
        summary=summary,
        notes=notes,
        data=data,
        style=style,
        script=script,
        style_hash=policy_hash(style),
        script_hash=policy_hash(script),
    )


def base_name(path: str) -> str:
    """The last part of a path; characters that cannot be encoded are replaced."""
    return os.path.basename(path).encode(errors="replace").decode()


def policy_hash(content: str) -> str:
    """Hash of an inline script or style for a Content-Security-Policy."""
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"


def summary(info: StreamInfo, views: Views, model: str) -> list[str]:
    """Size, length, noise level and model of the file, as short texts."""
    header = info.header
    return [
        f"{header.width} × {header.height} {views.mode}",
        f"{info.total_bytes:,} bytes",
        "lossless" if header.timestep == 0 else f"t = {header.timestep}",
        model,
    ]


def notes(info: StreamInfo, views: Views) -> list[str]:
    """Notes on how far the shown pictures can be trusted."""
    found = []
    if views.problem is not None:
        unverified = "" if views.verified else ", not all of them verified by checksums"
        found.append(
            f"The file {views.problem}. It is intact up to step {views.frames[-1].step} of {views.steps}{unverified}."
        )
    if len(views.frames) < views.frames[-1].step:
        found.append(f"Because the picture is large, {len(views.frames)} of {views.frames[-1].step} steps are shown.")
    if info.alpha_bytes is not None and not views.mode.endswith("A"):
        found.append("Its alpha plane is missing.")
    if views.inlining.lossless:
        found.append("The pictures in this page are lossless copies.")
    else:
        found.append(
            f"Because the picture is large, it is shown as WebP of quality {LOSSY_QUALITY}, which adds small visible "
            "errors. The figures are those of the exact pixels."
        )
    return found


def script_data(views: Views, info: StreamInfo) -> str:
    """The data for the scripts, as JSON that is safe in HTML."""
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
