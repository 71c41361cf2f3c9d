"""A recognizer that needs no time, for tests that do not ask what is understood."""

from collections.abc import Callable, Iterator

from prefect_videodb.local_server.speech import Sound, Utterance, Word

_SENTENCE = ("Alice", "will", "send", "the", "budget", "by", "Friday")
_BYTES_PER_S = 32_000
# A sentence begins so often.
_EVERY_S = 4.0
_WORD_S = 0.3


class OneSentence:
    """Hears the same sentence every four seconds, also in silence."""

    name = "one sentence"

    def transcribe(self, sound: Sound, *, on_progress: Callable[[float], None]) -> Iterator[Utterance]:
        """Yield the sentence once for each four seconds that were heard."""
        heard_s = begins_s = 0.0
        for chunk in sound():
            heard_s += len(chunk) / _BYTES_PER_S
            on_progress(begins_s)
            while heard_s >= begins_s + _EVERY_S:
                yield _spoken_at(begins_s + _WORD_S)
                begins_s += _EVERY_S


def _spoken_at(start_s: float) -> Utterance:
    times = [start_s + number * _WORD_S for number in range(len(_SENTENCE))]
    return [Word(word, time, time + 0.9 * _WORD_S) for word, time in zip(_SENTENCE, times, strict=True)]
