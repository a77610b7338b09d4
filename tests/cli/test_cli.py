"""The command line, as a person meets it: files in, files out, errors in one line."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffcodec.coding.options import CHANNELS
from diffcodec.coding.targets import DEFAULT_TIMESTEP
from diffcodec.lossless.stored import StoredKind
from diffcodec.model.checkpoint import Checkpoint
from diffcodec.model.locations import DEFAULT_MODEL, PHOTO_MODEL, bundled_models
from tests.commands import fails, run, succeeds
from tests.conftest import make_tiny_checkpoint, smooth_pixels


def test_round_trip_through_files(photo: Path, tiny_model: Path, tmp_path: Path) -> None:
    made, restored = tmp_path / "a.dfc", tmp_path / "a.png"
    result = run("compress", photo, "-t", 5, "--model", tiny_model, "-o", made)
    assert result.exit_code == 0, result.output
    assert f"{made.stat().st_size} bytes" in result.stdout
    assert run("decompress", made, "--model", tiny_model, "-o", restored).exit_code == 0
    with Image.open(restored) as image:
        assert image.size == (14, 11)
        assert image.mode == "RGB"
    assert not list(tmp_path.glob(".diffcodec-*"))


def test_json_has_every_promised_figure(photo: Path, tiny_model: Path, tmp_path: Path) -> None:
    result = run("compress", photo, "-t", 300, "--model", tiny_model, "-o", tmp_path / "a.dfc", "--json")
    values = json.loads(result.stdout)
    promised = (
        "width height timestep steps file_bytes header_bytes side_bits path_bits ideal_bits delivered_bits bpd bpp "
        "psnr_db rmse network_s coding_s"
    )
    assert set(promised.split()) <= set(values)
    assert values["file_bytes"] == (tmp_path / "a.dfc").stat().st_size


def test_defaults_put_results_beside_the_inputs(photo: Path, tiny_model: Path) -> None:
    assert run("compress", photo, "-t", 500, "--model", tiny_model).exit_code == 0
    made = photo.with_suffix(".dfc")
    assert made.exists()
    fails(run("decompress", made, "--model", tiny_model), "photo.png exists", "--force")
    assert run("decompress", made, "--model", tiny_model, "--force").exit_code == 0


def test_nothing_is_overwritten_without_force(photo: Path, tiny_model: Path, tmp_path: Path) -> None:
    target = tmp_path / "keep.dfc"
    target.write_bytes(b"precious")
    fails(run("compress", photo, "-t", 500, "--model", tiny_model, "-o", target), "exists", "--force")
    assert target.read_bytes() == b"precious"
    assert run("compress", photo, "-t", 500, "--model", tiny_model, "-o", target, "--force").exit_code == 0
    assert target.read_bytes() != b"precious"


def test_folder_in_folder_out(tiny_model: Path, tmp_path: Path) -> None:
    pictures, made, restored = tmp_path / "in", tmp_path / "dfc", tmp_path / "out"
    pictures.mkdir()
    for seed in range(3):
        Image.fromarray(smooth_pixels(8, 8, seed)).save(pictures / f"{seed}.png")
    (pictures / "notes.txt").write_text("not a picture")
    assert run("compress", pictures, "-t", 500, "--model", tiny_model, "-o", made).exit_code == 0
    assert sorted(file.name for file in made.iterdir()) == ["0.dfc", "1.dfc", "2.dfc"]
    assert run("decompress", made, "--model", tiny_model, "-o", restored).exit_code == 0
    assert sorted(file.name for file in restored.iterdir()) == ["0.png", "1.png", "2.png"]


def test_one_bad_file_does_not_stop_the_others(photo: Path, tiny_model: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"this is not a picture")
    result = run("compress", bad, photo, "-t", 500, "--model", tiny_model, "-o", tmp_path / "out")
    fails(result, "bad.png")
    assert (tmp_path / "out" / "photo.dfc").exists()
    assert not (tmp_path / "out" / "bad.dfc").exists()


def test_standard_input_and_output(photo: Path, tiny_model: Path) -> None:
    packed = run("compress", "-", "-t", 300, "--model", tiny_model, "-o", "-", stdin=photo.read_bytes())
    assert packed.exit_code == 0
    assert packed.stdout_bytes.startswith(b"\xdfc")
    restored = run("decompress", "-", "--model", tiny_model, stdin=packed.stdout_bytes)
    assert restored.stdout_bytes.startswith(b"\x89PNG")
    fails(run("compress", "-", "-t", 300, "--json", stdin=b""), "--json", "standard output")


def test_coarser_version_from_a_file(stream: Path, tiny_model: Path, tmp_path: Path) -> None:
    result = run("decompress", stream, "-t", 600, "--model", tiny_model, "-o", tmp_path / "c.png")
    assert result.exit_code == 0, result.output
    fails(run("decompress", stream, "-t", 100, "--model", tiny_model, "-o", tmp_path / "d.png"), "finer")
    result = run("decompress", stream, "-t", 1000, "--model", tiny_model, "-o", tmp_path / "e.png")
    assert result.exit_code == 0
    assert "has no step as coarse as t = 1000: this picture is made from pure noise" in result.stderr
    assert not (tmp_path / "d.png").exists()


def test_partial_restores_a_cut_file_and_says_so(stream: Path, tiny_model: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.dfc"
    cut.write_bytes(stream.read_bytes()[:-9])
    fails(run("decompress", cut, "--model", tiny_model, "-o", tmp_path / "x.png"), "cut.dfc", "--partial")
    assert not (tmp_path / "x.png").exists()
    result = run("decompress", cut, "--partial", "--model", tiny_model, "-o", tmp_path / "x.png")
    assert result.exit_code == 0
    assert "unverified" in result.stderr
    assert (tmp_path / "x.png").exists()


def test_info_shows_the_header(stream: Path) -> None:
    values = json.loads(run("info", stream, "--json").stdout)
    assert (values["width"], values["height"], values["mode"]) == (14, 11, "RGB")
    assert (values["timestep"], values["channel"], values["effort"], values["seed"]) == (200, "trellis", 12, 0)
    assert values["complete"]
    assert values["file_bytes"] == stream.stat().st_size
    assert "timestep" in run("info", stream).stdout


def test_models_shows_the_card(tiny_model: Path) -> None:
    shown = run("models", tiny_model).stdout
    assert "tiny-v0" in shown
    assert "default_for" not in shown
    values = json.loads(run("models", tiny_model, "--json").stdout)
    assert values["parameters"] > 50_000
    assert values["default_for"] is None


def test_models_shows_what_a_model_is_the_default_for() -> None:
    head, *lines = [re.split(" {2,}", line) for line in run("models").stdout.split("\n\n")[0].splitlines()]
    assert head[:2] == ["model", "default for"]
    shown = {line[0]: line[1] for line in lines}
    assert shown.keys() == bundled_models().keys()
    assert {name: use for name, use in shown.items() if use != "-"} == {
        DEFAULT_MODEL: "pictures up to 64 x 64",
        PHOTO_MODEL: "larger pictures",
    }


@pytest.mark.parametrize("kind", ["empty", "text", "truncated"])
def test_what_is_not_a_picture_is_named(kind: str, photo: Path, tiny_model: Path, tmp_path: Path) -> None:
    data = {"empty": b"", "text": b"hello", "truncated": photo.read_bytes()[:200]}[kind]
    bad = tmp_path / "bad.png"
    bad.write_bytes(data)
    fails(run("compress", bad, "-t", 500, "--model", tiny_model), "bad.png")
    assert not bad.with_suffix(".dfc").exists()


@pytest.mark.parametrize("data", [b"", b"hello", b"\xdfc", b"\xdfc\x20\0\0"])
def test_what_is_not_a_dfc_file_is_named(data: bytes, tiny_model: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.dfc"
    bad.write_bytes(data)
    fails(run("decompress", bad, "--model", tiny_model), "bad.dfc")
    fails(run("info", bad), "bad.dfc")
    assert not bad.with_suffix(".png").exists()


def test_file_of_another_model_names_both(stream: Path, tiny_checkpoint: object, tmp_path: Path) -> None:
    from diffcodec.model.checkpoint import Checkpoint

    assert isinstance(tiny_checkpoint, Checkpoint)
    assert tiny_checkpoint.tables is not None
    other = make_tiny_checkpoint(3).with_tables(tiny_checkpoint.tables)
    path = tmp_path / "other.safetensors"
    path.write_bytes(other.to_bytes())
    result = run("decompress", stream, "--model", path, "-o", tmp_path / "x.png")
    fails(result, other.fingerprint.hex(), tiny_checkpoint.fingerprint.hex())
    fails(run("decompress", stream, "-o", tmp_path / "x.png"), tiny_checkpoint.fingerprint.hex(), "--model")
    assert not (tmp_path / "x.png").exists()


def test_names_and_folders_that_cannot_be_are_explained(photo: Path, tiny_model: Path, tmp_path: Path) -> None:
    options = ("-t", 500, "--model", tiny_model)
    long = "n" * 300
    fails(run("compress", tmp_path / long, *options), "name too long")
    fails(run("compress", photo, *options, "-o", tmp_path / long), "name too long")
    fails(run("decompress", tmp_path / long), "name too long")
    other = tmp_path / "other.png"
    Image.fromarray(smooth_pixels(8, 8)).save(other)
    fails(run("compress", photo, other, *options, "-o", photo / "sub"), "is a file, expected a folder", "sub")


def test_a_cut_file_that_loses_its_alpha_plane_says_so(tiny_model: Path, tmp_path: Path) -> None:
    pixels = smooth_pixels(6, 6)
    Image.fromarray(np.dstack([pixels, pixels[..., 1]])).save(tmp_path / "a.png")
    assert run("compress", tmp_path / "a.png", "-t", 500, "--model", tiny_model).exit_code == 0
    data = (tmp_path / "a.dfc").read_bytes()
    result = run("decompress", "-", "--partial", "--model", tiny_model, stdin=data[:-6])
    assert "standard input is cut" in result.stderr
    assert "without the alpha plane" in result.stderr
    fails(run("decompress", "-", "--model", tiny_model, stdin=data[:-6]), "standard input is cut")
    fails(run("info", "-", stdin=b"hello"), "standard input is not a .dfc file")
    fails(run("compress", "-", "-t", 9, "--model", tiny_model, stdin=b"hello"), "standard input is not a picture")


def test_training_on_a_device_that_is_not_there_is_explained(tmp_path: Path) -> None:
    fails(run("train", "--device", "warp", "--images", 8, "--out", tmp_path / "run"), "warp", "use the CPU (--device)")
    assert not (tmp_path / "run").exists()


def test_folder_for_results_is_made_late_and_by_its_slash(photo: Path, tiny_model: Path, tmp_path: Path) -> None:
    fails(run("compress", photo, photo.parent, "-t", 500, "--model", "none", "-o", tmp_path / "late"), "photo.dfc")
    fails(run("compress", photo.parent, "-t", 500, "--model", "none", "-o", tmp_path / "late"), "none")
    assert not (tmp_path / "late").exists()
    result = run("compress", photo, "-t", 500, "--model", tiny_model, "-o", f"{tmp_path}/late/")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "late" / "photo.dfc").is_file()


def test_folders_named_like_pictures_are_passed_over(photo: Path, tiny_model: Path) -> None:
    (photo.parent / "folder.png").mkdir()
    result = run("compress", photo.parent, "-t", 500, "--model", tiny_model)
    assert result.exit_code == 0, result.output
    assert photo.with_suffix(".dfc").exists()


def test_the_input_is_never_overwritten_and_two_names_of_one_result_are_found(
    photo: Path, tiny_model: Path, tmp_path: Path
) -> None:
    before, unnamed = photo.read_bytes(), tmp_path / "picture"
    unnamed.write_bytes(before)
    fails(run("compress", unnamed, "-t", 500, "--model", tiny_model, "-o", unnamed, "--force"), "the input itself")
    assert unnamed.read_bytes() == before
    same = tmp_path / "other" / ".." / photo.name
    (tmp_path / "other").mkdir()
    fails(run("compress", photo, same, "-t", 500, "--model", tiny_model, "--force"), "two inputs")


def test_a_format_that_cannot_hold_the_mode_is_refused_before_the_work(tiny_model: Path, tmp_path: Path) -> None:
    pixels = smooth_pixels(6, 6)
    Image.fromarray(np.dstack([pixels, pixels[..., 1]])).save(tmp_path / "a.png")
    assert run("compress", tmp_path / "a.png", "-t", 500, "--model", tiny_model).exit_code == 0
    # The model is not looked for: the refusal comes first.
    result = run("decompress", tmp_path / "a.dfc", "--model", "none", "-o", tmp_path / "a.jpg")
    fails(result, "a.jpg: JPEG cannot hold RGBA")
    assert not (tmp_path / "a.jpg").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("command", ["info", "decompress"])
def test_a_full_standard_output_is_explained(command: str, stream: Path, tiny_model: Path) -> None:
    options = ["--model", str(tiny_model), "-o", "-"] if command == "decompress" else []
    with open("/dev/full", "wb") as full:
        result = subprocess.run(
            [sys.executable, "-m", "diffcodec", command, str(stream), *options],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert result.returncode == 1
    assert result.stderr.startswith("Error: ")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ...")]
)
def test_a_full_memory_is_explained(
    error: Exception, photo: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("diffcodec.codec.DiffusionCodec.compress_batch", full)
    fails(run("compress", photo, "-t", 500, "--model", tiny_model), "photo.png", "not enough memory: cut the picture")


def test_a_defect_of_the_program_is_not_hidden(photo: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def defect(*_: object, **__: object) -> None:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr("diffcodec.codec.DiffusionCodec.compress_batch", defect)
    assert isinstance(run("compress", photo, "-t", 500, "--model", tiny_model).exception, RuntimeError)


def test_missing_files_models_and_devices_are_named(photo: Path, tiny_model: Path, tmp_path: Path) -> None:
    fails(run("compress", tmp_path / "no.png", "-t", 9, "--model", tiny_model), "no.png")
    fails(run("decompress", tmp_path / "no.dfc"), "no.dfc")
    fails(run("compress", photo, "-t", 9, "--model", "no-such-model"), "no-such-model")
    fails(run("compress", photo, "-t", 9, "--model", photo), "photo.png")
    for device in ("warp", "meta", "hpu"):
        fails(
            run("compress", photo, "-t", 9, "--device", device, "--model", tiny_model), device, "use the CPU (--device)"
        )
    fails(run("compress", photo, "-t", 1001, "--model", tiny_model), "timestep", "1000")
    fails(run("compress", photo, "-t", 9, "--model", tiny_model, "-o", tmp_path / "no" / "a.dfc"), "no")


@pytest.mark.parametrize("arguments", [["-t", "-1"], ["-t", "x"], ["-t", "9", "--effort", "7"]])
def test_options_out_of_range_are_rejected_at_the_door(photo: Path, arguments: list[str]) -> None:
    assert run("compress", photo, *arguments).exit_code == 2


def test_grey_and_alpha_come_back_as_they_were(tiny_model: Path, tmp_path: Path) -> None:
    pixels = smooth_pixels(9, 13)
    for mode, array in (("L", pixels[..., 0]), ("RGBA", np.dstack([pixels, pixels[..., 1]]))):
        Image.fromarray(array, mode).save(tmp_path / f"{mode}.png")
        assert run("compress", tmp_path / f"{mode}.png", "-t", 300, "--model", tiny_model).exit_code == 0
        back = tmp_path / f"{mode}-back.png"
        assert run("decompress", tmp_path / f"{mode}.dfc", "--model", tiny_model, "-o", back).exit_code == 0
        with Image.open(back) as image:
            assert image.mode == mode
            if mode == "RGBA":
                assert np.array_equal(np.asarray(image)[..., 3], array[..., 3])


def test_deep_picture_says_what_to_do(tiny_model: Path, tmp_path: Path) -> None:
    Image.new("I;16", (8, 8)).save(tmp_path / "p.png")
    fails(
        run("compress", tmp_path / "p.png", "-t", 300, "--model", tiny_model),
        "p.png: expected at most 8 bits per sample, found 16",
        "reduce it",
    )


def test_calibrate_makes_a_model_that_compresses(photo: Path, tmp_path: Path) -> None:
    raw, made = tmp_path / "raw.safetensors", tmp_path / "made.safetensors"
    raw.write_bytes(make_tiny_checkpoint().to_bytes())
    assert "is not calibrated" in run("compress", photo, "-t", 300, "--model", raw).stderr
    Image.fromarray(smooth_pixels(32, 32)).save(tmp_path / "grid.png")
    result = run(
        "calibrate",
        raw,
        "--data",
        tmp_path / "grid.png",
        "--size",
        8,
        "--limit",
        4,
        "-o",
        made,
        "--card",
        "numbers=none yet",
    )
    assert result.exit_code == 0, result.output
    assert "none yet" in run("models", made).stdout
    result = run("compress", photo, "-t", 300, "--model", made, "--force")
    assert (result.exit_code, result.stderr) == (0, "")
    fails(run("calibrate", raw, "--data", tmp_path / "nothing", "-o", tmp_path / "x"), "nothing")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["compress", "--help"], ["decompress", "--help"], ["info"], ["models"]]
)
def test_the_door_opens_without_torch(arguments: list[str], stream: Path) -> None:
    """What needs no network imports no torch and no scipy, and takes less than half the time of importing torch."""
    if arguments == ["info"]:
        arguments = ["info", str(stream)]
    code = (
        "import sys, time; start = time.process_time()\n"
        "from diffcodec.cli import main\n"
        f"try: main({arguments!r}, standalone_mode=False)\n"
        "finally: print({'torch', 'scipy'} & {*sys.modules} or None, time.process_time() - start, file=sys.stderr)"
    )
    heavy = "import sys, time; start = time.process_time(); import torch; print(time.process_time() - start)"
    result, torch = (
        subprocess.run([sys.executable, "-c", each], capture_output=True, text=True, check=True)
        for each in (code, heavy)
    )
    loaded, seconds = result.stderr.rsplit(maxsplit=1)
    assert loaded == "None"
    assert float(seconds) < float(torch.stdout) / 2


def test_module_runs_as_a_program() -> None:
    command = [sys.executable, "-m", "diffcodec", "--version"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "diffcodec, version" in result.stdout


# ------------------------------------------------------------------------------------------ lossless, -t 0


def save_odd_pictures(folder: Path) -> dict[str, np.ndarray]:
    """Pictures of all modes as files, drawn and smooth, with colours that cannot be seen."""
    pixels = smooth_pixels(6, 7)
    hidden = np.dstack([pixels, np.zeros((6, 7), np.uint8)])
    arrays = {"L": pixels[..., 0], "RGB": pixels, "RGBA": hidden, "flat": np.full((9, 8, 3), 50, np.uint8)}
    arrays["LA"] = hidden[..., [0, 3]]
    for name, array in arrays.items():
        Image.fromarray(array).save(folder / f"{name}.png")
    return arrays


def test_lossless_round_trip_of_every_mode(tiny_model: Path, tmp_path: Path) -> None:
    arrays = save_odd_pictures(tmp_path)
    result = run("compress", tmp_path, "-t", 0, "--model", tiny_model, "-o", tmp_path / "made")
    assert result.exit_code == 0, result.output
    assert result.stdout.count(" bpp, lossless, ") == len(arrays)
    assert "PSNR" not in result.stdout
    result = run("decompress", tmp_path / "made", "--model", tiny_model, "-o", tmp_path / "back")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("t = 0\n") == len(arrays)
    for name, array in arrays.items():
        with Image.open(tmp_path / "back" / f"{name}.png") as image:
            assert np.array_equal(np.asarray(image), array)


def test_lossless_figures_in_json(photo: Path, tiny_model: Path, tmp_path: Path) -> None:
    made = tmp_path / "a.dfc"
    result = run("compress", photo, "-t", 0, "--model", tiny_model, "-o", made, "--json", "--effort", 8)
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    assert (values["timestep"], values["rmse"], values["psnr_db"]) == (0, 0, None)
    assert values["residual_bits"] > 0
    assert values["file_bytes"] == made.stat().st_size
    info = json.loads(run("info", made, "--json").stdout)
    assert (info["timestep"], info["width"], info["height"], info["complete"]) == (0, 14, 11, True)
    # An explicit 0 changes nothing.
    for options in ([], ["-t", "0"], ["--partial"]):
        back = run("decompress", made, *options, "--model", tiny_model, "-o", tmp_path / "b.png", "--force")
        assert back.exit_code == 0, back.output
        with Image.open(tmp_path / "b.png") as image, Image.open(photo) as original:
            assert np.array_equal(np.asarray(image), np.asarray(original))


def test_lossless_through_standard_input_and_output(photo: Path, tiny_model: Path) -> None:
    packed = run("compress", "-", "-t", 0, "--model", tiny_model, "-o", "-", stdin=photo.read_bytes())
    assert packed.exit_code == 0
    restored = run("decompress", "-", "--model", tiny_model, stdin=packed.stdout_bytes)
    with Image.open(io.BytesIO(restored.stdout_bytes)) as image, Image.open(photo) as original:
        assert np.array_equal(np.asarray(image), np.asarray(original))


def test_stored_pictures_have_no_coarser_version_and_no_beginning(tiny_model: Path, tmp_path: Path) -> None:
    Image.fromarray(np.full((9, 8, 3), 50, np.uint8)).save(tmp_path / "flat.png")
    made, target = tmp_path / "flat.dfc", tmp_path / "x.png"
    assert run("compress", tmp_path / "flat.png", "-t", 0, "--model", tiny_model).exit_code == 0
    options = ("--model", tiny_model, "-o", target)
    fails(run("decompress", made, "-t", 100, *options), "flat.dfc", "no coarser version")
    data = made.read_bytes()
    made.write_bytes(data[:-6])
    fails(run("decompress", made, *options), "flat.dfc is cut", "--partial")
    fails(run("decompress", made, "--partial", *options), "flat.dfc is cut", "as a whole")
    made.write_bytes(data[:-9] + b"\x55" + data[-8:])
    fails(run("decompress", made, *options), "flat.dfc is damaged", "checksum")
    assert not target.exists()


def test_a_cut_lossless_file_gives_its_last_step(tiny_model: Path, tmp_path: Path) -> None:
    Image.fromarray(smooth_pixels(3, 7)).save(tmp_path / "a.png")
    made, target = tmp_path / "a.dfc", tmp_path / "x.png"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diffcodec.coding.encoder.store", lambda picture: (StoredKind.PNG, bytes(99_999)))
        assert run("compress", tmp_path / "a.png", "-t", 0, "--model", tiny_model).exit_code == 0
    made.write_bytes(made.read_bytes()[:-12])
    fails(run("decompress", made, "--model", tiny_model, "-o", target), "a.dfc is cut", "--partial")
    result = run("decompress", made, "--partial", "--model", tiny_model, "-o", target)
    assert result.exit_code == 0, result.output
    assert "Warning" in result.stderr
    assert "unverified" in result.stderr
    assert "(t = 0)" not in result.stderr
    with Image.open(target) as image:
        assert image.size == (7, 3)


def test_a_model_without_lossless_tables_says_what_to_do(
    photo: Path, tiny_checkpoint: Checkpoint, tmp_path: Path
) -> None:
    assert tiny_checkpoint.tables is not None
    old = tiny_checkpoint.with_tables(dataclasses.replace(tiny_checkpoint.tables, lossless=None))
    path = tmp_path / "old.safetensors"
    path.write_bytes(old.to_bytes())
    fails(run("compress", photo, "-t", 0, "--model", path), "tiny-v0", "calibrate it", "--model")
    assert not photo.with_suffix(".dfc").exists()


def test_lossless_of_a_lossy_file_is_refused(stream: Path, tiny_model: Path, tmp_path: Path) -> None:
    fails(run("decompress", stream, "-t", 0, "--model", tiny_model, "-o", tmp_path / "x.png"), "timestep")
    assert not (tmp_path / "x.png").exists()


def help_of(*command: str) -> str:
    """The help text of a command on one line."""
    return " ".join(succeeds(run(*command, "--help")).stdout.split())


def test_help_says_that_0_is_lossless() -> None:
    assert "0 is lossless" in help_of("compress")


def test_help_says_what_is_true_of_the_command() -> None:
    for command in ("compress", "decompress"):
        assert "Include subfolders; results keep the folder tree." in help_of(command)
    assert "Include subfolders." in help_of("info")
    for words in (("sample",), ("evaluate", "fid"), ("evaluate", "is")):
        assert "Noise levels from pure noise to t = 1" in help_of(*words)
        assert "[default: all for ancestral, 100 for the others]" in help_of(*words)
    assert "A bundled model or a model file is copied." in help_of("import")


def test_the_channels_of_the_option_are_those_of_the_codec() -> None:
    """The option's module does not import them: that would load numpy and scipy for --help."""
    assert f"--channel [{'|'.join(CHANNELS)}]" in help_of("compress")


