"""The queues of SQS that an inbox is made of: reaching them, and what they say of themselves."""

from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from prefect_videodb.errors import ConfigurationError
from prefect_videodb.webhooks.mail import Away

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

FAILURES = (BotoCoreError, ClientError)
MOST_AT_ONCE = 10
# How long a question waits in SQS for something to come: it is how long the end of a process may take, too.
LOOK_S = 5
_LONGEST_MESSAGE = 1_048_576


def connect() -> "SQSClient":
    """Reach SQS; region, credentials and address come from where boto3 finds them.

    Raises:
        ConfigurationError: it finds none.
    """
    config = Config(
        retries={"mode": "standard", "max_attempts": 3},
        connect_timeout=3,
        read_timeout=LOOK_S + 10,
        max_pool_connections=20,
    )
    try:
        return boto3.client("sqs", config=config)
    except BotoCoreError as error:
        raise ConfigurationError(f"SQS cannot be used ({told(error)}): are AWS_REGION and credentials set?") from None


def longest_of(sqs: "SQSClient", url: str) -> int:
    """Look whether a queue can be used, and give the longest message that it takes, in bytes.

    Raises:
        ConfigurationError: it cannot; the message says why.
    """
    try:
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    except FAILURES as error:
        raise ConfigurationError(
            f"the queue {url} cannot be used ({told(error)}): is it there, in this region, for these credentials?"
        ) from None
    if found.get("FifoQueue") != "true":
        raise ConfigurationError(f"the queue {url} is no FIFO queue: alerts would come out in any order")
    return min(int(found.get("MaximumMessageSize", _LONGEST_MESSAGE)), _LONGEST_MESSAGE)


def count(sqs: "SQSClient", url: str) -> int:
    """Give about how many messages a queue holds, in hand or not.

    Raises:
        Away: SQS does not say.
    """
    try:
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    except FAILURES as error:
        raise Away(told(error)) from error
    return (
        int(found["ApproximateNumberOfMessages"])
        + int(found["ApproximateNumberOfMessagesNotVisible"])
        + int(found["ApproximateNumberOfMessagesDelayed"])
    )


def told(error: Exception) -> str:
    """Give what may be shown of an error of SQS: its text may hold addresses and accounts."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", "ClientError"))
    return type(error).__name__
