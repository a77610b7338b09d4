"""`diffcodec dataset` in one process: every form of data, resuming, failures, verification."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffcodec.codec import DiffusionCodec
from diffcodec.dataset import CompressBatch
from diffcodec.images import read_picture
from tests.commands import run, succeeds
from tests.dataset.making import make_tars, png, read_tar, results_of, write_parquet, write_tar

Result = Any


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make_tars(tmp_path / "source")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def compress(source: object, out: object, model: Path, *more: object) -> Result:
    return run("dataset", "compress", source, "-o", out, "-t", 200, "--model", model, "--workers", 0, *more)


def verify(out: object, *more: object) -> Result:
    return run("dataset", "verify", out, "--workers", 0, *more)


def fails(result: Result, *words: str) -> None:
    """Exit code 1 and a line for each failure, which hold the words; no traceback."""
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit)
    lines = result.stderr.splitlines()
    assert {line.split(" ")[0] for line in lines} <= {"Error:", "Note:"}, result.stderr
    errors = "\n".join(line for line in lines if line.startswith("Error:"))
    assert errors
    for word in words:
        assert word in errors, result.stderr


def totals(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_archives_keep_their_samples(source: Path, out: Path, tiny_model: Path) -> None:
    result = totals(succeeds(compress(source, out, tiny_model, "--json")))
    assert (result["done"], result["members"], result["failed"]) == (3, 12, 0)
    members = read_tar(out / "train-001.tar")
    assert list(members)[:4] == ["01000.dfc", "01000.cls", "01001.dfc", "01001.cls"]
    assert members["01002.cls"] == b"2"
    before = read_tar(source / "train-001.tar")
    names = [name for name in before if name.endswith(".png")]
    expected = CompressBatch(timestep=200, model=tiny_model)({"image": [before[name] for name in names]})["dfc"]
    assert [members[name.replace(".png", ".dfc")] for name in names] == expected
    assert result["bpp"] == pytest.approx(8 * result["dfc_bytes"] / result["pixels"])
    succeeds(verify(out, "--source", source))


def test_archives_there_and_back(
    source: Path, out: Path, tiny_model: Path, tmp_path: Path, codec: DiffusionCodec
) -> None:
    succeeds(compress(source, out, tiny_model))
    back = tmp_path / "back"
    succeeds(run("dataset", "restore", out, "-o", back, "--model", tiny_model, "--workers", 0))
    files, pictures = read_tar(out / "train-002.tar"), read_tar(back / "train-002.tar")
    assert list(pictures) == list(read_tar(source / "train-002.tar"))
    for name in ("02000", "02003"):
        expected = codec.decompress(files[f"{name}.dfc"]).pixels
        assert np.array_equal(read_picture(io.BytesIO(pictures[f"{name}.png"])).pixels, expected)
    succeeds(verify(back, "--source", out))


def test_tables_keep_their_columns_and_rows(out: Path, tiny_model: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [{"image": png(seed=k) if k != 2 else b"bad", "name": f"p{k}.png", "label": k} for k in range(4)]
    write_parquet(tmp_path / "source" / "a.parquet", rows)
    fails(compress(tmp_path / "source", out, tiny_model), "a: p2.png is not a picture")
    table = parquet.read_table(out / "a.parquet").to_pylist()
    assert [row["label"] for row in table] == [0, 1, 2, 3]
    assert [row["dfc"] is None for row in table] == [False, False, True, False]
    assert [bool(row["error"]) for row in table] == [False, False, True, False]
    assert {"width", "height", "timestep", "file_bytes", "bpp"} < set(table[0])
    assert not {"image", "coding_s", "network_s"} & set(table[0])
    succeeds(verify(out, "--source", tmp_path / "source"))
    back = tmp_path / "back"
    again = run("dataset", "restore", out, "-o", back, "--model", tiny_model, "--workers", 0)
    fails(again, "a: p2.png: expected the bytes of a .dfc file, found None")
    restored = parquet.read_table(back / "a.parquet").to_pylist()
    assert [(row["label"], row["height"]) for row in restored] == [(0, 9), (1, 9), (2, 0), (3, 9)]
    assert read_picture(io.BytesIO(restored[0]["image"])).pixels.shape == (9, 8, 3)


@pytest.mark.parametrize("format", ["folder", "webdataset", "parquet"])
def test_forms_convert_into_each_other(source: Path, out: Path, tiny_model: Path, tmp_path: Path, format: str) -> None:
    if format == "parquet":
        pytest.importorskip("pyarrow")
    succeeds(compress(source, out, tiny_model, "--to", format))
    succeeds(verify(out, "--source", source))
    back = tmp_path / "back"
    succeeds(run("dataset", "restore", out, "-o", back, "--to", "folder", "--model", tiny_model, "--workers", 0))
    names = sorted(path.name for path in back.rglob("*.png"))
    assert names == sorted(f"{shard:02}{place:03}.png" for shard in range(3) for place in range(4))
    succeeds(verify(back, "--source", out))


def test_folders_of_pictures_keep_their_tree(out: Path, tiny_model: Path, tmp_path: Path) -> None:
    for name in ("a.png", "cats/b.png", "cats/b.jpg", "cats/c.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(seed=len(name)))
    result = succeeds(compress(tmp_path / "photos", out, tiny_model))
    assert "compress --recursive" in result.stderr
    assert set(results_of(out)) == {"_options.json", "a.dfc", "cats/b.dfc", "cats/b.png.dfc", "cats/c.dfc"}
    succeeds(verify(out, "--source", tmp_path / "photos"))


def test_what_is_complete_is_not_done_again(source: Path, out: Path, tiny_model: Path) -> None:
    succeeds(compress(source, out, tiny_model))
    before = results_of(out)
    (out / "_manifests" / "train-001.json").unlink()
    (out / "train-002.tar").unlink()
    (out / ".diffcodec-123-456.tmp").write_bytes(b"left by a killed worker")
    result = totals(succeeds(compress(source, out, tiny_model, "--json")))
    assert (result["done"], result["up_to_date"]) == (2, 1)
    assert results_of(out) == before
    write_tar(source / "train-000.tar", {"new.png": png(7, 8)})
    result = totals(succeeds(compress(source, out, tiny_model, "--json")))
    assert (result["done"], result["up_to_date"]) == (1, 2)
    assert list(read_tar(out / "train-000.tar")) == ["new.dfc"]


def test_other_options_are_refused_unless_forced(source: Path, out: Path, tiny_model: Path) -> None:
    succeeds(compress(source, out, tiny_model))
    before = results_of(out)
    other = ("dataset", "compress", source, "-o", out, "-t", 300, "--model", tiny_model, "--workers", 0, "--json")
    fails(run(*other), "made with another timestep", "(--force)")
    assert results_of(out) == before
    assert totals(succeeds(run(*other, "--force")))["done"] == 3
    assert results_of(out) != before


def test_every_failure_is_named(out: Path, tiny_model: Path, tmp_path: Path) -> None:
    good = {f"{k}.png": png(seed=k) for k in range(3)}
    bad = {"cut.png": png()[:60], "text.jpg": b"no picture", "../out.png": png()}
    write_tar(tmp_path / "source" / "mixed.tar", {**good, **bad})
    cut = write_tar(tmp_path / "source" / "cut.tar", good)
    cut.write_bytes(cut.read_bytes()[:1600])
    result = compress(tmp_path / "source", out, tiny_model)
    fails(result, *bad, "cut.tar is damaged after 1 members")
    assert "_errors.csv" in result.stderr
    assert list(read_tar(out / "mixed.tar")) == ["0.dfc", "1.dfc", "2.dfc"]
    assert list(read_tar(out / "cut.tar")) == ["0.dfc"]
    rows = list(csv.DictReader((out / "_errors.csv").open()))
    assert [(row["shard"], row["name"]) for row in rows] == [
        ("cut", "cut.tar"),
        ("mixed", "../out.png"),
        ("mixed", "cut.png"),
        ("mixed", "text.jpg"),
    ]
    assert all(row["error"] for row in rows)
    succeeds(verify(out, "--source", tmp_path / "source"))
    # They are complete all the same, and named again; or tried again when asked to.
    again = compress(tmp_path / "source", out, tiny_model, "--json")
    assert again.exit_code == 1
    assert (totals(again)["up_to_date"], totals(again)["failed"]) == (2, 4)
    write_tar(tmp_path / "source" / "cut.tar", good)
    retried = compress(tmp_path / "source", out, tiny_model, "--json", "--retry-failed")
    assert (totals(retried)["done"], totals(retried)["failed"]) == (2, 3)


def test_shards_that_cannot_be_read_are_named_and_left_for_the_next_run(
    source: Path, out: Path, tiny_model: Path
) -> None:
    pattern = f"{source}/train-{{000..003}}.tar"
    fails(compress(pattern, out, tiny_model), "train-003.tar does not exist")
    assert sorted(path.stem for path in (out / "_manifests").iterdir()) == ["train-000", "train-001", "train-002"]
    fails(verify(out, "--source", pattern), "train-003 has no manifest")
    write_tar(source / "train-003.tar", {"late.png": png()})
    assert totals(succeeds(compress(pattern, out, tiny_model, "--json")))["done"] == 1
    assert not (out / "_errors.csv").exists()


def change(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[600] ^= 1
    path.write_bytes(bytes(data))


def test_verification_finds_what_is_wrong(source: Path, out: Path, tiny_model: Path) -> None:
    succeeds(compress(source, out, tiny_model))
    assert totals(succeeds(verify(out, "--json")))["members"] == 12
    change(out / "train-001.tar")
    fails(verify(out), "train-001.tar")
    (out / "train-001.tar").unlink()
    fails(verify(out), "train-001.tar does not exist")
    write_tar(source / "train-000.tar", {"new.png": png()})
    fails(verify(out, "--source", source), "train-000.tar has changed", "train-001.tar does not exist")
    fails(verify(source), "holds no results")


def test_results_never_mix_with_their_source(source: Path, tiny_model: Path) -> None:
    before = results_of(source)
    for given, out in ((source, source), (source, f"{source}/train-000.tar"), (source / "train-000.tar", source)):
        fails(compress(given, out, tiny_model), "would mix results with their source")
    assert results_of(source) == before


def test_stores_other_than_files(source: Path, tiny_model: Path, out: Path) -> None:
    """fsspec's memory:// stands for all: it is no file system, and has no names that change."""
    fsspec = pytest.importorskip("fsspec")
    store = fsspec.filesystem("memory")
    store.put(str(source), "memory://bucket/", recursive=True)
    try:
        succeeds(compress("memory://bucket/source", "memory://bucket/out", tiny_model))
        succeeds(verify("memory://bucket/out", "--source", "memory://bucket/source"))
        succeeds(compress(source, out, tiny_model))
        assert store.cat_file("/bucket/out/train-001.tar") == (out / "train-001.tar").read_bytes()
        result = totals(succeeds(compress("memory://bucket/source", "memory://bucket/out", tiny_model, "--json")))
        assert result["up_to_date"] == 3
        several = run("dataset", "compress", "memory://bucket/source", "-o", out, "--workers", 2)
        fails(several, "memory:// exists in one process only", "(--workers)")
    finally:
        store.rm("/bucket", recursive=True)
