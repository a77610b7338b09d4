"""Cases of the conformance suite: a file, the picture that it restores to, and what may differ. Torch-free."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from diffcodec import errors
from diffcodec.coding.options import DecompressOptions
from diffcodec.coding.reconstruction import Reconstruction, ReconstructionKind
from diffcodec.errors import ConfigError, StreamError
from diffcodec.json_config import JsonConfig, require


@dataclass(frozen=True)
class Tolerance(JsonConfig):
    """How far a restored picture may be from the reference.

    Args:
        peak: largest difference of a sample, in grey levels.
        rms: root of the mean square of the differences, in grey levels.
    """

    peak: int
    rms: float

    def allows(self, peak: int, rms: float) -> bool:
        """Whether differences are within it."""
        return peak <= self.peak and rms <= self.rms


EXACT = Tolerance(0, 0.0)


@dataclass(frozen=True)
class Expectation(JsonConfig):
    """What a file restores to, and how.

    Args:
        feature: what the case is about, for people.
        model: name of the suite's model that made the file; None: a model bundled with the package.
        timestep: to restore; None: the file's own end.
        reconstruction: see `Reconstruction`.
        reconstruction_steps: of flow and ancestral.
        partial: whether to accept a cut or damaged file.
        reached: timestep that the restored picture ends at.
        fp32: tolerance where the network runs in float32.
        bf16: tolerance where it runs in bfloat16.
        digest: SHA-256 of the samples, rows from the top, colours of a pixel together, in hexadecimal; only of a file
            that restores exactly.
        metadata_digest: SHA-256 of profile and EXIF block together; empty if there is neither.
        error: name of the exception that the file must raise; everything after `partial` is then left out.

    Raises:
        ConfigError: if the error is not one of diffcodec's about files.
    """

    feature: str
    model: str | None = None
    timestep: int | None = None
    reconstruction: ReconstructionKind = "mean"
    reconstruction_steps: int | None = None
    partial: bool = False
    reached: float = 0.0
    fp32: Tolerance = EXACT
    bf16: Tolerance = EXACT
    digest: str | None = None
    metadata_digest: str = ""
    error: str | None = None

    def __post_init__(self) -> None:
        require(
            self.error is None or issubclass(getattr(errors, self.error, object), StreamError),
            f"error: expected the name of an error about files, found {self.error!r}",
        )

    @property
    def options(self) -> DecompressOptions:
        """Options of `decompress`."""
        how = Reconstruction(self.reconstruction, self.reconstruction_steps)
        return {"timestep": self.timestep, "reconstruction": how, "partial": self.partial}


@dataclass(frozen=True)
class Case:
    """One folder of the suite.

    Args:
        folder: with `file.dfc`, `case.json`, and `picture.png` unless the file must be refused.
        expectation: content of `case.json`.
    """

    folder: Path
    expectation: Expectation

    @classmethod
    def read(cls, folder: Path) -> Case:
        """A case.

        Raises:
            ConfigError: if its description is missing or malformed.
        """
        path = folder / "case.json"
        try:
            return cls(folder, Expectation.from_dict(json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path} cannot be read: {error}") from error
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error

    @property
    def name(self) -> str:
        """Of the folder."""
        return self.folder.name

    @property
    def file(self) -> Path:
        """The .dfc file."""
        return self.folder / "file.dfc"

    @property
    def picture(self) -> Path:
        """The reference picture."""
        return self.folder / "picture.png"


@dataclass(frozen=True)
class Suite:
    """A folder of cases, with the models that they need.

    Args:
        folder: with `cases/NAME/`, and `models/NAME.safetensors`.
    """

    folder: Path

    @classmethod
    def bundled(cls) -> Suite:
        """The suite in the package."""
        return cls(Path(str(resources.files("diffcodec") / "conformance")))

    def model(self, name: str) -> Path:
        """The file of one of the suite's models."""
        return self.folder / "models" / f"{name}.safetensors"

    def cases(self, names: Iterable[str] = ()) -> list[Case]:
        """The cases, in alphabetic order.

        Args:
            names: of those to return; all if there are none.

        Raises:
            ConfigError: if there is no such case, or one is malformed.
        """
        folders = {path.parent.name: path.parent for path in sorted(self.folder.glob("cases/*/case.json"))}
        if not folders:
            raise ConfigError(f"{self.folder} is not a conformance suite: it has no cases")
        if unknown := sorted(set(names) - set(folders)):
            raise ConfigError(f"no case is called {unknown[0]}: expected one of {', '.join(folders)}")
        return [Case.read(folder) for name, folder in folders.items() if name in set(names or folders)]
