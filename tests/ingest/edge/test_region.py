"""An address becomes a country and a subdivision, and no file, good or bad, stops the service."""

import os
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from ingest.edge import region as module
from ingest.edge.region import Regions
from ingest.pipeline.request import NOWHERE, Region
from tools import demo_geo

GERMANY = {"country": {"iso_code": "DE"}, "subdivisions": [{"iso_code": "BE"}, {"iso_code": "XX"}]}
FRANCE = {"country": {"iso_code": "FR"}, "subdivisions": [{"iso_code": "IDF"}]}


def write(path: Path, records: dict[str, Any], ip_version: int = 6) -> Path:
    """Write a file at `path` by renaming, as updaters do."""
    writer = MMDBWriter(ip_version=ip_version, ipv4_compatible=ip_version == 6, database_type="Test")
    for network, record in records.items():
        writer.insert_network(IPSet([network]), record)
    writer.to_db_file(str(path.with_suffix(".new")))
    path.with_suffix(".new").rename(path)
    return path


def look(regions: Regions, address: str) -> Region:
    """Look a spelled address up."""
    return regions.lookup(ip_address(address))


@pytest.mark.parametrize(
    ("address", "region"),
    [
        ("203.0.113.9", Region("DE", "BE")),
        ("198.51.100.1", Region("GB", "ENG")),
        ("192.0.2.255", Region("US", "CA")),
        ("2001:db8:1::1", Region("FR", "IDF")),
        ("203.0.114.0", NOWHERE),
        ("127.0.0.1", NOWHERE),
        ("::1", NOWHERE),
        ("2001:db9::", NOWHERE),
    ],
)
def test_the_demonstration_file_knows_its_networks(address: str, region: Region) -> None:
    """The file in the repository places the documentation networks and nothing else."""
    regions = Regions([demo_geo.DEMO_PATH])
    assert look(regions, address) == region
    assert look(regions, address) == region  # now from what is kept
    assert regions.problems() == []


