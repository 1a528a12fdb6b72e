"""What is told of the files that settings name, each with its fault."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from ingest.checks import files
from ingest.checks.files import GEO_DAYS_MAX, apps_file, certificate, geo_files
from ingest.checks.finding import Level
from tests.support.certificates import pair
from tools.demo_geo import BUILT_AT, DEMO_PATH

DAY_MS: Final = 86_400_000
NOW_MS: Final = int(datetime.now(UTC).timestamp() * 1000)


@pytest.mark.parametrize(("text", "level"), [("", Level.OK), ("[apps.app_a]\nproject_id = 1\n", Level.FAULT)])
def test_the_registry_file(tmp_path: Path, text: str, level: Level) -> None:
    """One that the edge would refuse is a fault."""
    path = tmp_path / "apps.toml"
    path.write_text(text)

    assert apps_file(path, 0).level is level


@pytest.mark.parametrize(("days", "level"), [(GEO_DAYS_MAX, Level.OK), (GEO_DAYS_MAX + 1, Level.WARNING)])
def test_a_geo_file_has_an_age(days: int, level: Level) -> None:
    """It counts from the day on which it was made, whatever the file's own time."""
    (found,) = geo_files([DEMO_PATH], BUILT_AT * 1000 + days * DAY_MS)

    assert found.level is level
    assert f"{days} days" in found.sentence


def test_every_geo_file_is_told(tmp_path: Path) -> None:
    """One that is missing or damaged is a fault of its own."""
    damaged = tmp_path / "damaged.mmdb"
    damaged.write_bytes(b"no")
    found = list(geo_files([tmp_path / "missing.mmdb", damaged, DEMO_PATH], BUILT_AT * 1000))

    assert [each.level for each in found] == [Level.FAULT, Level.FAULT, Level.OK]
    assert [each.level for each in geo_files([], 0)] == [Level.OK]


def test_a_certificate_has_days_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that ends tomorrow is a warning, one that has ended or has not begun a fault."""
    written = pair().write(tmp_path)

    def level(now_ms: int) -> Level:
        (found,) = certificate(written.certificate, written.key, now_ms)
        return found.level

    assert level(NOW_MS) is Level.WARNING
    assert level(NOW_MS + 2 * DAY_MS) is Level.FAULT
    assert level(NOW_MS - 2 * DAY_MS) is Level.FAULT
    monkeypatch.setattr(files, "CERTIFICATE_DAYS_MIN", 0)
    assert level(NOW_MS) is Level.OK


def test_a_pair_that_cannot_be_used_is_a_fault(tmp_path: Path) -> None:
    """A key of another certificate is found before a client does."""
    written = pair().write(tmp_path)
    written.key.write_bytes(pair().key)
    (found,) = certificate(written.certificate, written.key, NOW_MS)

    assert found.level is Level.FAULT
    assert [each.level for each in certificate(None, None, NOW_MS)] == [Level.OK]
