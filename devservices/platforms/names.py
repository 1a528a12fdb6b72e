"""The platforms of which there is a twin."""

import enum


class Platform(enum.StrEnum):
    """Names that a target, a listing and an order use; equal to the same text."""

    META = "meta"
    TIKTOK = "tiktok"
