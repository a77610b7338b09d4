"""The log is read line by line, and is cut where a resumed run goes on."""

import json
import math
from pathlib import Path

import pytest

from diffcodec.training.log import Progress, append_log, cut_log


def line(images: int, rate_bpd: float = 2.5) -> Progress:
    return Progress(images, seconds=1.5, fraction=0.25, loss=0.1, rate_bpd=rate_bpd, learning_rate=1.0)


def images_in(path: Path) -> list[int]:
    return [json.loads(text)["images"] for text in path.read_text().splitlines()]


def test_the_log_has_one_json_object_a_line(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    lines = [line(8), line(16)]
    for progress in lines:
        append_log(path, progress)
    assert [Progress(**json.loads(text)) for text in path.read_text().splitlines()] == lines


def test_what_is_no_number_is_null(tmp_path: Path) -> None:
    append_log(tmp_path / "log.jsonl", line(8, rate_bpd=math.nan))
    assert json.loads((tmp_path / "log.jsonl").read_text())["rate_bpd"] is None


@pytest.mark.parametrize(
    ("drawn", "kept"), [(0, []), (7, []), (8, [8]), (16, [8, 16]), (20, [8, 16]), (99, [8, 16, 24])]
)
def test_lines_after_the_saved_state_go(drawn: int, kept: list[int], tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    for images in (8, 16, 24):
        append_log(path, line(images))
    before = path.read_text()
    cut_log(path, drawn)
    assert images_in(path) == kept
    assert before.startswith(path.read_text())


@pytest.mark.parametrize("rest", ['{"images": 32, "sec', "{}\n", "null\n", "{"])
def test_half_a_line_goes_too(rest: str, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    append_log(path, line(8))
    with path.open("a") as file:
        file.write(rest)
    cut_log(path, 1000)
    append_log(path, line(16))
    assert images_in(path) == [8, 16]


def test_there_may_be_no_log(tmp_path: Path) -> None:
    cut_log(tmp_path / "log.jsonl", 8)
    assert not list(tmp_path.iterdir())
