"""Locates the runners' programs: from environment variables, or else in a cache folder that Maven and Go fill once.

CMCL_CACHE             the cache folder, ~/.cache/cmcl by default
CMCL_SPARK_HOME        a folder with `jars/`: Spark 3.5 and Beam's Spark runner
CMCL_FLINK_HOME        a folder with `jars/`: Beam's Flink 1.19 runner
CMCL_PRISM, CMCL_BOOT  Beam's Prism runner; Beam's boot program for Python workers
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from schemas.errors import CmclError

BEAM_GO = "github.com/apache/beam/sdks/v2"
_INSTALL_S = 1800  # a first `go install` compiles a few hundred packages


class RunnerError(CmclError):
    """A runner's program is missing, or one of its servers does not start."""


def cache_folder() -> Path:
    """The folder for downloads by Maven and Go."""
    return Path(os.environ.get("CMCL_CACHE") or Path.home() / ".cache" / "cmcl")


def java() -> str:
    """The Java executable: from `JAVA_HOME`, else from PATH. Raises RunnerError when there is none."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=os.path.join(home, "bin")) if home else shutil.which("java")
    if not found:
        raise RunnerError("Java not found; this runner requires it: install a Java 17 runtime, or set JAVA_HOME")
    return found


def jvm_home(engine: str) -> Path:
    """The folder whose `jars/` contains the class path of the `spark` or `flink` job server.

    Raises RunnerError when it is neither configured nor cached, and Maven is missing or fails.
    """
    variable = f"CMCL_{engine.upper()}_HOME"
    if named := os.environ.get(variable):
        if not any(Path(named, "jars").glob("*.jar")):
            raise RunnerError(f"{variable}={named} has no jars/*.jar")
        return Path(named)
    pom = Path(__file__).with_name(f"{engine}.pom.xml")
    home = cache_folder() / f"{engine}-{hashlib.sha256(pom.read_bytes()).hexdigest()[:12]}"
    with _one_at_a_time(home.name):
        if not home.is_dir():
            maven = shutil.which("mvn")
            if not maven:
                raise RunnerError(
                    f"Maven not found; it is required to download the jars of {engine}: install it, or set {variable} to "
                    f"a folder whose jars/ contains the runtime dependencies of {pom}"
                )
            with _made_whole(home) as folder:
                shutil.copy(pom, folder / "pom.xml")  # Maven writes next to the file it reads
                _call(
                    [
                        maven,
                        "-B",
                        "-q",
                        "-f",
                        str(folder / "pom.xml"),
                        "dependency:copy-dependencies",
                        "-DincludeScope=runtime",
                        f"-DoutputDirectory={folder / 'jars'}",
                    ],
                    f"downloading the jars of {engine}",
                )
    return home


def prism() -> str:
    """Beam's Prism runner, in the installed Beam's version. Raises RunnerError when it is unavailable."""
    return os.environ.get("CMCL_PRISM") or go_program(f"{BEAM_GO}/go/cmd/prism", f"v{version('apache-beam')}")


def boot() -> str:
    """Beam's boot program for Python workers, in the installed Beam's version. Raises RunnerError when it is unavailable."""
    return os.environ.get("CMCL_BOOT") or go_program(f"{BEAM_GO}/python/container", f"v{version('apache-beam')}")


def go_program(module: str, release: str) -> str:
    """The executable of a Go module, installed into the cache on first use. Raises RunnerError when Go is missing or fails."""
    name = module.rpartition("/")[2]
    target = cache_folder() / f"{name}-{release}"
    with _one_at_a_time(target.name):
        if not target.is_dir():
            go = shutil.which("go")
            if not go:
                raise RunnerError(
                    f"Go not found; it is required to build {name}: install it, or run `go install {module}@{release}` "
                    "elsewhere and set CMCL_PRISM or CMCL_BOOT to the program"
                )
            with _made_whole(target) as folder:
                _call([go, "install", f"{module}@{release}"], f"building {name}", {"GOBIN": str(folder)})
    return str(target / name)


def _call(command: Sequence[str], what: str, environment: dict[str, str] | None = None) -> None:
    try:
        done = subprocess.run(command, env={**os.environ, **(environment or {})}, capture_output=True, text=True, timeout=_INSTALL_S)
    except subprocess.TimeoutExpired:
        raise RunnerError(f"{what} took more than {_INSTALL_S} s: {' '.join(command)}") from None
    if done.returncode:
        raise RunnerError(f"{what} failed ({' '.join(command)}): {(done.stderr or done.stdout)[-2000:]}")


@contextmanager
def _made_whole(target: Path) -> Iterator[Path]:
    """A new folder that is renamed to `target` when the block succeeds, and removed when it raises."""
    folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    try:
        yield folder
        folder.rename(target)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


@contextmanager
def _one_at_a_time(name: str) -> Iterator[None]:
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f".{name}.lock", "a") as file:  # "a": never truncate an existing file
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
