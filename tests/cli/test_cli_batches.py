"""Folders on the command line: similar pictures are processed in batches, with the same results as one by one."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from diffcodec.bitstream.container import Container, read_container, write_container
from diffcodec.cli.batch import work
from diffcodec.cli.batch.work import Done, ExistingOutput, Item, Task, UpToDate, batches, finish
from diffcodec.cli.failures import Failure
from diffcodec.codec import DiffusionCodec
from diffcodec.coding.progress import ProgressCallback
from diffcodec.errors import ConfigError
from tests.commands import fails, run
from tests.conftest import smooth_pixels


def save(folder: Path, *arrays: np.ndarray) -> Path:
    """Pictures 0.png, 1.png, ... in a new folder."""
    folder.mkdir()
    for number, array in enumerate(arrays):
        Image.fromarray(array).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def alike(tmp_path: Path) -> Path:
    """A folder of four pictures of one kind."""
    return save(tmp_path / "alike", *(smooth_pixels(8, 8, seed) for seed in range(4)))


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Runs of 2, 1, 2, 1 and 1 pictures of one kind."""
    wide, square = smooth_pixels(6, 9), smooth_pixels(8, 8, 1)
    grey, veiled = square[..., 0], np.dstack([wide, wide[..., 1]])
    return save(tmp_path / "mixed", wide, wide[::-1], square, grey, grey.T, veiled, wide)


