"""What can go wrong while a development service is fetched or started.

DevServiceError
├── JavaMissing
├── FetchFailed
├── ProgramMissing
└── StartFailed
    └── PortTaken
"""


class DevServiceError(RuntimeError):
    """A development service could not be provided; the message says why and what helps."""


class JavaMissing(DevServiceError):  # noqa: N818 - named for what is wrong
    """Java or Maven is not installed, or Java is too old."""


class FetchFailed(DevServiceError):  # noqa: N818 - as above
    """Maven did not deliver the files of the service."""


class ProgramMissing(DevServiceError):  # noqa: N818 - as above
    """The service's own program is not installed, or too old."""


class StartFailed(DevServiceError):  # noqa: N818 - as above
    """The service ended, or did not answer in time, while it was started."""


class PortTaken(StartFailed):
    """The service could not listen because another program has its port."""
