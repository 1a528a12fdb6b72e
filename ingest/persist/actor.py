"""As whom the persisting process stands in the audit log."""

from typing import Final

from ingest.control.record import Actor

ACTOR: Final = Actor.system("persist")
