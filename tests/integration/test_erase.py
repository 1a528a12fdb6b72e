"""`ingest erase` and `ingest erasures` on a real PostgreSQL: whom a value means, and that nothing tells the value."""

import hashlib
import io
import json
import re
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ingest.cli import main
from ingest.erasure import subject_of
from tests.integration.edge import await_true, run_command
from tests.integration.partner import dump_database
from tests.support.control import Customer, Plane, customer, execute

EMAIL, PHONE, USER = " Canary.4711@Example.com", "+86 138-0013-8000", "canary 4711/☃"
Done = tuple[int, str, str]
Run = Callable[..., Done]


def sha(text: str) -> str:
    """Return the digest of a text as it is."""
    return hashlib.sha256(text.encode()).hexdigest()


SUBJECTS = {
    "--email": [sha("canary.4711@example.com")],
    "--phone": [sha("8613800138000"), sha("+8613800138000"), sha("13800138000")],
    "--user-id": [USER],
}
VALUES = {"--email": EMAIL, "--phone": PHONE, "--user-id": USER}
FORMS = (EMAIL.strip(), EMAIL.strip().lower(), PHONE, "8613800138000", USER)


@pytest.fixture
def shop(control_plane: Plane) -> Customer:
    """Provide a customer."""
    return customer(control_plane.owner, "app_a")


@pytest.fixture
def ingest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, control_plane: Plane
) -> Run:
    """Provide the command line of the database's owner: `ingest("erase", …, stdin=b"…")`."""

    def run(*args: str, stdin: bytes = b"") -> Done:
        capsys.readouterr()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["ingest", *args])
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            patch.setenv("INGEST_DATA_DIR", str(tmp_path))
            patch.setenv("INGEST_POSTGRES_DSN", control_plane.owner)
            with pytest.raises(SystemExit) as ended:
                main()
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, err

    return run


def requested(plane: Plane) -> list[tuple[Any, ...]]:
    """Return what was asked to be erased, oldest first."""
    return execute(
        plane.owner, "SELECT id, project_id, organization_id, subjects FROM erasures ORDER BY requested_at, id"
    )


def complete(plane: Plane, erasure_id: str) -> None:
    """Do what the executing side does at the end."""
    execute(
        plane.owner,
        """
        UPDATE erasures SET published_at = now(), completed_at = now(), subjects = '{}', events_erased = 3
        WHERE id = %s
        """,
        (erasure_id,),
    )


@pytest.mark.parametrize("option", SUBJECTS)
@pytest.mark.parametrize("line_end", [None, b"", b"\n", b"\r\n"], ids=["argument", "stdin", "LF", "CRLF"])
def test_a_value_is_turned_into_what_rows_hold(
    ingest: Run, control_plane: Plane, shop: Customer, option: str, line_end: bytes | None
) -> None:
    """From an argument or from standard input: ids as they are, digests of all forms, and no trace of the value."""
    value = VALUES[option]
    named, stdin = (value, b"") if line_end is None else ("-", value.encode() + line_end)
    why = ("--reason", "ticket 12", "--actor", "kim")
    code, out, err = ingest("erase", "--project", shop.project_id, option, named, *why, "--json", stdin=stdin)
    ((erasure_id, *row),) = requested(control_plane)
    known = execute(control_plane.owner, "SELECT subject FROM erased_subjects WHERE erasure_id = %s", (erasure_id,))
    audited = execute(
        control_plane.owner,
        "SELECT action, target_id, actor, reason, organization_id, details FROM audit_events ORDER BY at DESC LIMIT 1",
    )

    assert (code, json.loads(out), err) == (0, {"id": erasure_id}, "")
    assert re.fullmatch("era_[0-7][0-9A-HJKMNP-TV-Z]{25}", erasure_id)
    assert row == [shop.project_id, shop.organization_id, SUBJECTS[option]]
    assert sorted(subject for (subject,) in known) == sorted(subject_of(each) for each in SUBJECTS[option])
    assert audited == [
        (
            "erasure.requested",
            erasure_id,
            "operator:kim",
            "ticket 12",
            shop.organization_id,
            {"projectId": shop.project_id},
        )
    ]
    holding = {
        name
        for name, lines in dump_database(control_plane.owner).items()
        if any(form in line for line in lines for form in FORMS)
    }
    assert holding == ({"erasures"} if option == "--user-id" else set())


