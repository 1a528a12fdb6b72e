"""The description tells all calls, all that they may be refused for, and nothing else."""

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema_rs
import msgspec
import pytest

from ingest.edge.admin import admin
from ingest.edge.app import PARTNERS
from ingest.errors import Code
from ingest.partner import types
from ingest.partner.fields import TEXT
from ingest.partner.headers import BEFORE_THE_KEY_IS_KNOWN
from ingest.partner.openapi import codes_of, describe
from ingest.partner.operations import OPERATIONS, Operation
from ingest.pipeline.validate import is_date_time
from ingest.setting import Secret
from ingest.settings import Settings
from ingest.wiring.partner import partner_description

DESCRIBED = describe()
BY_NAME = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
NEVER = {
    Code.INVALID_BATCH,  # of SDKs; here it is VALIDATION
    Code.METHOD_NOT_ALLOWED,  # no call has another's method
}


def described(operation: Operation) -> Any:
    """Return what is told of a call."""
    return DESCRIBED["paths"][operation.path][operation.method.lower()]


def contents() -> Iterator[tuple[str, Any, Any]]:
    """Yield every example with its name and its schema."""
    for operation in OPERATIONS:
        told = described(operation)
        bodies = [answer.get("content") for answer in told["responses"].values()]
        for content in [*bodies, told.get("requestBody", {}).get("content")]:
            media = (content or {}).get("application/json", {"examples": {}})
            for name, example in media["examples"].items():
                yield f"{operation.name} {name}", media["schema"], example["value"]


def test_all_calls_are_described_and_no_others() -> None:
    """Paths and methods are those of the table of operations, under their own names."""
    told = {
        (method.upper(), path): call["operationId"]
        for path, calls in DESCRIBED["paths"].items()
        for method, call in calls.items()
    }

    assert told == {(each.method, each.path): each.name for each in OPERATIONS}
    assert len(set(told.values())) == len(OPERATIONS)


@BY_NAME
def test_a_call_is_told_in_full(operation: Operation) -> None:
    """Each call has a summary, its scope, the key as its security, its parameters, and its body where it takes one."""
    told = described(operation)
    named = {(each["name"], each["in"]) for each in told["parameters"]}
    expected = {(name, "query") for name in operation.query}
    expected |= {(name, "path") for name in re.findall(r"{(\w+)}", operation.path)}
    expected |= {("Idempotency-Key", "header")} if operation.repeatable else set()

    assert told["summary"] == operation.summary
    assert operation.scope is None or f"`{operation.scope}`" in told["description"]
    assert told["security"] == [{"key": []}]
    assert named == expected
    assert ("requestBody" in told) == (operation.request is not None)


@BY_NAME
def test_every_code_stands_under_its_status(operation: Operation) -> None:
    """What a call may be refused for is told under the status that it has, and the schema allows no other code."""
    told = described(operation)["responses"]
    for code in Code:
        answer = told.get(str(code.value.status))
        codes = (
            answer["content"]["application/json"]["schema"]["allOf"][1] if answer and code.value.status > 399 else {}
        )
        allowed = codes.get("properties", {}).get("error", {}).get("properties", {}).get("code", {}).get("enum", [])
        assert (code.name in allowed) == (code in codes_of(operation))
        assert code not in codes_of(operation) or f"`{code.name}`" in answer["description"]

    assert told.keys() == {str(operation.status), "308", *(str(code.value.status) for code in codes_of(operation))}


def test_what_a_call_can_give_is_told_by_some_call() -> None:
    """No code of the closed set is left out but those that partners never get, and none of these is told."""
    told = {code for operation in OPERATIONS for code in codes_of(operation)}

    assert told == set(Code) - NEVER


def test_codes_follow_from_what_a_call_is() -> None:
    """Reads have no body and no repeats; only a path or a batch names what may not be found."""
    codes = {operation.name: set(codes_of(operation)) for operation in OPERATIONS}
    of_writes = {Code.INVALID_JSON, Code.PAYLOAD_TOO_LARGE, Code.UNSUPPORTED_ENCODING, Code.CONFLICT}

    assert all(codes[each.name] >= of_writes for each in OPERATIONS if each.method != "GET")
    assert all(of_writes.isdisjoint(codes[each.name]) for each in OPERATIONS if each.method == "GET")
    assert {name for name, those in codes.items() if Code.ALL_EVENTS_REJECTED in those} == {"takeEvents"}
    assert {name for name, those in codes.items() if Code.FORBIDDEN_SCOPE not in those} == {"whoami"}
    assert {name for name, those in codes.items() if Code.NOT_FOUND in those} == {
        "takeEvents",
        "killApiKey",
        "rotateApiKey",
        "revokeApiKey",
        "readUserEvents",
        "eraseUser",
        "readErasure",
    }


