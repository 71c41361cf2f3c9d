"""Speech to text, with the time of every word.

`SpeechEngine` is the seam for another recognizer. The one that is built in needs no download and no network, and
understands clear English; expect little of it on distant microphones.
"""

import contextlib
import importlib.util
import json
import os
import selectors
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from prefect_videodb.local_server.errors import Unsupported

WORKER = Path(__file__).with_name("speech_worker.py")
# How often a caller that wants to give up is asked while the worker thinks.
IDLE_S = 0.5


@dataclass(frozen=True, slots=True)
class Word:
    """One word, with its times in seconds."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Sentence:
    """Some words that belong together, with their times in seconds."""

    text: str
    start_s: float
    end_s: float


Utterance = list[Word]
Sound = Callable[[], Iterable[bytes]]


class SpeechError(Exception):
    """The recognizer failed; the message says how."""


class SpeechEngine(Protocol):
    """A recognizer."""

    name: str

    def transcribe(self, sound: Sound, *, on_progress: Callable[[float], None]) -> Iterator[Utterance]:
        """Yield what is said, an utterance (about a sentence) at a time, as soon as it is understood.

        `sound` gives 16 kHz mono signed 16-bit little-endian samples, those of a live stream as they come.
        `on_progress` is told, twice a second at least, before which second everything was yielded; what it raises ends
        the work.

        Raises:
            Unsupported: when the recognizer is not installed.
            SpeechError: when it failed.
        """
        ...


class PocketsphinxEngine:
    """The built-in recognizer, in a process of its own for each transcription: it can be killed, and may die alone."""

    name = "pocketsphinx"

    def transcribe(self, sound: Sound, *, on_progress: Callable[[float], None]) -> Iterator[Utterance]:
        """Yield what is said."""
        if importlib.util.find_spec("pocketsphinx") is None:
            raise Unsupported("Spoken words need the speech engine: pip install '.[local]' in the project's folder")
        yield from _listen(sound, on_progress)


def transcribe_all(engine: SpeechEngine, sound: Sound, *, on_progress: Callable[[float], None]) -> list[Utterance]:
    """Return all that is said in a sound. An engine that fails is tried once more, from the beginning."""
    try:
        return list(engine.transcribe(sound, on_progress=on_progress))
    except SpeechError:
        return list(engine.transcribe(sound, on_progress=on_progress))


def _listen(sound: Sound, on_progress: Callable[[float], None]) -> Iterator[Utterance]:
    # -P: the worker's folder is not for importing from; its neighbours are named like other people's packages.
    command = [sys.executable, "-P", str(WORKER)]
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints)  # noqa: S603 - our own file
        feeder = _Feeder(process, sound)
        feeder.start()
        try:
            done = False
            heard_s = 0.0
            for message in _messages(feeder.answers):
                heard_s = message.get("heard", heard_s)
                on_progress(heard_s)
                if message.get("words"):
                    yield [Word(*word) for word in message["words"]]
                done = done or "done" in message
        finally:
            # Also when the caller gives up: a worker never outlives the work.
            process.kill()
            process.wait()
            feeder.join()
            feeder.answers.close()
        if feeder.error:
            raise feeder.error
        if not done:
            complaints.seek(0)
            last = complaints.read()[-500:].decode(errors="replace").strip().splitlines()[-1:]
            raise SpeechError(f"The speech engine stopped (status {process.returncode}) {' '.join(last)}".strip())


def _messages(pipe: IO[bytes]) -> Iterator[dict[str, Any]]:
    """Yield what the worker writes until it ends, and now and then nothing while it thinks."""
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            if not selector.select(IDLE_S):
                yield {}
                continue
            chunk = os.read(pipe.fileno(), 65_536)
            if not chunk:
                return  # a line without its end is what a dying worker was writing
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield json.loads(line)


class _Feeder(threading.Thread):
    """Writes the sound to the worker while its words are read: one thread for both would block on full pipes."""

    def __init__(self, process: subprocess.Popen[bytes], sound: Sound) -> None:
        super().__init__(name="videodb-speech-feeder", daemon=True)
        if process.stdin is None or process.stdout is None:
            raise TypeError("the worker was started without pipes")
        self._questions = process.stdin
        self.answers = process.stdout
        self._sound = sound
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            for chunk in self._sound():
                self._questions.write(chunk)
        except BrokenPipeError:
            pass  # the worker died, or was killed: its reader says so
        except Exception as error:  # noqa: BLE001 - handed to the thread that waits
            self.error = error
        with contextlib.suppress(BrokenPipeError):
            self._questions.close()
