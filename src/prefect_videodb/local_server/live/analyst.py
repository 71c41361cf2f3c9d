"""The thread that looks at and listens to the streams for whom somebody asked, and writes down what there is to say."""

import itertools
import json
import logging
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from prefect_videodb.local_server.jobs import log_defect
from prefect_videodb.local_server.live.alerts import Batch
from prefect_videodb.local_server.live.analyses import Analyses, Analysis, Audio, Visuals
from prefect_videodb.local_server.live.hub import Hub
from prefect_videodb.local_server.live.records import Records
from prefect_videodb.local_server.live.transcription import Listener, Transcriptions
from prefect_videodb.local_server.media.errors import MediaError
from prefect_videodb.local_server.media.pictures import Facts, describe, facts_at
from prefect_videodb.local_server.media.segments import Segment
from prefect_videodb.local_server.speech import SpeechEngine
from prefect_videodb.local_server.store import Store
from prefect_videodb.local_server.streams import Streams

logger = logging.getLogger(__name__)

LOOK_S = 0.5
# A source that was away for a night leaves no window for each ten seconds of it.
WINDOWS_AT_ONCE = 20


@dataclass(frozen=True, slots=True)
class _Said:
    """A word, and the place behind it."""

    text: str
    start: float
    end: float
    next_utterance_id: int
    """What an analysis that took this word has taken of utterances …"""
    next_word: int
    """… and how many words of the one after that."""
    ends_utterance: bool


