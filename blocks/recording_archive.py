"""The block that says where videos are archived."""

import re
from typing import TYPE_CHECKING, ClassVar

from pydantic import ConfigDict, Field, HttpUrl, SecretStr, field_validator, model_validator

from prefect_videodb.blocks._look import DOCUMENTATION_URL, LOGO_URL, StrictBlock
from prefect_videodb.errors import ConfigurationError
from prefect_videodb.urls import ENDPOINT, read

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# AWS's own rules, and what older buckets and other stores have beside.
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
_LONGEST_PREFIX = 500
_CONNECT_TIMEOUT_S = 10
_READ_TIMEOUT_S = 120
_TRIES = 4


class RecordingArchive(StrictBlock):
    """The bucket of your own into which finished videos are copied: at AWS S3, or in any store that speaks S3.

    Example:
        ```python
        from prefect_videodb.blocks import RecordingArchive

        RecordingArchive(bucket="recordings", region="eu-central-1").save("BLOCK_NAME")
        archive = RecordingArchive.load("BLOCK_NAME")
        ```
    """

    _block_type_name: ClassVar[str | None] = "VideoDB Recording Archive"
    _block_type_slug: ClassVar[str | None] = "videodb-recording-archive"
    _description: ClassVar[str | None] = "The bucket of your own into which finished videos are copied."
    _logo_url: ClassVar[HttpUrl | None] = LOGO_URL
    _documentation_url: ClassVar[HttpUrl | None] = DOCUMENTATION_URL

    # An error about a field must not show the value: it may be a key, put into the wrong field.
    model_config = ConfigDict(hide_input_in_errors=True)

    bucket: str = Field(
        title="Bucket",
        description="The name of a bucket that is there.",
    )
    prefix: str = Field(
        default="videodb",
        max_length=_LONGEST_PREFIX,
        title="Prefix",
        description="The folder in the bucket, may be empty: with videodb, a video lies at videodb/m-1/video.mp4.",
    )
    endpoint_url: str | None = Field(
        default=None,
        title="Endpoint URL",
        description="Of a store that is not AWS, e.g. https://minio.example:9000. Left empty, AWS S3.",
    )
    region: str | None = Field(
        default=None,
        title="Region",
        description="E.g. eu-central-1. Left empty, what the worker's environment says.",
    )
    access_key_id: SecretStr | None = Field(
        default=None,
        title="Access key ID",
        description="Left empty with the secret key, what boto3 finds on the worker: environment, profile, role.",
    )
    secret_access_key: SecretStr | None = Field(
        default=None,
        title="Secret access key",
        description="Belongs to the access key ID.",
    )
    allow_private_hosts: bool = Field(
        default=False,
        title="Allow private hosts",
        description="Download videos also from hosts inside your network. Left off, links of VideoDB are followed to "
        "public hosts and to the base URL's own host only.",
    )

    @field_validator("bucket")
    @classmethod
    def _is_a_name(cls, bucket: str) -> str:
        if not _BUCKET.fullmatch(bucket):
            raise ValueError("the bucket is a name like my-recordings: no URL, no slash")
        return bucket

    @field_validator("prefix")
    @classmethod
    def _is_a_folder(cls, prefix: str) -> str:
        prefix = prefix.strip("/")
        if not prefix.isprintable() or (any(part in {"", ".", ".."} for part in prefix.split("/")) and prefix):
            raise ValueError("the prefix is a path like meetings/2026: no empty part, no dots alone")
        return prefix

    @field_validator("endpoint_url")
    @classmethod
    def _leads_somewhere(cls, url: str | None) -> str | None:
        return read(url, ENDPOINT).text.rstrip("/") if url and url.strip() else None

    @model_validator(mode="after")
    def _has_both_keys_or_none(self) -> "RecordingArchive":
        if bool(_text(self.access_key_id)) != bool(_text(self.secret_access_key)):
            raise ValueError("the access key ID and the secret access key belong together: fill in both, or none")
        return self

    def secrets(self) -> tuple[str, ...]:
        """List what no message may show."""
        return tuple(filter(None, (_text(self.secret_access_key), _text(self.access_key_id))))

    def get_client(self) -> "S3Client":
        """Give boto3's S3 client for this store; close it when done.

        Raises:
            ConfigurationError: boto3 cannot work with the region or the endpoint.
        """
        # Not at the top: boto3 is heavy, and who only loads the blocks does not need it.
        from boto3.session import Session  # noqa: PLC0415
        from botocore.config import Config  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415

        config = Config(
            # Stores that are not AWS seldom have a host name for each bucket.
            s3={"addressing_style": "path" if self.endpoint_url else "auto"},
            # Else boto3 adds checksums to every request that other stores refuse. Each part has its Content-MD5.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            retries={"mode": "standard", "total_max_attempts": _TRIES},
            connect_timeout=_CONNECT_TIMEOUT_S,
            read_timeout=_READ_TIMEOUT_S,
        )
        try:
            return Session().client(
                "s3",
                endpoint_url=self.endpoint_url,
                region_name=self.region or None,
                aws_access_key_id=_text(self.access_key_id),
                aws_secret_access_key=_text(self.secret_access_key),
                config=config,
            )
        except (BotoCoreError, ValueError) as error:
            raise ConfigurationError(f"the archive cannot be used with these settings: {error}") from None


def _text(secret: SecretStr | None) -> str | None:
    return (secret.get_secret_value().strip() or None) if secret else None
