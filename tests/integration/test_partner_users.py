"""What is kept of a user, read back by a partner and asked to be erased, on two workers and a real database."""

import itertools
import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import quote

import psycopg
import pytest

from ingest.control.organizations import create_app, create_project
from ingest.db.queries.users import EVENTS_OF_USER, PAGE_BYTES_MAX
from ingest.erasure import subject_of
from ingest.transport.contract import Topic
from ingest.transport.retention import RETENTION_MS
from tests.integration.edge import Answer, await_true
from tests.integration.partner import (
    ANNA,
    Line,
    Operators,
    Partner,
    Site,
    Tenant,
    dump_database,
    dump_valkey,
    worker_lines,
)

READ, ERASE = ("events:read",), ("events:erase",)
NOBODY = "nobody at all"


class Shop(NamedTuple):
    """A tenant with two apps whose rows a test writes, and its partner, whose calls go to both workers by turns."""

    operators: Operators
    tenant: Tenant
    other_app_id: str
    partner: Partner
    lines: Iterator[Line]

    def add(
        self,
        event_id: str,
        ts: str,
        *,
        user_id: str | None = None,
        app_user_id: str | None = None,
        app_id: str = "",
        project_id: str = "",
        **members: Any,
    ) -> None:
        """Write an event's row, its day's partition first."""
        event = {"event": "opened", "timestamp": ts, "event_id": event_id, **members}
        if not ts.startswith("2001"):  # that year has the default partition
            self.operators.run("SELECT make_day_partition('events', %s::date)", ts[:10])
        self.operators.run(
            """
            INSERT INTO events (app_id, event_id, ts, project_id, organization_id, name, received_at, user_id,
                app_user_id, source, event, meta)
            VALUES (%s, %s, %s::text::timestamptz, %s, %s, 'opened', '2026-11-24T12:00:00Z', %s, %s, 'sdk', %s,
                '{"v": 1}')
            """,
            app_id or self.tenant.app_id,
            event_id,
            ts,
            project_id or self.tenant.project_id,
            self.tenant.organization_id,
            user_id,
            app_user_id,
            json.dumps(event),
        )

    def keep(self, table: str, name: str, user_id: str, *, app_user_id: str | None = None, kind: str) -> None:
        """Write what is kept of a user beside events."""
        with self.operators.connect() as connection:
            connection.execute(
                psycopg.sql.SQL(
                    "INSERT INTO {} (app_id, user_kind, user_id, name, value, set_at, received_at, project_id,"
                    " organization_id, app_user_id) VALUES (%s, %s, %s, %s, 'true', now(), now(), %s, %s, %s)"
                ).format(psycopg.sql.Identifier(table)),
                (
                    self.tenant.app_id,
                    kind,
                    user_id,
                    name,
                    self.tenant.project_id,
                    self.tenant.organization_id,
                    app_user_id,
                ),
            )

    def path(self, user_id: str, query: str = "") -> str:
        """Return where a user is."""
        return f"/v1/projects/{self.tenant.project_id}/events/users/{quote(user_id, safe='')}{query}"

    def get(self, user_id: str, query: str = "") -> Answer:
        """Read a page."""
        return self.partner.call("GET", self.path(user_id, query), line=next(self.lines))

    def pages(self, user_id: str, limit: int) -> list[Any]:
        """Read all pages."""
        found, query = [], f"?limit={limit}"
        while query:
            answer = self.get(user_id, query)
            assert answer.status == 200, answer.body
            found.append(answer.json())
            following = found[-1]["nextCursor"]
            query = f"?limit={limit}&cursor={following}" if following else ""
        return found

    def erase(self, user_id: str, **headers: str) -> Answer:
        """Ask for an erasure."""
        return self.partner.call("DELETE", self.path(user_id), None, next(self.lines), **headers)


@pytest.fixture(scope="module")
def lines(two_workers: Site) -> Iterator[list[Line]]:
    """Provide a line to each worker."""
    made = list(worker_lines(two_workers.service).values())
    yield made

    for line in made:
        line.close()


