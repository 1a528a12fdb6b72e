from dataclasses import dataclass, field

import msgspec
import pytest

from ingest.control.record import ControlError
from ingest.conversion import Platform
from ingest.db.queries.vault import SealedToken
from ingest.setting import Secret
from ingest.transport.sealed import SealKeys
from ingest.vault.seal import TOKEN_CHARACTERS_MAX, NoToken, Place, open_token, read_token, seal_token

OLD, NEW = SealKeys.generate(), SealKeys.generate()
KEYS = SealKeys.parse(NEW)
PLACE = Place("app_a", Platform.META)
TOKEN = Secret("EAAB canary~4711")


def sealed(keys: SealKeys = KEYS, row_id: str = "vs_1", place: Place = PLACE) -> SealedToken:
    """Return the canary, sealed."""
    return seal_token(keys, row_id, place, TOKEN)


def test_a_token_opens_in_its_place() -> None:
    """Sealing and opening are inverse, no seal is like another, and none shows the token."""
    one, other = sealed(), sealed()

    assert open_token(KEYS, one) == open_token(KEYS, other) == TOKEN
    assert one.sealed != other.sealed
    assert (one.id, one.app_id, one.platform, one.key_id) == ("vs_1", "app_a", "meta", KEYS.first_id)
    assert b"canary" not in one.sealed
    assert "canary" not in repr(open_token(KEYS, one))


@dataclass(frozen=True)
class Elsewhere:
    """What somebody may have changed of a row."""

    name: str
    changes: dict[str, object] = field(default_factory=dict)


@pytest.mark.parametrize(
    "moved",
    [
        Elsewhere("id", {"id": "vs_2"}),
        Elsewhere("app", {"app_id": "app_b"}),
        Elsewhere("platform", {"platform": "tiktok"}),
        Elsewhere("both", {"id": "vs_1\napp_a", "app_id": "meta", "platform": ""}),
        Elsewhere("box", {"sealed": sealed(row_id="vs_2").sealed}),
        Elsewhere("cut", {"sealed": sealed().sealed[:-1]}),
        Elsewhere("empty", {"sealed": b""}),
    ],
    ids=lambda moved: moved.name,
)
def test_a_token_opens_nowhere_else(moved: Elsewhere) -> None:
    """Under another id, for another app or platform, or with another box, the seal is broken."""
    assert open_token(KEYS, msgspec.structs.replace(sealed(), **moved.changes)) is NoToken.TAMPERED


def test_a_seal_of_the_spool_is_none_of_the_vault() -> None:
    """What the same key has sealed for another purpose does not open here, even where it is bound to the same id."""
    box = KEYS.seal(b"token", b"vs_1").box

    assert open_token(KEYS, msgspec.structs.replace(sealed(), sealed=box)) is NoToken.TAMPERED


def test_a_key_that_was_not_given_is_told_apart() -> None:
    """What another key has sealed is not damaged; a list that has the key behind its first one opens it."""
    before = sealed(SealKeys.parse(OLD))

    assert open_token(KEYS, before) is NoToken.UNKNOWN_KEY
    assert open_token(SealKeys.parse(f"{NEW},{OLD}"), before) == TOKEN


@pytest.mark.parametrize("text", ["a", "EAAB|x-y_z.0~", " \t EAAB\r\n", "a b", "x" * TOKEN_CHARACTERS_MAX])
def test_a_token_is_taken_without_white_space_around_it(text: str) -> None:
    """Printable ASCII up to the bound is a token."""
    assert read_token(text) == Secret(text.strip())


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "hidden\nhidden",
        "hidden\x00",
        "hidden\x7f",
        "hiddén",
        "hidden\ufffd",
        "hidden" * 1000,
        "\ufeffhidden",
    ],
)
def test_what_is_no_token_is_refused_without_being_shown(text: str) -> None:
    """One sentence tells what is expected, and nothing of what was given."""
    with pytest.raises(ControlError) as refused:
        read_token(text)

    assert str(refused.value) == "a token has 1 to 4096 printable ASCII characters, on one line"
