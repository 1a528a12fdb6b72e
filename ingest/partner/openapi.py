"""The published description of the surface (OpenAPI 3.1), generated from the table of operations and its types."""

import re
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any, Final

import msgspec

from ingest.errors import Code
from ingest.partner.fields import PAGE_MAX
from ingest.partner.operations import OPERATIONS, Operation
from ingest.partner.types import ErrorEnvelope

_REF: Final = "#/components/schemas/{name}"
_ANY_TIME: Final = (
    Code.UNAUTHENTICATED,
    Code.REVOKED,
    Code.RATE_LIMITED,
    Code.INTERNAL,
    Code.KILL_SWITCH,
    Code.UNAVAILABLE,
    Code.OVERLOADED,
)
_WITH_BODY: Final = (Code.INVALID_JSON, Code.BODY_TIMEOUT, Code.PAYLOAD_TOO_LARGE, Code.UNSUPPORTED_ENCODING)
_REPEATS: Final = (Code.IDEMPOTENCY_CONFLICT, Code.IDEMPOTENCY_IN_PROGRESS, Code.CONFLICT)
_TIMES: Final = ("since", "until")


def describe() -> dict[str, Any]:
    """Return the description as a value that JSON can express."""
    types = [ErrorEnvelope, *(kind for each in OPERATIONS for kind in (each.answer, each.request) if kind is not None)]
    schemas, components = msgspec.json.schema_components(dict.fromkeys(types), ref_template=_REF)
    of_type = dict(zip(dict.fromkeys(types), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, of_type)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Ingest edge, partner surface", "version": version("ingest-edge")},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "bearerFormat": "lp_<env>_<keyid>.<secret>"}
            },
        },
        "security": [{"key": []}],
    }


def _operation(operation: Operation, of_type: dict[Any, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": f"Scope: `{operation.scope}`." if operation.scope else "Any key may call it.",
        "parameters": [*_parameters(operation)],
        "responses": {
            str(operation.status): {
                "description": "Done.",
                "headers": _HEADERS,
                "content": _json(of_type[operation.answer]),
            },
            **_errors(operation, of_type[ErrorEnvelope]),
        },
    }
    if operation.request is not None:
        described["requestBody"] = {
            "required": operation.name == "takeEvents",
            "content": _json(of_type[operation.request]),
        }
    return described


def _parameters(operation: Operation) -> Iterable[dict[str, Any]]:
    for name in re.findall(r"{(\w+)}", operation.path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
    for name in operation.query:
        yield {"name": name, "in": "query", "schema": _query_schema(name)}
    if operation.repeatable:
        schema = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"}
        yield {"name": "Idempotency-Key", "in": "header", "schema": schema}


def _query_schema(name: str) -> dict[str, Any]:
    if name == "limit":
        return {"type": "integer", "minimum": 1, "maximum": PAGE_MAX}
    if name in _TIMES:
        return {"type": "string", "format": "date-time"}
    return {"type": "string", "minLength": 1, "maxLength": 200}


def _errors(operation: Operation, envelope: Any) -> dict[str, Any]:
    codes = [*_ANY_TIME, Code.VALIDATION]
    if operation.scope is not None:
        codes.append(Code.FORBIDDEN_SCOPE)
    if "{" in operation.path or operation.name == "takeEvents":
        codes.append(Code.NOT_FOUND)
    if operation.repeatable:
        codes += [*_WITH_BODY, *_REPEATS]
    if operation.name == "takeEvents":
        codes.append(Code.ALL_EVENTS_REJECTED)
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(code.value.status, []).append(code.name)
    return {
        str(status): {"description": ", ".join(f"`{name}`" for name in names), "content": _json(envelope)}
        for status, names in sorted(by_status.items())
    }


def _json(schema: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


_HEADERS: Final = {
    name: {"schema": {"type": kind}}
    for name, kind in (
        ("X-Request-Id", "string"),
        ("X-RateLimit-Limit", "integer"),
        ("X-RateLimit-Remaining", "integer"),
        ("X-RateLimit-Reset", "integer"),
        ("X-RateLimit-Endpoint-Class", "string"),
    )
}
