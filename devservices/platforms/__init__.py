"""Meta's Conversions API and TikTok's Events API as twins on this machine, which take, refuse and fail as told.

>>> from devservices.platforms.behaviour import Status
>>> from devservices.platforms.fake import FakePlatforms
>>> with FakePlatforms() as platforms:
...     platforms.script.add(Status(status=503), calls=2)
...     platforms.ledger.events()
[]
"""
