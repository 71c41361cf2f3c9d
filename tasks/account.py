"""The account."""

from prefect import task

from prefect_videodb.blocks import VideoDBCredentials
from prefect_videodb.client import account
from prefect_videodb.client.models import Usage
from prefect_videodb.tasks._options import OPERATION


@task(task_run_name="check-usage", **OPERATION)
def check_usage(credentials: VideoDBCredentials) -> Usage:
    """Read what the account has used, and what is left: a flow can refuse to start without credit.

    Source: GET /billing/usage
    """
    return credentials.get_client().send(account.usage())
