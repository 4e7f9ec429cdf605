"""Where the engines' programs come from: an environment variable, else a cache folder that Maven and Go fill once.

    CMCL_CACHE             the cache folder, ~/.cache/cmcl by default
    CMCL_SPARK_HOME        a folder with `jars/`: Spark 3.5 and Beam's Spark runner
    CMCL_FLINK_HOME        a folder with `jars/`: Beam's Flink 1.19 runner
    CMCL_PRISM, CMCL_BOOT  Beam's Prism runner; Beam's boot program of a Python worker
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
    """An engine's program is missing, or a server of an engine does not come up."""


def cache_folder() -> Path:
    """The folder for what Maven and Go bring."""
    return Path(os.environ.get("CMCL_CACHE") or Path.home() / ".cache" / "cmcl")


def java() -> str:
    """The Java program: `JAVA_HOME`'s, else the one on the path. Raises RunnerError when there is none."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=os.path.join(home, "bin")) if home else shutil.which("java")
    if not found:
        raise RunnerError("Java not found; this runner requires it: install a Java 17 runtime, or set JAVA_HOME")
    return found


def jvm_home(engine: str) -> Path:
    """The folder whose `jars/` hold everything that the job server of `spark` or `flink` needs.

    Raises RunnerError when it is neither named nor made yet and Maven is not there or fails.
    """
    variable = f"CMCL_{engine.upper()}_HOME"
    if named := os.environ.get(variable):
        if not any(Path(named, "jars").glob("*.jar")):
            raise RunnerError(f"{variable}={named} holds no jars/*.jar")
        return Path(named)
    pom = Path(__file__).with_name(f"{engine}.pom.xml")
    home = cache_folder() / f"{engine}-{hashlib.sha256(pom.read_bytes()).hexdigest()[:12]}"
    with _one_at_a_time(home.name):
        if not home.is_dir():
            maven = shutil.which("mvn")
            if not maven:
                raise RunnerError(f"Maven not found; it fetches the jars of {engine}: install it, or set {variable} to a folder "
                                  f"whose jars/ holds the runtime dependencies of {pom}")
            with _made_whole(home) as folder:
                shutil.copy(pom, folder / "pom.xml")  # Maven writes beside the file that it reads
                _call([maven, "-B", "-q", "-f", str(folder / "pom.xml"), "dependency:copy-dependencies", "-DincludeScope=runtime",
                       f"-DoutputDirectory={folder / 'jars'}"], f"fetching the jars of {engine}")
    return home


def prism() -> str:
    """Beam's Prism runner, of this Beam's version. Raises RunnerError when it cannot be had."""
    return os.environ.get("CMCL_PRISM") or go_program(f"{BEAM_GO}/go/cmd/prism", f"v{version('apache-beam')}")


def boot() -> str:
    """Beam's boot program of a Python worker, of this Beam's version. Raises RunnerError when it cannot be had."""
    return os.environ.get("CMCL_BOOT") or go_program(f"{BEAM_GO}/python/container", f"v{version('apache-beam')}")


def go_program(module: str, release: str) -> str:
    """The program of a Go module, installed into the cache on first use. Raises RunnerError when Go is not there or fails."""
    name = module.rpartition("/")[2]
    place = cache_folder() / f"{name}-{release}"
    with _one_at_a_time(place.name):
        if not place.is_dir():
            go = shutil.which("go")
            if not go:
                raise RunnerError(f"Go not found; it builds {name}: install it, or put `go install {module}@{release}` elsewhere "
                                  "and name the program by an environment variable")
            with _made_whole(place) as folder:
                _call([go, "install", f"{module}@{release}"], f"building {name}", {"GOBIN": str(folder)})
    return str(place / name)


def _call(command: Sequence[str], what: str, environment: dict[str, str] | None = None) -> None:
    try:
        done = subprocess.run(command, env={**os.environ, **(environment or {})}, capture_output=True, text=True, timeout=_INSTALL_S)
    except subprocess.TimeoutExpired:
        raise RunnerError(f"{what} took more than {_INSTALL_S} s: {' '.join(command)}") from None
    if done.returncode:
        raise RunnerError(f"{what} failed ({' '.join(command)}): {(done.stderr or done.stdout)[-2000:]}")


@contextmanager
def _made_whole(place: Path) -> Iterator[Path]:
    """A folder that stands at `place` when the block ends well, and is gone when it raises."""
    folder = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}-"))
    try:
        yield folder
        folder.rename(place)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


@contextmanager
def _one_at_a_time(name: str) -> Iterator[None]:
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f".{name}.lock", "a") as file:  # whatever it is, it is not emptied
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
