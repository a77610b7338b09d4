"""Imports point down the layers of the house, and only there."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "diffcodec"

# From the bottom up. A unit imports from lower layers or from itself, never from its neighbours.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("json_config", "files", "devices"),
    ("config",),
    ("diffusion", "channel", "bitstream", "images"),
    ("lossless", "diffusers_format", "latent"),
    ("model",),
    ("coding",),
    ("codec",),
    (
        "calibration",
        "conformance",
        "evaluation",
        "training",
        "view",
        "pillow_plugin",
        "diffusers_model",
        "dataset",
        "chunks",
    ),
    ("cli",),
)
WITHOUT_NETWORKS = {"errors", "json_config", "config", "files", "channel", "bitstream", "images", "lossless"}
DEVICE_SEARCH = Path("channel", "device_search.py")
"""The one file below there that may import torch: the search on a GPU."""
TORCH_FREE = (
    "coding.canvas",
    "coding.context",
    "coding.matching",
    "coding.step_coding",
    "coding.step_plan",
    "coding.stream",
    "coding.truncation",
    "model.description",
)
"""Modules that files are described and shortened with."""
HEIGHT = {unit: height for height, layer in enumerate(LAYERS) for unit in layer}
FILES = sorted(PACKAGE.rglob("*.py"))


def unit_of(path: Path) -> str:
    """The top-level module or folder that a file belongs to; the package itself, and its entry point, are ''."""
    first = path.relative_to(PACKAGE).parts[0]
    return "" if first in ("__init__.py", "__main__.py") else first.removesuffix(".py")


def imported_modules(path: Path) -> set[str]:
    """Full names of all modules that a file imports, at its top or inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            if node.module == "diffcodec":
                found.update(f"diffcodec.{alias.name}" for alias in node.names)
            found.add(node.module)
    return found


def package_of(module: str) -> str:
    return module.split(".")[0]


def imported_units(path: Path) -> set[str]:
    """Units of diffcodec that a file imports from."""
    names = (name.split(".") for name in imported_modules(path))
    return {parts[1] for parts in names if parts[0] == "diffcodec" and len(parts) > 1}


def relative(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def test_the_walk_finds_what_is_there() -> None:
    assert {"diffusion", "training", "cli", "codec", ""} <= {unit_of(path) for path in FILES}
    assert "diffusion" in imported_units(PACKAGE / "training" / "loop.py")
    assert "torchvision.datasets" in imported_modules(PACKAGE / "training" / "data.py")  # inside a function


def test_there_are_few_layers() -> None:
    assert len(LAYERS) <= 10
    assert len(HEIGHT) == sum(map(len, LAYERS))


def test_the_entry_point_is_the_command_line() -> None:
    assert imported_units(PACKAGE / "__main__.py") == {"cli"}


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_every_unit_has_a_layer(path: Path) -> None:
    assert unit_of(path) in {"", *HEIGHT}


@pytest.mark.parametrize("path", [path for path in FILES if unit_of(path)], ids=relative)
def test_imports_point_down(path: Path) -> None:
    own = unit_of(path)
    for unit in imported_units(path) - {own}:
        assert unit in HEIGHT, f"{relative(path)} imports the unknown diffcodec.{unit}"
        assert HEIGHT[unit] < HEIGHT[own], f"{relative(path)} imports diffcodec.{unit}, which is not below {own}"


@pytest.mark.parametrize("unit", ["channel", "bitstream"])
def test_the_halves_of_the_codec_do_not_meet(unit: str) -> None:
    others = {"diffusion", "channel", "bitstream", "training"} - {unit}
    for path in FILES:
        if unit_of(path) == unit:
            assert not imported_units(path) & others
        if unit_of(path) == "diffusion":
            assert unit not in imported_units(path)


@pytest.mark.parametrize("unit", sorted(WITHOUT_NETWORKS))
def test_what_has_no_networks_does_not_import_torch(unit: str) -> None:
    for path in FILES:
        if unit_of(path) == unit and path.relative_to(PACKAGE) != DEVICE_SEARCH:
            packages = set(map(package_of, imported_modules(path)))
            assert not {"torch", "torchvision", "safetensors"} & packages, relative(path)


def test_only_the_codec_imports_the_search_on_a_device() -> None:
    """Or importing channels would load torch."""
    assert (PACKAGE / DEVICE_SEARCH).is_file()
    found = [relative(path) for path in FILES if "diffcodec.channel.device_search" in imported_modules(path)]
    assert found == ["codec.py"]


def test_only_the_entropy_coder_imports_constriction() -> None:
    found = {path.relative_to(PACKAGE) for path in FILES if "constriction" in map(package_of, imported_modules(path))}
    assert Path("bitstream", "entropy.py") in found
    assert {path.parts[0] for path in found} == {"bitstream"}
    assert not {path.name for path in found} & {"container.py", "header.py", "layout.py", "lengths.py"}


def test_only_the_command_line_imports_click() -> None:
    assert {unit_of(path) for path in FILES if "click" in imported_modules(path)} == {"cli"}


def test_training_knows_diffusion_and_nothing_else() -> None:
    for path in FILES:
        if unit_of(path) == "training":
            assert imported_units(path) <= {
                "training",
                "diffusion",
                "config",
                "json_config",
                "errors",
                "files",
                "devices",
            }


def test_no_module_is_called_utils() -> None:
    vague = {"utils", "util", "helpers", "common", "misc"}
    assert not [relative(path) for path in FILES if vague & set(path.relative_to(PACKAGE).with_suffix("").parts)]


def test_public_names_exist() -> None:
    import diffcodec

    for name in diffcodec.__all__:
        assert getattr(diffcodec, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = diffcodec.nonsense


def loaded_by(statements: str) -> set[str]:
    """Top-level modules that another process has loaded after some statements."""
    code = f"import sys\n{statements}\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


@pytest.mark.parametrize("module", ["diffcodec", "diffcodec.cli"])
def test_importing_waits_for_nothing(module: str) -> None:
    assert not {"torch", "scipy", "constriction", "torchvision", "PIL"} & loaded_by(f"import {module}")


@pytest.mark.parametrize("module", TORCH_FREE)
def test_files_are_described_and_shortened_without_torch(module: str) -> None:
    assert not {"torch", "torchvision"} & loaded_by(f"import diffcodec.{module}")


def test_help_does_not_wait_for_torch() -> None:
    """Also the help of every command: the modules behind it are imported when it runs."""
    assert "torch" not in loaded_by(
        "import importlib, pkgutil, diffcodec.cli as cli\n"
        "for module in pkgutil.walk_packages(cli.__path__, 'diffcodec.cli.'): importlib.import_module(module.name)"
    )