@pytest.mark.parametrize("number", ["-1", "0.0"])
def test_numbers_beside_0_are_rejected_at_the_door(photo: Path, number: str) -> None:
    assert run("compress", photo, "-t", number).exit_code == 2
    assert run("decompress", photo, "-t", number).exit_code == 2


def test_a_picture_is_restored_only_to_measure_it(photo: Path, tiny_model: Path, tmp_path: Path) -> None:
    options = ("-t", 300, "--model", tiny_model, "--force", "-o", tmp_path / "a.dfc")
    plain, measured = run("compress", photo, *options), run("compress", photo, *options, "--measure")
    assert "PSNR" not in plain.stdout
    assert "PSNR" in measured.stdout
    values = [json.loads(run("compress", photo, *options, "--json", *more).stdout) for more in ((), ("--measure",))]
    assert (
        [value["psnr_db"] is None for value in values] == [value["rmse"] is None for value in values] == [True, False]
    )
    assert values[0]["file_bytes"] == values[1]["file_bytes"]


# ------------------------------------------------------------------------------------------------- targets


def test_targets_are_met_and_the_timestep_is_shown(photo: Path, tiny_model: Path, tmp_path: Path) -> None:
    made, same = tmp_path / "a.dfc", tmp_path / "same.dfc"
    for option, value in (("--bytes", "90"), ("--bpp", "4.5"), ("--psnr", "25")):
        result = run("compress", photo, option, value, "--measure", "--model", tiny_model, "-o", made, "--force")
        assert result.exit_code == 0, result.output
        pattern = r"(\d+) bytes, ([\d.]+) bpp, t = (\d+), PSNR ([\d.]+) dB, [\d.]+ s\n$"
        found = re.search(pattern, result.stdout)
        assert found, result.stdout
        size, bpp, timestep, psnr_db = found.groups()
        assert int(size) == made.stat().st_size
        reached = {"--bytes": -int(size), "--bpp": -float(bpp), "--psnr": float(psnr_db)}[option]
        assert reached >= float(value) * (1 if option == "--psnr" else -1)
        run("compress", photo, "-t", timestep, "--model", tiny_model, "-o", same, "--force")
        assert same.read_bytes() == made.read_bytes()


