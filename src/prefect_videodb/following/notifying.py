"""Notify people through Prefect's notification blocks."""

import asyncio
import hashlib
import inspect
from typing import Any

from prefect import Task, task
from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.core import Block
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun

from prefect_videodb.errors import ConfigurationError, VideoDBError
from prefect_videodb.following.models import FollowUp
from prefect_videodb.recording.text import clock, plain, web_link
from prefect_videodb.tasks._options import RunName

_LONGEST_SUBJECT = 150
_LONGEST_TEXT = 1000
_DELAYS_S = [2.0, 10.0, 30.0, 120.0]


class NotNotified(VideoDBError):
    """A notification block did not take the notification."""


def _may_be_taken_later(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    return isinstance(state.result(raise_on_failure=False), NotNotified)


@task(
    task_run_name=RunName("notify-{block_name}"),
    retries=len(_DELAYS_S),
    retry_delay_seconds=_DELAYS_S,
    retry_jitter_factor=0.3,
    retry_condition_fn=_may_be_taken_later,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def notify(block_name: str, subject: str, body: str) -> None:
    """Send a notification through a block.

    Args:
        block_name: the block's type and name, as `slack-webhook/alerts`.
        subject: one line.
        body: plain text.

    Raises:
        NotNotified: it was not taken. The message does not tell what the service said: that may hold its address,
            which is a secret.
    """
    try:
        block = Block.load(block_name)
    except ValueError:
        raise ConfigurationError(
            f"there is no block {block_name!r}: give type and name, as slack-webhook/alerts"
        ) from None
    if not isinstance(block, NotificationBlock):
        raise ConfigurationError(f"{block_name!r} is no notification block")
    try:
        with block.raise_on_failure():
            sent = block.notify(body, subject)
            if inspect.isawaitable(sent):
                asyncio.run(_awaited(sent))
    except Exception as error:  # noqa: BLE001 - every service has its own errors; all mean that nobody was told
        raise NotNotified(f"{block_name} did not take the notification: {type(error).__name__}") from None


async def _awaited(sent: object) -> None:
    if inspect.isawaitable(sent):
        await sent


def key(block_name: str) -> str:
    """Give the name under which a run remembers that a block was notified."""
    return f"notified_{hashlib.sha256(block_name.encode()).hexdigest()[:12]}"


def subject(follow_up: FollowUp) -> str:
    """Give the subject of a notification."""
    return f"VideoDB alert: {plain(follow_up.label, _LONGEST_SUBJECT)}"


def body(follow_up: FollowUp) -> str:
    """Write a notification: plain text, in which nothing that an alert says is a mention, a link or a command."""
    lines = [plain(follow_up.explanation, _LONGEST_TEXT)] if follow_up.explanation else []
    if follow_up.window:
        lines.append(f"From {clock(follow_up.window.start)} to {clock(follow_up.window.end)}")
    if follow_up.confidence is not None:
        lines.append(f"Confidence {follow_up.confidence:.2f}")
    if url := follow_up.clip.player_url:
        lines.append(web_link(url) or f"The clip: {plain(url, _LONGEST_TEXT)}")
    lines += [plain(text, _LONGEST_TEXT) for text in follow_up.missing]
    return "\n".join(lines) or "VideoDB told nothing more about it."
