"""The vendor's Node SDK, unmodified, runs every operation that it has against the local server."""

from collections.abc import Iterator
from typing import Any

import pytest

from prefect_videodb.local_server import LocalServer
from tests.support.sdk import NODE, Sdk, SdkError
from tests.support.speech import OneSentence

KEY = "sk-node"

ACCOUNT = """
const made = await conn.createCollection('Board', 'of the board');
assert((await conn.getCollection(made.id)).name === 'Board', 'collection');
assert((await conn.getCollections()).some(c => c.id === made.id), 'collections');
assert(await conn.checkUsage(), 'usage');
"""

CONNECT = """
const coll = await conn.getCollection();
const stream = await coll.connectRTStream(args.url, 'Node', ['audio', 'video'], 15, true);
assert((await coll.getRTStream(stream.id)).name === 'Node', 'get');
const connected = await coll.listRTStreams({ limit: 50, status: 'connected', name: 'Nod' });
assert(connected.some(s => s.id === stream.id), 'list');
await stream.startTranscript();
const visuals = await stream.indexVisuals({ batchConfig: { type: 'time', value: 2, frameCount: 1 }, name: 'seen' });
const audio = await stream.indexAudio({ batchConfig: { type: 'sentence', value: 1 }, name: 'said' });
const scenes = await stream.indexScenes({ name: 'scenes' });
const plain = await stream.indexVisuals();
const listed = (await stream.listSceneIndexes()).map(i => i.rtstreamIndexId);
assert([visuals, audio, scenes, plain].every(i => listed.includes(i.rtstreamIndexId)), 'indexes');
assert((await visuals.updateSceneIndex('another')).prompt === 'another' && visuals.prompt === 'another', 'prompt');
await plain.stop();
await plain.start();
const eventId = await conn.createEvent('product meeting', 'shown');
assert((await conn.listEvents()).some(e => e.eventId === eventId), 'events');
const alertId = await visuals.createAlert(eventId, 'http://127.0.0.1:9/hook');
await visuals.disableAlert(alertId);
assert((await visuals.listAlerts())[0].status === 'disabled', 'disabled');
await visuals.enableAlert(alertId);
assert(await visuals.createAlert(eventId, ''), 'alert without an address');
return { stream: stream.id, visuals: visuals.rtstreamIndexId, audio: audio.rtstreamIndexId };
"""

LOOK = """
const stream = await (await conn.getCollection()).getRTStream(args.stream);
const visuals = await stream.getSceneIndex(args.visuals), audio = await stream.getSceneIndex(args.audio);
const [seen] = await until(async () => {
  const [a, b] = [await visuals.getScenes(), await audio.getScenes(0, Math.ceil(Date.now() / 1000) + 60)];
  const heard = await stream.getTranscript();
  return a.scenes.length && b.scenes.length && heard.transcriptionRecords.length && [a.scenes[0]];
});
assert(seen.description.includes('mostly white') && seen.text === seen.description, seen);
const [shot] = (await stream.search({ query: 'white', indexId: args.visuals })).getShots();
assert(shot.sceneIndexId === args.visuals && await shot.generateStream(), shot);
const everywhere = await (await conn.getCollection()).search(
  'white', undefined, undefined, 100, undefined, undefined, undefined, 'rtstream'
);
assert(everywhere.getShots().some(s => s.rtstreamId === stream.id), 'collection');
assert((await stream.stopTranscript()).status === 'stopped', 'transcript');
"""

STOP = """
const stream = await (await conn.getCollection()).getRTStream(args.stream);
await stream.stop();
const now = Math.floor(Date.now() / 1000);
assert(await stream.generateStream(now - 3600, now), 'playback');
const video = await stream.export('Node');
assert((await stream.export()).videoId === video.videoId, 'idempotent');
await stream.start();
await stream.stop();
return video.videoId;
"""