def test_a_timestep_that_was_given_is_not_shown(photo: Path, tiny_model: Path) -> None:
    assert "t = " not in run("compress", photo, "-t", 300, "--model", tiny_model).stdout


def test_json_has_what_a_target_reached(photo: Path, tiny_model: Path, tmp_path: Path) -> None:
    result = run("compress", photo, "--bytes", 90, "--model", tiny_model, "-o", tmp_path / "a.dfc", "--json")
    values = json.loads(result.stdout)
    assert values["file_bytes"] <= 90
    assert 1 <= values["timestep"] < 1000


@pytest.mark.parametrize("options", [["-t", "0", "--bpp", "1"], ["--bytes", "90", "--psnr", "30"]])
def test_only_one_way_to_set_the_quality_is_taken(photo: Path, options: list[str]) -> None:
    result = run("compress", photo, *options)
    assert result.exit_code == 2
    assert "only one of --quality, -t, --bytes, --bpp and --psnr" in result.stderr
    assert not photo.with_suffix(".dfc").exists()


def test_a_file_does_not_take_the_name_of_a_picture(photo: Path, tiny_model: Path, tmp_path: Path) -> None:
    result = run("compress", photo, "--model", tiny_model, "-o", tmp_path / "small.JPG")
    fails(result, "small.JPG would be a .dfc file with the suffix of a picture")


