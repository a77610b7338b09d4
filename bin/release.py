"""Builds a release that people can verify.

    bin/release [--out dist]

Of the commit that is checked out, without what is not committed:

1. builds wheel and source archive twice, in different folders, and compares their digests: the same commit always gives
   the same bytes (with the same setuptools), so anybody can repeat it. Times are the commit's (SOURCE_DATE_EPOCH).
2. installs the wheel in an empty environment, without a network, and runs `diffcodec conformance` and a round trip
   there. The dependencies are lent from this environment.
3. writes a bill of materials (CycloneDX) with the versions of the dependencies that were tested, and SHA256SUMS with
   the digests of all files and of the models in the wheel.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import uuid
import zipfile
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import distribution
from pathlib import Path

import click
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
MODELS = "diffcodec/models/"
NO_NETWORK = '''"""Lets no program of this environment reach a network."""
import socket


def refuse(*arguments, **options):
    raise OSError("the release is checked without a network")


socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
'''


def git(*arguments: str) -> bytes:
    """Output of a git command in the repository."""
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True).stdout


def sha256(path: Path) -> str:
    """Digest of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def build(folder: Path, epoch: int) -> list[Path]:
    """Wheel and source archive of the commit, built in a folder."""
    source, out = folder / "source", folder / "dist"
    source.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(git("archive", "HEAD"))) as archive:
        archive.extractall(source, filter="data")
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch), "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        raise click.ClickException(f"the build failed:\n{result.stdout[-2000:]}{result.stderr[-2000:]}")
    (sdist,) = out.glob("*.tar.gz")
    normalise(sdist, epoch)
    return sorted(out.iterdir())


def normalise(path: Path, epoch: int) -> None:
    """Pack a source archive anew: in alphabetic order, with one time and owner."""
    with tarfile.open(path) as archive:
        contents = [(each, archive.extractfile(each)) for each in sorted(archive, key=lambda member: member.name)]
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as out:
            for member, content in contents:
                member.mtime, member.uid, member.gid, member.uname, member.gname = epoch, 0, 0, "", ""
                member.pax_headers = {}
                member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
                out.addfile(member, content)
    with path.open("wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=epoch) as zipped:
        zipped.write(packed.getvalue())


def check(wheel: Path, folder: Path) -> None:
    """Install the wheel in an empty environment and use it, without a network."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python, work = folder / "bin" / "python", folder / "work"
    work.mkdir()
    install = [str(python), "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", str(wheel)]
    subprocess.run(install, check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    # A path in a .pth file is searched, but not its own .pth files: not those of an editable installation.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (site / "sitecustomize.py").write_text(NO_NETWORK)
    photo = ROOT / "benchmarks" / "data" / "chelsea-192.png"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    for arguments in (
        ["-c", f"import diffcodec; assert diffcodec.__file__.startswith({str(site)!r}), diffcodec.__file__"],
        ["-m", "diffcodec", "conformance", "--precision", "fp32"],
        ["-m", "diffcodec", "compress", str(photo), "-t", "500", "-o", "a.dfc"],
        ["-m", "diffcodec", "decompress", "a.dfc", "-o", "a.png"],
    ):
        command = [str(python), *arguments]
        result = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
        if result.returncode:
            raise click.ClickException(f"{' '.join(arguments)} failed:\n{result.stdout[-2000:]}{result.stderr[-2000:]}")
        if result.stdout:
            click.echo(f"  {result.stdout.strip().splitlines()[-1]}")


def model_digests(wheel: Path) -> dict[str, str]:
    """SHA-256 of the model files in a wheel, by name."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.startswith(MODELS) and name.endswith(".safetensors")]
        return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in sorted(names)}


def requirements_of(name: str) -> list[str]:
    """Names of the installed packages that a package needs here, without extras."""
    needed = map(Requirement, distribution(name).requires or [])
    return [each.name for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]


def installed(names: Iterable[str]) -> dict[str, list[str]]:
    """The packages, and all that they need, with their own needs."""
    found: dict[str, list[str]] = {}
    waiting = list(names)
    while waiting:
        name = distribution(waiting.pop()).metadata["Name"]
        if name not in found:
            found[name] = [distribution(each).metadata["Name"] for each in requirements_of(name)]
            waiting += found[name]
    return found


def bill_of_materials(wheel: Path, version: str, epoch: int) -> str:
    """CycloneDX 1.6 as JSON: the wheel, the models in it, and the dependencies with the versions that were tested."""
    main = Component(
        name="diffcodec",
        version=version,
        type=ComponentType.LIBRARY,
        bom_ref="diffcodec",
        purl=PackageURL("pypi", name="diffcodec", version=version),
        licenses=[LicenseExpression("MIT")],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256(wheel))],
    )
    core = installed(requirements_of("diffcodec"))
    packages = {
        name: Component(
            name=name,
            version=distribution(name).version,
            type=ComponentType.LIBRARY,
            bom_ref=name,
            purl=PackageURL("pypi", name=name.lower(), version=distribution(name).version),
        )
        for name in core
    }
    models = [
        Component(
            name=Path(name).stem,
            type=ComponentType.MACHINE_LEARNING_MODEL,
            bom_ref=name,
            licenses=[LicenseExpression("MIT")],
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
        )
        for name, digest in model_digests(wheel).items()
    ]
    bom = Bom(components=[*packages.values(), *models], serial_number=uuid.uuid5(uuid.NAMESPACE_URL, sha256(wheel)))
    bom.metadata.component = main
    bom.metadata.timestamp = datetime.fromtimestamp(epoch, UTC)
    own = [distribution(name).metadata["Name"] for name in requirements_of("diffcodec")]
    bom.register_dependency(main, [*(packages[name] for name in own), *models])
    for name, needed in core.items():
        bom.register_dependency(packages[name], [packages[each] for each in needed])
    return JsonV1Dot6(bom).output_as_string(indent=1) + "\n"


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=ROOT / "dist", help="Folder.  [default: dist]")
def main(out: Path) -> None:
    """Build wheel, source archive, bill of materials and digests of the commit that is checked out."""
    if git("status", "--porcelain", "--untracked-files=no"):
        click.echo("Note: what is not committed is not in the release", err=True)
    epoch = int(git("log", "-1", "--format=%ct"))
    with tempfile.TemporaryDirectory() as temporary:
        first, second = (build(Path(temporary) / name, epoch) for name in ("first", "second"))
        for a, b in zip(first, second, strict=True):
            if (a.name, sha256(a)) != (b.name, sha256(b)):
                raise click.ClickException(f"{a.name} is not reproducible: {sha256(a)}, {sha256(b)}")
        click.echo("built twice, with the same digests")
        (wheel,) = (path for path in first if path.suffix == ".whl")
        check(wheel, Path(temporary) / "environment")
        version = wheel.name.split("-")[1]
        out.mkdir(parents=True, exist_ok=True)
        results = [Path(shutil.copy(path, out)) for path in first]
        results.append(out / f"diffcodec-{version}.cdx.json")
        results[-1].write_text(bill_of_materials(wheel, version, epoch), encoding="utf-8")
        sums = {path.name: sha256(path) for path in results} | model_digests(wheel)
    lines = "".join(f"{digest}  {name}\n" for name, digest in sums.items())
    (out / "SHA256SUMS").write_text(lines, encoding="utf-8")
    click.echo(lines, nl=False)


if __name__ == "__main__":
    main()
