"""What goes out is what was read and found right."""

import pytest

from ingest.forward.platforms.contract import PlatformApi
from tests.ingest.forward.platforms.golden_cases import APIS, CASES, FOLDER, path_of, produced


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("api", APIS, ids=lambda api: api.platform)
def test_events_are_those_that_were_read(api: PlatformApi, name: str) -> None:
    """Each case gives its file; how they are written anew is told where the cases are."""
    assert produced(api, name) == path_of(api, name).read_text(encoding="utf-8")


def test_no_file_is_left_over() -> None:
    """Every file belongs to a case."""
    assert set(FOLDER.iterdir()) == {path_of(api, name) for api in APIS for name in CASES}
