"""The fuzzers' targets, mutations and seeds without Atheris, and a bounded run with it."""

from __future__ import annotations

import importlib.util
import random
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from diffcodec.bitstream.container import read_container
from diffcodec.errors import DiffCodecError
from diffcodec.images import Picture
from diffcodec.model.model_file import read_model_file
from fuzz import targets
from fuzz.mutators import MUTATORS, PNG_SIGNATURE, Mutate, png_chunks, png_of, with_checksums
from fuzz.run import NO_ATHERIS, ROOT, fuzzer
from fuzz.seeds import seeds_of, write_seeds
from fuzz.targets import TARGETS

EXECUTIONS = {"container": 400, "decode": 30, "pictures": 150, "models": 20}
SECONDS = 20


def changing(choice: random.Random) -> Mutate:
    """Some changes that libFuzzer makes, too."""

    def change(data: bytes, max_size: int) -> bytes:
        changed = bytearray(data or b"\0")
        for _ in range(choice.choice((1, 1, 2, 9))):
            place = choice.randrange(len(changed))
            changed[place] = choice.randrange(256)
            if choice.random() < 0.3:
                changed[place:place] = choice.randbytes(choice.randrange(9))
            elif choice.random() < 0.3:
                del changed[place : place + choice.randrange(9)]
            changed = changed or bytearray(1)
        return bytes(changed[:max_size])

    return change


@pytest.mark.parametrize("target", TARGETS)
def test_seeds_and_some_mutations_meet_nothing_foreign(target: str) -> None:
    seeds, choice = list(seeds_of(target)), random.Random(1)
    for data in seeds:
        TARGETS[target](data)
    for seed in range(EXECUTIONS[target]):
        changed = MUTATORS[target](choice.choice(seeds), 20_000, seed, changing(choice))
        assert len(changed) <= 20_000
        TARGETS[target](changed)


def accepted(target: str, read: Callable[[bytes], object]) -> float:
    """Share of a target's mutations that a reader accepts."""
    seeds, choice, good = list(seeds_of(target)), random.Random(2), 0
    for seed in range(300):
        try:
            read(MUTATORS[target](choice.choice(seeds), 400_000, seed, changing(choice)))
        except DiffCodecError:
            continue
        good += 1
    return good / 300


def test_most_mutations_pass_the_checksums() -> None:
    """Without the correction next to none do."""
    assert accepted("container", read_container) > 0.3


def test_some_mutated_models_are_read(tmp_path: Path) -> None:
    def read(data: bytes) -> None:
        path = tmp_path / "model.safetensors"
        path.write_bytes(data)
        read_model_file(path)

    assert 0.02 < accepted("models", read) < 0.98


def test_corrected_checksums_are_those_of_the_writer() -> None:
    for data in seeds_of("container"):
        try:
            read_container(data)
        except DiffCodecError:
            continue
        assert with_checksums(data) == data
        assert with_checksums(data[:-1] + bytes([data[-1] ^ 1])) == data


def test_png_files_are_taken_apart_and_put_together() -> None:
    found = [data for data in seeds_of("pictures") if data.startswith(PNG_SIGNATURE)]
    assert len(found) > 5
    for data in found:
        assert png_of(png_chunks(data)) == data


def test_what_is_foreign_gets_out(monkeypatch: pytest.MonkeyPatch) -> None:
    data = next(seeds_of("decode"))

    def broken(*arguments: object, **options: object) -> Picture:
        raise IndexError

    monkeypatch.setattr("diffcodec.coding.stream.ParsedStream.parse", broken)
    for target in ("container", "decode"):
        with pytest.raises(IndexError):
            TARGETS[target](data)
    monkeypatch.setattr(targets, "read_picture", broken)
    with pytest.raises(IndexError):
        TARGETS["pictures"](data)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason=NO_ATHERIS)
@pytest.mark.parametrize("target", TARGETS)
def test_a_short_run_finds_nothing(target: str, tmp_path: Path) -> None:
    command = fuzzer(target, tmp_path, seconds=SECONDS)
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    executed = re.search(r"number_of_executed_units: (\d+)", result.stderr)
    assert executed is not None
    assert int(executed[1]) > len(list((tmp_path / "seeds").iterdir()))
    assert list((tmp_path / "corpus").iterdir())  # new inputs, which reached something new
    assert not list((tmp_path / "found").iterdir())


def test_every_target_has_a_file_for_oss_fuzz(tmp_path: Path) -> None:
    assert {path.stem for path in (ROOT / "fuzz").glob("fuzz_*.py")} == {f"fuzz_{target}" for target in TARGETS}
    assert write_seeds("models", tmp_path) == 3
