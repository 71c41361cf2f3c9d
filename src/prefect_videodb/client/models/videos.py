"""Permanent videos."""

from typing import Annotated

from pydantic import AliasChoices, BeforeValidator, Field

from prefect_videodb.client.models.reading import (
    Flag,
    Id,
    Model,
    Number,
    Object,
    Seconds,
    Text,
    readable,
)


class Video(Model):
    """A permanent video; `length` in seconds."""

    id: Id
    collection_id: Text = None
    name: Text = None
    description: Text = None
    length: Seconds = None
    stream_url: Text = None
    player_url: Text = None
    thumbnail_url: Text = None


class SpokenWordIndex(Model):
    """How far the spoken-word index of a video is: `done`, `processing` or `failed`."""

    status: Text = None
    message: Text = None
    success: Flag = None


class Shot(Model):
    """A hit of a search: offsets in seconds from the start of the video, score 0 to 1."""

    video_id: Text = None
    collection_id: Text = None
    video_title: Text = None
    video_length: Seconds = None
    start: Seconds = None
    end: Seconds = None
    text: Text = None
    score: Number = None
    stream_url: Annotated[Text, Field(validation_alias=AliasChoices("stream_link", "stream_url"))] = None
    player_url: Text = None
    scene_index_id: Text = None
    scene_index_name: Text = None
    metadata: Object = {}


class SearchedVideo(Model):
    """The hits in one video."""

    video_id: Text = None
    collection_id: Text = None
    title: Text = None
    length: Seconds = None
    docs: Annotated[list[Shot], BeforeValidator(readable(Shot))] = []


class SearchResult(Model):
    """What a search found, best first; empty when nothing was found."""

    results: Annotated[list[SearchedVideo], BeforeValidator(readable(SearchedVideo))] = []

    @property
    def shots(self) -> list[Shot]:
        """The hits of all videos, each with the video it belongs to."""
        return [
            shot.model_copy(
                update={
                    "video_id": shot.video_id or video.video_id,
                    "collection_id": shot.collection_id or video.collection_id,
                    "video_title": video.title,
                    "video_length": video.length,
                }
            )
            for video in self.results
            for shot in video.docs
        ]


class Download(Model):
    """A file to be downloaded; `status` is `processing`, `done` or `error`."""

    id: Annotated[Text, Field(validation_alias=AliasChoices("id", "download_id"))] = None
    name: Text = None
    status: Text = None
    download_url: Text = None


class Image(Model):
    """A picture of a video."""

    id: Text = None
    collection_id: Text = None
    name: Text = None
    url: Annotated[Text, Field(validation_alias=AliasChoices("url", "thumbnail_url"))] = None
    timestamp: Annotated[Seconds, Field(validation_alias=AliasChoices("timestamp", "time"))] = None


class Images(Model):
    """The pictures of a video."""

    images: Annotated[
        list[Image],
        BeforeValidator(readable(Image)),
        Field(validation_alias=AliasChoices("images", "thumbnails")),
    ] = []


class VideoScene(Model):
    """What a scene index says of one scene of a video; seconds from the start of the video."""

    start: Annotated[Seconds, Field(validation_alias=AliasChoices("start", "start_time"))] = None
    end: Annotated[Seconds, Field(validation_alias=AliasChoices("end", "end_time"))] = None
    description: Annotated[Text, Field(validation_alias=AliasChoices("description", "text"))] = None
    metadata: Object = {}


class VideoScenes(Model):
    """The scenes of a video's scene index."""

    scenes: Annotated[
        list[VideoScene],
        BeforeValidator(readable(VideoScene)),
        Field(validation_alias=AliasChoices("scene_index_records", "scenes")),
    ] = []


class VideoSceneIndex(Model):
    """A scene index of a video; `status` is `processing`, `ready`, `done` or `failed`."""

    id: Annotated[Text, Field(validation_alias=AliasChoices("scene_index_id", "id"))] = None
    name: Text = None
    status: Text = None


class VideoSceneIndexes(Model):
    """The scene indexes of a video."""

    indexes: Annotated[
        list[VideoSceneIndex],
        BeforeValidator(readable(VideoSceneIndex)),
        Field(validation_alias=AliasChoices("scene_indexes", "indexes")),
    ] = []
