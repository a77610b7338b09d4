"""Two processes share a batch and train one network."""

import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import Tensor, multiprocessing, nn

from diffcodec.cli import main
from diffcodec.config import ModelConfig, TrainingConfig, UNetConfig
from diffcodec.training import loop
from diffcodec.training.loop import Progress, Trainer
from diffcodec.training.parallel import Processes

MODEL = ModelConfig(network=UNetConfig(channels=8, multipliers=(1,), patch=2, blocks=1, embedding_channels=16))
TRAINING = TrainingConfig(batch_size=8, learning_rate=1e-3, warmup_images=0)


def pictures() -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (16, 3, 8, 8), dtype=np.uint8))


def gradient_of(data: Tensor) -> nn.Linear:
    """A module with the gradient of the mean of something over the data."""
    torch.manual_seed(0)
    module = nn.Linear(5, 3)
    module.unused = nn.Parameter(torch.ones(2))  # without a gradient
    (module(data) ** 3).mean().backward()
    return module


def worker(rank: int, port: int, folder: str) -> None:
    """What one of the two processes does; its findings go to a file."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = Processes.from_environment()
    found: dict[str, Any] = {"rank": processes.rank, "count": processes.count, "is_first": processes.is_first}
    data = torch.randn(8, 5, generator=torch.Generator().manual_seed(1))
    found["share"] = processes.share(data)
    module = gradient_of(found["share"])
    processes.average_gradients(module)
    found["gradients"] = {name: p.grad for name, p in module.named_parameters()}
    found["agreed"] = processes.agree(rank + 0.1)

    batches, loss_of = [], loop.training_loss

    def recorded(denoiser: Any, config: TrainingConfig, x_0: Tensor, log_snr: Tensor, eps: Tensor) -> Tensor:
        batches.append((x_0.clone(), log_snr.clone()))
        return loss_of(denoiser, config, x_0, log_snr, eps)

    loop.training_loss = recorded
    trainer = Trainer(MODEL, TRAINING, pictures(), processes=processes)
    lines: list[Progress] = []
    trainer.run(max_images=24, report=lines.append, report_every_s=0.0)
    found["batches"], found["seconds"] = list(batches), trainer.seconds
    found["weights"] = trainer.denoiser.state_dict()
    found["images"] = [line.images for line in lines]

    batches.clear()
    place = Path(folder)
    arguments = ["train", "--data", str(place / "grid.png"), "--size", "8", "--model", str(place / "model.json")]
    arguments += ["--out", str(place / "out"), "--images", "24", "--set", "batch_size=8"]
    result = CliRunner().invoke(main, arguments)
    found["exit_code"], found["output"] = result.exit_code, result.output
    found["command_batches"] = [len(x_0) for x_0, _ in batches]
    torch.save(found, place / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes found."""
    folder = tmp_path_factory.mktemp("processes")
    grid = pictures().reshape(4, 4, 3, 8, 8).permute(0, 3, 1, 4, 2).reshape(32, 32, 3)
    Image.fromarray(grid.numpy()).save(folder / "grid.png")
    (folder / "model.json").write_text('{"network": {"channels": 8, "multipliers": [1], "blocks": 1, "patch": 2}}')
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(worker, (port, str(folder)), nprocs=2)  # type: ignore[no-untyped-call]
    files = {path.name for path in folder.iterdir()}
    assert files == {"grid.png", "model.json", "out", "0.pt", "1.pt"}
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.slow
def test_processes_know_which_they_are(found: list[dict[str, Any]]) -> None:
    assert [(f["rank"], f["count"], f["is_first"]) for f in found] == [(0, 2, True), (1, 2, False)]


@pytest.mark.slow
def test_shares_are_the_batch(found: list[dict[str, Any]]) -> None:
    data = torch.randn(8, 5, generator=torch.Generator().manual_seed(1))
    joined = torch.stack([f["share"] for f in found], dim=1).flatten(0, 1)
    assert torch.equal(joined, data)


