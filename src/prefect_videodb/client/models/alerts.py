"""Events, and the alerts that watch a live index for them."""

from typing import Annotated

from pydantic import AliasChoices, BeforeValidator, Field

from prefect_videodb.client.models.reading import Hidden, Id, Model, Text, readable


class Event(Model):
    """What to watch for, said in words. Events belong to the account; labels are not unique."""

    id: Annotated[Id, Field(validation_alias=AliasChoices("event_id", "id"))]
    label: Text = None
    prompt: Annotated[Text, Field(validation_alias=AliasChoices("event_prompt", "prompt"))] = None


class Events(Model):
    """The events of the account."""

    events: Annotated[list[Event], BeforeValidator(readable(Event))] = []


class Alert(Model):
    """An event watched for in a live index; `status` is `enabled` or `disabled`.

    `callback_url` is hidden: the token in it is all that tells a true alert from a forged one.
    """

    id: Annotated[Id, Field(validation_alias=AliasChoices("alert_id", "id"))]
    event_id: Text = None
    label: Text = None
    prompt: Annotated[Text, Field(validation_alias=AliasChoices("prompt", "event_prompt"))] = None
    callback_url: Hidden = None
    status: Text = None


class Alerts(Model):
    """The alerts of a live index."""

    alerts: Annotated[list[Alert], BeforeValidator(readable(Alert))] = []
