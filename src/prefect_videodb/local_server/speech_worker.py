"""The process that listens: sound in, words out. It is run as a file of its own and imports nothing of this package.

It reads 16 kHz mono 16-bit samples from standard input until its end, and writes one JSON object a line:
`{"heard": seconds}` as it goes along, `{"words": [[text, start, end], …]}` for each utterance, `{"done": true}` last.
The recognizer holds Python's interpreter lock for seconds at a time: inside the server it would stop everything else.
"""

import json
import os
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from pocketsphinx import Decoder, Vad

RATE = 16_000
SAMPLE_BYTES = 2
FRAME_S = 0.03
VAD_MODE = 3
# An utterance begins with three speech frames of five, and ends after 0.3 s without any.
BEGIN_WINDOW, BEGIN_FRAMES = 5, 3
SILENT_FRAMES = 10
# The recognizer needs quiet around the words; the detector cuts soft beginnings and endings off.
PAD_S = 0.25
# Somebody who never pauses: what is longer costs the recognizer more than it is worth.
MAX_UTTERANCE_S = 20.0
# Wider than the default search: twice as slow, and a third fewer errors on clean speech.
SEARCH = {"beam": 1e-60, "wbeam": 1e-40}


@dataclass(slots=True)
class Utterance:
    """A stretch of speech with its pads."""

    start_s: float
    samples: bytearray = field(default_factory=bytearray)

    @property
    def duration_s(self) -> float:
        """How long it is."""
        return len(self.samples) / (RATE * SAMPLE_BYTES)


def frames(size: int) -> Iterator[bytes]:
    """Read whole frames; a shorter rest at the end holds no word."""
    while len(frame := sys.stdin.buffer.read(size)) == size:
        yield frame


def utterances(vad: Vad) -> Iterator[Utterance | float]:
    """Yield each utterance when it is over, and now and then the seconds before which nothing more will be found."""
    pad_frames = round(PAD_S / FRAME_S)
    before: deque[bytes] = deque(maxlen=pad_frames + BEGIN_WINDOW)
    recent: deque[bool] = deque(maxlen=BEGIN_WINDOW)
    current: Utterance | None = None
    silent = 0
    for number, frame in enumerate(frames(vad.frame_bytes)):
        if number % 100 == 0:
            yield current.start_s if current else (number - len(before)) * vad.frame_length
        speech = vad.is_speech(frame)
        if current is None:
            before.append(frame)
            recent.append(speech)
            if sum(recent) >= BEGIN_FRAMES:
                start = number + 1 - len(before)
                current = Utterance(start * vad.frame_length, bytearray().join(before))
                silent = 0
            continue
        current.samples += frame
        silent = 0 if speech else silent + 1
        if silent >= SILENT_FRAMES or current.duration_s >= MAX_UTTERANCE_S:
            surplus = max(0, silent - pad_frames) * vad.frame_bytes
            if surplus:
                # What is beyond the pad belongs in front of the next utterance.
                before.clear()
                before.extend(
                    bytes(current.samples[i : i + vad.frame_bytes]) for i in range(-surplus, 0, vad.frame_bytes)
                )
                del current.samples[-surplus:]
            else:
                before.clear()
            recent.clear()
            yield current
            current = None
    if current is not None:
        yield current


def words(decoder: Decoder, utterance: Utterance) -> list[tuple[str, float, float]]:
    """Return the words of an utterance with their times in the whole sound."""
    decoder.start_utt()
    decoder.process_raw(bytes(utterance.samples), full_utt=True)
    decoder.end_utt()
    frame_s = 1 / decoder.config["frate"]
    return [
        (
            segment.word.split("(")[0],  # "the(2)" is the second way to pronounce it
            round(utterance.start_s + segment.start_frame * frame_s, 3),
            round(utterance.start_s + (segment.end_frame + 1) * frame_s, 3),
        )
        for segment in decoder.seg() or ()
        if segment.word[0] not in "<["  # silences and noises
    ]


def main() -> None:
    """Listen until the end of standard input."""
    os.nice(10)  # a recording that runs beside goes first
    decoder = Decoder(loglevel="FATAL", samprate=RATE, **SEARCH)
    vad = Vad(VAD_MODE, RATE, FRAME_S)
    for item in utterances(vad):
        message = {"words": words(decoder, item)} if isinstance(item, Utterance) else {"heard": item}
        print(json.dumps(message), flush=True)  # noqa: T201 - its output is what it is for
    print(json.dumps({"done": True}), flush=True)  # noqa: T201 - the same


if __name__ == "__main__":
    main()
