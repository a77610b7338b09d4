"""The masking diffusion of docs/autoregressive.md is an autoregressive model, and the page says what its code does."""

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

pytestmark = pytest.mark.slow  # its code trains a network

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "autoregressive.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def documented(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All names that the page defines, and what its code printed and drew."""
    folder = tmp_path_factory.mktemp("autoregressive")
    (folder / "benchmarks").symlink_to(ROOT / "benchmarks")
    names: dict[str, Any] = {}
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", DOCUMENT, re.DOTALL | re.MULTILINE))
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(code, "docs/autoregressive.md", "exec"), names)
    return names | {"printed": printed.getvalue(), "drawn": np.asarray(Image.open(folder / "autoregressive.png"))}


def test_the_page_shows_what_its_code_prints(documented: dict[str, Any]) -> None:
    """Up to what training on another machine changes."""
    shown = "".join(re.findall(r"^```text\n(.*?)^```", DOCUMENT, re.DOTALL | re.MULTILINE))
    number = r"[\d.]+"
    assert re.split(number, documented["printed"]) == re.split(number, shown)
    for found, expected in zip(re.findall(number, documented["printed"]), re.findall(number, shown), strict=True):
        assert float(found) == pytest.approx(float(expected), rel=0.1)
    bound, chain_rule = re.findall(r"0\.\d{9}", documented["printed"])
    assert float(bound) == pytest.approx(float(chain_rule), abs=2e-9)


def test_the_picture_is_the_page_s(documented: dict[str, Any]) -> None:
    """Patches and what is masked of them; the completions depend on training."""
    shown = np.asarray(Image.open(ROOT / "docs" / "images" / "autoregressive.png"))
    assert documented["drawn"].shape == shown.shape
    for column in (0, 1, 4, 7):
        part = slice(56 * column, 56 * (column + 1))
        assert np.array_equal(documented["drawn"][:, part], shown[:, part])


def test_bound_and_chain_rule_agree_for_any_network_and_image(documented: dict[str, Any]) -> None:
    torch.manual_seed(1)
    process, values = documented["Masking"](64), torch.randint(0, 2, (20, 64))
    for network in (documented["network"], documented["Network"](64, width=8)):
        bound = documented["bound_nats"](process, network, values)
        assert (bound + documented["log_likelihood_nats"](network, values)).abs().max() < 1e-6
    assert documented["bound_nats"](process, documented["network"], values).mean() > 64 * np.log(
        2
    )  # noise is no picture


def test_the_order_of_masking_matters(documented: dict[str, Any]) -> None:
    """A process that masks the first pixel first has another bound: the agreement is not one of any two numbers."""
    process = documented["Masking"](64)
    process.kernels = process.kernels.flip(1)
    process.from_x_0 = documented["products"](process.kernels)
    bound = documented["bound_nats"](process, documented["network"], documented["test"])
    assert (bound - documented["bound"]).abs().min() > 1e-3


def test_terms_of_the_bound_are_those_of_the_pixels(documented: dict[str, Any]) -> None:
    process, network, values = documented["process"], documented["network"], documented["test"][:5]
    x_0 = documented["states"](values)
    for t in (64, 40, 2):
        x_t = process.q_sample(x_0, t)
        assert (x_t.argmax(dim=2) == 2).sum(dim=1).tolist() == [t] * 5
        term = documented["kl"](process.reverse(x_t, x_0, t), process.reverse(x_t, network(x_t), t))
        guess = network(x_t)[torch.arange(5), 64 - t, values[:, 64 - t]]
        assert torch.allclose(term, -guess.log(), atol=1e-9)


def test_the_reverse_step_copies_and_uncovers_one_pixel(documented: dict[str, Any]) -> None:
    process, x_0 = documented["process"], documented["states"](documented["test"][:3])
    x_t = process.q_sample(x_0, 30)
    q, p = process.reverse(x_t, x_0, 30), process.reverse(x_t, documented["network"](x_t), 30)
    assert torch.equal(q, process.q_sample(x_0, 29))
    others = [place for place in range(64) if place != 34]
    assert torch.equal(p[:, others], q[:, others])
    assert ((p[:, 34] > 0) == torch.tensor([True, True, False])).all()
    assert torch.allclose(p.sum(dim=2), torch.ones(3, 64, dtype=torch.float64))