def test_a_person_need_not_know_of_timesteps(photo: Path, tiny_model: Path, tmp_path: Path) -> None:
    assert run("compress", photo, "--model", tiny_model).exit_code == 0
    assert (
        run("compress", photo, "--model", tiny_model, "-t", DEFAULT_TIMESTEP, "-o", tmp_path / "b.dfc").exit_code == 0
    )
    assert photo.with_suffix(".dfc").read_bytes() == (tmp_path / "b.dfc").read_bytes()


@pytest.mark.parametrize("option", ["--bytes", "--bpp", "--psnr"])
@pytest.mark.parametrize("value", ["0", "-3", "nan", "inf", "many"])
def test_nonsense_targets_are_refused_before_the_model_is_looked_for(photo: Path, option: str, value: str) -> None:
    result = run("compress", photo, option, value, "--model", "none")
    at_the_door = {"--bytes": ("0", "-3", "nan", "inf"), "--bpp": ("0", "-3"), "--psnr": ()}
    if value == "many" or value in at_the_door[option]:
        assert result.exit_code == 2
        assert option in result.stderr
    else:
        fails(result, "expected a finite", value)


def test_targets_out_of_reach_are_named_with_the_picture_and_the_others_go_on(tiny_model: Path, tmp_path: Path) -> None:
    Image.fromarray(smooth_pixels(8, 8)).save(tmp_path / "opaque.png")
    Image.fromarray(np.dstack([smooth_pixels(8, 8), smooth_pixels(8, 8, 1)[..., 0]])).save(tmp_path / "veiled.png")
    result = run("compress", tmp_path, "--bytes", 60, "--model", tiny_model)
    fails(result, "veiled.png: no file of at most 60 bytes: the coarsest, at t = 1000, takes ")
    assert (tmp_path / "opaque.dfc").stat().st_size <= 60
    assert not (tmp_path / "veiled.dfc").exists()
    result = run(
        "compress",
        "-",
        "--psnr",
        70,
        "--model",
        tiny_model,
        "-o",
        tmp_path / "a.dfc",
        stdin=(tmp_path / "opaque.png").read_bytes(),
    )
    fails(
        result,
        "standard input: a PSNR of 70 dB cannot be reached: the finest lossy file (t = 1) has ",
        "t = 0 is lossless",
    )
    assert not (tmp_path / "a.dfc").exists()


