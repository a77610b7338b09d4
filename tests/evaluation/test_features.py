"""Networks and their weights, and pictures on the way to them."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torch_fidelity import FeatureExtractorInceptionV3

from diffcodec.errors import CheckpointError, ConfigError
from diffcodec.evaluation.features import image_batches, inception_file, load_inception
from diffcodec.images import Picture
from tests.conftest import smooth_pixels
from tests.evaluation.small_network import CLASSES, DIMS, small_extractor

WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights for the library's Inception: random ones."""
    path = tmp_path_factory.mktemp("inception") / WEIGHTS
    torch.save({}, path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        network = FeatureExtractorInceptionV3("x", ["2048"], feature_extractor_weights_path=path)
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of torch.hub."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints"


def test_inception_takes_a_local_file(weights: Path) -> None:
    extractor = load_inception(weights)
    features = extractor(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
    assert (features.pooled.shape, features.logits.shape) == ((2, 2048), (2, 1008))
    assert len(extractor.digest) == 16


def test_inception_is_fetched_once(weights: Path, hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []

    def fetch(url: str, target: str, **options: object) -> None:
        fetched.append(url)
        Path(target).symlink_to(weights)

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    assert inception_file() == inception_file() == hub / WEIGHTS
    (url,) = fetched
    assert url.startswith("https://github.com/toshas/torch-fidelity/")
    assert url.endswith(WEIGHTS)


def test_without_weights_and_network_it_says_what_to_do(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(
        ConfigError, match=r"cannot be downloaded .*no network.*download https://.* name the file, or set DIFFCODEC"
    ) as error:
        load_inception()
    assert error.value.parameters == ("inception",)


def test_without_the_library_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(ConfigError, match=r"torch-fidelity .* pip install 'diffcodec\[bench\]'"):
        load_inception()


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_files_with_something_else_are_refused_and_no_code_is_run(tmp_path: Path) -> None:
    path, sprung = tmp_path / "file.pth", tmp_path / "sprung"
    with pytest.raises(CheckpointError, match=r"file\.pth: cannot be read"):
        load_inception(path)
    for content in (b"no weights", pickle.dumps(Trap(sprung), protocol=2)):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="found no PyTorch file of tensors"):
            load_inception(path)
    torch.save({"weight": Trap(sprung)}, path)
    with pytest.raises(CheckpointError, match="found no PyTorch file of tensors"):
        load_inception(path)
    assert not sprung.exists()
    for others in ({"weight": torch.zeros(2)}, [torch.zeros(2)]):
        torch.save(others, path)
        with pytest.raises(CheckpointError, match=r"file\.pth: expected the weights .* found other weights"):
            load_inception(path)


def test_extractor_gives_both_outputs_and_an_identity() -> None:
    extractor, again, other = small_extractor(), small_extractor(), small_extractor(seed=1)
    images = torch.from_numpy(smooth_pixels(16, 16).transpose(2, 0, 1)[None].copy())
    features = extractor(images)
    assert (features.pooled.shape, features.logits.shape) == ((1, DIMS), (1, CLASSES))
    assert features.pooled.dtype == torch.float32
    assert extractor.digest == again.digest != other.digest
    again.network.head.bias[2] += 1e-6
    assert small_extractor().digest == extractor.digest
    del again.digest
    assert again.digest != extractor.digest


def test_batches_are_runs_of_one_size() -> None:
    wide, tall = smooth_pixels(8, 12), smooth_pixels(12, 8)
    pictures = [Picture(wide), Picture(wide, wide[..., 0]), Picture(wide[..., 1].copy()), Picture(tall), Picture(wide)]
    batches = list(image_batches(pictures, 2))
    assert [tuple(batch.shape) for batch in batches] == [(2, 3, 8, 12), (1, 3, 8, 12), (1, 3, 12, 8), (1, 3, 8, 12)]
    assert all(batch.dtype == torch.uint8 for batch in batches)
    assert np.array_equal(batches[0][1].numpy(), wide.transpose(2, 0, 1))  # without its alpha plane
    assert np.array_equal(batches[1][0].numpy(), np.stack(3 * [wide[..., 1]]))  # grey


def test_batches_hold_no_more_than_one() -> None:
    read = 0

    def pictures() -> Iterator[Picture]:
        nonlocal read
        for _ in range(100):
            read += 1
            yield Picture(smooth_pixels(4, 4))

    batches = image_batches(pictures(), 3)
    for count in (3, 6):
        next(batches)
        assert read == count
