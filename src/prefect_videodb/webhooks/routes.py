"""Which deployment a route starts: the one with the tag `videodb-alerts:<route>`, or the one that the block names."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient

from prefect_videodb.webhooks.rules import Rules

TAG = "videodb-alerts:"
# The most that Prefect returns at once.
_PAGE = 200


@dataclass(frozen=True, slots=True)
class ServedRoutes:
    """The routes of which Prefect has a deployment.

    Attributes:
        deployments: the deployments that carry the tag of each route.
    """

    deployments: Mapping[str, frozenset[UUID]]

    def startable(self, rules: Rules) -> set[str]:
        """Return the routes that start one deployment: one is tagged, or the block names it."""
        tagged = {route for route, deployments in self.deployments.items() if len(deployments) == 1}
        return tagged - set(rules.routes) | {
            route for route, rule in rules.routes.items() if rule.deployment or route in tagged
        }

    def is_known(self, route: str, rules: Rules) -> bool:
        """Whether somebody set a route up: the block describes it, or a deployment carries its tag."""
        return route in self.deployments or route in rules.routes

    def why_not_startable(self, route: str) -> str:
        """Return what is wrong with a route that is not startable, and what to do."""
        if route in self.deployments:
            return f"several deployments carry the tag {tag_of(route)!r}: leave it on one"
        return f"no deployment carries the tag {tag_of(route)!r}: add it to one in prefect.yaml, and deploy that"


def tag_of(route: str) -> str:
    """Return the tag that a deployment carries to be started by a route."""
    return f"{TAG}{route}"


async def read_served_routes(prefect: PrefectClient) -> ServedRoutes:
    """Ask Prefect for the deployments of all routes: one request for each 200 deployments that have tags.

    Never one for each route: whoever has a valid address can invent as many routes as they like.

    Raises:
        httpx.HTTPError, PrefectException: Prefect is away, or refused.
    """
    found: list[dict[str, Any]] = []
    while True:
        body = {"deployments": {"tags": {"is_null_": False}}, "sort": "NAME_ASC", "limit": _PAGE, "offset": len(found)}
        page = (await prefect.request("POST", "/deployments/filter", json=body)).json()
        found += page
        if len(page) < _PAGE:
            return served_by(found)


def served_by(deployments: Iterable[Mapping[str, Any]]) -> ServedRoutes:
    """Read the routes out of deployments as Prefect answers them."""
    routes: dict[str, set[UUID]] = {}
    for deployment in deployments:
        for tag in deployment["tags"]:
            if tag.startswith(TAG):
                routes.setdefault(tag.removeprefix(TAG), set()).add(UUID(deployment["id"]))
    return ServedRoutes({route: frozenset(ids) for route, ids in routes.items()})