@pytest.fixture
def batch_sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures the codec was given, call by call."""
    sizes: list[int] = []
    for method in ("compress_batch", "decompress_batch"):
        whole = getattr(DiffusionCodec, method)

        def counted(self: DiffusionCodec, items: Sequence[Any], *, whole: Any = whole, **options: Any) -> Any:
            sizes.append(len(items))
            return whole(self, items, **options)

        monkeypatch.setattr(DiffusionCodec, method, counted)
    return sizes


def contents(folder: Path, pattern: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob(pattern))}


def pixels(folder: Path) -> dict[str, np.ndarray]:
    return {path.name: np.asarray(Image.open(path)).astype(int) for path in sorted(folder.glob("*.png"))}


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(("-t", 5), marks=pytest.mark.slow),
        pytest.param(("-t", 300, "--seed", 7, "--channel", "poisson"), marks=pytest.mark.slow),
        ("-t", 0),
    ],
)
def test_files_and_pictures_do_not_depend_on_batches(
    options: tuple[str | int, ...], mixed: Path, tiny_model: Path, tmp_path: Path, batch_sizes: list[int]
) -> None:
    made = {}
    for name, most in (("together", 16), ("apart", 1)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(work, "MAX_BATCH", most)
            files, restored = tmp_path / f"{name}-dfc", tmp_path / name
            for command in (
                ("compress", mixed, *options, "--model", tiny_model, "-o", files),
                ("decompress", files, "--model", tiny_model, "-o", restored),
            ):
                result = run(*command)
                assert result.exit_code == 0, result.output
                sources = [line.split(" -> ")[0] for line in result.stdout.splitlines() if " -> " in line]
                assert [Path(source).stem for source in sources] == [str(number) for number in range(7)]
        made[name] = contents(files, "*.dfc"), pixels(restored)
    # Grey pictures of 8 x 8 are a run; a file's header does not say whether there is an alpha plane.
    # Lossless files are made one by one.
    sizes = 7 * [1] if options == ("-t", 0) else [2, 1, 2, 1, 1]
    assert batch_sizes == sizes + [2, 1, 2, 2] + 14 * [1]
    assert made["together"][0] == made["apart"][0]
    for together, apart in zip(made["together"][1].values(), made["apart"][1].values(), strict=True):
        assert np.abs(together - apart).max() <= 1


def test_batches_are_bounded_in_pictures_and_in_pixels(
    alike: Path, tiny_model: Path, batch_sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value, sizes in (
        ("MAX_BATCH", 3, [3, 1]),
        ("MAX_BATCH_PIXELS", 150, [2, 2]),
        ("MAX_BATCH_PIXELS", 63, 4 * [1]),
    ):
        batch_sizes.clear()
        monkeypatch.setattr(work, name, value)
        for command in (("compress", alike, "-t", 500), ("decompress", alike)):
            assert run(*command, "--force", "--model", tiny_model).exit_code == 0
        assert batch_sizes == 2 * sizes


def test_targets_and_partial_files_are_done_one_by_one(alike: Path, tiny_model: Path, batch_sizes: list[int]) -> None:
    assert run("compress", alike, "--bytes", 60, "--model", tiny_model).exit_code == 0
    assert batch_sizes == [1, 1, 1, 1]
    cut = alike / "2.dfc"
    cut.write_bytes(cut.read_bytes()[:-5])
    result = run("decompress", alike, "--partial", "--model", tiny_model, "--force")
    assert result.exit_code == 0, result.output
    assert result.stderr.count("Warning") == 1
    assert "2.dfc is cut" in result.stderr
    assert result.stdout.count(" -> ") == 4


def test_seconds_in_json_are_shares_of_the_batch(alike: Path, tiny_model: Path, batch_sizes: list[int]) -> None:
    start = time.perf_counter()
    result = run("compress", alike, "-t", 5, "--model", tiny_model, "--json")
    wall = time.perf_counter() - start
    reports = [json.loads(line) for line in result.stdout.splitlines()]
    assert batch_sizes == [4]
    assert [Path(report["input"]).name for report in reports] == ["0.png", "1.png", "2.png", "3.png"]
    assert 0 < sum(report["network_s"] + report["coding_s"] for report in reports) < wall


def test_files_that_cannot_be_read_or_written_are_named_and_the_others_go_on(
    alike: Path, tiny_model: Path, tmp_path: Path
) -> None:
    (alike / "1.png").write_bytes(b"this is not a picture")
    (alike / "3.dfc").write_bytes(b"precious")
    result = run("compress", alike, "-t", 500, "--model", tiny_model)
    fails(result, "1.png is not a picture", "3.dfc exists")
    assert sorted(contents(alike, "*.dfc")) == ["0.dfc", "2.dfc", "3.dfc"]

    Image.fromarray(smooth_pixels(9, 9)).save(alike / "1.png")
    assert run("compress", alike / "1.png", "-t", 500, "--model", tiny_model).exit_code == 0
    blocked = tmp_path / "out" / "0.png"
    blocked.parent.mkdir()
    blocked.write_bytes(b"precious")
    result = run("decompress", alike, "--model", tiny_model, "--max-pixels", 64, "-o", blocked.parent)
    fails(result, "0.png exists", "1.dfc: the picture has 9 x 9 pixels", "3.dfc is not a .dfc file")
    assert result.stderr.count("Error") == 3
    assert blocked.read_bytes() == b"precious"
    assert sorted(contents(blocked.parent, "*")) == ["0.png", "2.png"]


@pytest.mark.parametrize("damage", ["payload", "alpha"])
def test_damage_behind_a_right_checksum_spoils_one_file_of_the_batch(
    damage: str, tiny_model: Path, tmp_path: Path, batch_sizes: list[int]
) -> None:
    rgba = [np.dstack([smooth_pixels(8, 8, seed), smooth_pixels(8, 8)[..., 0]]) for seed in range(3)]
    folder = save(tmp_path / "veiled", *rgba)
    assert run("compress", folder, "-t", 9, "--model", tiny_model).exit_code == 0
    whole = read_container((folder / "1.dfc").read_bytes())
    payload, alpha = (b"\xff" * 40, whole.alpha) if damage == "payload" else (whole.payload, b"\x09")
    (folder / "1.dfc").write_bytes(write_container(Container(whole.header, payload, alpha)))
    batch_sizes.clear()
    result = run("decompress", folder, "--model", tiny_model, "-o", tmp_path / "out")
    fails(result, "1.dfc is damaged")
    assert batch_sizes == [3, 1, 1, 1]
    assert result.stderr.count("Error") == 1
    assert "0.dfc" not in result.stderr
    assert sorted(pixels(tmp_path / "out")) == ["0.png", "2.png"]


def test_a_batch_that_is_too_much_for_the_memory_is_done_one_by_one(
    alike: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compress_batch = DiffusionCodec.compress_batch

    def narrow(self: DiffusionCodec, pictures: Sequence[Any], **options: Any) -> Any:
        if len(pictures) > 1:
            raise MemoryError
        return compress_batch(self, pictures, **options)

    monkeypatch.setattr(DiffusionCodec, "compress_batch", narrow)
    result = run("compress", alike, "-t", 500, "--model", tiny_model)
    assert result.exit_code == 0, result.output
    assert len(contents(alike, "*.dfc")) == 4


def test_a_defect_that_only_batches_show_is_not_hidden(
    alike: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compress_batch = DiffusionCodec.compress_batch

    def defect(self: DiffusionCodec, pictures: Sequence[Any], **options: Any) -> Any:
        if len(pictures) > 1:
            raise RuntimeError("shapes differ")
        return compress_batch(self, pictures, **options)

    monkeypatch.setattr(DiffusionCodec, "compress_batch", defect)
    assert isinstance(run("compress", alike, "-t", 500, "--model", tiny_model).exception, RuntimeError)


class Clerk:
    """A worker that writes down what it is asked for: files with ! spoil the work of all, those with ? are unreadable.

    Args:
        standings: what there is of results, by source; else they are missing.
    """

    warning = when_full = ""

    def __init__(self, standings: dict[str, ExistingOutput] | None = None) -> None:
        self.standings = standings or {}
        self.events: list[str] = []

    def existing_output(self, task: Task) -> ExistingOutput:
        return self.standings.get(task.source, ExistingOutput.MISSING)

    def read(self, task: Task) -> Item[str]:
        self.events.append(f"read {task.source}")
        if "?" in task.source:
            raise ConfigError(f"{task.source} cannot be read")
        return Item(task, task.source, batch_key=task.source[0], pixels=1)

    def work(self, items: Sequence[Item[str]], progress: ProgressCallback) -> list[str]:
        names = [item.content for item in items]
        self.events.append(f"work {' '.join(names)}")
        if any("!" in name for name in names):
            raise ConfigError(f"{' '.join(names)} makes no sense")
        return names

    def write(self, item: Item[str], result: str, overwrite: bool) -> Done:
        assert item.task.source == result
        self.events.append(f"{'replace' if overwrite else 'write'} {result}")
        return Done(result, {}, 1, 1, 1, 1.0)


def tasks(*sources: str) -> list[Task]:
    return [Task(place, source, "", batch_key=source[0], pixels=1) for place, source in enumerate(sources)]


def test_inputs_are_read_as_batches_need_them_and_reported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "MAX_BATCH", 2)
    clerk = Clerk()
    todo = tasks("a1", "a2", "a3", "b1", "b2!", "c?", "d1")
    found = {task.source: outcome for each in batches(todo) for task, outcome in finish(clerk, each)}
    assert clerk.events == [
        "read a1",
        "read a2",
        "work a1 a2",
        "write a1",
        "write a2",
        "read a3",
        "work a3",
        "write a3",
        "read b1",
        "read b2!",
        "work b1 b2!",
        "work b1",
        "write b1",
        "work b2!",
        "read c?",
        "read d1",
        "work d1",
        "write d1",
    ]
    assert [found.pop(name) for name in ("b2!", "c?")] == [Failure("b2! makes no sense"), Failure("c? cannot be read")]
    assert all(isinstance(outcome, Done) for outcome in found.values())
    assert len(found) == 5


def test_what_is_there_is_worked_on_as_company_and_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    clerk = Clerk({"a1": ExistingOutput.FINISHED, "a3": ExistingOutput.REPLACEABLE, "b1": ExistingOutput.FINISHED})
    (first, second) = batches(tasks("a1", "a2", "a3", "b1", "b?"))
    found = dict(finish(clerk, first))
    assert clerk.events == ["read a1", "read a2", "read a3", "work a1 a2 a3", "write a2", "replace a3"]
    assert [type(found[task]) for task in first] == [UpToDate, Done, Done]
    clerk.events.clear()
    found = dict(finish(clerk, second))
    assert clerk.events == ["read b1", "read b?"]  # there is nobody who needs company
    assert [found[task] for task in second] == [UpToDate(), Failure("b? cannot be read")]