VIDEO = """
const coll = await conn.getCollection();
const video = await coll.getVideo(args.video);
assert((await coll.getVideos()).some(v => v.id === video.id), 'videos');
assert((await video.indexSpokenWords('en', 'sentence', true)).success, 'index');
assert(await video.getTranscript(), 'transcript');
assert(typeof await video.getTranscriptText() === 'string', 'text');
await video.generateTranscript();
const indexId = await video.indexScenes({ extractionType: 'time', extractionConfig: { time: 2, frame_count: 1 } });
assert((await video.listSceneIndex()).some(i => i.sceneIndexId === indexId), 'scene index');
assert((await video.getSceneIndex(indexId))[0].description.includes('mostly white'), 'scenes');
assert(await video.indexVisuals({ batchConfig: { type: 'time', value: 2, frameCount: 1 } }), 'visuals');
const found = await video.search('white', 'scene', 'scene');
assert(found.shots.length && await found.shots[0].generateStream() && await found.compile(), 'search');
assert((await video.search(args.said, 'keyword', 'spoken_word')).shots.length, 'keyword');
assert((await video.clip('white', 'visual', 'basic')).shots.length, 'clip');
assert(await video.generateStream([[0, 1]]), 'stream');
assert(await conn.download(video.streamUrl, 'part'), 'download');
assert(await video.download('all'), 'download of the video');
assert((await video.generateThumbnail()).startsWith('http'), 'thumbnail');
assert((await video.generateThumbnail(1.0)).url.startsWith('http'), 'thumbnail of a second');
// The SDK makes an object of a list at the top of an answer: at the service it fails in the same way.
const thumbnails = await video.getThumbnails().catch(error => error);
assert(thumbnails instanceof TypeError, 'the SDK reads a list now: use it');
assert(await video.insertVideo(video, 1), 'insert');
await video.getMeeting();
await video.deleteSceneIndex(indexId);
"""

REFUSED = """
const coll = await conn.getCollection();
const video = await coll.getVideo(args.video);
const calls = {
  indexAudio: () => video.indexAudio(),
  extractScenes: () => video.extractScenes(),
  listSceneCollection: () => video.listSceneCollection(),
  addSubtitle: () => video.addSubtitle(),
  removeStorage: () => video.removeStorage(),
  translateTranscript: () => video.translateTranscript('de'),
  reframe: () => video.reframe({}),
  search: () => coll.search('white'),
  searchTitle: () => coll.searchTitle('white'),
  makePublic: () => coll.makePublic(),
  generateText: () => coll.generateText('What is a meeting?'),
  generateImage: () => coll.generateImage('A meeting'),
  generateVoice: () => coll.generateVoice('A meeting'),
  generateVideo: () => coll.generateVideo('A meeting'),
  dubVideo: () => coll.dubVideo(video.id, 'de'),
  getImages: () => coll.getImages(),
  getInvoices: () => conn.getInvoices(),
  transcode: () => conn.transcode('http://127.0.0.1:9/a.mp4', ''),
  youtubeSearch: () => conn.youtubeSearch('white'),
  uploadURL: () => coll.uploadURL({ url: 'http://127.0.0.1:9/a.mp4' }),
};
const refusals = {};
for (const [name, call] of Object.entries(calls)) {
  try { refusals[name] = (await call(), 'done'); } catch (error) { refusals[name] = JSON.stringify(error.cause); }
}
return refusals;
"""

AUDIO = """
const coll = await conn.getCollection();
const stream = await coll.connectRTStream(args.url, 'Sound', ['audio'], undefined, true);
await until(async () => { try { return await stream.generateStream(0, 9e9); } catch { return null; } });
await stream.stop();
const audio = await coll.getAudio((await stream.export()).videoId);
assert((await coll.getAudios()).some(a => a.id === audio.id), 'audios');
await audio.generateTranscript();
assert(typeof await audio.getTranscriptText() === 'string', 'text');
await coll.deleteAudio(audio.id);
"""

MEETING = """
const coll = await conn.getCollection();
const meetingUrl = 'https://meet.example/abc';
const meeting = await coll.recordMeeting({ meetingUrl, botName: 'Recorder', callbackUrl: '' });
assert(await meeting.waitForStatus('done', 120, 1) && meeting.isCompleted, meeting.status);
assert((await coll.getMeeting(meeting.id)).videoId === meeting.videoId, 'meeting');
const video = await coll.getVideo(meeting.videoId);
assert((await video.getMeeting()).id === meeting.id, 'of the video');
await coll.deleteVideo(video.id);
"""