@pytest.mark.slow
def test_averaged_gradients_are_those_of_the_whole_batch(found: list[dict[str, Any]]) -> None:
    data = torch.randn(8, 5, generator=torch.Generator().manual_seed(1))
    whole = gradient_of(data)
    for f in found:
        assert f["gradients"]["unused"] is None
        for name in ("weight", "bias"):
            assert torch.allclose(f["gradients"][name], whole.get_parameter(name).grad, atol=1e-6)
    half = gradient_of(found[0]["share"])
    assert not torch.allclose(half.weight.grad, whole.weight.grad, atol=1e-3)


@pytest.mark.slow
def test_all_take_the_first_one_s_clock(found: list[dict[str, Any]]) -> None:
    assert [f["agreed"] for f in found] == [0.1, 0.1]
    assert found[0]["seconds"] == found[1]["seconds"] > 0


@pytest.mark.slow
def test_processes_train_one_network(found: list[dict[str, Any]]) -> None:
    for name, value in found[0]["weights"].items():
        assert torch.equal(found[1]["weights"][name], value)
    assert found[0]["images"] == found[1]["images"] == [8, 16, 24]


@pytest.mark.slow
def test_processes_see_the_batches_of_a_single_one(
    found: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    batches, loss_of = [], loop.training_loss

    def recorded(denoiser: Any, config: TrainingConfig, x_0: Tensor, log_snr: Tensor, eps: Tensor) -> Tensor:
        batches.append((x_0.clone(), log_snr.clone()))
        return loss_of(denoiser, config, x_0, log_snr, eps)

    monkeypatch.setattr(loop, "training_loss", recorded)
    Trainer(MODEL, TRAINING, pictures()).run(max_images=24)
    for step, (x_0, log_snr) in enumerate(batches):
        shares = [f["batches"][step] for f in found]
        assert torch.equal(torch.stack([share[0] for share in shares], dim=1).flatten(0, 1), x_0)
        assert torch.equal(torch.stack([share[1] for share in shares], dim=1).flatten(0, 1), log_snr)
    assert len(batches) == len(found[0]["batches"]) == 3


@pytest.mark.slow
def test_the_command_shares_the_work(found: list[dict[str, Any]]) -> None:
    for f in found:
        assert f["exit_code"] == 0, f["output"]
        assert f["command_batches"] == [4, 4, 4]


@pytest.mark.parametrize("count", [1, 2, 4])
def test_shares_are_disjoint_and_equal(count: int) -> None:
    shares = [Processes(rank, count).share(torch.arange(8)).tolist() for rank in range(count)]
    assert sorted(number for share in shares for number in share) == list(range(8))
    assert {len(share) for share in shares} == {8 // count}


def test_gradients_are_averaged_in_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the other process simulated: its gradients are what the message adds."""
    torch.manual_seed(2)
    data, other_data = torch.randn(4, 5), torch.randn(4, 5)
    module, other = gradient_of(data), gradient_of(other_data)
    messages = []

    def add_other(flat: Tensor) -> None:
        messages.append(len(flat))
        flat += torch.cat([p.grad.flatten() for p in other.parameters() if p.grad is not None])

    monkeypatch.setattr(torch.distributed, "all_reduce", add_other)
    Processes(0, 2).average_gradients(module)
    whole = gradient_of(torch.cat([data, other_data]))
    assert messages == [18]
    assert module.unused.grad is None  # type: ignore[union-attr]
    assert torch.allclose(module.weight.grad, whole.weight.grad, atol=1e-6)  # type: ignore[arg-type]
    assert torch.allclose(module.bias.grad, whole.bias.grad, atol=1e-6)  # type: ignore[arg-type]


def test_one_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    alone = Processes.from_environment()
    assert alone == Processes(0, 1)
    assert alone.is_first
    assert alone.agree(3.5) == 3.5
    data = torch.arange(4)
    assert torch.equal(alone.share(data), data)
    module = gradient_of(torch.ones(2, 5))
    before = module.weight.grad.clone()  # type: ignore[union-attr]
    alone.average_gradients(module)
    assert torch.equal(module.weight.grad, before)  # type: ignore[arg-type]
