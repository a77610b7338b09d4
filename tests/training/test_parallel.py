"""Two processes share a batch and train one network: the one that a single process trains."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from diffcodec.config import ModelConfig, UNetConfig
from diffcodec.errors import CheckpointError, ConfigError
from diffcodec.training.config import TrainingConfig
from diffcodec.training.log import Progress
from diffcodec.training.loop import Trainer
from diffcodec.training.parallel import Processes

ROOT = Path(__file__).parents[2]
MODEL = ModelConfig(network=UNetConfig(channels=8, multipliers=(1,), patch=2, blocks=1, embedding_channels=16))
TRAINING = TrainingConfig(batch_size=8, learning_rate=1e-3, warmup_images=0)


def pictures() -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (16, 3, 8, 8), dtype=np.uint8))


def trained(processes: Processes, accumulate: int) -> dict[str, Any]:
    """A short run: its log and its weights."""
    trainer = Trainer(MODEL, TRAINING, pictures(), processes=processes, accumulate=accumulate)
    lines: list[Progress] = []
    trainer.run(max_images=32, report=lines.append, report_every_s=0.0)
    return {
        "log": [asdict(line) for line in lines],
        "weights": trainer.denoiser.state_dict(),
        "average": trainer.averaged_weights(),
    }


def work(folder: Path) -> None:
    """What each of two processes does; its findings go to a file."""
    torch.set_num_threads(1)
    with Processes.from_environment() as processes:
        found = {
            "processes": asdict(processes),
            "agreed": processes.agree(processes.rank + 0.1),
            "mean": processes.mean(torch.tensor(processes.rank + 1.0)),
            "runs": [trained(processes, accumulate) for accumulate in (1, 2)],
        }
        torch.save(found, folder / f"{processes.rank}.pt")


def torchrun(*arguments: str, processes: int = 2) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def commanded(folder: Path, *more: str) -> list[str]:
    """Arguments of `diffcodec train` on a grid of pictures."""
    if not (folder / "grid.png").exists():
        grid = pictures().reshape(4, 4, 3, 8, 8).permute(0, 3, 1, 4, 2).reshape(32, 32, 3)
        Image.fromarray(grid.numpy()).save(folder / "grid.png")
        (folder / "model.json").write_text(json.dumps(MODEL.to_dict()))
    arguments = ["-m", "diffcodec", "train", "--data", str(folder / "grid.png"), "--size", "8", "--set", "batch_size=8"]
    return [*arguments, "--model", str(folder / "model.json"), "--out", str(folder / "out"), *more]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes found."""
    folder = tmp_path_factory.mktemp("processes")
    result = torchrun(__file__, str(folder))
    assert result.returncode == 0, result.stderr
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.slow
def test_processes_know_which_they_are(found: list[dict[str, Any]]) -> None:
    expected = [{"rank": rank, "count": 2, "local_rank": rank, "local_count": 2} for rank in range(2)]
    assert [f["processes"] for f in found] == expected


@pytest.mark.slow
def test_all_take_the_first_one_s_clock_and_everybody_s_mean(found: list[dict[str, Any]]) -> None:
    assert [f["agreed"] for f in found] == [0.1, 0.1]
    assert [f["mean"] for f in found] == [1.5, 1.5]


@pytest.mark.slow
@pytest.mark.parametrize("run", [0, 1], ids=["at once", "in two parts"])
def test_two_processes_do_what_one_does(found: list[dict[str, Any]], run: int) -> None:
    """The same loss curve and the same weights, up to the order of sums."""
    alone = trained(Processes(), accumulate=1)
    for f in found:
        shared = f["runs"][run]
        assert [line["images"] for line in shared["log"]] == [8, 16, 24, 32]
        for line, expected in zip(shared["log"], alone["log"], strict=True):
            assert line["loss"] == pytest.approx(expected["loss"], rel=1e-5)
            assert line["learning_rate"] == expected["learning_rate"]
        for part in ("weights", "average"):
            assert shared[part].keys() == alone[part].keys()
            for name, value in alone[part].items():
                assert torch.allclose(shared[part][name], value, atol=1e-6), name
                assert torch.equal(shared[part][name], found[0]["runs"][run][part][name])


def test_one_process_starts_elsewhere_and_ends_elsewhere() -> None:
    """The comparison above would see a network that is not trained, or by other gradients."""
    whole = trained(Processes(), accumulate=1)["weights"]
    start = Trainer(MODEL, TRAINING, pictures()).denoiser.state_dict()
    assert not torch.allclose(whole["network.out.weight"], start["network.out.weight"], atol=1e-4)


