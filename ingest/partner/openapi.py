"""The published description of the surface (OpenAPI 3.1), generated from the table of operations and its types."""

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final

import msgspec

from ingest.errors import Code
from ingest.partner.events import FOREIGN_NAMES
from ingest.partner.examples import answer_example, error_example, request_example
from ingest.partner.fields import CURSOR_CHARACTERS_MAX, PAGE_DEFAULT, PAGE_MAX, TEXT, TEXT_CHARACTERS_MAX
from ingest.partner.headers import HeaderValue, answer_headers, error_headers, redirect_headers
from ingest.partner.operations import OPERATIONS, USER_ID, USER_ID_CHARACTERS_MAX, Operation
from ingest.partner.types import ErrorEnvelope, EventsRequest

PATH_ID: Final = "^[A-Za-z0-9_-]{1,64}$"
"""What an id in a path looks like; anything else is not found."""

_REF: Final = "#/components/schemas/{name}"
_ANY_TIME: Final = (
    Code.BAD_REQUEST,
    Code.UNAUTHENTICATED,
    Code.REVOKED,
    Code.BODY_TIMEOUT,  # of the headers
    Code.VALIDATION,
    Code.RATE_LIMITED,
    Code.INTERNAL,
    Code.KILL_SWITCH,
    Code.UNAVAILABLE,
    Code.OVERLOADED,
)
_WITH_BODY: Final = (Code.INVALID_JSON, Code.PAYLOAD_TOO_LARGE, Code.UNSUPPORTED_ENCODING)
_REPEATS: Final = (Code.CONFLICT, Code.IDEMPOTENCY_CONFLICT, Code.IDEMPOTENCY_IN_PROGRESS)
_TIMES: Final = ("since", "until")
_SERVER: Final = {
    "url": "{origin}",
    "variables": {
        "origin": {"default": "http://127.0.0.1:8080", "description": "Where the edge's public port is reached."}
    },
}
_KEY: Final = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "lp_<env>_<keyid>.<secret>",
    "description": "A partner's key.",
}


def describe() -> dict[str, Any]:
    """Return the description as a value that JSON can express."""
    kinds = [ErrorEnvelope, *(kind for each in OPERATIONS for kind in (each.answer, each.request) if kind is not None)]
    types = list(dict.fromkeys(kinds))
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    of_type = dict(zip(types, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, of_type)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Ingest edge, partner surface",
            "description": "Calls for partners' backends.",
            "version": version("ingest-edge"),
        },
        "servers": [_SERVER],
        "paths": paths,
        "components": {"schemas": _told(components), "securitySchemes": {"key": _KEY}},
        "security": [{"key": []}],
    }


def codes_of(operation: Operation) -> tuple[Code, ...]:
    """Return every reason for which the call may be refused."""
    codes = set(_ANY_TIME)
    if operation.scope is not None:
        codes.add(Code.FORBIDDEN_SCOPE)
    if "{" in operation.path or operation.request is EventsRequest:
        codes.add(Code.NOT_FOUND)
    if operation.repeatable:
        codes.update(_WITH_BODY, _REPEATS)
    if operation.request is EventsRequest:
        codes.add(Code.ALL_EVENTS_REJECTED)
    return tuple(code for code in Code if code in codes)


def _told(components: dict[str, Any]) -> dict[str, Any]:
    """Return the types' schemas with what the types themselves cannot say."""
    for schema in components.values():
        if "description" in schema:
            schema["description"] = inspect.cleandoc(schema["description"])
    components["PartnerEvent"]["properties"].update(dict.fromkeys(FOREIGN_NAMES, False))
    return components


def _operation(operation: Operation, of_type: Mapping[Any, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": f"Scope: `{operation.scope}`." if operation.scope else "Any key may call it.",
        "security": [{"key": []}],
        "parameters": [*_parameters(operation)],
        "responses": {
            str(operation.status): {
                "description": "Done.",
                "headers": _headers(answer_headers(operation)),
                "content": _json(of_type[operation.answer], {operation.name: answer_example(operation)}),
            },
            "308": {
                "description": "Asked for by plain HTTP, at a proxy that has HTTPS: the same place there.",
                "headers": _headers(redirect_headers()),
            },
            **_errors(operation, of_type[ErrorEnvelope]),
        },
    }
    if operation.request is not None:
        described["requestBody"] = {
            "description": "Any `Content-Type` is read as JSON; gzip, deflate, br and zstd are known as encodings.",
            "required": operation.request is EventsRequest,
            "content": _json(of_type[operation.request], {operation.name: request_example(operation)}),
        }
    return described


def _parameters(operation: Operation) -> Iterable[dict[str, Any]]:
    for name in re.findall(r"{(\w+)}", operation.path):
        yield {"name": name, "in": "path", "required": True, **_path_parameter(name)}
    for name in operation.query:
        yield {"name": name, "in": "query", **_query_parameter(name)}
    if operation.repeatable:
        yield {
            "name": "Idempotency-Key",
            "in": "header",
            "description": "With the same key and body the work is done once within 24 hours.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
        }


def _path_parameter(name: str) -> dict[str, Any]:
    if name == USER_ID:
        schema = {"type": "string", "minLength": 1, "maxLength": USER_ID_CHARACTERS_MAX, "pattern": r"^[^\u0000]+$"}
        return {"description": "Any text, percent-encoded, slashes too.", "schema": schema}
    return {"schema": {"type": "string", "pattern": PATH_ID}}


def _query_parameter(name: str) -> dict[str, Any]:
    if name == "limit":
        schema = {"type": "integer", "minimum": 1, "maximum": PAGE_MAX, "default": PAGE_DEFAULT}
        return {"description": "Rows of a page.", "schema": schema}
    if name == "cursor":
        schema = {"type": "string", "minLength": 1, "maxLength": CURSOR_CHARACTERS_MAX, "pattern": "^[A-Za-z0-9_-]+$"}
        return {"description": "The `nextCursor` of the page before.", "schema": schema}
    if name in _TIMES:
        included = "included" if name == "since" else "not included"
        return {"description": f"A time, {included}.", "schema": {"type": "string", "format": "date-time"}}
    schema = {"type": "string", "minLength": 1, "maxLength": TEXT_CHARACTERS_MAX, "pattern": TEXT}
    return {"description": "Events with exactly this one.", "schema": schema}


def _errors(operation: Operation, envelope: Any) -> dict[str, Any]:
    by_status: dict[int, list[Code]] = {}
    for code in codes_of(operation):
        by_status.setdefault(code.value.status, []).append(code)
    return {
        str(status): {
            "description": ", ".join(f"`{code.name}`" for code in codes),
            "headers": _headers(error_headers(operation, codes)),
            "content": _json(_narrowed(envelope, codes), {code.name: error_example(operation, code) for code in codes}),
        }
        for status, codes in sorted(by_status.items())
    }


def _narrowed(envelope: Any, codes: Sequence[Code]) -> dict[str, Any]:
    """Return the schema of an error that has one of `codes`."""
    code = {"enum": [each.name for each in codes]}
    return {"allOf": [envelope, {"properties": {"error": {"properties": {"code": code}}}}]}


def _headers(values: Mapping[str, HeaderValue]) -> dict[str, Any]:
    return {
        name: {"description": value.description, "required": value.always, "schema": dict(value.schema)}
        for name, value in values.items()
    }


def _json(schema: Any, examples: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: {"value": value} for name, value in examples.items()}
    return {"application/json": {"schema": schema, "examples": shown}}
