"""The blocks: valid as Prefect's own suite sees it, secret where they must be, clear where they refuse."""

import json

import pytest
from prefect.blocks.core import Block
from prefect.testing.standard_test_suites.blocks import BlockStandardTestSuite
from pydantic import SecretStr, ValidationError

from prefect_videodb.blocks import RecordingArchive, RTStreamSource, VideoDBCredentials
from prefect_videodb.client import AsyncClient, Client
from prefect_videodb.errors import ConfigurationError

BLOCKS = (VideoDBCredentials, RTStreamSource, RecordingArchive)


@pytest.mark.parametrize("block", BLOCKS)
class TestAsPrefectSeesThem(BlockStandardTestSuite):
    @pytest.fixture
    def block(self, request: pytest.FixtureRequest) -> type[Block]:
        return request.param  # type: ignore[no-any-return]

    def test_has_a_valid_image(self, block: type[Block]) -> None:
        # Prefect's own test fetches the picture from the web, where no test of ours goes.
        logo = block._logo_url  # noqa: SLF001 - what Prefect calls it
        assert logo is not None
        assert logo.scheme == "https"


@pytest.mark.parametrize("block", BLOCKS)
def test_every_field_explains_itself_in_the_form(block: type[Block]) -> None:
    for name, field in block.model_fields.items():
        assert field.title, name
        assert field.description, name


def test_the_key_never_shows() -> None:
    credentials = VideoDBCredentials(api_key=SecretStr("sk-secret-key"))
    for shown in (repr(credentials), str(credentials), credentials.model_dump_json(), repr(credentials.get_client())):
        assert "sk-secret-key" not in shown


def test_the_url_never_shows_not_even_when_it_is_refused() -> None:
    source = RTStreamSource(url=SecretStr("rtsp://user:hunter22@camera/room"))
    assert "hunter22" not in repr(source) + source.model_dump_json()
    with pytest.raises(ValidationError) as refusal:
        RTStreamSource(url=SecretStr("hunter22"))
    assert "hunter22" not in str(refusal.value)
    with pytest.raises(ValidationError) as refusal:
        RTStreamSource.model_validate({"url": "rtsp://h/x", "sample_rate": "hunter22"})
    assert "hunter22" not in str(refusal.value)


@pytest.mark.parametrize("url", ["", "camera/room", "rtsp://", "://camera", "rtsp://[bad/room"])
def test_a_url_that_leads_nowhere_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="it looks like rtsp://host/path"):
        RTStreamSource(url=SecretStr(url))


def test_a_source_records_sound_and_picture_and_keeps_them_unless_told() -> None:
    source = RTStreamSource(url=SecretStr("rtsp://camera/room"))
    assert (source.media_types, source.store, source.enable_transcript) == (["audio", "video"], True, False)


def test_without_a_key_the_environments_is_used_and_without_either_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="set VIDEO_DB_API_KEY"):
        VideoDBCredentials().get_client()
    monkeypatch.setenv("VIDEO_DB_API_KEY", "from-the-environment")
    with VideoDBCredentials().get_client() as client:
        assert isinstance(client, Client)


async def _async_client() -> AsyncClient:
    return VideoDBCredentials(api_key=SecretStr("k")).get_async_client()


def test_the_asynchronous_client_is_given_too() -> None:
    import asyncio  # noqa: PLC0415 - this test alone needs it

    async def use() -> None:
        async with await _async_client() as client:
            assert isinstance(client, AsyncClient)

    asyncio.run(use())


def test_a_saved_block_comes_back_whole_and_the_server_shows_no_secret(prefect_api: str) -> None:
    import httpx  # noqa: PLC0415 - this test alone needs it

    RTStreamSource(url=SecretStr("rtsp://user:hunter22@camera/room"), name="Room").save("blocks-room", overwrite=True)
    loaded = RTStreamSource.load("blocks-room")
    assert isinstance(loaded, RTStreamSource)
    assert loaded.url.get_secret_value() == "rtsp://user:hunter22@camera/room"
    shown = httpx.post(f"{prefect_api}/block_documents/filter", json={}).json()
    assert "blocks-room" in json.dumps(shown)
    assert "hunter22" not in json.dumps(shown)


ENDPOINTS = [
    "s3.example",
    "ftp://s3.example",
    "https://",
    "https://key:hunter22@s3.example",
    "https://h/?k=hunter22",
    "https://h:x",
]


@pytest.mark.parametrize("endpoint_url", ENDPOINTS)
def test_an_archives_endpoint_that_leads_nowhere_or_holds_a_key_is_refused_and_not_shown(endpoint_url: str) -> None:
    with pytest.raises(ValidationError, match="keys belong into their own fields") as refusal:
        RecordingArchive(bucket="recordings", endpoint_url=endpoint_url)
    assert "hunter22" not in str(refusal.value)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"bucket": "s3://recordings"}, "no URL, no slash"),
        ({"bucket": "a/b"}, "no URL, no slash"),
        ({"bucket": "recordings", "prefix": "a//b"}, "a path like meetings/2026"),
        ({"bucket": "recordings", "prefix": "../b"}, "a path like meetings/2026"),
        ({"bucket": "recordings", "access_key_id": "hunter22"}, "belong together"),
        ({"bucket": "recordings", "secret_access_key": "hunter22"}, "belong together"),
    ],
)
def test_an_archive_that_cannot_be_is_refused_with_what_to_give(fields: dict[str, str], told: str) -> None:
    with pytest.raises(ValidationError, match=told) as refusal:
        RecordingArchive.model_validate(fields)
    assert "hunter22" not in str(refusal.value)


def test_an_archive_is_asked_as_its_fields_say_and_shows_no_key() -> None:
    archive = RecordingArchive(
        bucket="recordings",
        prefix="/meetings/",
        endpoint_url=" https://s3.example:9000/ ",
        access_key_id=SecretStr("AKIA-hunter22"),
        secret_access_key=SecretStr("hunter22-secret"),
    )
    assert (archive.prefix, archive.endpoint_url) == ("meetings", "https://s3.example:9000")
    assert "hunter22" not in repr(archive) + archive.model_dump_json()
    client = archive.get_client()
    assert client.meta.endpoint_url == "https://s3.example:9000"
    link = client.generate_presigned_url("get_object", {"Bucket": "recordings", "Key": "x"})
    assert link.startswith("https://s3.example:9000/recordings/x?")  # the bucket in the path
    client.close()
    with pytest.raises(ConfigurationError, match="region"):
        RecordingArchive(bucket="recordings", region="not a region!").get_client()
