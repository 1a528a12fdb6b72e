"""Apache Kafka as a folder of jars, fetched once by Maven into the checkout's `.cache`."""

import contextlib
import fcntl
import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from devservices.child import Child
from devservices.errors import FetchFailed, JavaMissing

CACHE = Path(__file__).parent.parent / ".cache"
JAVA_VERSION_MIN = 17
FETCH_TIMEOUT_S = 600
_POM = Path(__file__).with_name("kafka-pom.xml")
_STAMP = ".complete"
_LOCK_TICK_S = 0.1
_INSTALL = (
    f"Kafka needs Java {JAVA_VERSION_MIN} or newer, and Maven once to fetch it: install both, "
    "for example the packages openjdk-17-jre-headless and maven"
)

Report = Callable[[str], None]


def version() -> str:
    """Return the version of Kafka that the POM pins."""
    found = re.search(r"<kafka\.version>([\d.]+)</kafka\.version>", _POM.read_text(encoding="utf-8"))
    if found is None:
        raise FetchFailed(f"{_POM.name} does not pin kafka.version")
    return found[1]


@functools.cache
def java() -> str:
    """Return the path of a Java that runs Kafka, from JAVA_HOME or PATH; JavaMissing if there is none."""
    home = os.environ.get("JAVA_HOME")
    path = (shutil.which("java", path=str(Path(home) / "bin")) if home else None) or shutil.which("java")
    if path is None:
        raise JavaMissing(f"java was not found. {_INSTALL}")
    told = subprocess.run([path, "-version"], capture_output=True, text=True, check=False, timeout=60)  # noqa: S603 - fixed arguments
    found = re.search(r'version "(\d+)', told.stderr + told.stdout)
    if found is None or int(found[1]) < JAVA_VERSION_MIN:
        raise JavaMissing(f"this java is {f'version {found[1]}' if found else 'not usable'}. {_INSTALL}")
    return path


def fetch(report: Report = lambda _: None, cache: Path = CACHE) -> Path:
    """Return the folder of Kafka's jars, fetched first where it is absent or the POM has changed.

    Safe when several processes do it at once: one works under a file lock in a folder of its own and publishes it by a
    rename, the others wait. `report` hears about the start of a download. Raises JavaMissing and FetchFailed.
    """
    java()
    home = cache / f"kafka-{version()}"
    pom_digest = hashlib.sha256(_POM.read_bytes()).hexdigest()
    if _stamp_of(home) != pom_digest:
        cache.mkdir(parents=True, exist_ok=True)
        with _locked(home.with_name(f"{home.name}.lock")):
            if _stamp_of(home) != pom_digest:
                report(f"fetching Kafka {version()} with Maven, about 45 MB, once")
                _replace(home, pom_digest)
    return home / "libs"


def _stamp_of(home: Path) -> str:
    try:
        return (home / _STAMP).read_text(encoding="ascii")
    except FileNotFoundError:
        return ""


def _replace(home: Path, pom_digest: str) -> None:
    """Fill a folder beside `home` and put it in its place; brokers that run on the old jars keep their open files."""
    for abandoned in home.parent.glob(f"{home.name}-*"):  # by a process that was killed while it held the lock
        shutil.rmtree(abandoned, ignore_errors=True)
    staging = Path(tempfile.mkdtemp(prefix=f"{home.name}-", dir=home.parent))
    try:
        _copy_dependencies(staging / "libs")
        (staging / _STAMP).write_text(pom_digest, encoding="ascii")
        staging.chmod(0o755)
        if home.exists():
            home.rename(staging / "replaced")
        staging.rename(home)
        shutil.rmtree(home / "replaced", ignore_errors=True)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _copy_dependencies(libs: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise JavaMissing(f"mvn was not found. {_INSTALL}")
    log = libs.with_name("maven.log")
    goal = ["dependency:copy-dependencies", f"-DoutputDirectory={libs}"]
    child = Child([maven, "-q", "-B", "--strict-checksums", "-f", str(_POM), *goal], stdout=log)
    try:
        code = child.wait(FETCH_TIMEOUT_S)
    finally:
        child.kill()
    if code is None:
        raise FetchFailed(f"Maven did not finish within {FETCH_TIMEOUT_S} s")
    if code != 0:
        said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise FetchFailed(f"Maven failed with exit code {code}: {said[0] if said else 'it said nothing'}")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of this file; the system frees it when its holder dies."""
    deadline = time.monotonic() + FETCH_TIMEOUT_S
    with path.open("wb") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise FetchFailed(f"another process holds {path.name} for {FETCH_TIMEOUT_S} s") from None
                time.sleep(_LOCK_TICK_S)
        yield