@pytest.fixture
def shop(two_workers: Site, lines: list[Line]) -> Shop:
    """Provide a shop of the test's own."""
    operators = two_workers.operators
    tenant = operators.tenant()
    other = operators.do(lambda connection: create_app(connection, tenant.project_id, "Other", ANNA))
    partner = two_workers.partner(operators.key(tenant.organization_id))
    return Shop(operators, tenant, other.id, partner, itertools.cycle(lines))


def ids(pages: list[Any]) -> list[str]:
    """Return the ids of all events of all pages."""
    return [event["eventId"] for page in pages for event in page["events"]]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 200])
def test_pages_hold_each_event_once_newest_first(shop: Shop, limit: int) -> None:
    """Over days, apps, both ids and equal times; an event with both ids counts once, others' do not at all."""
    user, other = f"u-{limit}", shop.other_app_id
    same = "2026-11-22T08:00:00Z"
    shop.add("d", "2026-11-23T23:59:59.123456Z", user_id=user)
    shop.add("c", same, user_id=user, app_user_id=user, app_id=max(other, shop.tenant.app_id))
    shop.add("é\n☃" * 66, same, app_user_id=user, app_id=min(other, shop.tenant.app_id))
    shop.add("b1", same, user_id=user, app_user_id="else", app_id=min(other, shop.tenant.app_id))
    shop.add("a", "2026-11-20T08:00:00+02:00", app_user_id=user)
    shop.add("0", "2001-01-01T00:00:00Z", user_id=user, app_user_id=user)
    shop.add("x", same, user_id=NOBODY, app_user_id=f"{user}x")
    shop.add("y", same, user_id=user, project_id="prj_other")
    pages = shop.pages(user, limit)
    found = ids(pages)
    sizes = [len(page["events"]) for page in pages]

    assert found[:2] == ["d", "c"]
    assert sorted(found[2:4]) == sorted(["é\n☃" * 66, "b1"])
    assert found[4:] == ["a", "0"]
    assert all(size == limit for size in sizes[:-1])
    assert 0 < sizes[-1] <= limit


def test_an_event_is_told_as_it_is_stored(shop: Shop) -> None:
    """The client's own text of the time, numbers of any size, and what the edge knows of it."""
    big = 12345678901234567890123
    shop.add("one", "2026-11-24T10:00:00.5+05:30", user_id="told", n=big, text='"\\/\u2028ü', nested={"a": [1, None]})
    answer = shop.get("told")
    (event,) = answer.json()["events"]

    assert event == {
        "appId": shop.tenant.app_id,
        "eventId": "one",
        "name": "opened",
        "occurredAt": "2026-11-24T10:00:00.5+05:30",
        "receivedAt": "2026-11-24T12:00:00Z",
        "event": {
            "event": "opened",
            "timestamp": "2026-11-24T10:00:00.5+05:30",
            "event_id": "one",
            "n": big,
            "text": '"\\/\u2028ü',
            "nested": {"a": [1, None]},
        },
        "meta": {"v": 1},
    }


def test_the_first_page_tells_what_else_is_kept(shop: Shop) -> None:
    """Properties and choices by either id stand on the first page alone; nobody else's do."""
    for number in range(2):
        shop.add(str(number), f"2026-11-2{number}T10:00:00Z", user_id="kept")
    shop.keep("user_properties", "plan", "kept", kind="app_user_id")
    shop.keep("user_properties", "size", "i-1", app_user_id="kept", kind="install_id")
    shop.keep("user_properties", "none", NOBODY, app_user_id=NOBODY, kind="install_id")
    shop.keep("consents", "analytics", "kept", app_user_id="kept", kind="app_user_id")
    first, second = shop.pages("kept", 1)

    assert {(each["name"], each["idKind"]) for each in first["userProperties"]} == {
        ("plan", "app_user_id"),
        ("size", "install_id"),
    }
    (consent,) = first["consents"]
    assert {**consent, "setAt": ""} == {
        "name": "analytics",
        "value": True,
        "appId": shop.tenant.app_id,
        "idKind": "app_user_id",
        "setAt": "",
    }
    assert (second["userProperties"], second["consents"]) == (None, None)


def test_nobody_has_an_empty_page(shop: Shop) -> None:
    """Whether somebody exists is not told by the status."""
    answer = shop.get("never seen")

    assert answer.status == 200
    assert answer.json() == {"events": [], "userProperties": [], "consents": [], "nextCursor": None}


