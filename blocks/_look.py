"""What our blocks have in common: how they look in the Prefect UI, and that they take no unknown field."""

from typing import Any

from prefect.blocks.core import Block
from pydantic import HttpUrl, model_validator

from prefect_videodb.strict import refuse_unknown

LOGO_URL = HttpUrl(
    "https://codaio.imgix.net/docs/_s5lUnUCIU/blobs/bl-RgjcFrrJjj/d3cbc44f8584ecd42f2a97d981a144dce6a66d83ddd5864f723b"
    "7808c7d1dfbc25034f2f25e1b2188e78f78f37bcb79d3c34ca937cbb08ca8b3da1526c29da9a897ab38eb39d084fd715028b7cc60eb595c68ec"
    "fa6fa0bb125ec2b09da65664a4f172c2f"
)  # the one that the vendor's SDK shows on its package page
DOCUMENTATION_URL = HttpUrl("https://docs.videodb.io")
# Prefect writes the type of a block into what it dumps.
_OF_PREFECT = "block_type_slug"


class StrictBlock(Block):
    """A block without unknown fields. Prefect would keep one, unencrypted: a key that was put into a misspelt field."""

    @model_validator(mode="before")
    @classmethod
    def _has_known_fields_only(cls, given: Any) -> Any:
        if isinstance(given, dict):
            fields = [name for name in given if name != _OF_PREFECT]
            refuse_unknown(fields, cls.model_fields, f"a field of the {cls.__name__} block")
        return given
