"""What a check has found: how grave it is, in one sentence, and what to do."""

import enum
from typing import NamedTuple


class Level(enum.StrEnum):
    """How grave a finding is: nothing to do, should not stay so, or will not work."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


class Finding(NamedTuple):
    """One line of `ingest check`. `action` tells the operator what to do, and is empty where there is nothing."""

    level: Level
    subject: str
    sentence: str
    action: str = ""

    def __str__(self) -> str:
        """Return the line."""
        return f"{self.level}: {self.sentence}" + (f"; {self.action}" if self.action else "")


def ok(subject: str, sentence: str) -> Finding:
    """Return that a thing is as it has to be."""
    return Finding(Level.OK, subject, sentence)


def warning(subject: str, sentence: str, action: str = "") -> Finding:
    """Return that a thing works and should not stay so."""
    return Finding(Level.WARNING, subject, sentence, action)


def fault(subject: str, sentence: str, action: str = "") -> Finding:
    """Return that a thing will not work."""
    return Finding(Level.FAULT, subject, sentence, action)
