"""What the service answers with.

Only ids are required. Every other key may be missing, extra keys are kept, and an optional key of the wrong type reads
as None: what the service may send never makes a call fail. `raw` keeps the answer as it came.
"""

from prefect_videodb.client.models.account import Collection, Collections, Usage
from prefect_videodb.client.models.alerts import Alert, Alerts, Event, Events
from prefect_videodb.client.models.frames import (
    AlertFrame,
    AudioFrame,
    Connected,
    Frame,
    SessionFrame,
    TranscriptFrame,
    UnreadableFrame,
    VisualFrame,
    WebSocketAddress,
)
from prefect_videodb.client.models.indexes import RTStreamSceneIndex, RTStreamSceneIndexes, Scene, ScenePage
from prefect_videodb.client.models.meetings import Meeting
from prefect_videodb.client.models.reading import Model
from prefect_videodb.client.models.searching import AskResponse, SearchResponse
from prefect_videodb.client.models.sessions import (
    CaptureChannel,
    CaptureExport,
    CaptureSession,
    CaptureSessions,
    ClientToken,
)
from prefect_videodb.client.models.streams import (
    Export,
    Playback,
    RTStream,
    RTStreamPage,
    RTStreamSearchResult,
    RTStreamShot,
)
from prefect_videodb.client.models.transcripts import (
    RTStreamTranscript,
    Transcript,
    TranscriptRecord,
    TranscriptSegment,
    TranscriptStatus,
)
from prefect_videodb.client.models.understandings import (
    Record,
    RecordPage,
    RTStreamIndex,
    RTStreamIndexes,
    RTStreamUnderstanding,
    RTStreamUnderstandings,
)
from prefect_videodb.client.models.videos import (
    Download,
    Image,
    Images,
    SearchedVideo,
    SearchResult,
    Shot,
    SpokenWordIndex,
    Video,
    VideoScene,
    VideoSceneIndex,
    VideoSceneIndexes,
    VideoScenes,
)

__all__ = [
    "Alert",
    "AlertFrame",
    "Alerts",
    "AskResponse",
    "AudioFrame",
    "CaptureChannel",
    "CaptureExport",
    "CaptureSession",
    "CaptureSessions",
    "ClientToken",
    "Collection",
    "Collections",
    "Connected",
    "Download",
    "Event",
    "Events",
    "Export",
    "Frame",
    "Image",
    "Images",
    "Meeting",
    "Model",
    "Playback",
    "RTStream",
    "RTStreamIndex",
    "RTStreamIndexes",
    "RTStreamPage",
    "RTStreamSceneIndex",
    "RTStreamSceneIndexes",
    "RTStreamSearchResult",
    "RTStreamShot",
    "RTStreamTranscript",
    "RTStreamUnderstanding",
    "RTStreamUnderstandings",
    "Record",
    "RecordPage",
    "Scene",
    "ScenePage",
    "SearchResponse",
    "SearchResult",
    "SearchedVideo",
    "SessionFrame",
    "Shot",
    "SpokenWordIndex",
    "Transcript",
    "TranscriptFrame",
    "TranscriptRecord",
    "TranscriptSegment",
    "TranscriptStatus",
    "UnreadableFrame",
    "Usage",
    "Video",
    "VideoScene",
    "VideoSceneIndex",
    "VideoSceneIndexes",
    "VideoScenes",
    "VisualFrame",
    "WebSocketAddress",
]
