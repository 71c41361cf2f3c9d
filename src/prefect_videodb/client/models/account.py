"""The account: its collections, and what it has used."""

from typing import Annotated

from pydantic import BeforeValidator

from prefect_videodb.client.models.reading import Flag, Id, Model, Number, Object, Text, readable


class Collection(Model):
    """A collection: what videos and streams belong to."""

    id: Id
    name: Text = None
    description: Text = None
    is_public: Flag = None


class Collections(Model):
    """The collections of an account."""

    collections: Annotated[list[Collection], BeforeValidator(readable(Collection))] = []


class Usage(Model):
    """What the account has used, and what is left of its credit."""

    credit_balance: Number = None
    usage_this_month: Number = None
    breakdown: Object = {}
