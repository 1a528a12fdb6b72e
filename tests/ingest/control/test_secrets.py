"""Partners' keys: their form, and that a secret is known again by its hash alone."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.control.secrets import PartnerKey, hash_secret, matches, mint, parse, without_secrets

KEY_ID = "01HXZ9G7KMV2QX8Y1S5RJW3B7T"
SECRET = "a4b3c2d1e0_-" + "x" * 31


def test_a_minted_key_reads_as_itself() -> None:
    """What is minted has the published form, a fresh id and 32 random bytes, and is read back in its parts."""
    first, second = mint("live"), mint("test")

    assert parse(first.text()) == first
    assert parse(second.text()) == second
    assert first.key_id != second.key_id
    assert len(base64.urlsafe_b64decode(first.secret + "=")) == 32
    assert first.secret != second.secret
    assert mint("live", KEY_ID).key_id == KEY_ID


def test_the_first_dot_divides() -> None:
    """Key id and secret are divided at the first dot."""
    assert parse(f"lp_live_{KEY_ID}.{SECRET}") == PartnerKey("live", KEY_ID, SECRET)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "lp_live_",
        f"lp_live_{KEY_ID}",
        f"lp_live_{KEY_ID}.",
        f"lp_prod_{KEY_ID}.{SECRET}",
        f"lp_live_{KEY_ID.lower()}.{SECRET}",
        f"lp_live_{KEY_ID[:-1]}.{SECRET}",
        f"lp_live_{KEY_ID[:-1]}U.{SECRET}",
        f"lp_live_{KEY_ID}.{SECRET[:-1]}",
        f"lp_live_{KEY_ID}.{SECRET}x",
        f"lp_live_{KEY_ID}.{SECRET[:-1]}.",
        f"lp_live_{KEY_ID}.{SECRET}\n",
        f" lp_live_{KEY_ID}.{SECRET}",
        f"LP_LIVE_{KEY_ID}.{SECRET}",
    ],
)
def test_what_cannot_be_a_key(text: str) -> None:
    """Anything but the exact form is no key, so that it costs no work."""
    assert parse(text) is None


@given(st.text(max_size=120))
def test_any_text_is_read(text: str) -> None:
    """No text makes reading raise, and what is taken for a key is written the same again."""
    key = parse(text)
    assert key is None or key.text() == text


def test_a_secret_is_known_by_its_hash() -> None:
    """The hash is bcrypt of cost 12, salted, knows its secret and no other, and does not hold it."""
    one, other = hash_secret(SECRET), hash_secret(SECRET)

    assert one.startswith("$2b$12$")
    assert one != other
    assert matches(SECRET, one)
    assert not matches(SECRET[:-1] + "y", one)
    assert SECRET not in one


def test_a_key_in_a_text_loses_its_secret() -> None:
    """Whole keys, cut ones and ones inside of words give up what is secret; ids and other texts stay as they are."""
    whole = f"lp_live_{KEY_ID}.{SECRET}"
    told = without_secrets(f"leaked: {whole}, x{whole.replace('live', 'test')}y and {whole[:-9]}")

    assert told == f"leaked: lp_live_{KEY_ID}.…, xlp_test_{KEY_ID}.… and lp_live_{KEY_ID}.…"
    assert without_secrets(f"lp_live_{KEY_ID} is mine. Yes.") == f"lp_live_{KEY_ID} is mine. Yes."


def test_a_key_is_not_shown_by_its_representation() -> None:
    """The secret does not get into logs by way of `repr`."""
    assert SECRET not in repr(PartnerKey("live", KEY_ID, SECRET))