@BY_NAME
def test_headers_stand_where_they_occur(operation: Operation) -> None:
    """Each answer tells its headers, and says of those that are always there that they are."""
    for status, answer in described(operation)["responses"].items():
        headers = {name: header["required"] for name, header in answer["headers"].items()}
        codes = [code for code in codes_of(operation) if str(code.value.status) == status]
        waits = [code.value.retry_after_s is not None for code in codes]
        rate = headers.get("X-RateLimit-Limit")

        assert headers["X-Request-Id"] is True
        assert headers.get("Retry-After") == (all(waits) if any(waits) else None), status
        assert ("WWW-Authenticate" in headers) == (status == "401")
        assert ("Location" in headers) == (status == "308")
        if status != "308":
            assert (rate is True) == BEFORE_THE_KEY_IS_KNOWN.isdisjoint(codes), status
        same = [headers.get(f"X-RateLimit-{name}") for name in ("Remaining", "Reset", "Endpoint-Class")]
        assert same == [rate] * 3
        assert operation.repeatable or "Idempotency-Replayed" not in headers
    assert ("Idempotency-Replayed" in described(operation)["responses"][str(operation.status)]["headers"]) == (
        operation.repeatable
    )


def test_components_are_named_as_their_types() -> None:
    """Every schema has the name of its type, and those of this surface are told in the words of the wire."""
    schemas = DESCRIBED["components"]["schemas"]

    assert all(schema["title"] == name for name, schema in schemas.items())
    own = {
        name
        for name, kind in vars(types).items()
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind.__module__ == types.__name__
    }
    assert own <= schemas.keys()
    for name, schema in schemas.items():
        assert re.findall(r"`\w+_\w+`|\n {2,}", schema["description"]) == [], name


def test_every_body_has_an_example_that_is_one() -> None:
    """Requests, answers and refusals are shown, each as its schema wants it."""
    shown = list(contents())
    for name, schema, value in shown:
        whole = {**schema, "components": DESCRIBED["components"]}
        jsonschema_rs.Draft202012Validator(whole).validate(value)
        assert value or name.startswith("rotateApiKey"), name

    refusals = sum(len(codes_of(operation)) for operation in OPERATIONS)
    requests = sum(operation.request is not None for operation in OPERATIONS)
    assert len(shown) == len(OPERATIONS) + requests + refusals


def test_the_pattern_of_texts_is_one_for_everybody() -> None:
    """What a reader of the description takes for a text in one line, this service does, character by character."""
    theirs = jsonschema_rs.Draft202012Validator({"pattern": TEXT})
    ours = re.compile(TEXT).fullmatch
    characters = [chr(point) for point in range(0x3000)] + ["\ufeff", "\U0001f680", "\U0010ffff"]

    assert [each for each in characters if theirs.is_valid(each) != bool(ours(each))] == []
    assert [each for each in "\0\n\r\t\x7f\x85\u2028\u202e\u2066" if ours(each)] == []
    assert ours("Gerät 👩\u200d🚀 \N{NO-BREAK SPACE}")


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("2026-11-24T10:00:00Z", True),
        ("2026-11-24 10:00", True),
        ("2026-11-24t23:59:60.123456789+23:59", True),
        ("2026-11-24", False),
        ("0000-11-24T10:00:00Z", False),
        ("2026-13-24T10:00:00Z", False),
        ("2026-11-32T10:00:00Z", False),
        ("2026-11-24T24:00:00Z", False),
        ("2026-11-24T10:00:00Z\n", False),
        ("٢٠٢٦-11-24T10:00:00Z", False),
    ],
)
def test_the_pattern_of_times_is_that_of_the_pipeline(text: str, *, holds: bool) -> None:
    """What the description takes for a time of an event is what events are taken with."""
    assert jsonschema_rs.Draft202012Validator({"pattern": types.DATE_TIME}).is_valid(text) is holds
    assert is_date_time(text) is holds


def test_it_is_served_to_operators_alone() -> None:
    """The admin surface has it where there is a database, and not otherwise."""
    given = Settings(postgres_dsn=Secret("postgresql://127.0.0.1/x"))
    description = partner_description(given)
    assert description is not None
    assert msgspec.json.decode(description()) == DESCRIBED
    assert partner_description(Settings()) is None

    async def ask(served: Any) -> httpx.Response:
        async def nothing() -> Any:
            return b""

        transport = httpx.ASGITransport(admin(nothing, nothing, served))
        async with httpx.AsyncClient(transport=transport, base_url="http://admin") as client:
            return await client.get("/openapi.json")

    assert asyncio.run(ask(description)).json() == DESCRIBED
    assert asyncio.run(ask(None)).status_code == 404


def test_paths_are_those_of_the_public_surface() -> None:
    """All calls lie below the prefix by which the public surface tells partners apart."""
    assert all(path.startswith(PARTNERS) for path in DESCRIBED["paths"])