def test_a_real_process_reads_a_pipe(control_plane: Plane, shop: Customer, tmp_path: Path) -> None:
    """The id is printed alone, and who is logged in has decided where nobody is named."""
    env = {"INGEST_POSTGRES_DSN": control_plane.owner, "INGEST_DATA_DIR": str(tmp_path)}
    done = run_command(["erase", "--project", shop.project_id, "--user-id", "plain"], env)
    ((erasure_id, *_),) = requested(control_plane)
    ((actor,),) = execute(control_plane.owner, "SELECT actor FROM audit_events WHERE target_id = %s", (erasure_id,))

    assert (done.returncode, done.stdout, done.stderr) == (0, f"{erasure_id}\n", "")
    assert actor.startswith("operator:")


@pytest.mark.parametrize(
    ("option", "stdin", "word"),
    [
        ("--email", b"", "nothing to hash"),
        ("--email", b" \n", "nothing to hash"),
        ("--phone", b"canary\n", "no digit"),
        ("--user-id", b"\n", "user id is empty"),
        ("--user-id", b"canary\0", "zero character"),
        ("--user-id", b"canary\xff", "UTF-8"),
        ("--user-id", b"canary\ncanary\n", "one line"),
        ("--user-id", b"canary" * 20_000, "one line"),
    ],
)
def test_what_means_nobody_is_told_without_the_value(
    *, ingest: Run, control_plane: Plane, shop: Customer, option: str, stdin: bytes, word: str
) -> None:
    """One line, exit code 1, and nothing is asked for."""
    code, out, err = ingest("erase", "--project", shop.project_id, option, "-", stdin=stdin)

    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert word in err
    assert "canary" not in err
    assert requested(control_plane) == []


@pytest.mark.parametrize(
    "args",
    [
        ("--user-id", "canary", "canary"),
        ("--user-id", "a", "--email", "canary"),
        ("--emial", "canary"),
        ("--emial=canary",),
        ("-canary", "--email", "canary"),
        ("--email", "canary", "--reason", "of canary itself"),
        ("--email", "canary", "--reason", "c" * 501),
        ("--email",),
        ("canary",),
    ],
)
def test_a_slip_does_not_tell_the_value(ingest: Run, control_plane: Plane, shop: Customer, args: Sequence[str]) -> None:
    """However a command line is wrong, what may be a part of the value is not said again."""
    code, out, err = ingest("erase", "--project", shop.project_id, *args)

    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert "canary" not in err
    assert requested(control_plane) == []


def test_waiting_ends_with_the_completion(ingest: Run, control_plane: Plane, shop: Customer) -> None:
    """The id comes on standard output at once, each step on standard error."""

    def execute_it() -> None:
        await_true(lambda: bool(requested(control_plane)), "it is asked for")
        complete(control_plane, requested(control_plane)[0][0])

    executing = threading.Thread(target=execute_it)
    executing.start()
    code, out, err = ingest("erase", "--project", shop.project_id, "--user-id", "waited", "--wait")
    executing.join()

    assert (code, out) == (0, f"{requested(control_plane)[0][0]}\n")
    assert err.splitlines()[-1] == "completed"
    assert set(err.splitlines()) <= {"accepted", "completed"}


def test_waiting_has_an_end(ingest: Run, control_plane: Plane, shop: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody executes it, the command says so and what to look at; the request stays."""
    monkeypatch.setattr(sys.modules["ingest.cli.erase"], "WAIT_S", 0.2)
    code, out, err = ingest("erase", "--project", shop.project_id, "--user-id", "waited", "--wait")
    ((erasure_id, *_),) = requested(control_plane)

    assert (code, out) == (1, f"{erasure_id}\n")
    assert err.splitlines()[0] == "accepted"
    assert f"ingest erasures show {erasure_id}" in err


def test_erasures_are_listed_and_shown(ingest: Run, control_plane: Plane, shop: Customer) -> None:
    """Newest first, with what became of them, and never whom they are about."""
    other = customer(control_plane.owner, "app_b")
    for project_id in (shop.project_id, other.project_id, shop.project_id):
        assert ingest("erase", "--project", project_id, "--user-id", "canary")[0] == 0
    first, second, third = (row[0] for row in requested(control_plane))
    complete(control_plane, first)
    everything = ingest("erasures", "list", "--json")
    some = ingest("erasures", "list", "--project", shop.project_id, "-n", "1", "--json")
    shown, table, one = (
        ingest("erasures", "show", first, "--json"),
        ingest("erasures", "list"),
        ingest("erasures", "show", third),
    )
    row = json.loads(shown[1])

    assert [each["id"] for each in json.loads(everything[1])] == [third, second, first]
    assert [each["id"] for each in json.loads(some[1])] == [third]
    assert (row["id"], row["status"], row["events_erased"]) == (first, "completed", 3)
    assert [json.loads(everything[1])[place]["status"] for place in (0, 2)] == ["accepted", "completed"]
    assert first in table[1]
    assert third in one[1]
    assert not [each for each in (everything, some, shown, table, one) if "canary" in each[1] or each[2]]
