"""The account."""

from prefect_videodb.client import account
from tests.client.wire.case import Case

CASES = [Case(account.usage, "conn.check_usage()")]
