"""The page as text, and the command that writes it. What it does in a browser is tested in test_browser.py."""

from __future__ import annotations

import html
import json
import re
import webbrowser
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffcodec.bitstream.container import read_header
from diffcodec.codec import DiffusionCodec
from diffcodec.coding.report import Bitstream
from diffcodec.errors import TruncatedStreamError
from diffcodec.images import Picture
from diffcodec.model.checkpoint import Checkpoint
from diffcodec.view.page import policy_hash
from tests.commands import fails, run, succeeds
from tests.images.profiles import LINEAR
from tests.view.pages import page_of


def data_of(page: str) -> dict[str, object]:
    (text,) = re.findall(r'<script id="data" type="application/json">(.*?)</script>', page)
    data: dict[str, object] = json.loads(text)
    return data


def frames_of(data: dict[str, object]) -> list[dict[str, object]]:
    frames = data["frames"]
    assert isinstance(frames, list)
    return frames


def test_the_policy_allows_what_is_in_the_page_and_nothing_else(page_with_original: str) -> None:
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page_with_original)
    (style,) = re.findall(r"<style>(.*?)</style>", page_with_original, re.DOTALL)
    (script,) = re.findall(r'<script type="module">(.*?)</script>', page_with_original, re.DOTALL)
    assert policy.split("; ") == [
        "default-src 'none'",
        "img-src data:",
        f"style-src '{policy_hash(style)}'",
        f"script-src '{policy_hash(script)}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    assert page_with_original.index("Content-Security-Policy") < page_with_original.index("<style>")


def test_nothing_points_outside(page_with_original: str) -> None:
    addresses = re.findall(r"(?:https?:)?//[a-z0-9.]+\.[a-z/0-9]+", page_with_original)
    assert set(addresses) == {"http://www.w3.org/2000/svg"}  # a name, not an address that is asked
    assert re.findall(r'\b(?:src|href)="([^"]*)"', page_with_original) == ["data:,"]


def test_names_cannot_become_html(codec: DiffusionCodec, viewed_stream: Bitstream) -> None:
    name = 'a<script>alert("1")</b>&amp;$title.dfc'
    page = page_of(codec, viewed_stream, name=f"folder/{name.replace('/', '-')}")
    assert page.count(html.escape(name.replace("/", "-"))) == 2
    assert page.count("<script") == 2
    assert page_of(codec, viewed_stream, name="\udcff.dfc").encode().count(b"<h1>?.dfc</h1>") == 1


def test_the_model_name_cannot_become_html(tiny_checkpoint: Checkpoint) -> None:
    named = DiffusionCodec(replace(tiny_checkpoint, card=replace(tiny_checkpoint.card, name="<img src=x>")))
    page = page_of(named, named.compress(Picture(np.zeros((4, 4, 3), np.uint8)), timestep=200))
    assert "<img" not in page
    assert html.escape("<img src=x>") in page


def test_cut_files_are_refused_unless_asked_for(codec: DiffusionCodec, viewed_stream: Bitstream) -> None:
    cut = viewed_stream.data[:-1]
    with pytest.raises(TruncatedStreamError, match="is cut") as caught:
        page_of(codec, cut)
    assert caught.value.parameters == ("partial",)
    assert "The file is cut: it has " in page_of(codec, cut, partial=True)


def test_a_file_without_a_whole_step_shows_what_the_model_makes_of_noise(
    codec: DiffusionCodec, viewed_stream: Bitstream
) -> None:
    data = data_of(page_of(codec, viewed_stream.data[: read_header(viewed_stream.data).header_bytes], partial=True))
    (frame,) = frames_of(data)
    assert (frame["step"], frame["timestep"]) == (0, 1000)


def test_metadata_of_the_page(page_with_original: str, viewed_stream: Bitstream) -> None:
    data = data_of(page_with_original)
    assert data["totalBytes"] == len(viewed_stream.data)
    assert (data["width"], data["height"], data["steps"]) == (40, 24, 8)
    assert f"<span>{len(viewed_stream.data):,} bytes</span>" in page_with_original
    assert "<title>photo.dfc</title>" in page_with_original


# ------------------------------------------------------------------------------------------ the command


@pytest.fixture
def made(photo: Path, tiny_model: Path) -> Path:
    assert run("compress", photo, "-t", 100, "--model", tiny_model).exit_code == 0
    return photo.with_suffix(".dfc")


def test_the_page_lies_beside_the_file(made: Path, photo: Path, tiny_model: Path) -> None:
    result = run("view", made, "--original", photo, "--model", tiny_model)
    assert result.exit_code == 0, result.output
    page = made.with_suffix(".html")
    assert f"{made} -> {page}: {page.stat().st_size:,} bytes" in result.stdout
    assert data_of(page.read_text(encoding="utf-8"))["original"] is not None
    fails(run("view", made, "--model", tiny_model), "photo.html exists", "--force")
    assert run("view", made, "--model", tiny_model, "--force").exit_code == 0
    assert data_of(page.read_text(encoding="utf-8"))["original"] is None


def test_standard_input_and_output(made: Path, tiny_model: Path) -> None:
    result = run("view", "-", "--model", tiny_model, stdin=made.read_bytes())
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("<!doctype html>")
    assert "<h1>standard input</h1>" in result.stdout
    assert run("view", made, "-o", "-", "--open").exit_code == 2


def test_the_original_is_turned_before_it_is_compared(made: Path, photo: Path, tiny_model: Path) -> None:
    lying = photo.with_name("lying.png")
    with Image.open(photo) as image:
        exif = image.getexif()
        exif[0x0112] = 6  # turn a quarter to the right when shown
        image.transpose(Image.Transpose.ROTATE_90).save(lying, exif=exif)
    assert run("view", made, "--original", lying, "--model", tiny_model).exit_code == 0
    with Image.open(photo) as image:
        image.transpose(Image.Transpose.ROTATE_90).save(lying)
    failed = run("view", made, "--original", lying, "--model", tiny_model, "--force")
    fails(failed, "lying.png: expected 14 x 11 RGB", "found 11 x 14 RGB")


@pytest.mark.parametrize("options", [["-t", "0"], ["-t", "0", "--keep-metadata"]])
def test_the_original_is_compared_in_the_colours_of_the_file(options: list[str], photo: Path, tiny_model: Path) -> None:
    with Image.open(photo) as image:
        image.save(photo, icc_profile=LINEAR)
    assert run("compress", photo, "--model", tiny_model, *options).exit_code == 0
    assert run("view", photo.with_suffix(".dfc"), "--original", photo, "--model", tiny_model).exit_code == 0
    frames = frames_of(data_of(photo.with_suffix(".html").read_text(encoding="utf-8")))
    assert frames[-1]["psnr"] is None


def test_an_animation_is_compared_by_its_first_frame(photo: Path, tiny_model: Path) -> None:
    with Image.open(photo) as image:
        image.save(photo, save_all=True, append_images=[Image.new("RGB", image.size)])
    assert run("compress", photo, "--model", tiny_model, "-t", "0", "--first-frame").exit_code == 0
    assert run("view", photo.with_suffix(".dfc"), "--original", photo, "--model", tiny_model).exit_code == 0
    frames = frames_of(data_of(photo.with_suffix(".html").read_text(encoding="utf-8")))
    assert frames[-1]["psnr"] is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--original", "missing.png"], ["missing.png does not exist"]),
        (["-o", "nowhere/page.html"], ["the folder nowhere does not exist"]),
        (["--max-pixels", "100"], ["14 x 11", "more than the limit of 100"]),
    ],
)
def test_errors(made: Path, tiny_model: Path, options: list[str], words: list[str]) -> None:
    fails(run("view", made, "--model", tiny_model, *options), *words)
    assert not made.with_suffix(".html").exists()


