"""At most one run in so many seconds, for inboxes that do not remember which run is the newest: Prefect is asked.

The letters of a route are taken one at a time, wherever the dispatcher runs: between the question and the new run no
other begins one.
"""

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags
from prefect.client.schemas.sorting import FlowRunSort

from prefect_videodb.webhooks.mail import Waiting
from prefect_videodb.webhooks.rules import AlertRoute

# Not the tag of the deployment, which all its runs carry, by whatever route or hand they were started.
_TAG = "videodb-cooldown:"
# A run that is put off or parked moves to the top of the list: so many may be there above the one that is looked for.
_LOOKED_AT = 200


def tags_of(letter: Waiting, rule: AlertRoute) -> list[str]:
    """Give what the newest run of a route with a cooldown is found by."""
    return [f"{_TAG}{letter.route}"] if rule.cooldown_s else []


async def newest_run(prefect: PrefectClient, letter: Waiting, rule: AlertRoute) -> str | None:
    """Give the run in whose cooldown a letter was received; None when there is none."""
    if not rule.cooldown_s:
        return None
    runs = await prefect.read_flow_runs(
        flow_run_filter=FlowRunFilter(tags=FlowRunFilterTags(all_=tags_of(letter, rule))),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
        limit=_LOOKED_AT,
    )
    began = {str(run.id): run.labels.get("videodb.received_at") for run in runs}
    # Receivers write in another order than they receive in. A clock that was set back must not stretch a cooldown.
    within = {
        run_id: float(at)
        for run_id, at in began.items()
        if isinstance(at, int | float) and abs(letter.received_at - at) < rule.cooldown_s
    }
    return max(within, key=lambda run_id: within[run_id]) if within else None
