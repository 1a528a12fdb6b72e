"""The pages for readers and the code tell the same: what pages name exists, and what exists is told."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import click
import msgspec
import pytest

from ingest.cli import cli
from ingest.cli.dev import _announcement
from ingest.edge.answer import retry_after
from ingest.errors import Code
from ingest.event import Meta
from ingest.forward.outcome import Skip
from ingest.outcome import RejectionCode
from ingest.pipeline.decode import decode
from ingest.pipeline.identify import UNEXPECTED_TYPE
from ingest.pipeline.process import MEMBER_LOST, SURROGATE_REPLACED, process
from ingest.pipeline.request import NO_AGENT, Limits, Region, Request
from ingest.registry.toml_file import parse, read_registry
from ingest.settings import DECLARED, Settings
from ingest.settings_rules import VAULT_KEY_NAMES
from ingest.telemetry.catalog import METRICS
from ingest.transport.contract import Topic
from ingest.transport.retention import RETENTION_MS
from normalize import Note, OwnAddresses
from normalize.members import FAMILIES

ROOT: Final = Path(__file__).resolve().parent.parent
PAGES: Final = sorted(
    path.relative_to(ROOT) for pattern in ("*.md", "docs/**/*.md", "examples/*.md") for path in ROOT.glob(pattern)
)
OTHER_CAPITALS: Final = {"SASL_PLAINTEXT", "SASL_SSL", "DEVSERVICES_POSTGRES_DSN", "DEVSERVICES_REDIS_URL"}
"""Words in capitals with an underscore that are no error codes: names of Kafka's, and variables of the tests'."""

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)$", re.MULTILINE)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_INJECTED = re.compile(r"INGEST_SERVICE_HOST")


def text_of(page: Path) -> str:
    """Return a page's text."""
    return (ROOT / page).read_text(encoding="utf-8")


def code_of(page: Path) -> str:
    """Return what a page shows as code: its blocks and its spans, one a line, continued lines joined."""
    text = text_of(page)
    blocks = [found[2].replace("\\\n", " ") for found in _FENCE.finditer(text)]
    return "\n".join([*blocks, *(" ".join(span.split()) for span in _SPAN.findall(_FENCE.sub("", text)))])


def prose_of(page: Path) -> str:
    """Return a page's text without its blocks of code."""
    return _FENCE.sub("", text_of(page))


def rows(page: str, heading: str) -> Iterator[list[str]]:
    """Yield the cells of the first table below `heading`, without its own head."""
    _, _, below = f"\n{text_of(Path(page))}".partition(f"\n{heading}\n")
    lines = [line for line in below.partition("\n#")[0].splitlines() if line.startswith("|")]
    for line in lines[2:]:
        yield [cell.strip() for cell in line.strip("|").split("|")]


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings."""
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in _HEADING.findall(_FENCE.sub("", text))
    }


def spans(cell: str) -> list[str]:
    """Return what stands in code spans."""
    return _SPAN.findall(cell)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_relative_links_lead_somewhere(page: Path) -> None:
    """Every link to a file of the checkout finds it, and its anchor where it names one."""
    for one, other in _LINK.findall(prose_of(page)):
        link = one or other
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page

        assert target.exists(), f"{page} links to {link}"
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), f"{page} links to {link}"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_make_targets_exist(page: Path) -> None:
    """Every `make` target that a page names is one."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))

    assert set(re.findall(r"^make ([a-z][a-z-]*)", code_of(page), re.MULTILINE)) <= targets


def commands(code: str) -> Iterator[list[str]]:
    """Yield the words behind each `ingest` that is called, up to a comment."""
    for line in code.splitlines():
        found = re.search(r"(?:^|[\s/])ingest ([a-z].*)", line.partition(" #")[0])
        if found:
            yield found[1].split()


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_commands_exist(page: Path) -> None:
    """Every `ingest` command that a page shows exists, with the options that it is shown with."""
    for words in commands(code_of(page)):
        command: click.Command = cli
        rest = list(words)
        while isinstance(command, click.Group) and rest:
            named = command.commands.get(rest.pop(0))
            assert named is not None, f"{page}: ingest {' '.join(words)}"
            command = named
            if isinstance(command, click.Group):  # what it takes itself stands before its commands
                del rest[: sum(isinstance(each, click.Argument) for each in command.params)]
        known = {option for parameter in command.params for option in parameter.opts}

        assert {word for word in rest if word.startswith("-") and word != "-"} <= known, (
            f"{page}: ingest {' '.join(words)}"
        )


