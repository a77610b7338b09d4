"""A run that was stopped and is run again ends in the state of one that was not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffcodec.bitstream.container import Shortened, read_container, write_container
from tests.commands import fails, run, succeeds
from tests.conftest import make_tiny_checkpoint, smooth_pixels

ROOT = Path(__file__).parents[2]


def set_time(path: Path, seconds: int) -> None:
    """The time of a file's last change, in seconds from that of now."""
    moment = time.time() + seconds
    os.utime(path, (moment, moment))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of pictures of an hour ago, three of them alike."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number, side in enumerate((8, 8, 8, 9)):
        Image.fromarray(smooth_pixels(side, side, number)).save(folder / f"{number}.png")
        set_time(folder / f"{number}.png", -3600)
    return folder


@pytest.fixture
def compress(pictures: Path, tiny_model: Path, tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Compresses the folder with --resume; returns what became of every picture."""

    def compress(*options: str | int | Path) -> dict[str, str]:
        if not {"-t", "--bytes", "--quality", "--psnr"} & set(options):
            options += "-t", 300
        result = run("compress", pictures, "--model", tiny_model, *options, "-o", tmp_path / "out", "--resume")
        assert "Traceback" not in result.output
        found = {}
        for line in (result.stdout + result.stderr.split("failed:")[0]).splitlines():
            if " -> " in line:
                found[Path(line.split(" -> ")[0]).stem] = "up to date" if line.endswith("up to date") else "done"
            elif line.startswith("Error: "):
                found[Path(line.split()[1]).stem] = line.split(" exists and ")[-1].split(":")[0]
        assert result.exit_code == (0 if set(found.values()) <= {"done", "up to date"} else 1)
        return dict(sorted(found.items()))

    return compress


def state(folder: Path) -> dict[str, bytes | None]:
    """All files of a tree with their bytes; None for a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def test_what_is_done_is_skipped_and_the_rest_gets_the_same_bytes(
    compress: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    assert set(compress().values()) == {"done"}
    whole = state(tmp_path / "out")
    assert set(compress().values()) == {"up to date"}
    for name in ("1.dfc", "3.dfc"):
        (tmp_path / "out" / name).unlink()
    (tmp_path / "out" / ".diffcodec-77-0123456789abcdef.tmp").write_bytes(b"half a file")
    assert compress() == {"0": "up to date", "1": "done", "2": "up to date", "3": "done"}
    assert state(tmp_path / "out") == whole


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        (("-t", 200), "was made with a different timestep"),
        (("-t", 0), "was made with a different timestep"),
        (("--seed", 5), "was made with a different seed"),
        (("--channel", "poisson", "--effort", 9), "was made with a different channel and effort"),
        (("--steps", 4), "was made with a different number of steps"),
        (("--bytes", 15), "misses the target"),
    ],
)
def test_results_of_other_settings_are_kept_and_named(
    options: tuple[str | int, ...], difference: str, compress: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    compress()
    before = state(tmp_path / "out")
    assert compress(*options) == dict.fromkeys("0123", difference)
    assert state(tmp_path / "out") == before


def test_force_replaces_them_once(compress: Callable[..., dict[str, str]], tmp_path: Path) -> None:
    compress()
    (tmp_path / "out" / "1.dfc").write_bytes(b"")
    assert set(compress("--seed", 5, "--force").values()) == {"done"}
    assert set(compress("--seed", 5, "--force").values()) == {"up to date"}


def test_targets_that_are_met_are_done(compress: Callable[..., dict[str, str]]) -> None:
    assert set(compress("--bytes", 90).values()) == {"done"}
    assert set(compress("--bytes", 90).values()) == {"up to date"}


@pytest.mark.parametrize("goal", [("--quality", 30), ("--psnr", 20)])
def test_qualities_and_psnrs_are_not_checked(goal: tuple[str, int], compress: Callable[..., dict[str, str]]) -> None:
    assert set(compress(*goal).values()) == {"done"}
    assert set(compress(*goal).values()) == {"up to date"}


def test_lossless_files_are_done_with_or_without_noise(compress: Callable[..., dict[str, str]], pictures: Path) -> None:
    Image.new("RGB", (8, 8)).save(pictures / "4.png")  # is stored
    assert set(compress("-t", 0, "--seed", 3).values()) == {"done"}
    assert set(compress("-t", 0, "--seed", 3).values()) == {"up to date"}


def test_damaged_files_files_of_other_pictures_and_of_other_models_are_not_done(
    compress: Callable[..., dict[str, str]], pictures: Path, tmp_path: Path
) -> None:
    compress()
    cut, other = tmp_path / "out" / "0.dfc", tmp_path / "out" / "3.dfc"
    cut.write_bytes(cut.read_bytes()[:-1])
    other.write_bytes((tmp_path / "out" / "1.dfc").read_bytes())
    assert compress() == {
        "0": "is not a complete .dfc file",
        "1": "up to date",
        "2": "up to date",
        "3": "holds a picture of a different size",
    }
    shorter, strange = tmp_path / "out" / "1.dfc", tmp_path / "out" / "2.dfc"
    whole = read_container(shorter.read_bytes())
    shorter.write_bytes(write_container(replace(whole, header=replace(whole.header, shortened=Shortened(50, 2)))))
    strange.write_bytes(write_container(replace(read_container(strange.read_bytes()), metadata=b"strange")))
    found = compress()
    assert (found["1"], found["2"]) == ("was shortened by truncate", "is not a complete .dfc file")
    assert set(compress("--force").values()) == {"done"}
    assert set(compress().values()) == {"up to date"}
    model = tmp_path / "other.safetensors"
    model.write_bytes(make_tiny_checkpoint(1).to_bytes())
    assert compress("--model", model)["1"] == "was made with a different model and number of steps"


def test_an_input_that_has_changed_since_is_done_again(
    compress: Callable[..., dict[str, str]], pictures: Path, tmp_path: Path
) -> None:
    compress()
    for name in ("1.png", "3.png"):
        Image.fromarray(smooth_pixels(7, 7, 9)).save(pictures / name)
        set_time(pictures / name, 60)
    assert compress() == {"0": "up to date", "1": "done", "2": "up to date", "3": "done"}
    again = state(tmp_path / "out")
    compress("--force")
    assert again == state(tmp_path / "out")


def test_restored_pictures_are_done_if_they_can_be_read_and_have_the_right_size(
    compress: Callable[..., dict[str, str]], tiny_model: Path, tmp_path: Path
) -> None:
    compress()
    back = tmp_path / "back"
    options = ("decompress", tmp_path / "out", "--model", tiny_model, "-o", back)
    assert run(*options).exit_code == 0
    whole = state(back)
    fails(run(*options), "exists: pass --force")
    (back / "0.png").write_bytes(whole["0.png"][:60])  # type: ignore[index]
    (back / "1.png").unlink()
    (back / "2.png").write_bytes(whole["3.png"])  # type: ignore[arg-type]
    result = run(*options, "--resume")
    fails(result, "0.png exists and cannot be read as a picture", "2.png exists and is a picture of a different size")
    assert (result.stdout.count(": up to date\n"), result.stdout.count(" RGB, t = ")) == (1, 1)
    assert run(*options, "--resume", "--force").exit_code == 0
    assert state(back) == whole
    set_time(tmp_path / "out" / "3.dfc", 60)
    result = run(*options, "--resume")
    fails(result, "3.png exists and is older than")
    assert result.stdout.count(": up to date\n") == 3
    assert run(*options, "--resume", "--force").exit_code == 0


def test_originals_are_not_taken_for_old_results(pictures: Path, tiny_model: Path) -> None:
    assert run("compress", pictures, "-t", 300, "--model", tiny_model).exit_code == 0
    before = state(pictures)
    fails(
        run("decompress", pictures, "--model", tiny_model, "--resume"), *(f"{name}.png exists and" for name in "0123")
    )
    assert state(pictures) == before


@pytest.mark.parametrize("timestep", [0, 300])
def test_files_with_other_metadata_are_not_done(
    timestep: int, compress: Callable[..., dict[str, str]], pictures: Path
) -> None:
    exif = Image.Exif()
    exif[0x010F] = "maker"
    Image.fromarray(smooth_pixels(8, 8)).save(pictures / "1.png", exif=exif)
    set_time(pictures / "1.png", -3600)
    compress("-t", timestep)
    assert set(compress("-t", timestep).values()) == {"up to date"}
    other = "was made with different metadata options"
    assert compress("-t", timestep, "--keep-metadata") == {
        "0": "up to date",
        "1": other,
        "2": "up to date",
        "3": "up to date",
    }
    compress("-t", timestep, "--keep-metadata", "--force")
    assert set(compress("-t", timestep, "--keep-metadata").values()) == {"up to date"}
    assert compress("-t", timestep)["1"] == other


# ------------------------------------------------------------------------------------- killed in the middle


def make_mixed_folder(folder: Path, count: int) -> None:
    """Files of all kinds, good and bad, three quarters of which are pictures that can be compressed."""
    pixels = smooth_pixels(8, 8)
    modes: list[Callable[[int], Image.Image]] = [
        lambda seed: Image.fromarray(smooth_pixels(8, 8, seed)),
        lambda seed: Image.fromarray(smooth_pixels(8, 8, seed)),
        lambda seed: Image.fromarray(smooth_pixels(8, 8, seed)[..., 0]),
        lambda seed: Image.fromarray(np.dstack([smooth_pixels(8, 8, seed), pixels[..., 1]])),
        lambda seed: Image.fromarray(smooth_pixels(6, 9, seed)),
    ]
    good = Image.fromarray(pixels)
    for number in range(count):
        place = folder / ("sub" if number % 3 == 0 else ".") / f"{number:03}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        kind = number % 20
        if kind == 0:
            place.write_bytes(b"")
        elif kind == 1:
            place.write_text("this is no picture")
        elif kind == 2:
            good.save(place)
            place.write_bytes(place.read_bytes()[:-70])
        elif kind == 3:
            Image.fromarray(pixels[..., 0].astype(np.uint16) * 256).save(place)  # 16 bits
        elif kind == 4:
            place.symlink_to("nowhere")
        elif kind == 5:
            place.mkdir()
        elif kind == 6:
            place.with_suffix(".txt").write_text("notes")
        elif kind == 7:
            good.save(place.with_suffix(".jpg"))
            good.save(place)
        elif kind == 8:
            modes[number % len(modes)](number).save(place.with_name(f"{number:03} ü\n.png"))
        else:
            modes[number % len(modes)](number).save(place)


def run_until(arguments: list[str], finished: Callable[[], bool]) -> None:
    """Run the program, and kill it as soon as a condition holds."""
    program = subprocess.Popen(
        [sys.executable, "-m", "diffcodec", *arguments], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not finished():
        assert program.poll() is None, "it was finished before it could be killed"
        time.sleep(0.02)
    program.kill()
    program.wait()


@pytest.mark.parametrize(("count", "jobs"), [(20, 1), pytest.param(200, 2, marks=pytest.mark.slow)])
def test_a_mixed_folder_that_is_killed_in_the_middle_ends_in_the_same_state(
    count: int, jobs: int, tiny_model: Path, tmp_path: Path
) -> None:
    folder, whole, killed = tmp_path / "in", tmp_path / "whole", tmp_path / "killed"
    make_mixed_folder(folder, count)
    options = ["compress", str(folder), "-r", "-t", "100", "--model", str(tiny_model), "--jobs", str(jobs)]

    straight = run(*options, "-o", whole)
    assert straight.exit_code == 1
    failures = [line for line in straight.stderr.splitlines() if line.startswith("Error: ")]
    # Empty, text, cut, deep, and a link to nowhere: named once each as they come, and once more in the end.
    assert len(failures) == count // 20 * 5
    assert len(straight.stderr.splitlines()) == 2 * len(failures) + 1
    pictures = [path for path in folder.rglob("*") if path.is_file() and path.suffix in (".png", ".jpg")]
    made = len(pictures) - count // 20 * 4  # what fails is there as a file, but for the links
    assert sum(value is not None for value in state(whole).values()) == made

    run_until([*options, "-o", str(killed)], lambda: len(list(killed.rglob("*.dfc"))) > made // 4)
    left = len(list(killed.rglob("*.dfc")))
    assert left < made
    (killed / ".diffcodec-1-0123456789abcdef.tmp").write_bytes(b"half a file")
    resumed = run(*options, "-o", killed, "--resume")
    assert resumed.exit_code == 1
    assert [line for line in resumed.stderr.splitlines() if line.startswith("Error: ")] == failures
    assert left <= resumed.stdout.count(": up to date\n") < made
    assert state(killed) == state(whole)


def test_standard_input_has_no_results_to_skip(pictures: Path, tiny_model: Path, tmp_path: Path) -> None:
    result = run("compress", "-", "--resume", "-o", tmp_path / "x.dfc", "--model", tiny_model, stdin=b"")
    fails(result, "--resume needs files")


@pytest.mark.parametrize("goal", [("--quality", 20), ("--psnr", 15)])
def test_a_note_says_what_resume_cannot_check(goal: tuple[str, float], photo: Path, tiny_model: Path) -> None:
    options = ("compress", photo, "--model", tiny_model, *goal)
    assert "Note" not in succeeds(run(*options)).stderr
    note = succeeds(run(*options, "--resume")).stderr
    assert re.fullmatch(rf"Note: .* another {goal[0]}, .* pass --force without --resume\n", note)
    assert succeeds(run(*options, "--resume", "--quiet")).stderr == ""


def test_restored_pictures_do_not_show_their_decoder(stream: Path, tiny_model: Path, tmp_path: Path) -> None:
    options = ("decompress", stream, "--model", tiny_model, "-o", tmp_path / "a.png")
    succeeds(run(*options))
    assert succeeds(run(*options, "--resume")).stderr == ""
    assert (
        "another --decoder or -t, which they do not record"
        in succeeds(run(*options, "--decoder", "flow", "--resume")).stderr
    )
