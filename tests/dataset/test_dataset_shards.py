"""Shards are found without listing pictures one by one, and read as streams, damage and all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from diffcodec.config import PICTURE_SUFFIXES
from diffcodec.dataset import shards as shards_module
from diffcodec.dataset.reading import DamagedShard, Row, ShardReader
from diffcodec.dataset.shards import Shard, find_shards
from diffcodec.errors import ConfigError, DatasetError
from tests.dataset.making import png, write_parquet, write_tar

READER = ShardReader(PICTURE_SUFFIXES, "image", "name")


def stems(source: str | Path) -> list[str]:
    return [shard.stem for shard in find_shards(str(source), PICTURE_SUFFIXES)]


def rows_of(shard: Shard) -> list[Row]:
    return [row for chunk in READER.chunks(shard) for row in chunk.rows]


def test_shards_of_folders_are_their_archives_at_any_depth(tmp_path: Path) -> None:
    for name in ("b.tar", "a.tar", "deep/c.tar.gz", ".hidden.tar", "_old.tar", "_manifests/d.tar", "notes.txt"):
        write_tar(tmp_path / name, {})
    assert stems(tmp_path) == ["a", "b", "deep/c"]
    (shard,) = find_shards(str(tmp_path / "a.tar"), PICTURE_SUFFIXES)
    assert (shard.stem, shard.format, shard.source) == ("a", "webdataset", str(tmp_path / "a.tar"))


def test_patterns_name_shards(tmp_path: Path) -> None:
    for name in ("x/a-0.tar", "x/a-1.tar", "y/a-0.tar"):
        write_tar(tmp_path / name, {})
    assert stems(f"{tmp_path}/*/a-0.tar") == ["x/a-0", "y/a-0"]
    assert stems(f"{tmp_path}/{{x,y}}/a-*.tar") == ["x/a-0", "x/a-1", "y/a-0"]
    # Braces are not looked up: the names of a million shards are known without the store.
    assert stems(f"{tmp_path}/x/a-{{0..2}}.tar") == ["a-0", "a-1", "a-2"]
    assert find_shards("s3://bucket/t-{000..001}.tar", PICTURE_SUFFIXES)[1].source == "s3://bucket/t-001.tar"
    with pytest.raises(DatasetError, match="no file matches"):
        stems(f"{tmp_path}/z*.tar")
    with pytest.raises(ConfigError, match="not balanced"):
        stems(f"{tmp_path}/a-{{0..2.tar")
    with pytest.raises(ConfigError, match="tar or Parquet"):
        stems(f"{tmp_path}/a-{{0,1}}.zip")


def test_pictures_of_folders_are_cut_into_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards_module, "FOLDER_SHARD", 3)
    for name in ("b.png", "a.png", "c.png", "c.jpg", "c-1.png", "d.png", ".e.png", "notes.txt", "sub/f.PNG"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"content")
    (tmp_path / "sub" / "again").symlink_to(tmp_path)
    found = find_shards(str(tmp_path), PICTURE_SUFFIXES)
    names = [[row.name for row in rows_of(shard)] for shard in found]
    # c.jpg and c.png would both be c.dfc: one shard has them, and tells them apart.
    assert names == [["a.png", "b.png", "c.jpg", "c.png"], ["c-1.png", "d.png"], ["f.PNG"]]
    assert [shard.stem for shard in found] == ["part-00000", "part-00001", "sub/part-00000"]
    assert [shard.below for shard in found] == ["", "", "sub"]


def test_sources_without_shards_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DatasetError, match=r"expected tar files, Parquet files or files that end in \.png"):
        stems(tmp_path)
    with pytest.raises(DatasetError, match="neither a folder nor"):
        stems(tmp_path / "missing")
    with pytest.raises(DatasetError, match="nonsense"):
        stems("nonsense://x/")
    write_tar(tmp_path / "a.tar", {})
    (tmp_path / "b.png").write_bytes(b"x")
    with pytest.raises(ConfigError, match="several formats, folder and webdataset"):
        stems(tmp_path)


def test_members_of_archives_are_read_in_order(tmp_path: Path) -> None:
    members = {"./1.png": b"one", "1.cls": b"5", "2/x.JPG": b"two", "../3.png": b"x", "/4.png": b"x"}
    path = write_tar(tmp_path / "a.tar", members)
    rows = rows_of(Shard(str(path), "a", "webdataset"))
    assert [(row.name, row.data, row.is_copied) for row in rows[:3]] == [
        ("1.png", b"one", False),
        ("1.cls", b"5", True),
        ("2/x.JPG", b"two", False),
    ]
    assert [bool(row.problem) for row in rows] == [False, False, False, True, True]


@pytest.mark.parametrize("kept", [0, 100, 512, 700, 1024, 1400, 1600])
def test_cut_archives_yield_what_comes_before(tmp_path: Path, kept: int) -> None:
    path = write_tar(tmp_path / "a.tar", {"1.png": b"one", "2.png": 600 * b"x"})
    path.write_bytes(path.read_bytes()[:kept])
    assert names_before_damage(path) == (["1.png"] if kept > 514 else [])


@pytest.mark.parametrize("place", [10, 1024 + 10])
def test_archives_with_a_damaged_header_yield_what_comes_before(tmp_path: Path, place: int) -> None:
    path = write_tar(tmp_path / "a.tar", {"1.png": b"one", "2.png": 600 * b"x"})
    data = bytearray(path.read_bytes())
    data[place] ^= 255
    path.write_bytes(data)
    assert names_before_damage(path) == (["1.png"] if place > 512 else [])


def names_before_damage(path: Path) -> list[str]:
    found: list[str] = []

    def read() -> None:
        for chunk in READER.chunks(Shard(str(path), "a", "webdataset")):
            found.extend(row.name for row in chunk.rows)

    with pytest.raises(DamagedShard, match="damaged after"):
        read()
    return found


def test_tables_have_pictures_and_names_in_several_forms(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    data = png()
    forms: dict[str, tuple[list[dict[str, Any]], list[str]]] = {
        "plain": ([{"image": data, "name": "a", "label": 3}], ["a"]),
        "unnamed": ([{"image": data}, {"image": data}], ["00000000", "00000001"]),
        "hugging": ([{"image": {"bytes": data, "path": "b.png"}, "label": 1}], ["b.png"]),
    }
    for name, (rows, names) in forms.items():
        path = write_parquet(tmp_path / f"{name}.parquet", rows)
        found = rows_of(Shard(str(path), name, "parquet"))
        assert [row.name for row in found] == names
    with pytest.raises(ConfigError, match="no column 'image', only 'x'"):
        rows_of(Shard(str(write_parquet(tmp_path / "x.parquet", [{"x": 1}])), "x", "parquet"))
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(DamagedShard):
        rows_of(Shard(str(broken), "broken", "parquet"))


def test_versions_change_with_sources(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"1.png": b"one"})
    shard = Shard(str(path), "a", "webdataset")
    before = READER.version(shard)
    assert READER.version(shard) == before
    write_tar(path, {"1.png": b"two", "2.png": 20000 * b"2"})
    assert READER.version(shard) != before
    (folder,) = find_shards(str(save(tmp_path / "p", "a.png")), PICTURE_SUFFIXES)
    before = READER.version(folder)
    save(tmp_path / "p", "b.png")
    (again,) = find_shards(str(tmp_path / "p"), PICTURE_SUFFIXES)
    assert READER.version(again) != before


def save(folder: Path, name: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(png())
    return folder
