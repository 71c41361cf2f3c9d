"""Which of the two inboxes is meant, and opening it."""

from pathlib import Path

from prefect_videodb.errors import ConfigurationError
from prefect_videodb.webhooks.inbox import Inbox
from prefect_videodb.webhooks.mail import Mailbox


def is_queue(inbox: str) -> bool:
    """Say whether an inbox is a queue of SQS: it is named by its URL, which AWS shows and its tools take as it is."""
    return inbox.startswith(("https://", "http://"))


def open_inbox(inbox: str, dead_letters: str | None) -> Mailbox:
    """Open an inbox.

    Args:
        inbox: a file, or the URL of a FIFO queue of SQS.
        dead_letters: the URL of a second FIFO queue, where the first is one; a file has its own place for them.

    Raises:
        ConfigurationError: it cannot be used; the message says why.
    """
    if not is_queue(inbox):
        if dead_letters:
            raise ConfigurationError(
                f"the inbox {inbox} is a file, which keeps its own dead letters: leave the queue out"
            )
        return Inbox(Path(inbox))
    if not dead_letters:
        raise ConfigurationError("an inbox in SQS needs a second FIFO queue for its dead letters: --dead-letters URL")
    from prefect_videodb.webhooks.sqs import SqsInbox  # noqa: PLC0415 - boto3 is loaded where it is used, only

    return SqsInbox(inbox, dead_letters)