def test_a_page_is_bounded_in_bytes(shop: Shop) -> None:
    """Events that are large make pages shorter, and none is left out; one that is too large comes alone."""
    text = "x" * (PAGE_BYTES_MAX // 3)
    for number in range(5):
        shop.add(str(number), f"2026-11-21T10:00:0{number}Z", user_id="large", text=text)
    shop.add("huge", "2026-11-21T10:00:09Z", user_id="large", text=text * 4)
    pages = shop.pages("large", 100)

    assert ids(pages) == ["huge", "4", "3", "2", "1", "0"]
    assert [len(page["events"]) for page in pages] == [1, 2, 2, 1]


@pytest.mark.parametrize("user_id", ["a/b", "/", "a//b/", " a+b %2F?#&", "Zoë ☃", "\n", "..", "a/../b", "x" * 1_024])
def test_any_text_is_an_id(shop: Shop, user_id: str) -> None:
    """It is found and erased exactly as it is."""
    shop.add("odd", "2026-11-24T10:00:00Z", user_id=user_id)
    erasing = shop.erase(user_id)

    assert ids([shop.get(user_id).json()]) == ["odd"]
    assert erasing.status == 202
    assert shop.operators.run("SELECT subjects FROM erasures WHERE id = %s", erasing.json()["erasureId"]) == [
        ([user_id],)
    ]


def test_an_erasure_is_accepted(shop: Shop) -> None:
    """All that the executing side needs is written in one transaction, and the status can be asked for."""
    user = "canary-4711@example.com"
    answer = shop.erase(user)
    erasing = answer.json()
    erasure_id, project_id = erasing["erasureId"], shop.tenant.project_id
    requested_at = datetime.fromisoformat(erasing["requestedAt"])
    state = shop.partner.call("GET", erasing["statusPath"], line=next(shop.lines))

    assert answer.status == 202
    assert re.fullmatch("era_[0-7][0-9A-HJKMNP-TV-Z]{25}", erasure_id)
    assert erasing == {
        "erasureId": erasure_id,
        "status": "accepted",
        "requestedAt": erasing["requestedAt"],
        "statusPath": f"/v1/projects/{project_id}/erasures/{erasure_id}",
    }
    assert requested_at.microsecond % 1_000 == 0
    assert shop.operators.run(
        "SELECT organization_id, project_id, subjects, requested_at FROM erasures WHERE id = %s", erasure_id
    ) == [(shop.tenant.organization_id, project_id, [user], requested_at)]
    assert shop.operators.run(
        "SELECT project_id, subject, received_until FROM erased_subjects WHERE erasure_id = %s", erasure_id
    ) == [(project_id, subject_of(user), requested_at)]
    assert state.status == 200
    assert state.json() == {
        "erasureId": erasure_id,
        "status": "accepted",
        "requestedAt": erasing["requestedAt"],
        "completedAt": None,
        "erased": {"events": 0, "userProperties": 0, "consents": 0},
        "topicsClearedBy": state.json()["topicsClearedBy"],
    }
    cleared_by = datetime.fromisoformat(state.json()["topicsClearedBy"])
    assert cleared_by - requested_at == timedelta(milliseconds=RETENTION_MS[Topic.EVENTS])


def test_each_state_is_told(shop: Shop) -> None:
    """What the executing side writes down is what is answered."""
    erasing = shop.erase("state").json()

    def state() -> Any:
        return shop.partner.call("GET", erasing["statusPath"], line=next(shop.lines)).json()

    shop.operators.run("UPDATE erasures SET published_at = now() WHERE id = %s", erasing["erasureId"])
    published = state()
    shop.operators.run(
        """
        UPDATE erasures SET completed_at = now(), subjects = '{}', events_erased = 3, user_properties_erased = 2,
            consents_erased = 1 WHERE id = %s
        """,
        erasing["erasureId"],
    )
    completed = state()

    assert (published["status"], published["completedAt"]) == ("published", None)
    assert completed["status"] == "completed"
    assert completed["completedAt"] >= completed["requestedAt"]
    assert completed["erased"] == {"events": 3, "userProperties": 2, "consents": 1}


def test_nothing_but_the_request_tells_whom(two_workers: Site, shop: Shop) -> None:
    """The audit log, the request log, the edge's lines and its answers do not hold the value, nor does the cache."""
    user = "canary-0815@example.com"
    spelled = (user, quote(user, safe=""))
    answers = [shop.erase(user, Idempotency_Key="canary"), shop.erase(user, Idempotency_Key="canary")]
    erasing = answers[0].json()
    answers += [shop.get(user), shop.partner.call("GET", erasing["statusPath"], line=next(shop.lines))]
    shop.partner.call("GET", "/v1/projects/prj_none/events/users/" + spelled[1], line=next(shop.lines))
    row = shop.operators.run(
        "SELECT action, target_type, organization_id, actor, reason, details FROM audit_events WHERE target_id = %s",
        erasing["erasureId"],
    )
    route = "/v1/projects/{projectId}/events/users/{userId}"

    def logged() -> int:
        return len(shop.operators.run("SELECT at FROM request_log WHERE route = %s AND status = 404", route))

    await_true(lambda: logged() > 0, "calls are logged")
    tables = dump_database(two_workers.store.owner)
    holding = {name for name, rows in tables.items() if any(each in line for line in rows for each in spelled)}
    kept = [path.read_bytes() for path in two_workers.folder.rglob("*") if path.is_file()]
    texts = [*dump_valkey(two_workers.valkey.url).items(), *((answer.body.decode(),) for answer in answers)]

    key_id = shop.partner.key.split("_")[2].partition(".")[0]
    assert row == [
        (
            "erasure.requested",
            "erasure",
            shop.tenant.organization_id,
            f"key:{key_id}",
            None,
            {"projectId": shop.tenant.project_id},
        )
    ]
    assert holding == {"erasures"}
    assert not [data for data in kept if any(each.encode() in data for each in spelled)]
    assert not [text for text in texts if any(each in part for part in text for each in spelled)]
    assert any(route.encode() in data for data in kept)


def test_a_repeat_asks_once(shop: Shop) -> None:
    """The same idempotency key gets the same erasure from either worker; without one it is a new request."""
    repeats = [shop.erase("again", Idempotency_Key="once") for _ in range(4)]
    shop.operators.run(
        "UPDATE erasures SET completed_at = now(), subjects = '{}' WHERE id = %s", repeats[0].json()["erasureId"]
    )
    later = shop.erase("again", Idempotency_Key="once")
    others = [shop.erase("other", Idempotency_Key="once"), shop.erase("again")]

    assert [answer.status for answer in (*repeats, later, *others)] == [202] * 7
    assert [answer.headers.get("idempotency-replayed") for answer in repeats] == [None, "true", "true", "true"]
    assert {answer.json()["erasureId"] for answer in (*repeats, later)} == {repeats[0].json()["erasureId"]}
    assert later.json()["status"] == "completed"
    assert len({answer.json()["erasureId"] for answer in (repeats[0], *others)}) == 3


def test_what_is_somebody_elses_is_not_there(two_workers: Site, shop: Shop) -> None:
    """Projects, users and erasures of another organization answer like those that do not exist."""
    stranger = two_workers.partner(shop.operators.key(shop.operators.tenant("Else").organization_id))
    second = shop.operators.do(
        lambda connection: create_project(connection, shop.tenant.organization_id, "Second", ANNA)
    )
    shop.add("mine", "2026-11-24T10:00:00Z", user_id="mine")
    erasing = shop.erase("mine").json()
    before = shop.operators.run("SELECT count(*) FROM erasures")
    calls = [("GET", shop.path("mine")), ("DELETE", shop.path("mine")), ("GET", erasing["statusPath"])]
    foreign = [stranger.call(method, path, line=next(shop.lines)) for method, path in calls]
    absent = [
        shop.partner.call(method, path.replace(shop.tenant.project_id, "prj_none"), line=next(shop.lines))
        for method, path in calls
    ]
    elsewhere = shop.partner.call(
        "GET", erasing["statusPath"].replace(shop.tenant.project_id, second), line=next(shop.lines)
    )

    for one, other in zip(foreign, absent, strict=True):
        assert (one.status, one.code) == (other.status, other.code) == (404, "NOT_FOUND")
        assert one.json()["error"]["message"] == other.json()["error"]["message"]
    assert elsewhere.status == 404
    assert shop.operators.run("SELECT count(*) FROM erasures") == before


async def _second_project(connection: Any, organization_id: str) -> str:
    from ingest.control.organizations import create_project

    return await create_project(connection, organization_id, "Second", ANNA)


@pytest.mark.parametrize(("scopes", "statuses"), [(READ, (200, 403, 403)), (ERASE, (403, 202, 200))])
def test_each_scope_opens_its_calls_alone(
    two_workers: Site, shop: Shop, scopes: tuple[str, ...], statuses: tuple[int, ...]
) -> None:
    """Whoever may read may not erase, and the other way round."""
    partner = two_workers.partner(shop.operators.key(shop.tenant.organization_id, scopes))
    status_path = shop.erase("scoped").json()["statusPath"]
    calls = [("GET", shop.path("scoped")), ("DELETE", shop.path("scoped")), ("GET", status_path)]

    assert tuple(partner.call(method, path, line=next(shop.lines)).status for method, path in calls) == statuses


def test_a_key_that_is_killed_meanwhile_erases_nothing(two_workers: Site, shop: Shop) -> None:
    """A request leaves nothing behind where its key may do nothing any more."""
    key = shop.operators.key(shop.tenant.organization_id)
    shop.operators.run("UPDATE api_keys SET kill_switch = true WHERE id = %s", key.key_id)
    refused = two_workers.partner(key).call("DELETE", shop.path("killed"), line=next(shop.lines))

    assert (refused.status, refused.code) == (503, "KILL_SWITCH")
    assert shop.operators.run("SELECT id FROM erasures WHERE subjects = '{killed}'") == []


def test_the_walk_takes_the_indexes_of_every_partition(two_workers: Site, shop: Shop) -> None:
    """With many days, each with rows of many users, no partition is read as a whole, on whatever page."""
    operators = shop.operators
    operators.run("SELECT make_day_partition('events', current_date - days) FROM generate_series(0, 399) AS days")
    for newest in ("current_timestamp", "'2001-01-01'::timestamptz"):  # the years before have the default partition
        operators.run(
            f"""
            INSERT INTO events (app_id, event_id, ts, project_id, organization_id, name, received_at, user_id,
                app_user_id, source, event, meta)
            SELECT %s, 'p' || number, {newest} - make_interval(days => days), %s, 'org', 'a', now(), 'p-' || number,
                'q-' || number, 'sdk',
                jsonb_build_object('timestamp', 'then', 'text', repeat('x', 150)), '{{}}'
            FROM generate_series(0, 399) AS days, generate_series(1, 300) AS number
            """,  # noqa: S608 - one of two texts
            shop.tenant.app_id,
            shop.tenant.project_id,
        )
    with psycopg.connect(operators._dsn, autocommit=True) as owner:
        owner.execute("VACUUM ANALYZE events")
    asked = {"project_id": shop.tenant.project_id, "user_id": "p-7", "rows_max": 51, "bytes_max": PAGE_BYTES_MAX}
    first, later = (
        {"ts": "infinity", "app_id": "", "event_id": ""},
        {"ts": "2026-06-01", "app_id": "a", "event_id": "p"},
    )
    with psycopg.connect(two_workers.store.serving) as serving:
        plans = [
            "\n".join(line for (line,) in serving.execute("EXPLAIN (ANALYZE) " + EVENTS_OF_USER, asked | place))
            for place in (first, later)
        ]

    for plan in plans:
        assert re.search(r"Index Scan.* using events_\d{8}_project_id_user_id_ts_idx", plan), plan
        assert re.search(r"Index Scan.* using events_\d{8}_project_id_app_user_id_ts_idx", plan), plan
        assert "Seq Scan" not in plan, plan
        assert "Bitmap" not in plan, plan
    assert plans[1].count("Index Scan") < plans[0].count("Index Scan")
    assert len(ids(shop.pages("p-7", 200))) == 800
    assert len(ids(shop.pages("q-7", 150))) == 800
