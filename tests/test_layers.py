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
    ("deflate",),
    ("config", "transform", "metadata"),
    ("diffusion", "channel", "bitstream", "images", "files", "tables", "targets", "tiling", "devices"),
    ("plane", "prior", "diffusers_format", "uncalibrated", "results", "lossless", "device_search", "sheets"),
    ("checkpoint", "diffusers_model", "messages"),
    ("walk",),
    ("last_step", "decoders"),
    ("compression", "decompression", "fitting"),
    ("target_search", "truncation"),
    ("codec",),
    ("calibration", "evaluation", "training", "view", "pillow_plugin"),
    ("cli",),
    ("__main__",),
)
WITHOUT_NETWORKS = {
    *("channel", "bitstream", "errors", "deflate", "config", "tables", "files", "images", "metadata", "results"),
    "targets",
}
HEIGHT = {unit: height for height, layer in enumerate(LAYERS) for unit in layer}
FILES = sorted(PACKAGE.rglob("*.py"))


def unit_of(path: Path) -> str:
    """The top-level module or folder that a file belongs to; the package itself is ''."""
    first = path.relative_to(PACKAGE).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


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


def imported_units(path: Path) -> set[str]:
    """Units of diffcodec that a file imports from."""
    names = (name.split(".") for name in imported_modules(path))
    return {parts[1] for parts in names if parts[0] == "diffcodec" and len(parts) > 1}


def imports_by(unit: str) -> set[str]:
    """Top-level packages that the files of a unit import."""
    return {name.split(".")[0] for path in FILES if unit_of(path) == unit for name in imported_modules(path)}


def relative(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def test_the_walk_finds_what_is_there() -> None:
    assert {"diffusion", "training", "cli", "codec", ""} <= {unit_of(path) for path in FILES}
    assert "diffusion" in imported_units(PACKAGE / "training" / "loop.py")
    assert "torchvision.datasets" in imported_modules(PACKAGE / "training" / "data.py")  # inside a function


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
    assert not {"torch", "torchvision", "safetensors"} & imports_by(unit)


def test_one_file_imports_constriction() -> None:
    found = [relative(path) for path in FILES if any(n.split(".")[0] == "constriction" for n in imported_modules(path))]
    assert found == [str(Path("bitstream", "entropy.py"))]


def test_only_the_command_line_imports_click() -> None:
    assert {unit_of(path) for path in FILES if "click" in imported_modules(path)} == {"cli"}


def test_training_knows_diffusion_and_nothing_else() -> None:
    for path in FILES:
        if unit_of(path) == "training":
            assert imported_units(path) <= {"training", "diffusion", "config", "errors", "files"}


def test_no_module_is_called_utils() -> None:
    vague = {"utils", "util", "helpers", "common", "misc"}
    assert not [relative(path) for path in FILES if vague & set(path.relative_to(PACKAGE).with_suffix("").parts)]


def test_public_names_exist() -> None:
    import diffcodec

    for name in diffcodec.__all__:
        assert getattr(diffcodec, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = diffcodec.nonsense


@pytest.mark.parametrize("module", ["diffcodec", "diffcodec.cli"])
def test_importing_does_not_wait_for_torch(module: str) -> None:
    heavy = "{'torch', 'scipy', 'constriction', 'torchvision', 'PIL'}"
    code = f"import sys, {module}; sys.exit(repr({heavy} & set(sys.modules)) if {heavy} & set(sys.modules) else 0)"
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_help_does_not_wait_for_torch() -> None:
    """Also the help of every command: the modules behind it are imported when it runs."""
    code = (
        "import sys, importlib, pkgutil, diffcodec.cli as cli\n"
        "for module in pkgutil.iter_modules(cli.__path__): importlib.import_module(f'diffcodec.cli.{module.name}')\n"
        "sys.exit('torch' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
