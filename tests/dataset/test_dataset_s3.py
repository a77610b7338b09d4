"""Data sets in S3, against moto's server, which speaks the protocol."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.commands import run, succeeds
from tests.dataset.making import make_tars, results_of

pytest.importorskip("s3fs")
server_module = pytest.importorskip("moto.server")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = server_module.ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A bucket as a file system, and the environment in which programs find the server."""
    s3fs = pytest.importorskip("s3fs")
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    store = s3fs.S3FileSystem()
    name = f"bucket-{uuid.uuid4().hex[:8]}"
    store.mkdir(name)
    yield store, name
    s3fs.S3FileSystem.clear_instance_cache()


def test_shards_in_a_bucket(bucket: tuple[Any, str], tmp_path: Path, tiny_model: Path) -> None:
    store, name = bucket
    source = make_tars(tmp_path / "source", shards=2)
    store.put(f"{source}/", f"{name}/deep/source/", recursive=True)
    options = ("-t", 200, "--model", tiny_model, "--workers", 0)
    succeeds(run("dataset", "compress", f"s3://{name}/deep/source", "-o", f"s3://{name}/out", *options))
    succeeds(run("dataset", "compress", source, "-o", tmp_path / "out", *options))
    store.get(f"{name}/out/", f"{tmp_path}/fetched/", recursive=True)
    assert results_of(tmp_path / "fetched") == results_of(tmp_path / "out")
    again = run("dataset", "compress", f"s3://{name}/deep/source", "-o", f"s3://{name}/out", *options, "--json")
    assert '"up_to_date": 2' in again.stdout
    succeeds(run("dataset", "verify", f"s3://{name}/out", "--source", f"s3://{name}/deep/source", "--workers", 0))
    succeeds(run("dataset", "restore", f"s3://{name}/out", "-o", tmp_path / "back", *options[2:]))
    assert set(results_of(tmp_path / "back")) == {"_options.json", "train-000.tar", "train-001.tar"}


def test_results_as_files_and_patterns_in_a_bucket(bucket: tuple[Any, str], tmp_path: Path, tiny_model: Path) -> None:
    store, name = bucket
    source = make_tars(tmp_path / "source", shards=2, pictures=2)
    store.put(f"{source}/", f"{name}/source/", recursive=True)
    options = ("-t", 200, "--model", tiny_model, "--workers", 0)
    pattern = f"s3://{name}/source/train-*.tar"
    succeeds(run("dataset", "compress", pattern, "-o", f"s3://{name}/files", "--to", "folder", *options))
    assert sorted(path.split("/", 2)[2] for path in store.find(f"{name}/files") if path.endswith(".dfc")) == [
        f"train-00{shard}/0{shard}00{place}.dfc" for shard in (0, 1) for place in (0, 1)
    ]
    succeeds(run("dataset", "verify", f"s3://{name}/files", "--source", pattern, "--workers", 0))


def test_a_bucket_that_is_not_there_is_an_error(bucket: tuple[Any, str], tmp_path: Path, tiny_model: Path) -> None:
    source = make_tars(tmp_path / "source", shards=1, pictures=1)
    options = ("-t", 200, "--model", tiny_model, "--workers", 0)
    missing = run("dataset", "compress", "s3://no-such-bucket-here/a.tar", "-o", tmp_path / "out", *options)
    assert missing.exit_code == 1
    assert "s3://no-such-bucket-here/a.tar does not exist" in missing.stderr
    unwritable = run("dataset", "compress", source, "-o", "s3://no-such-bucket-here/out", *options)
    assert unwritable.exit_code == 1
    assert "s3://no-such-bucket-here/out" in unwritable.stderr
    assert isinstance(unwritable.exception, SystemExit)