class Analyst:
    """One thread for all streams: it polls what the recorders have finished, and is never in their way."""

    def __init__(
        self,
        store: Store,
        *,
        streams: Streams,
        analyses: Analyses,
        transcriptions: Transcriptions,
        records: Records,
        hub: Hub,
        engine: SpeechEngine,
    ) -> None:
        self._store = store
        self._streams = streams
        self._analyses = analyses
        self._transcriptions = transcriptions
        self._records = records
        self._hub = hub
        self._engine = engine
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="videodb-analyst")
        self._listeners: dict[str, Listener] = {}
        self._seen: dict[str, Facts] = {}
        """The last picture that each analysis looked at."""

    def resume(self) -> None:
        """Go on where an earlier server on this folder was stopped or killed."""
        self._thread.start()

    def close(self) -> None:
        """Stop; the next server on this folder goes on."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
        for listener in self._listeners.values():
            listener.stop()
        self._listeners.clear()

    def _run(self) -> None:
        while not self._closing.wait(LOOK_S):
            try:
                running = self._analyses.running()
                self._listen(running)
                for analysis in running:
                    if self._closing.is_set():
                        return
                    self._analyse(analysis)
            except Exception as error:  # noqa: BLE001 - the thread must not end; the log says where
                log_defect(logger, "the analyst", error)

    # --- listening ----------------------------------------------------------------------------------------------------

    def _listen(self, running: Sequence[Analysis]) -> None:
        """Let there be a listener for each stream that somebody wants to be listened to, and no other."""
        audio = {analysis.stream_id for analysis in running if isinstance(analysis.work, Audio)}
        wanted = audio | set(self._transcriptions.streams())
        for stream_id, listener in list(self._listeners.items()):
            if stream_id not in wanted or listener.failed:
                listener.stop()
                listener.forget()
                del self._listeners[stream_id]
            if listener.failed:
                self._transcriptions.fail(stream_id)
                for analysis in running:
                    if analysis.stream_id == stream_id and isinstance(analysis.work, Audio):
                        self._analyses.fail(analysis.id)
                wanted.discard(stream_id)
            elif listener.finished and listener.has_work():
                del self._listeners[stream_id]  # the stream was started again, and is listened to anew
        for stream_id in wanted - set(self._listeners):
            listener = Listener(
                self._store,
                streams=self._streams,
                transcriptions=self._transcriptions,
                engine=self._engine,
                stream_id=stream_id,
            )
            if listener.has_work():
                self._listeners[stream_id] = listener
                listener.start()

    # --- analysing ----------------------------------------------------------------------------------------------------

    def _analyse(self, analysis: Analysis) -> None:
        try:
            if isinstance(analysis.work, Visuals):
                self._look(analysis, analysis.work)
            else:
                self._read(analysis, analysis.work)
        except MediaError as error:
            logger.warning("analysis %s of stream %s failed: %s", analysis.id, analysis.stream_id, error)
            self._analyses.fail(analysis.id)
        except Exception as error:  # noqa: BLE001 - one analysis must not end the others; the log says where
            log_defect(logger, f"analysis {analysis.id} of stream {analysis.stream_id}", error)
            self._analyses.fail(analysis.id)

    def _look(self, analysis: Analysis, work: Visuals) -> None:
        """Describe the windows that are over."""
        since = analysis.since
        live = self._streams.is_recording(analysis.stream_id)
        recorded_until = self._streams.recorded_until(analysis.stream_id, since)
        for _ in range(WINDOWS_AT_ONCE):
            end = since + work.window_s
            if recorded_until <= since or (recorded_until < end and live):
                return
            segments = self._streams.segments_between(analysis.stream_id, since, end)
            pictures = [segment for segment in segments if segment.has_video and segment.path.is_file()]
            seen = self._pictures(analysis, pictures, work.frame_count)
            batch = self._batch(analysis, since, min(end, recorded_until), describe(*seen)) if seen[0] else None
            # A hole in the recording is no window: the next one begins where something was recorded.
            following = min(end, recorded_until) if segments else self._recorded_from(analysis.stream_id, end)
            if not self._write(analysis, batch, self._metadata(seen[0]), since=following):
                return
            analysis = self._moved(analysis, following)
            since = following
            if self._closing.is_set():
                return

    def _pictures(
        self, analysis: Analysis, segments: Sequence[Segment], count: int
    ) -> tuple[list[Facts], Facts | None]:
        """Look at so many pictures, evenly spread: a segment begins with one that can be looked at alone."""
        before = self._seen.get(analysis.id)
        last, facts = before, []
        step = max(1.0, len(segments) / count)
        for number in range(min(count, len(segments))):
            try:
                last = facts_at(segments[math.floor(number * step)].path, before=last)
            except MediaError:
                continue  # a damaged segment costs its own picture
            facts.append(last)
        if last is not None:
            self._seen[analysis.id] = last
        return facts, before

    @staticmethod
    def _metadata(facts: Sequence[Facts]) -> dict[str, Any]:
        if not facts:
            return {}
        return {"brightness": round(facts[-1].brightness), "colours": list(facts[-1].colours)}

    def _recorded_from(self, stream_id: str, after: float) -> float:
        starts = (segment.wall_start for segment in self._streams.segments_between(stream_id, after, math.inf))
        return max(after, min(starts, default=after))

    def _read(self, analysis: Analysis, work: Audio) -> None:
        """Write down the batches of words that are complete."""
        listener = self._listeners.get(analysis.stream_id)
        finished = listener.finished if listener else not self._streams.is_recording(analysis.stream_id)
        words = list(self._words(analysis))
        for batch in self._batches(words, analysis, work, listener.heard_until if listener else 0.0, finished=finished):
            first, last = batch[0], batch[-1]
            since = analysis.since
            if work.segmenter == "time":
                # The window of the first word; the next one follows on it.
                begin = since + math.floor((first.start - since) / work.value) * work.value
                span = (begin, begin + work.value)
                since = begin + work.value
            else:
                span = (first.start, last.end)
            text = " ".join(word.text for word in batch)
            found = self._batch(analysis, *span, text)
            moved = (since, last.next_utterance_id, last.next_word)
            if not self._write(analysis, found, {}, since=moved[0], utterance_id=moved[1], word=moved[2]):
                return
            analysis = self._moved(analysis, *moved)

    def _words(self, analysis: Analysis) -> Iterator[_Said]:
        """Yield the words that an analysis has not taken yet."""
        rows = self._store.all(
            "SELECT id, words FROM utterances WHERE stream_id = ? AND id > ? ORDER BY id",
            *(analysis.stream_id, analysis.utterance_id),
        )
        before = analysis.utterance_id
        for row, skip in zip(rows, itertools.chain([analysis.word], itertools.repeat(0)), strict=False):
            words = json.loads(row["words"])
            for number, (text, start, end) in enumerate(words[skip:], skip):
                is_last = number == len(words) - 1
                taken, next_word = (row["id"], 0) if is_last else (before, number + 1)
                if start >= analysis.since:
                    yield _Said(text, start, end, taken, next_word, ends_utterance=is_last)
            before = row["id"]

    @staticmethod
    def _batches(
        words: Sequence[_Said], analysis: Analysis, work: Audio, heard_until: float, *, finished: bool
    ) -> Iterator[list[_Said]]:
        """Yield the batches that are complete; when the stream is over, also what is left."""
        batch: list[_Said] = []
        sentences = 0
        for word in words:
            if (
                work.segmenter == "time"
                and batch
                and _window(word, analysis, work) != _window(batch[0], analysis, work)
            ):
                yield batch
                batch = []
            batch.append(word)
            sentences += word.ends_utterance
            if (work.segmenter == "word" and len(batch) >= work.value) or (
                work.segmenter == "sentence" and sentences >= work.value
            ):
                yield batch
                batch, sentences = [], 0
        if not batch:
            return
        if work.segmenter == "time":
            over = analysis.since + (_window(batch[0], analysis, work) + 1) * work.value <= heard_until
        else:
            over = False
        if finished or over:
            yield batch

    # --- writing down -------------------------------------------------------------------------------------------------

    def _batch(self, analysis: Analysis, start: float, end: float, text: str) -> Batch:
        return Batch(analysis.stream_id, self._streams.get(analysis.stream_id)["name"], start, end, text)

    def _write(
        self,
        analysis: Analysis,
        batch: Batch | None,
        metadata: dict[str, Any],
        *,
        since: float,
        utterance_id: int = 0,
        word: int = 0,
    ) -> bool:
        """Keep a batch and how far the analysis is, together; then tell. False when it was stopped meanwhile."""
        after: list[Callable[[], None]] = []
        with self._store.transaction():
            place = (utterance_id or analysis.utterance_id, word)
            if not self._analyses.advance(analysis, since=since, utterance_id=place[0], word=place[1]):
                return False
            if batch:
                after = self._records.add(self._analyses.indexes_of(analysis), batch, metadata)
        if batch:
            for frame in _frames(analysis, batch):
                self._hub.send(analysis.ws_connection_id, frame)
        for tell in after:
            tell()
        return True

    @staticmethod
    def _moved(analysis: Analysis, since: float, utterance_id: int = 0, word: int = 0) -> Analysis:
        return Analysis(
            id=analysis.id,
            kind=analysis.kind,
            stream_id=analysis.stream_id,
            work=analysis.work,
            ws_connection_id=analysis.ws_connection_id,
            since=since,
            utterance_id=utterance_id or analysis.utterance_id,
            word=word,
        )


def _window(word: _Said, analysis: Analysis, work: Audio) -> int:
    return math.floor((word.start - analysis.since) / work.value)


def _frames(analysis: Analysis, batch: Batch) -> list[dict[str, Any]]:
    """Return a frame for each name of the channel: sources of the vendor disagree on which listeners are to use."""
    channels = (
        ("visual_index", "scene_index") if isinstance(analysis.work, Visuals) else ("audio_index", "spoken_index")
    )
    name = "understanding_id" if analysis.kind == "understanding" else "rtstream_index_id"
    data = {
        name: analysis.id,
        "text": batch.text,
        "start": round(batch.start * 1000),
        "end": round(batch.end * 1000),
    }
    stream = {"rtstream_id": batch.stream_id, "rtstream_name": batch.stream_name}
    return [{"channel": channel, **stream, "data": data} for channel in channels]
