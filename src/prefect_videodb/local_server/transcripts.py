"""What is said in a video: its transcript, and the index that makes it searchable."""

import time
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, Literal, TypeVar

from prefect_videodb.local_server.errors import BadRequest, NotFound
from prefect_videodb.local_server.jobs import JobRun, Jobs
from prefect_videodb.local_server.media.sound import pcm
from prefect_videodb.local_server.speech import Sentence, SpeechEngine, SpeechError, Word, transcribe_all
from prefect_videodb.local_server.store import Store
from prefect_videodb.local_server.videos import Video, Videos

T = TypeVar("T")
Segmenter = Literal["word", "sentence", "time"]
# Of the length of a job that listens and then stores what it heard.
LISTENING = 0.98


class Transcripts:
    """The transcripts and spoken-word indexes of one server."""

    def __init__(self, store: Store, jobs: Jobs, videos: Videos, engine: SpeechEngine) -> None:
        self._store = store
        self._jobs = jobs
        self._videos = videos
        self._engine = engine
        jobs.register("transcribe", self._transcribe_job, "speech")
        jobs.register("index", self._index_job, "speech")

    # --- transcript ---------------------------------------------------------------------------------------------------

    def exists(self, video: Video) -> bool:
        """Say whether the video was transcribed."""
        return self._store.one("SELECT 1 FROM transcripts WHERE video_id = ?", video.id) is not None

    def generate(self, video: Video, *, language_code: str | None, force: bool) -> str:
        """Begin to transcribe, and return the job's id. A transcript that exists is used unless `force` is true.

        Raises:
            BadRequest: for a language that the engine does not know.
        """
        _check_language(language_code)
        return self._jobs.submit("transcribe", video.id, {"video_id": video.id, "force": force})

    def sentences(self, video: Video) -> list[Sentence]:
        """Return the sentences of a transcript.

        Raises:
            NotFound: when the video was not transcribed.
        """
        return [_joined(words) for words in self._sentence_words(video)]

    def timed(
        self, video: Video, *, segmenter: Segmenter, length: int, start_s: float, end_s: float | None
    ) -> list[dict[str, Any]]:
        """Return what is said in [start_s, end_s), in pieces of `length` words, sentences or seconds.

        Raises:
            NotFound: when the video was not transcribed.
        """
        sentences = self._sentence_words(video)
        pieces: Iterable[list[Word]]
        match segmenter:
            case "word":
                pieces = _chunks([word for sentence in sentences for word in sentence], length)
            case "sentence":
                pieces = ([word for sentence in some for word in sentence] for some in _chunks(sentences, length))
            case "time":
                every_word = (word for sentence in sentences for word in sentence)
                pieces = (list(words) for _, words in groupby(every_word, lambda word: word.start_s // length))
        return [
            {"start": piece.start_s, "end": piece.end_s, "text": piece.text}
            for piece in map(_joined, pieces)
            if piece.end_s > start_s and (end_s is None or piece.start_s < end_s)
        ]

    # --- index --------------------------------------------------------------------------------------------------------

    def index(self, video: Video, *, language_code: str | None, force: bool) -> str:
        """Begin to index the spoken words, and return the job's id. While a job runs for the video, that one is meant.

        Raises:
            BadRequest: when there is an index and `force` is false, or for a language that the engine does not know.
        """
        _check_language(language_code)
        with self._store.transaction():
            if not force and self._status(video)[0] == "done":
                raise BadRequest("Spoken word index already exists for this video; use force=true to make it again")
            self._set_index(video.id, "processing", "Index is being made")
            return self._jobs.submit("index", video.id, {"video_id": video.id})

    def index_status(self, video: Video) -> tuple[str, str]:
        """Return the status of the spoken-word index (`processing`, `done` or `failed`) and a sentence about it.

        Raises:
            NotFound: when none was ever begun.
        """
        status, message = self._status(video)
        if status is None:
            raise NotFound("No spoken_word index exists for this video")
        return status, message

    def indexed_sentences(self, video: Video) -> list[Sentence]:
        """Return what a search looks through.

        Raises:
            BadRequest: when the spoken words are not indexed (yet).
        """
        status, _ = self._status(video)
        if status != "done":
            message = "it is being made" if status == "processing" else "index its spoken words first"
            raise BadRequest(f"The video has no spoken_word index: {message}")
        return self.sentences(video)

    def _status(self, video: Video) -> tuple[str | None, str]:
        with self._store.transaction():
            row = self._store.one("SELECT status, message FROM spoken_word_indexes WHERE video_id = ?", video.id)
            if row is None:
                return None, ""
            if row["status"] == "processing" and not self._jobs.is_running("index", video.id):
                # Its job was given up before it could say so.
                return "failed", "The work was interrupted; index again"
            return row["status"], row["message"]

    def _set_index(self, video_id: str, status: str, message: str) -> None:
        self._store.execute(
            "INSERT INTO spoken_word_indexes VALUES (?, ?, ?) "
            "ON CONFLICT DO UPDATE SET status = excluded.status, message = excluded.message",
            *(video_id, status, message),
        )

    # --- jobs ---------------------------------------------------------------------------------------------------------

    def _transcribe_job(self, run: JobRun, arguments: dict[str, Any]) -> dict[str, Any]:
        video = self._videos.get(arguments["video_id"])
        if arguments["force"] or not self.exists(video):
            self._transcribe(video, run)
        return transcription(self, video)

    def _index_job(self, run: JobRun, arguments: dict[str, Any]) -> dict[str, Any]:
        """Transcribe once, whatever `force` says: the same engine hears the same words again."""
        video = self._videos.get(arguments["video_id"])
        try:
            run.progress(0.0)
            if not self.exists(video):
                self._transcribe(video, run)
            if not self.sentences(video):
                raise BadRequest(_silence(video))  # noqa: TRY301 - ends like any failure
        except Exception as error:
            if self._store.one("SELECT 1 FROM videos WHERE id = ?", video.id):  # it may have been deleted meanwhile
                self._set_index(video.id, "failed", str(error))
            raise
        self._set_index(video.id, "done", "Index is available")
        return {"video_id": video.id, "index_type": "spoken_word"}

    def _transcribe(self, video: Video, run: JobRun) -> None:
        run.progress(0.0)
        path = self._videos.file_of(video)
        try:
            utterances = transcribe_all(
                self._engine,
                lambda: pcm(path),
                on_progress=lambda heard_s: run.progress(LISTENING * heard_s / max(video.length_s, heard_s, 0.001)),
            )
        except SpeechError as error:
            raise BadRequest(str(error)) from error
        words = [(number, word) for number, utterance in enumerate(utterances) for word in utterance]
        with self._store.transaction():
            if self._store.one("SELECT 1 FROM videos WHERE id = ?", video.id) is None:
                raise NotFound("The video was deleted while it was transcribed")
            self._store.execute("DELETE FROM transcripts WHERE video_id = ?", video.id)
            self._store.execute("INSERT INTO transcripts VALUES (?, ?, ?)", video.id, self._engine.name, time.time())
            self._store.insert_many(
                "INSERT INTO words VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (video.id, number, position, word.start_s, word.end_s, word.text)
                    for position, (number, word) in enumerate(words)
                ],
            )

    def _sentence_words(self, video: Video) -> list[list[Word]]:
        with self._store.transaction():
            if not self.exists(video):
                raise NotFound("No transcription exists for this video; POST to the same path makes one")
            rows = self._store.all("SELECT * FROM words WHERE video_id = ? ORDER BY position", video.id)
        return [
            [Word(row["text"], row["start_s"], row["end_s"]) for row in sentence]
            for _, sentence in groupby(rows, lambda row: row["sentence"])
        ]


def transcription(
    transcripts: Transcripts,
    video: Video,
    *,
    segmenter: Segmenter = "word",
    length: int = 1,
    start_s: float = 0.0,
    end_s: float | None = None,
) -> dict[str, Any]:
    """Return a transcript as the service answers it."""
    pieces = transcripts.timed(video, segmenter=segmenter, length=length, start_s=start_s, end_s=end_s)
    return {"word_timestamps": pieces, "text": " ".join(piece["text"] for piece in pieces)}


def _check_language(language_code: str | None) -> None:
    if language_code and language_code.replace("-", "_").lower().split("_")[0] != "en":
        raise BadRequest(
            f"language_code {language_code} is not known here: the local speech engine understands English only"
        )


def _chunks(items: list[T], size: int) -> Iterator[list[T]]:
    return (items[i : i + size] for i in range(0, len(items), size))


def _joined(words: list[Word]) -> Sentence:
    return Sentence(" ".join(word.text for word in words), words[0].start_s, words[-1].end_s)


def _silence(video: Video) -> str:
    """Return why nothing was heard, in the words that the service uses."""
    if video.has_audio:
        return "No spoken data found in the video"
    return 'No spoken data found in the video: it has no sound; connect its stream with media_types=["audio", "video"]'
