"""A conversion: what the edge hands on of an event so that advertising platforms learn of it, and nothing else."""

import enum

import msgspec

CONVERSION_VERSION = 1


class Platform(enum.StrEnum):
    """The advertising platforms to which conversions go."""

    META = "meta"
    TIKTOK = "tiktok"


class ConversionMeta(msgspec.Struct, frozen=True, omit_defaults=True):
    """Those members of an event's `meta` that forwarding needs; they mean what they mean there."""

    v: int
    app_id: str
    project_id: str
    organization_id: str
    received_at: str
    request_id: str
    source: str
    scheme: dict[str, str]
    event_id: str
    country_code: str | None = None
    subdivision1_code: str | None = None
    os_name: str | None = None


class Conversion(msgspec.Struct, frozen=True, omit_defaults=True):
    """An event in the words that platforms share. `event` is the app's own name, `to` the platform's by platform.

    `timestamp` is the client's own text. Digests are lower-case SHA-256 of the normal forms, advertising ids as the
    device has them; at most one of `idfa` and `gaid` is there, and only where it may be handed on. `value` is in
    `currency`, whose text is the client's own.
    """

    event: str
    timestamp: str
    to: dict[Platform, str]
    user_id: str | None = None
    app_user_id: str | None = None
    install_id: str | None = None
    anonymous_id: str | None = None
    platform: str | None = None
    os_version: str | None = None
    app_version: str | None = None
    build_number: str | None = None
    device_model: str | None = None
    locale: str | None = None
    timezone: str | None = None
    screen_size: str | None = None
    att_status: str | None = None
    email_sha256: tuple[str, ...] = ()
    phone_sha256: tuple[str, ...] = ()
    phone_e164_sha256: tuple[str, ...] = ()
    phone_national_sha256: tuple[str, ...] = ()
    user_agent: str | None = None
    idfa: str | None = None
    gaid: str | None = None
    page_url: str | None = None
    referrer: str | None = None
    fbc: str | None = None
    fbp: str | None = None
    fbclid: str | None = None
    ttclid: str | None = None
    ttp: str | None = None
    value: float | int | None = None
    currency: str | None = None
    order_id: str | None = None
    content_ids: tuple[str, ...] = ()
    content_name: str | None = None
    quantity: int | None = None
    query: str | None = None


class ConversionRecord(msgspec.Struct, frozen=True):
    """The value of a record on the `forward` topic; of the same shape as one on `events`."""

    meta: ConversionMeta
    event: Conversion
