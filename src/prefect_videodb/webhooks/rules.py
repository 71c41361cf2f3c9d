"""What the receiver and the dispatcher go by: which tokens are valid, and what each route starts. No secret in it."""

import hashlib
import hmac
from typing import Any

from pydantic import BaseModel, Field

from prefect_videodb.strict import StrictModel

# A block takes no shorter one.
SHORTEST_TOKEN = 20


class AlertRoute(StrictModel):
    """What the alerts of a route start, and how often."""

    deployment: str = Field(
        default="",
        title="Deployment",
        description="flow/deployment to start. Left empty, the one with the route's tag: videodb-alerts:door for door.",
    )
    parameters: dict[str, Any] = Field(
        default={}, title="Parameters", description="Given to each run beside `alert`. No secrets: the UI shows them."
    )
    cooldown_s: float = Field(
        default=0.0,
        ge=0,
        le=86_400,
        title="Cooldown (seconds)",
        description="At most one run in so many seconds; alerts that come meanwhile are attached to it.",
    )
    per_minute: int = Field(
        default=60_000,
        ge=1,
        title="Most alerts per minute",
        description="More are refused with 429, so that VideoDB sends them later.",
    )


class Rules(BaseModel):
    """The routes, and the digests of the tokens that are valid."""

    token_digests: list[str]
    routes: dict[str, AlertRoute] = {}

    def admits(self, token: str) -> bool:
        """Say whether a token is valid, in the same time whatever it is."""
        found = digest(token)
        # Each is compared, so that the time does not tell which one it is.
        same = [hmac.compare_digest(found, valid) for valid in self.token_digests]
        return any(same)

    def of(self, route: str) -> AlertRoute:
        """Give a route; one that is not described starts the deployment that carries its tag."""
        return self.routes.get(route) or AlertRoute()


def digest(token: str) -> str:
    """Give what may be kept of a token: a long random one cannot be found from it."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
