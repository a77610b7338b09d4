"""The command line with shortened, cut and damaged files: results and messages."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffcodec.bitstream.container import read_header
from diffcodec.codec import DiffusionCodec
from diffcodec.images import Picture
from tests.commands import fails, run, succeeds
from tests.conftest import smooth_pixels


@pytest.fixture(scope="module")
def data(codec: DiffusionCodec) -> bytes:
    """A file of three blocks, with an alpha plane."""
    noise = np.random.default_rng(0).integers(0, 256, (44, 48, 3), np.uint8)
    data = codec.compress(Picture(noise, smooth_pixels(44, 48)[..., 0]), timestep=2, effort=8).data
    assert read_header(data).blocks >= 3
    return data


@pytest.fixture
def large(data: bytes, tmp_path: Path) -> Path:
    """That file."""
    path = tmp_path / "noise.dfc"
    path.write_bytes(data)
    return path


def test_truncate(large: Path, tiny_model: Path, tmp_path: Path) -> None:
    result = run("truncate", large, "--bytes", "3000", "--model", tiny_model)
    assert result.exit_code == 0, result.output
    made = tmp_path / "noise.3000.dfc"
    assert f"{made.stat().st_size} of {large.stat().st_size} bytes, " in result.stdout
    assert made.stat().st_size <= 3000
    assert run("decompress", made, "--model", tiny_model, "-o", tmp_path / "short.png").exit_code == 0
    header = read_header(made.read_bytes()).header
    coarse = run("decompress", large, "-t", str(header.timestep), "--model", tiny_model, "-o", tmp_path / "coarse.png")
    assert coarse.exit_code == 0
    assert (tmp_path / "short.png").read_bytes() == (tmp_path / "coarse.png").read_bytes()

    values = json.loads(run("info", made, "--json").stdout)
    assert header.shortened is not None
    assert (values["shortened_from_timestep"], values["shortened_to_steps"]) == (2, header.shortened.steps)
    assert values["timestep"] == header.timestep
    assert values["problem"] is None
    parts = ("header_bytes", "check_bytes", "payload_bytes", "alpha_bytes", "metadata_bytes")
    assert sum(values[part] for part in parts) == values["file_bytes"]
    assert re.search(r"^shortened from timestep  2$", run("info", made).stdout, re.MULTILINE)
    assert "shortened" not in run("info", large).stdout


def test_truncate_refuses(large: Path, tiny_model: Path, tmp_path: Path) -> None:
    options = ["--model", tiny_model]
    fails(run("truncate", large, "--bytes", "20", *options), "noise.dfc cannot be truncated to 20 bytes", "takes")
    fails(run("truncate", large, "--bytes", "3000", "-o", large, *options), "is the input itself")
    fails(run("truncate", large, "--bytes", "3000", "-o", tmp_path / "no" / "a.dfc", *options), "does not exist")
    fails(run("truncate", tmp_path / "none.dfc", "--bytes", "99", *options), "none.dfc: cannot be read")
    fails(run("truncate", tiny_model, "--bytes", "99", *options), "tiny.safetensors is not a .dfc file")
    made = tmp_path / "noise.3000.dfc"
    made.write_bytes(b"precious")
    fails(run("truncate", large, "--bytes", "3000", *options), "exists", "--force")
    assert made.read_bytes() == b"precious"
    assert run("truncate", large, "--bytes", "3000", "--force", *options).exit_code == 0


def test_pictures_are_not_overwritten_by_other_kinds_of_files(large: Path, tiny_model: Path, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    Image.fromarray(smooth_pixels(8, 8)).save(photo)
    before = photo.read_bytes()
    common = ("--model", tiny_model, "--force")
    fails(run("truncate", large, "--bytes", 3000, "-o", photo, *common), "a .dfc file with the suffix of a picture")
    fails(run("view", large, "-o", photo, *common), "photo.png would be a web page with the suffix of a picture")
    fails(run("view", large, "-o", tmp_path / "a.dfc", *common), "a web page with the suffix of a .dfc file")
    page = tmp_path / "page"
    page.write_bytes(before)
    fails(run("view", large, "--original", page, "-o", page, *common), "page is the input itself")
    assert photo.read_bytes() == page.read_bytes() == before


def test_truncate_from_standard_input_to_output(large: Path, tiny_model: Path) -> None:
    result = run("truncate", "-", "--bytes", "3000", "--model", tiny_model, stdin=large.read_bytes())
    assert result.exit_code == 0
    assert read_header(result.stdout_bytes).header.shortened is not None


def test_a_damaged_file_is_named_and_restored_in_part(large: Path, tiny_model: Path, tmp_path: Path) -> None:
    data = large.read_bytes()
    damaged = tmp_path / "damaged.dfc"
    damaged.write_bytes(data[:3000] + b"????" + data[3004:])
    target, options = tmp_path / "x.png", ["--model", tiny_model]
    message = ("damaged.dfc is damaged: bytes 20", "do not match their checksum", "2048 of its", "--partial")
    fails(run("decompress", damaged, "-o", target, *options), *message)
    fails(run("truncate", damaged, "--bytes", "99999", *options), *message)
    assert not target.exists()
    result = run("decompress", damaged, "--partial", "-o", target, *options)
    assert result.exit_code == 0
    assert "Warning:" in result.stderr
    assert "is damaged: bytes 20" in result.stderr
    assert f"{target} is step" in result.stderr
    assert "unverified" not in result.stderr
    assert "alpha" not in result.stderr
    assert Image.open(target).mode == "RGBA"

    result = run("truncate", damaged, "--bytes", "99999", "--partial", "-o", tmp_path / "mended.dfc", *options)
    assert result.exit_code == 0
    assert "is damaged: bytes 20" in result.stderr
    assert run("decompress", tmp_path / "mended.dfc", "-o", tmp_path / "y.png", *options).exit_code == 0
    assert (tmp_path / "y.png").read_bytes() == target.read_bytes()
    assert "it is damaged: bytes 20" in json.loads(run("info", damaged, "--json").stdout)["problem"]


def test_a_damaged_alpha_plane_costs_the_alpha_plane(large: Path, tiny_model: Path, tmp_path: Path) -> None:
    data = large.read_bytes()
    damaged, target = tmp_path / "damaged.dfc", tmp_path / "x.png"
    damaged.write_bytes(data[:-30] + b"????" + data[-26:])
    options = ["--model", tiny_model, "-o", target]
    fails(run("decompress", damaged, *options), "the alpha plane, do not match", "the picture without the alpha plane")
    result = run("decompress", damaged, "--partial", *options)
    assert result.exit_code == 0
    assert "without the alpha plane" in result.stderr
    assert Image.open(target).mode == "RGB"


def test_where_the_shorter_file_goes(large: Path, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    options = ("--bytes", "3000", "--model", tiny_model)
    assert run("truncate", large, *options, "-o", tmp_path / "out").exit_code == 0
    assert (tmp_path / "out" / "noise.3000.dfc").stat().st_size <= 3000
    fails(run("truncate", ".", *options), ".: cannot be read (Is a directory)")


def test_a_page_reports_damage_that_leaves_the_picture_whole(large: Path, data: bytes, tiny_model: Path) -> None:
    large.write_bytes(data[:-1] + bytes([data[-1] ^ 3]))
    assert run("view", large, "--partial", "--model", tiny_model).exit_code == 0
    page = large.with_suffix(".html").read_text(encoding="utf-8")
    assert "The file is damaged: bytes " in page
    assert "Its alpha plane is missing." in page


def test_a_picture_of_no_complete_step_is_announced(large: Path, data: bytes, tiny_model: Path, tmp_path: Path) -> None:
    size = read_header(data).header_bytes + 2
    large.write_bytes(data[:size])
    target = tmp_path / "o.png"
    options = ("--partial", "--model", tiny_model, "-o", target)
    shown = f"Warning: {large} is cut: it has {size} of its {len(data)} bytes; "
    result = succeeds(run("decompress", large, *options))
    assert result.stderr.startswith(f"{shown}no step is complete: {target} is made from pure noise, ")
    result = succeeds(run("decompress", large, *options, "--force", "-t", 999))
    assert result.stderr.startswith(f"{shown}{target} is made from pure noise, ")


def test_a_repeated_front(tmp_path: Path, photo: Path, tiny_model: Path) -> None:
    path = tmp_path / "a.dfc"
    succeeds(run("compress", photo, "-t", 20, "--model", tiny_model, "--repeat-front", "-o", path))
    (shown,) = (json.loads(line) for line in succeeds(run("info", path, "--json")).output.splitlines())
    assert shown["copy_bytes"] > 0
    parts = ("header_bytes", "check_bytes", "copy_bytes", "payload_bytes", "alpha_bytes", "metadata_bytes")
    assert sum(shown[part] for part in parts) == shown["file_bytes"]
    whole = path.read_bytes()
    path.write_bytes(bytes(30) + whole[30:])
    fails(run("decompress", path, "--model", tiny_model), "which its checksums correct", "(--partial)")
    result = succeeds(run("decompress", path, "--model", tiny_model, "--partial"))
    assert "bits are wrong, which its checksums correct" in result.stderr
    assert path.with_suffix(".png").is_file()
