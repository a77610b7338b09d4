"""The Python of docs/datasets.md runs, as far as the packages that it needs are installed."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from diffcodec import DiffusionCodec
from tests.dataset.making import png

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "datasets.md").read_text("utf-8"), re.DOTALL | re.M)
PLAIN = "found = work(batch)"
PICTURES = {"a.png": png(32, 48, 1), "b.png": png(32, 48, 2)}


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "photos").mkdir()
    for name, data in PICTURES.items():
        (tmp_path / "photos" / name).write_bytes(data)
    (tmp_path / "photo.png").write_bytes(PICTURES["a.png"])
    return tmp_path


def blocks_with(*words: str) -> list[str]:
    found = [block for block in BLOCKS if any(word in block for word in words)]
    assert found, words
    return found


def run_blocks(blocks: list[str]) -> dict[str, object]:
    names: dict[str, object] = {"__name__": "__main__"}  # so that functions are sent to other processes by value
    for block in blocks:
        exec(compile(block, "datasets.md", "exec"), names)
    return names


def assert_is_a_file_of(data: object, name: str) -> None:
    """A .dfc file of a picture, as the codec restores it."""
    assert isinstance(data, bytes)
    codec = DiffusionCodec.for_size(48, 32)
    assert codec.decompress(data).pixels.shape == (32, 48, 3)
    assert len(data) < len(PICTURES[name])


def test_every_block_is_run_by_a_test() -> None:
    words = (
        "import ray\n",
        "pyspark",
        "datasets import",
        "zarr",
        "numcodecs",
        "work = CompressBatch(timestep=300)  # l",
    )
    assert all(any(word in block for word in words) for block in BLOCKS)


def test_plain_python(workplace: Path) -> None:
    run_blocks(blocks_with(PLAIN))


def test_hugging_face_datasets(workplace: Path) -> None:
    pytest.importorskip("datasets")
    names = run_blocks(blocks_with("datasets import"))
    made = names["made"]
    assert made["label"] == [1, 2]  # type: ignore[index]
    assert_is_a_file_of(made["dfc"][0], "a.png")  # type: ignore[index]
    assert (workplace / "made.parquet").exists()


def test_zarr(workplace: Path) -> None:
    pytest.importorskip("zarr")
    run_blocks(blocks_with("zarr"))


@pytest.mark.slow
def test_spark(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyspark")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java, and there is none")
    parquet = pytest.importorskip("pyarrow.parquet")
    from pyspark.sql import SparkSession

    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    options = {"spark.ui.enabled": "false", "spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}
    builder = SparkSession.builder.master("local[1]")
    for key, value in options.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    try:
        run_blocks(blocks_with("pyspark"))
    finally:
        session.stop()
    rows = sorted(parquet.read_table(workplace / "spark").to_pylist(), key=lambda row: str(row["path"]))
    assert [Path(row["path"]).name for row in rows] == ["a.png", "b.png"]
    assert [row["error"] for row in rows] == ["", ""]
    assert_is_a_file_of(rows[0]["dfc"], "a.png")


@pytest.fixture
def small_ray(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Started in the workplace, whose relative paths its workers read."""
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("RAY_agent_register_timeout_ms", "100000")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=80 << 20, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.usefixtures("small_ray")
def test_ray_data(workplace: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    run_blocks(blocks_with("import ray\n"))
    rows = sorted(parquet.read_table(workplace / "ray").to_pylist(), key=lambda row: str(row["path"]))
    assert [Path(row["path"]).name for row in rows] == ["a.png", "b.png"]
    assert_is_a_file_of(rows[1]["dfc"], "b.png")