@pytest.mark.slow
def test_the_command_shares_the_work_and_goes_on_with_another_number(tmp_path: Path) -> None:
    result = torchrun(*commanded(tmp_path, "--images", "48", "--save-every", "0.001s"))
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("wrote ") == 1
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"state.pt", "log.jsonl", "model.safetensors"}
    assert not any(name.startswith("module.") for name in torch.load(tmp_path / "out" / "state.pt")["weights"])
    result = subprocess.run(
        [sys.executable, *commanded(tmp_path, "--images", "64", "--resume")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert torch.load(tmp_path / "out" / "state.pt")["drawn"] == 64


FAILING = """
import os, signal, sys
from diffcodec.cli import main
from diffcodec.errors import ImageError
from diffcodec.training.loop import Trainer

step, how = Trainer.step, sys.argv.pop(1)

def failing(trainer, fraction):
    if trainer.batches.drawn == 16 and trainer.processes.rank == 1:
        if how == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        raise ImageError("cat.jpg: is damaged")
    return step(trainer, fraction)

Trainer.step = failing
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["dies", "raises"])
def test_nobody_waits_for_a_process_that_has_failed(how: str, tmp_path: Path) -> None:
    """Not even without torchrun, which ends the others."""
    (tmp_path / "failing.py").write_text(FAILING)
    arguments = [str(tmp_path / "failing.py"), how, *commanded(tmp_path, "--images", "80000")[2:]]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "WORLD_SIZE": "2"}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    started = [
        subprocess.Popen(
            [sys.executable, *arguments], env=environment | {"RANK": rank}, stderr=subprocess.PIPE, text=True
        )
        for rank in "01"
    ]
    errors = [process.communicate(timeout=90)[1] for process in started]
    assert started[0].returncode == 1
    assert "process 0: another process has ended" in errors[0]
    assert "Traceback" not in errors[0] + errors[1]
    assert how == "dies" or "cat.jpg: is damaged" in errors[1]


@pytest.mark.parametrize("count", [1, 2, 4])
def test_shares_are_disjoint_and_equal(count: int) -> None:
    shares = [Processes(rank, count).share(torch.arange(8)).tolist() for rank in range(count)]
    assert sorted(number for share in shares for number in share) == list(range(8))
    assert {len(share) for share in shares} == {8 // count}


def test_one_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with Processes.from_environment() as alone:
        assert alone == Processes(0, 1, 0, 1)
        assert alone.is_first
        assert alone.agree(3.5) == 3.5
        assert alone.mean(torch.tensor(2.5)) == 2.5
        data, module = torch.arange(4), nn.Linear(2, 2)
        assert torch.equal(alone.share(data), data)
        assert alone.joined(module) is module


def test_a_rank_that_another_tool_has_left_behind_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert Processes.from_environment() == Processes()


@pytest.mark.parametrize(
    "error",
    [
        "[tcp/pair.cc:525] Connection closed by peer [10.0.0.2]:24567",
        "[tcp/unbound_buffer.cc:78] Timed out waiting 600000ms for recv operation to complete",
    ],
)
def test_a_process_that_is_left_alone_says_so(error: str) -> None:
    with pytest.raises(ConfigError, match="process 1: another process has ended"), Processes(1, 2):
        raise RuntimeError(error)


def test_others_that_cannot_be_met_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(ConfigError, match=r"the other processes cannot be reached .*start all of them with torchrun"):
        Processes.from_environment()


def test_every_process_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert Processes(3, 4, 1, 2).device("cuda") == torch.device("cuda", 1)
    assert chosen == [1]
    assert Processes(3, 4, 1, 2).device("cuda:0") == torch.device("cuda", 0)
    assert Processes(3, 4, 1, 2).device("cpu") == torch.device("cpu")
    assert Processes().device("cuda") == torch.device("cuda")
    with pytest.raises(ConfigError, match=r"4 processes on a machine with 2 GPUs: start 2 processes"):
        Processes(2, 4, 2, 4).device("cuda")


def test_a_state_of_another_place_than_the_first_process_s_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if every machine had a folder of its own."""
    trainer = Trainer(MODEL, TRAINING, pictures())
    trainer.run(max_images=16)
    trainer.save_state(tmp_path / "state.pt")
    monkeypatch.setattr(Processes, "joined", lambda self, module: module)
    monkeypatch.setattr(Processes, "agree", lambda self, value: 24.0)
    second = Trainer(MODEL, TRAINING, pictures(), processes=Processes(1, 2))
    with pytest.raises(
        CheckpointError, match="process 1 found a state after 16 images, process 0 after 24: all machines"
    ):
        second.load_state(tmp_path / "state.pt")


if __name__ == "__main__":
    work(Path(sys.argv[1]))