def test_every_command_is_told() -> None:
    """Every command that is not hidden is shown on some page."""
    shown = {words[0] for page in PAGES for words in commands(code_of(page))}

    assert {name for name, command in cli.commands.items() if not command.hidden} <= shown


def test_settings_exist_and_are_told() -> None:
    """Pages name no setting that does not exist, and leave none out."""
    known = {entry.name for entry in DECLARED} | {entry.file_name for entry in DECLARED if entry.file_name}
    named = {
        name
        for page in PAGES
        for name in re.findall(r"\bINGEST_[A-Z_]*[A-Z]\b(?!_)", text_of(page))
        if not _INJECTED.fullmatch(name)
    }

    assert named <= known | VAULT_KEY_NAMES
    assert {entry.name for entry in DECLARED} <= named


def test_settings_are_told_with_their_defaults() -> None:
    """Where the journey gives a setting's value in brackets, it is the default."""
    told = re.findall(r"`(INGEST_[A-Z_]+)`\s+\((\d[\d\s]*?)(?:\s+(KiB|MiB|s))?\)", text_of(Path("docs/journey.md")))
    factors = {"": 1, "KiB": 1024, "MiB": 1024 * 1024, "s": 1000}
    defaults = {entry.name: entry.default for entry in DECLARED}

    assert len(told) > 10
    for name, number, unit in told:
        assert defaults[name] == int("".join(number.split())) * factors[unit], name


def test_metrics_that_pages_name_exist() -> None:
    """Every metric that a page names is declared; the database's roles have names of the same form."""
    named = {name for page in PAGES for name in re.findall(r"\bingest_[a-z_]*[a-z]\b", prose_of(page))}
    schemas = (ROOT / "ingest" / "db" / "migrations" / "versions").glob("*.sql")
    roles = {
        role for schema in schemas for role in re.findall(r"\bTO (ingest_\w+)", schema.read_text(encoding="utf-8"))
    }

    assert roles <= named
    assert named <= {metric.name for metric in METRICS} | roles


def test_every_error_code_is_told_with_its_status_and_its_wait() -> None:
    """The table of errors holds exactly the codes, each with the status and the bounds of `Retry-After`."""
    told = {spans(code)[0]: (int(status), wait) for code, status, wait, *_ in rows("docs/errors.md", "# Errors")}

    assert list(told) == [code.name for code in Code]
    for code in Code:
        status, wait = told[code.name]
        bounds = (retry_after(code, random_below=lambda _: 0), retry_after(code, random_below=lambda count: count - 1))
        found = re.match(r"(\d+) to (\d+)", wait)

        assert status == code.value.status
        assert bounds == ((int(found[1]), int(found[2])) if found else (None, None)), code.name


def test_errors_tell_what_a_status_does_to_the_events() -> None:
    """The last column follows from the status: SDKs retry 429 and 5xx, and drop the batch on any other 4xx."""
    for _, status, _, _, deed in rows("docs/errors.md", "# Errors"):
        assert deed.startswith("keep the batch" if status == "429" or status.startswith("5") else "drop the batch")


def test_every_rejection_code_is_told() -> None:
    """The table of rejected events holds exactly the codes."""
    told = [spans(code)[0] for code, _ in rows("docs/errors.md", "## Rejected events")]

    assert told == list(RejectionCode)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_codes_that_pages_name_exist(page: Path) -> None:
    """What looks like an error code on a page is one."""
    known = {code.name for code in Code} | set(RejectionCode) | OTHER_CAPITALS
    named = {
        span for span in spans(prose_of(page)) if re.fullmatch(r"[A-Z]+(?:_[A-Z]+)+", span) and span[:7] != "INGEST_"
    }

    assert named <= known


def test_reasons_of_platforms_are_told_by_their_names() -> None:
    """Every reason in the table of what platforms do not get is one that an outcome has."""
    told = [reason for cells in rows("docs/forwarding.md", "### What is not sent") for reason in spans(cells[0])]

    assert told == [Skip.NO_USER, Skip.NO_VALUE, Skip.NO_CURRENCY, Skip.NO_PAGE, Skip.NO_APP]