BEFORE_THE_WORK = [
    ("sample", "--model", "none", "-o", "a.png"),
    ("import", "none", "-o", "a.safetensors"),
    ("calibrate", "none", "-o", "a.safetensors"),
    ("compress", "none.png", "--model", "none", "-o", "a.dfc"),
    ("compress", "none.png", "--model", "none", "--resume", "-o", "a.dfc"),
    ("decompress", "none.dfc", "--model", "none", "-o", "a.png"),
]


@pytest.mark.parametrize("command", BEFORE_THE_WORK)
def test_folders_that_do_not_exist_are_reported_before_the_work(command: tuple[str, ...], tmp_path: Path) -> None:
    *arguments, name = command
    result = run(*arguments, tmp_path / "nowhere" / name)
    fails(result, f"{name} cannot be written: the folder", "nowhere does not exist; create it first")


@pytest.mark.parametrize("command", BEFORE_THE_WORK)
def test_folders_that_take_no_files_are_reported_before_the_work(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)  # for root there is no such folder
    *arguments, name = command
    fails(run(*arguments, tmp_path / name), f"{name} cannot be written: no permission to write in the folder")


def test_a_finished_result_needs_no_writable_folder(
    photo: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("-t", 500, "--model", tiny_model, "-o", tmp_path / "a.dfc")
    succeeds(run("compress", photo, *options))
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert "up to date" in succeeds(run("compress", photo, *options, "--resume")).stdout


@pytest.mark.parametrize("name", ["a.dfc", "A.DFC"])
@pytest.mark.parametrize("options", [(), ("-o", "b.dfc"), ("--force",), ("--resume",)])
def test_files_that_are_compressed_already_are_not_compressed_again(
    stream: Path, tiny_model: Path, name: str, options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(stream.parent)
    before = stream.read_bytes()
    stream.rename(name)
    result = run("compress", name, *options, "--model", tiny_model)
    fails(result, f"Error: {name} is a .dfc file already: use decompress or truncate\n")
    assert os.listdir() == [name]
    assert Path(name).read_bytes() == before
