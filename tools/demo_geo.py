"""Write the demonstration geo file: `python tools/demo_geo.py [PATH]`, by default `examples/demo-geo.mmdb`.

It has MaxMind's layout and knows only networks reserved for documentation, so it claims nothing about real ones.
"""

import sys
from pathlib import Path
from typing import Final
from unittest import mock

from mmdb_writer import MMDBWriter
from netaddr import IPSet

DEMO_PATH: Final = Path(__file__).resolve().parent.parent / "examples" / "demo-geo.mmdb"

BUILT_AT: Final = 1_767_225_600
"""Seconds since 1970 that the file tells as its age: a constant, so that the same input gives the same bytes."""

NETWORKS: Final = {
    "203.0.113.0/24": ("DE", "BE"),
    "198.51.100.0/24": ("GB", "ENG"),
    "192.0.2.0/24": ("US", "CA"),
    "2001:db8::/32": ("FR", "IDF"),
}


def write(path: Path) -> None:
    """Write the file to `path`."""
    writer = MMDBWriter(
        ip_version=6,
        ipv4_compatible=True,
        database_type="GeoIP2-City",
        languages=["en"],
        description={"en": "Demonstration: documentation networks only"},
    )
    for network, (country, subdivision) in NETWORKS.items():
        record = {"country": {"iso_code": country}, "subdivisions": [{"iso_code": subdivision}]}
        writer.insert_network(IPSet([network]), record)
    with mock.patch("time.time", return_value=BUILT_AT):  # the writer takes no build time
        writer.to_db_file(str(path))


def main(arguments: list[str]) -> None:
    """Write where the first argument says."""
    path = Path(arguments[0]) if arguments else DEMO_PATH
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path)
    print(f"wrote {path} ({path.stat().st_size} bytes)")


if __name__ == "__main__":
    main(sys.argv[1:])