def test_every_topic_is_told_with_its_lifetime() -> None:
    """The table of topics holds exactly the topics, each kept for as long as it says."""
    unit_ms = {"hour": 3_600_000, "day": 86_400_000}
    told = {}
    for name, kept in rows("docs/consuming.md", "## Topics"):
        number, unit = kept.split()
        told[Topic(spans(name)[0])] = int(number) * unit_ms[unit.rstrip("s")]

    assert told == RETENTION_MS


def test_every_member_of_meta_and_every_note_is_told() -> None:
    """The tables of a record name all members of `meta`, and all notes."""
    members = [name for cells in rows("docs/consuming.md", "### `meta`") for name in spans(cells[0])]
    notes = [name for cells in rows("docs/consuming.md", "### `notes`") for name in spans(cells[0])]

    assert sorted(members) == sorted(Meta.__struct_fields__)
    assert set(notes) == {*Note, UNEXPECTED_TYPE, SURROGATE_REPLACED, MEMBER_LOST}


def test_every_member_name_of_a_family_is_told() -> None:
    """The privacy page lists exactly the names by which members are recognised."""
    told = [set(spans(names)) for _, names, _ in rows("docs/privacy.md", "## What is done to an event")]

    assert told == [set(names) for names in FAMILIES.values()]


def test_the_record_that_is_shown_is_what_the_pipeline_makes() -> None:
    """The example of a record is that event of the example batch, but for the ids and times of one request."""
    (shown,) = (
        json.loads(block) for kind, block in _FENCE.findall(text_of(Path("docs/consuming.md"))) if kind == "json"
    )
    app = read_registry(ROOT / "examples" / "apps.toml", 0).apps["app_demo"]
    meta = shown["meta"]
    request = Request(
        app, meta["request_id"], meta["received_at"], Region("DE", "BE"), NO_AGENT, OwnAddresses()
    )  # the region of 203.0.113.7 in the demonstration file
    batch = decode((ROOT / "examples" / "batch.json").read_bytes(), events_max=1000)
    records: list[dict[str, Any]] = [
        msgspec.json.decode(record.value) for record in process(batch, request, Limits(1000, 32768, 64)).records
    ]

    assert shown in records


def test_the_registry_that_is_shown_is_taken() -> None:
    """The example of a registry file holds up."""
    (shown,) = (block for kind, block in _FENCE.findall(text_of(Path("docs/operations.md"))) if kind == "toml")

    assert list(parse(shown.encode(), 0).admitted) == ["app_shop"]


def test_the_reasons_of_readiness_stand_in_the_code() -> None:
    """Every reason that the operator's table explains is one that the code gives."""
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "ingest").rglob("*.py"))
    told = [reason for cells in rows("docs/operations.md", "## Health") for reason in spans(cells[0])]
    reasons = [reason for reason in told if not reason.startswith(("/", "OperationalError", "OSError"))]

    assert reasons
    assert [reason for reason in reasons if reason.rstrip("… ") not in code] == []


def test_the_first_curl_line_is_the_one_that_a_run_prints() -> None:
    """A newcomer can paste from the page what `make run` prints."""
    printed = re.search(r"^ *curl (?:.*\\\n)*.*$", _announcement(Settings(), 8080, 8081), re.MULTILINE)
    assert printed is not None

    blocks = (block for _, block in _FENCE.findall(text_of(Path("README.md"))) if block.startswith("curl"))
    assert [line.strip() for line in printed[0].splitlines()] == [line.strip() for line in next(blocks).splitlines()]


def test_the_rooms_of_the_house_are_told() -> None:
    """The architecture page shows the layers that the import contracts hold, in their order."""
    contracts = (ROOT / ".importlinter").read_text(encoding="utf-8")
    layers = re.findall(r"\w+", contracts.partition("layers =\n")[2].partition("\n\n")[0])
    (shown,) = (block for _, block in _FENCE.findall(text_of(Path("docs/architecture.md"))) if "__main__" in block)

    assert re.findall(r"\w+", shown) == layers


def test_every_decision_is_listed() -> None:
    """The index of decisions links to each page of its folder, and each has its three parts."""
    folder = ROOT / "docs" / "decisions"
    pages = sorted(path.name for path in folder.glob("0*.md"))

    assert re.findall(r"\((0\d+-[^)]+)\)", (folder / "README.md").read_text(encoding="utf-8")) == pages
    for page in pages:
        headings = _HEADING.findall((folder / page).read_text(encoding="utf-8"))
        assert headings[1:] == ["Context", "Decision", "Consequences"], page