def test_the_demonstration_file_is_what_the_tool_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Running the tool again gives the committed bytes."""
    demo_geo.main([str(tmp_path / "demo.mmdb")])
    assert (tmp_path / "demo.mmdb").read_bytes() == demo_geo.DEMO_PATH.read_bytes()
    assert "bytes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("record", "region"),
    [
        (GERMANY, Region("DE", "BE")),
        ({"country": {"iso_code": "GB"}, "subdivisions": [{"iso_code": "GB-ENG"}]}, Region("GB", "ENG")),
        ({"country": {"iso_code": "DE"}, "subdivisions": []}, Region("DE", None)),
        ({"country": {"iso_code": "DE"}, "subdivisions": ["BE"]}, Region("DE", None)),
        ({"country": {"iso_code": "DE"}, "subdivisions": [{"names": {"en": "Berlin"}}]}, Region("DE", None)),
        ({"country": {"iso_code": "DE"}}, Region("DE", None)),
        ({"country": {}, "subdivisions": [{"iso_code": "BE"}]}, NOWHERE),
        ({"registered_country": {"iso_code": "AU"}}, NOWHERE),
        ({"country_code": "GB", "state1": "England"}, Region("GB", None)),
        ({"country_code": "GB", "state1": "ENG"}, Region("GB", "ENG")),
        ({"country_code": "GB", "state1": ""}, Region("GB", None)),
        ({"country_code": "", "state1": "ENG"}, NOWHERE),
        ({"country_code": "gb"}, NOWHERE),
        ({"country_code": "GBR"}, NOWHERE),
        ({"country_code": "GB\n", "state1": "ENG\n"}, NOWHERE),
        ({"country_code": 7, "state1": 7}, NOWHERE),
        ("GB", NOWHERE),
    ],
)
def test_both_layouts_are_read_and_only_codes_kept(tmp_path: Path, record: Any, region: Region) -> None:
    """Nested and flat records give ISO codes; names, empty strings and odd types count as unknown."""
    regions = Regions([write(tmp_path / "geo.mmdb", {"203.0.113.0/24": record})])
    assert look(regions, "203.0.113.9") == region
    assert regions.problems() == []


def test_several_files_answer_in_their_order(tmp_path: Path) -> None:
    """IPv4 and IPv6 may lie in files of their own, and a file that knows no country leaves it to the next."""
    v4 = {"203.0.113.0/24": {"country_code": "DE"}, "192.0.2.0/24": {"country_code": ""}}
    paths = [
        write(tmp_path / "v4.mmdb", v4, ip_version=4),
        write(tmp_path / "v6.mmdb", {"2001:db8::/32": {"country_code": "FR"}}),
        demo_geo.DEMO_PATH,
    ]
    regions = Regions(paths)
    assert look(regions, "203.0.113.9") == Region("DE", None)
    assert look(regions, "2001:db8::1") == Region("FR", None)
    assert look(regions, "192.0.2.1") == Region("US", "CA")
    assert regions.problems() == []
    assert look(Regions(paths[:1]), "2001:db8::1") == NOWHERE


def test_without_files_every_address_is_nowhere() -> None:
    """No path configured is no problem."""
    regions = Regions([])
    assert look(regions, "203.0.113.9") == NOWHERE
    assert regions.problems() == []
    assert not regions.reload_if_changed()


def test_a_replaced_file_is_taken_up_with_nothing_kept_of_the_old(tmp_path: Path) -> None:
    """A new file answers at once, for addresses that were looked up before, too."""
    path = write(tmp_path / "geo.mmdb", {"203.0.113.0/24": GERMANY})
    regions = Regions([path])
    assert look(regions, "203.0.113.9") == Region("DE", "BE")
    assert not regions.reload_if_changed()
    write(path, {"203.0.113.0/24": FRANCE})
    assert regions.reload_if_changed()
    assert look(regions, "203.0.113.9") == Region("FR", "IDF")
    assert not regions.reload_if_changed()


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xab\xcd\xefMaxMind.com", b"\0" * 5000])
def test_a_file_written_over_with_garbage_keeps_the_last_good_one(tmp_path: Path, content: bytes) -> None:
    """Writing into the file in use changes no answer; the problem is told until a good file is there."""
    path = write(tmp_path / "geo.mmdb", {"203.0.113.0/24": GERMANY})
    regions = Regions([path])
    path.write_bytes(content)
    assert look(regions, "203.0.113.8") == Region("DE", "BE")
    assert not regions.reload_if_changed()
    assert look(regions, "203.0.113.9") == Region("DE", "BE")
    assert "last good one" in regions.problems()[0]
    assert not regions.reload_if_changed()
    assert len(regions.problems()) == 1
    write(path, {"203.0.113.0/24": FRANCE})
    assert regions.reload_if_changed()
    assert regions.problems() == []


def test_a_missing_file_is_told_and_taken_up_when_it_comes(tmp_path: Path) -> None:
    """A path that leads nowhere gives no region until a file is there; removing it again keeps the last good one."""
    path = tmp_path / "geo.mmdb"
    regions = Regions([path])
    assert look(regions, "203.0.113.9") == NOWHERE
    assert "no region" in regions.problems()[0]
    write(path, {"203.0.113.0/24": GERMANY})
    saved = path.stat()
    assert regions.reload_if_changed()
    assert look(regions, "203.0.113.9") == Region("DE", "BE")
    kept = path.rename(tmp_path / "aside")
    assert not regions.reload_if_changed()
    assert look(regions, "203.0.113.9") == Region("DE", "BE")
    assert "last good one" in regions.problems()[0]
    kept.rename(path)
    os.utime(path, ns=(saved.st_atime_ns, saved.st_mtime_ns))
    assert regions.reload_if_changed(), "the very same file is welcome back"
    assert regions.problems() == []


def test_one_bad_file_does_not_take_the_others_along(tmp_path: Path) -> None:
    """Each file stands for itself; a folder in place of a file is a bad one."""
    regions = Regions([tmp_path, demo_geo.DEMO_PATH])
    assert look(regions, "203.0.113.9") == Region("DE", "BE")
    assert len(regions.problems()) == 1


def test_a_cut_file_is_told(tmp_path: Path) -> None:
    """A file of any shorter length is no good one, and gives no exception."""
    good = demo_geo.DEMO_PATH.read_bytes()
    path = tmp_path / "geo.mmdb"
    for length in range(0, len(good), 30):
        path.write_bytes(good[:length])
        regions = Regions([path])
        assert look(regions, "203.0.113.9") == NOWHERE
        assert regions.problems()


def test_damaged_data_is_counted_and_the_next_file_asked(tmp_path: Path) -> None:
    """A file that opens but cannot be decoded answers nothing, says so, and stands in nobody's way."""
    good = demo_geo.DEMO_PATH.read_bytes()
    data_at, metadata_at = good.index(b"\0" * 16), good.rindex(b"\xab\xcd\xefMaxMind.com")
    path = tmp_path / "geo.mmdb"
    path.write_bytes(good[:data_at] + (b"\x00\xf0" * len(good))[: metadata_at - data_at] + good[metadata_at:])
    regions = Regions([path])
    assert look(regions, "203.0.113.9") == NOWHERE
    assert "1 lookups met damaged data" in regions.problems()[0]
    assert look(Regions([path, demo_geo.DEMO_PATH]), "203.0.113.9") == Region("DE", "BE")


def test_a_file_that_changes_while_it_is_copied_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half an old and half a new file may look whole, so the copy is dropped and made again the next time."""
    path = write(tmp_path / "geo.mmdb", {"203.0.113.0/24": GERMANY})
    open_copy = module._open_copy

    def beside_a_writer(source: Path, copies_dir: Path | None) -> object:
        reader = open_copy(source, copies_dir)
        os.utime(source, ns=(1, 1))
        return reader

    with monkeypatch.context() as patch:
        patch.setattr(module, "_open_copy", beside_a_writer)
        regions = Regions([path])
    assert look(regions, "203.0.113.9") == NOWHERE
    assert "being written to" in regions.problems()[0]
    assert regions.reload_if_changed()
    assert look(regions, "203.0.113.9") == Region("DE", "BE")


def test_private_copies_leave_no_name_behind(tmp_path: Path) -> None:
    """The copy that is read is gone from its folder at once."""
    regions = Regions([demo_geo.DEMO_PATH], copies_dir=tmp_path)
    assert look(regions, "203.0.113.9") == Region("DE", "BE")
    assert list(tmp_path.iterdir()) == []


def test_what_is_kept_is_bounded_and_holds_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers are kept under salted hashes, the oldest goes first, and a full store still answers."""
    monkeypatch.setattr(module, "LOOKUPS_KEPT_MAX", 4)
    regions = Regions([demo_geo.DEMO_PATH])
    for number in range(10):
        assert look(regions, f"203.0.113.{number}") == Region("DE", "BE")
    kept = regions._loaded.answers
    assert len(kept) == 4
    address = ip_address("203.0.113.9")
    assert not {int(address), hash(address), hash(address.packed)} & set(kept)


def test_a_slow_reader_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the C extension an operator hears of it."""
    monkeypatch.setitem(sys.modules, "maxminddb.extension", None)
    assert "C extension" in Regions([demo_geo.DEMO_PATH]).problems()[0]