# A capture app's backend, written from the vendor's documentation: a session is created, its `active` frame opens
# indexes on each stream, its `exported` frame names the video. The desktop client's two requests are made with its
# session token.
CAPTURE = """
const socket = await (await conn.connectWebsocket()).connect();
const coll = await conn.getCollection();
const session = await coll.createCaptureSession({ endUserId: 'anna', wsConnectionId: socket.connectionId });
const token = await conn.generateClientToken(600);
const client = async (path, body) => (await fetch(args.direct + path, {
  method: 'POST',
  body: JSON.stringify(body ?? {}),
  headers: { 'x-access-token': token, 'content-type': 'application/json' },
})).json();
const channels = [{ channel_id: 'mic', type: 'audio' }, { channel_id: 'screen', type: 'video', is_primary: true }];
await client('/capture/session/start', { session_id: session.id, channels });
let indexes = 0, result;
for await (const frame of socket.receive()) {
  if (frame.channel !== 'capture_session') continue;
  if (frame.event === 'capture_session.active') {
    for (const { rtstream_id: id, media_types: types } of frame.data.rtstreams) {
      const stream = await coll.getRTStream(id);
      const index = types.includes('video') ? await stream.indexVisuals() : await stream.indexAudio();
      indexes += index.rtstreamIndexId ? 1 : 0;
    }
    await session.refresh();
    assert(session.status === 'active' && session.getRTStream('SCREEN').length === 1, 'refresh');
    const [screen] = session.getRTStream('screen');
    await until(async () => { try { return await screen.generateStream(0, 9e9); } catch { return null; } });
    await client(`/capture/session/${session.id}/stop`);
  }
  if (frame.event === 'capture_session.exported') { result = frame.data; break; }
}
await socket.close();
const video = await coll.getVideo(result.exported_video_id);
const again = await conn.getCaptureSession(session.id);
assert(again.exportedVideoId === video.id, 'session');
assert((await conn.listCaptureSessions()).some(s => s.id === session.id), 'sessions');
assert((await coll.listCaptureSessions({ status: 'exported' })).some(s => s.id === session.id), 'list');
assert((await videodb.connect({ sessionToken: token, baseUrl: args.direct }).getCollections()).length, 'token');
return { indexes, stream_url: result.stream_url };
"""

HELPERS = """
const assert = (holds, what) => { if (!holds) throw new Error('assertion: ' + JSON.stringify(what)); };
const until = async (look) => {
  for (const end = Date.now() + 110_000; Date.now() < end; ) {
    const found = await look();
    if (found) return found;
    await new Promise(done => setTimeout(done, 500));
  }
  throw new Error('it did not come');
};
"""


@pytest.fixture(scope="module")
def videodb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    with LocalServer(tmp_path_factory.mktemp("videodb"), api_key=KEY, speech=OneSentence()) as server:
        yield server


@pytest.fixture(scope="module")
def node() -> Iterator[Sdk]:
    with Sdk(NODE) as running:
        yield running


def run(node: Sdk, videodb: LocalServer, code: str, **arguments: Any) -> Any:
    return node.run(HELPERS + code, base_url=videodb.base_url, api_key=KEY, direct=videodb.base_url, **arguments)


@pytest.fixture(scope="module")
def video_id(node: Sdk, videodb: LocalServer) -> str:
    """A stream from its connection to its video, with all that was looked at and listened to meanwhile."""
    running = run(node, videodb, CONNECT, url=videodb.sample_url)
    run(node, videodb, LOOK, **running)
    return str(run(node, videodb, STOP, **running))


def test_node_sdk_account(node: Sdk, videodb: LocalServer) -> None:
    run(node, videodb, ACCOUNT)


def test_node_sdk_streams_and_videos(node: Sdk, videodb: LocalServer, video_id: str) -> None:
    run(node, videodb, VIDEO, video=video_id, said="budget")


def test_node_sdk_refusals_name_the_reason(node: Sdk, videodb: LocalServer, video_id: str) -> None:
    refusals = run(node, videodb, REFUSED, video=video_id)
    unclear = {name for name, reason in refusals.items() if "local server" not in reason and "instead" not in reason}
    assert unclear == set(), refusals


def test_node_sdk_audio(node: Sdk, videodb: LocalServer) -> None:
    run(node, videodb, AUDIO, url=videodb.sample_url)


def test_node_sdk_meeting_bot(node: Sdk, videodb: LocalServer) -> None:
    run(node, videodb, MEETING)


def test_node_capture_app(node: Sdk, videodb: LocalServer) -> None:
    result = run(node, videodb, CAPTURE)
    assert result["indexes"] == 2
    assert result["stream_url"].startswith(videodb.base_url)


def test_node_sdk_wrong_key(node: Sdk, videodb: LocalServer) -> None:
    with pytest.raises(SdkError, match="AuthenticationError"):
        node.run("await conn.getCollections()", base_url=videodb.base_url, api_key="wrong")
