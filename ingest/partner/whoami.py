"""`GET /v1/whoami`: which key calls, and what it may do."""

from ingest.counters.tiers import Tier
from ingest.partner.call import Answer, Call
from ingest.partner.types import OrganizationRef, WhoAmI


async def whoami(call: Call) -> Answer:
    """Tell the caller who it is."""
    key = call.key
    organization = OrganizationRef(key.organization_id, key.organization_name)
    return Answer(200, WhoAmI(organization, key.id, key.env, key.scopes, Tier(key.tier)))