def test_damaged_files(made: Path, tiny_model: Path) -> None:
    whole = made.read_bytes()
    made.write_bytes(whole[:-9])
    fails(run("view", made, "--model", tiny_model), "photo.dfc is cut", "--partial")
    result = succeeds(run("view", made, "--model", tiny_model, "--partial"))
    page = made.with_suffix(".html")
    problem = f"is cut: it has {len(whole) - 9} of its {len(whole)} bytes"
    assert result.stderr == f"Warning: {made} {problem}; {page} shows the steps before that\n"
    made.write_bytes(whole[: read_header(whole).header_bytes])
    result = succeeds(run("view", made, "--model", tiny_model, "--partial", "--force"))
    assert f"bytes; no step is complete: {page} shows pure noise\n" in result.stderr
    result = succeeds(run("view", made, "--model", tiny_model, "--partial", "-o", "-"))
    assert "no step is complete: the page shows pure noise\n" in result.stderr
    made.write_bytes(whole)
    assert succeeds(run("view", made, "--model", tiny_model, "--partial", "--force")).stderr == ""
    made.write_bytes(b"GIF89a")
    fails(run("view", made, "--model", tiny_model, "--force"), "photo.dfc is not a .dfc file")


@pytest.mark.parametrize("has_browser", [True, False])
def test_open(made: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, has_browser: bool) -> None:
    opened: list[str] = []

    def open_page(url: str) -> bool:
        opened.append(url)
        return has_browser

    monkeypatch.setattr(webbrowser, "open", open_page)
    result = run("view", made, "--model", tiny_model, "--open")
    assert result.exit_code == 0
    assert opened == [made.with_suffix(".html").as_uri()]
    assert ("could not start a web browser" in result.stderr) == (not has_browser)
