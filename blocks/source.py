"""The block that says what to record."""

from typing import ClassVar, Literal

from pydantic import ConfigDict, Field, HttpUrl, SecretStr, field_validator

from prefect_videodb.blocks._look import DOCUMENTATION_URL, LOGO_URL, StrictBlock
from prefect_videodb.urls import SOURCE, read


class RTStreamSource(StrictBlock):
    """A live source to record: its URL, which is a secret because stream keys are in it, and how to ingest it.

    Example:
        ```python
        from prefect_videodb.blocks import RTStreamSource

        RTStreamSource(url="rtsp://user:password@camera.example/room", name="Board room").save("BLOCK_NAME")
        source = RTStreamSource.load("BLOCK_NAME")
        ```
    """

    _block_type_name: ClassVar[str | None] = "RTStream Source"
    _block_type_slug: ClassVar[str | None] = "rtstream-source"
    _description: ClassVar[str | None] = "A live RTSP or RTMP source for VideoDB to ingest."
    _logo_url: ClassVar[HttpUrl | None] = LOGO_URL
    _documentation_url: ClassVar[HttpUrl | None] = DOCUMENTATION_URL

    # An error about the URL must not show it.
    model_config = ConfigDict(hide_input_in_errors=True)

    url: SecretStr = Field(
        title="URL",
        description="rtsp://…, rtmp://… or https://… of the live source; never shown again once saved. In a password "
        "write # as %23, / as %2F, ? as %3F, @ as %40.",
    )
    name: str = Field(
        default="Meeting",
        title="Name",
        min_length=1,
        max_length=200,
        description="What recordings of this source are called.",
    )
    media_types: list[Literal["audio", "video"]] = Field(
        default=["audio", "video"],
        min_length=1,
        title="Media types",
        description="What to ingest. Without audio nothing that is said can be found later.",
    )
    store: bool = Field(
        default=True,
        title="Store",
        description="Keep the recording. Without it there is nothing to export after the meeting.",
    )
    sample_rate: int | None = Field(
        default=None,
        gt=0,
        title="Sample rate",
        description="Left empty, the service's own default.",
    )
    enable_transcript: bool = Field(
        default=False,
        title="Live transcript",
        description="Transcribe while it records. Not needed to search the recording afterwards.",
    )

    @field_validator("url")
    @classmethod
    def _leads_somewhere(cls, url: SecretStr) -> SecretStr:
        return SecretStr(read(url.get_secret_value(), SOURCE).text)
