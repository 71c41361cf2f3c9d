"""The built-in recognizer on the sample meeting, which says what its transcript says."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefect_videodb.local_server import speech
from prefect_videodb.local_server.media.sample import sample_meeting, sample_transcript
from prefect_videodb.local_server.media.sound import pcm
from prefect_videodb.local_server.search import search
from prefect_videodb.local_server.speech import PocketsphinxEngine, Sentence, SpeechError, Utterance, transcribe_all


def spoken_words(text: str) -> list[str]:
    return "".join(c for c in text.lower() if c.isalpha() or c in " '").split()


@pytest.fixture(scope="module")
def heard() -> tuple[list[Utterance], list[float]]:
    """Return what the engine hears in the sample, and the progress that it told."""
    progress: list[float] = []
    return list(PocketsphinxEngine().transcribe(lambda: pcm(sample_meeting()), on_progress=progress.append)), progress


def sentences(utterances: list[Utterance]) -> list[Sentence]:
    return [Sentence(" ".join(w.text for w in words), words[0].start_s, words[-1].end_s) for words in utterances]


def errors(said: list[str], heard: list[str]) -> int:
    """Return how many words are wrong, missing or too many (the edit distance)."""
    row = list(range(len(heard) + 1))
    for number, word in enumerate(said, 1):
        before, row[0] = row[0], number
        for at, other in enumerate(heard, 1):
            before, row[at] = row[at], min(row[at] + 1, row[at - 1] + 1, before + (word != other))
    return row[-1]


def test_nearly_every_word_of_the_sample_is_understood(heard: tuple[list[Utterance], list[float]]) -> None:
    said = [word for sentence in sample_transcript() for word in spoken_words(sentence.text)]
    understood = [word.text for words in heard[0] for word in words]
    # Three words in a hundred were wrong when this was written; another release of the recognizer may differ a little.
    assert errors(said, understood) / len(said) < 0.10


def test_an_utterance_is_a_sentence_and_its_times_are_right(heard: tuple[list[Utterance], list[float]]) -> None:
    found = sentences(heard[0])
    for spoken in sample_transcript():
        nearest = min(found, key=lambda sentence: abs(sentence.start_s - spoken.start_s))
        assert nearest.start_s == pytest.approx(spoken.start_s, abs=0.3)
        assert nearest.end_s == pytest.approx(spoken.end_s, abs=0.5)


def test_progress_is_told_in_seconds_and_never_goes_back(heard: tuple[list[Utterance], list[float]]) -> None:
    assert heard[1] == sorted(heard[1])
    assert heard[1][-1] > 50


@pytest.mark.parametrize("query", ["action items", "action items and next steps"])
def test_the_action_items_are_found_in_what_was_heard(heard: tuple[list[Utterance], list[float]], query: str) -> None:
    """The whole way that a user goes, recognizer's mistakes and all."""
    wanted = [spoken for spoken in sample_transcript() if spoken.is_action_item]
    hits = [hit.sentence for hit in search(sentences(heard[0]), query, "semantic") if hit.score >= 0.2][:5]
    right = [hit for hit in hits if any(abs(hit.start_s - spoken.start_s) < 1 for spoken in wanted)]
    # All five that an answer holds are items, or all but one that was misheard.
    assert len(right) >= 4
    assert right[0] is hits[0]


def test_silence_has_no_words() -> None:
    assert list(PocketsphinxEngine().transcribe(lambda: [bytes(32_000)] * 3, on_progress=lambda _: None)) == []


def test_no_sound_has_no_words() -> None:
    assert list(PocketsphinxEngine().transcribe(list, on_progress=lambda _: None)) == []


def test_a_caller_that_gives_up_leaves_no_worker_behind() -> None:
    class GiveUpError(Exception):
        pass

    def give_up(_: float) -> None:
        raise GiveUpError

    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(32_000)

    before = children()
    with pytest.raises(GiveUpError):
        list(PocketsphinxEngine().transcribe(endless, on_progress=give_up))
    assert children() == before
    assert not [thread for thread in threading.enumerate() if thread.name == "videodb-speech-feeder"]


def test_sound_that_cannot_be_read_is_the_callers_error() -> None:
    def broken() -> Iterator[bytes]:
        yield bytes(32_000)
        raise OSError("the file is gone")

    with pytest.raises(OSError, match="the file is gone"):
        list(PocketsphinxEngine().transcribe(broken, on_progress=lambda _: None))


def test_a_worker_that_dies_is_replaced_once() -> None:
    # Other tests of this process have servers running: only what the engine started is its worker.
    others = set(children())
    killed: list[int] = []

    def kill_the_first(_: float) -> None:
        if not killed:
            [worker] = set(children()) - others
            killed.append(worker)
            os.kill(worker, signal.SIGKILL)

    sound = list(pcm(sample_meeting(), start_s=0.0, end_s=5.0))
    utterances = transcribe_all(PocketsphinxEngine(), lambda: sound, on_progress=kill_the_first)
    assert killed
    assert sentences(utterances)[0].text.startswith("good morning")


def test_a_worker_that_always_dies_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "worker.py"
    broken.write_text("raise SystemExit('no model on this machine')")
    monkeypatch.setattr(speech, "WORKER", broken)
    with pytest.raises(SpeechError, match="no model on this machine"):
        transcribe_all(PocketsphinxEngine(), lambda: [bytes(32_000)], on_progress=lambda _: None)


def test_a_missing_recognizer_is_an_error_that_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['pocketsphinx'] = None\n"
        "from prefect_videodb.local_server.speech import PocketsphinxEngine\n"
        "list(PocketsphinxEngine().transcribe(lambda: [], on_progress=print))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.stderr.strip().splitlines()[-1].endswith("pip install '.[local]' in the project's folder")


def test_the_recognizer_is_imported_in_the_worker_only() -> None:
    code = "import sys, prefect_videodb.local_server.server; print('pocketsphinx' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "False"


def children() -> list[int]:
    """Return the processes that this one started."""
    tasks = Path("/proc/self/task").glob("*/children")
    return sorted(int(number) for task in tasks for number in task.read_text().split())
