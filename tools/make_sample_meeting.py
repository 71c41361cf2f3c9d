"""Make the sample meeting that the local server ships: slides, two voices, and a transcript with true times.

A developer's tool; nothing of it runs at a user's. It needs Debian's `flite` (voices rms and slt) and the DejaVu
fonts (`apt-get install flite fonts-dejavu-core`), and Pillow, which the project's environment does not have:

    pip install --target build/pillow pillow
    PYTHONPATH=build/pillow:. .venv/bin/python tools/make_sample_meeting.py

It writes `src/prefect_videodb/local_server/assets/sample_meeting.mp4` and `.json`. The meeting is played in an
endless loop, and whoever records half a minute of it should get something to do: every window of 30 s holds at least
one whole action item, which the tool checks before it writes anything.
"""

from __future__ import annotations

import array
import json
import shutil
import subprocess
import tempfile
import wave
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
from PIL import Image, ImageDraw, ImageFont  # pyright: ignore[reportMissingImports]

from tools import timecode

ASSETS: Final = Path(__file__).resolve().parent.parent / "src" / "prefect_videodb" / "local_server" / "assets"
FONTS: Final = Path("/usr/share/fonts/truetype/dejavu")
WIDTH, HEIGHT, FPS = 1280, 720, 30
VOICE_RATE: Final = 16_000
SOUND_RATE: Final = 48_000
LEAD_S: Final = 0.5
SAME_SPEAKER_GAP_S: Final = 0.5
NEXT_SPEAKER_GAP_S: Final = 0.65
# 8 s of 48 kHz sound are a whole number of AAC frames (375): the loop has no seam when its length is a multiple.
LOOP_STEP_S: Final = 8
WINDOW_S: Final = 30.0
# What a recorder that joins in the middle can lose of its window: it begins on the next keyframe, one a second.
JOIN_S: Final = 1.5
SILENCE_LEVEL: Final = 250
VOICES: Final = {"Martin": "rms", "Susan": "slt"}


@dataclass(frozen=True)
class Slide:
    """What the screen shows while some of the lines are spoken."""

    title: str
    lines: tuple[str, ...]
    spoken: tuple[tuple[str, str, bool], ...]
    """Speaker, sentence, and whether the sentence is an action item."""


MEETING: Final = (
    Slide(
        "Agenda",
        ("Status of the project", "Decision about the release", "Action items", "Next steps"),
        (
            ("Martin", "Good morning everyone, and welcome to the product meeting.", False),
            ("Susan", "Today we talk about the status, the decision, and the action items.", False),
        ),
    ),
    Slide(
        "Status",
        ("Price list: open, Wednesday", "New report: ready", "Customers: happy", "Payment page: broken"),
        (
            ("Susan", "Alice must update the price list by Wednesday.", True),
            ("Martin", "The new report is ready, and the customers like it.", False),
            ("Martin", "One problem is still open.", False),
            ("Martin", "Bob needs to fix the payment page before the release.", True),
        ),
    ),
    Slide(
        "Decision",
        ("When do we release?", "Proposal: first week of March", "Agreed"),
        (
            ("Susan", "Now we have to make a decision about the date.", False),
            ("Martin", "I think we should release the product in the first week of March.", False),
            ("Susan", "I agree, that is the decision.", False),
        ),
    ),
    Slide(
        "Action items",
        (
            "Alice: send the budget to finance, Friday",
            "Carol: call the client, Tuesday",
            "David: prepare the training, this week",
        ),
        (
            ("Martin", "Let us go through the action items.", False),
            ("Martin", "Alice will send the budget to finance by Friday.", True),
            ("Martin", "Carol will call the client on Tuesday about the contract.", True),
            ("Martin", "And David should prepare the training for the team this week.", True),
        ),
    ),
    Slide(
        "Next steps",
        ("Bob: prepare the demo, Thursday", "Next meeting: Monday"),
        (
            ("Martin", "Now the next steps.", False),
            ("Martin", "We meet again on Monday.", False),
            ("Martin", "Bob will prepare the demo for the customers by Thursday.", True),
            ("Susan", "Thank you, that is all for today.", False),
            ("Martin", "Have a good day everyone, and goodbye.", False),
        ),
    ),
)


@dataclass(frozen=True)
class Spoken:
    """One sentence in its place in the meeting."""

    start_s: float
    end_s: float
    speaker: str
    text: str
    slide: int
    is_action_item: bool


def speak(text: str, voice: str, folder: Path) -> array.array[int]:
    """Have flite say a sentence; return its samples without the silence before and after."""
    target = folder / "sentence.wav"
    subprocess.run(["flite", "-voice", voice, "-t", text, "-o", str(target)], check=True)  # noqa: S607 - on PATH
    with wave.open(str(target)) as sound:
        if (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) != (VOICE_RATE, 1, 2):
            message = f"flite's voice {voice} is not {VOICE_RATE} Hz mono 16 bit"
            raise SystemExit(message)
        samples = array.array("h", sound.readframes(sound.getnframes()))
    loud = [index for index, sample in enumerate(samples) if abs(sample) > SILENCE_LEVEL]
    edge = VOICE_RATE // 50
    return samples[max(0, loud[0] - edge) : loud[-1] + edge]


def perform(folder: Path) -> tuple[array.array[int], list[Spoken], list[float]]:
    """Speak the whole meeting: its sound, where each sentence stands, and when each slide comes up."""
    sound = array.array("h", bytes(2 * int(LEAD_S * VOICE_RATE)))
    spoken: list[Spoken] = []
    slide_starts: list[float] = []
    before = ""
    for number, slide in enumerate(MEETING):
        for line, (speaker, text, is_action_item) in enumerate(slide.spoken):
            if before:
                gap = SAME_SPEAKER_GAP_S if speaker == before else NEXT_SPEAKER_GAP_S
                sound.extend(array.array("h", bytes(2 * int(gap * VOICE_RATE))))
            before = speaker
            start_s = len(sound) / VOICE_RATE
            if line == 0:
                slide_starts.append(max(0.0, start_s - 0.3) if number else 0.0)
            sound.extend(speak(text, VOICES[speaker], folder))
            spoken.append(Spoken(start_s, len(sound) / VOICE_RATE, speaker, text, number, is_action_item))
    tail = -(len(sound) + VOICE_RATE) % (LOOP_STEP_S * VOICE_RATE) + VOICE_RATE
    sound.extend(array.array("h", bytes(2 * tail)))
    return sound, spoken, slide_starts


def check_windows(spoken: list[Spoken], duration_s: float) -> None:
    """Refuse a script of which some window of the loop holds no whole action item."""
    items = [sentence for sentence in spoken if sentence.is_action_item]
    for item, following in zip(items, [*items[1:], items[0]], strict=True):
        # The worst window begins just after the start of one item and has to hold the whole of the next.
        wait_s = following.end_s - item.start_s + (duration_s if following is items[0] else 0.0)
        print(f"  {item.start_s:5.1f} s  {item.text}  (next one is over {wait_s:.1f} s later)")
        if wait_s > WINDOW_S - JOIN_S:
            raise SystemExit("the action items lie too far apart for a window of 30 s")


def font(name: str, size_px: int) -> ImageFont.FreeTypeFont:
    """Load one of the DejaVu fonts."""
    return ImageFont.truetype(str(FONTS / name), size_px)


def draw_slide(slide: Slide, number: int) -> Image.Image:
    """Draw a slide without its moving parts."""
    picture = Image.new("RGB", (WIDTH, HEIGHT), "#f7f7f4")
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, 0, WIDTH, 111), fill="#1f3a5f")
    pen.text((64, 24), slide.title, font=font("DejaVuSans-Bold.ttf", 52), fill="#ffffff")
    for row, line in enumerate(slide.lines):
        y = 176 + 96 * row
        pen.rectangle((64, y + 16, 80, y + 32), fill="#c8553d")
        pen.text((112, y), line, font=font("DejaVuSans.ttf", 40), fill="#222222")
    pen.rectangle((0, HEIGHT - 48, WIDTH, HEIGHT), fill="#282828")
    foot = f"Product meeting   {number + 1} / {len(MEETING)}"
    pen.text((WIDTH - 400, HEIGHT - 38), foot, font=font("DejaVuSans.ttf", 22), fill="#dddddd")
    return picture


def draw_moment(slide: Image.Image, tenths: int) -> Image.Image:
    """Add the clock and the strip that say when in the loop this is."""
    picture = slide.copy()
    pen = ImageDraw.Draw(picture)
    clock = f"{tenths // 600:02}:{tenths // 10 % 60:02}.{tenths % 10}"
    pen.text((WIDTH // 2 - 70, HEIGHT - 40), clock, font=font("DejaVuSansMono.ttf", 24), fill="#dddddd")
    top = HEIGHT - timecode.CELL_PX
    for cell, light in enumerate(timecode.cells(tenths)):
        level = grey(timecode.LIGHT_LUMA if light else timecode.DARK_LUMA)
        left = cell * timecode.CELL_PX
        pen.rectangle((left, top, left + timecode.CELL_PX - 1, HEIGHT - 1), fill=(level, level, level))
    return picture


def grey(luma: int) -> int:
    """Return the RGB level whose limited-range luma this is."""
    return round((luma - 16) * 255 / 219)


def write_video(target: Path, sound: array.array[int], slide_starts: list[float]) -> None:
    """Encode pictures and sound: keyframes each second, no B-frames, as cameras and meeting tools send them."""
    duration_s = len(sound) // VOICE_RATE
    with av.open(str(target), "w", options={"movflags": "+faststart", "fflags": "+bitexact"}) as out:
        options = {
            "preset": "veryslow",
            "crf": "30",
            "tune": "stillimage",
            "x264-params": f"keyint={FPS}:min-keyint={FPS}:scenecut=0:bframes=0:threads=1",
        }
        video = out.add_stream("libx264", rate=FPS, options=options)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.time_base = video.codec_context.time_base = Fraction(1, 90_000)
        audio = out.add_stream("aac", rate=SOUND_RATE, layout="mono")
        audio.bit_rate = 40_000
        slides = [draw_slide(slide, number) for number, slide in enumerate(MEETING)]
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=SOUND_RATE)
        for index in range(duration_s * FPS):
            moment_s = index / FPS
            if index % FPS == 0:
                chunk = sound[int(moment_s) * VOICE_RATE : (int(moment_s) + 1) * VOICE_RATE]
                frame = av.AudioFrame(format="s16", layout="mono", samples=len(chunk))
                frame.planes[0].update(chunk.tobytes())
                frame.sample_rate, frame.pts, frame.time_base = (
                    VOICE_RATE,
                    int(moment_s) * VOICE_RATE,
                    Fraction(1, VOICE_RATE),
                )
                for resampled in resampler.resample(frame):
                    out.mux(audio.encode(resampled))
            showing = max(number for number, start_s in enumerate(slide_starts) if start_s <= moment_s)
            picture = av.VideoFrame.from_image(draw_moment(slides[showing], index * 10 // FPS))
            picture.pts, picture.time_base = index * 90_000 // FPS, Fraction(1, 90_000)
            out.mux(video.encode(picture))
        for resampled in resampler.resample(None):
            out.mux(audio.encode(resampled))
        out.mux(video.encode(None))
        out.mux(audio.encode(None))


def main() -> None:
    """Write the sample meeting and its transcript beside each other."""
    if shutil.which("flite") is None or not FONTS.is_dir():
        raise SystemExit("flite or the DejaVu fonts are missing: apt-get install flite fonts-dejavu-core")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sound, spoken, slide_starts = perform(folder)
        duration_s = len(sound) / VOICE_RATE
        print(f"{duration_s:.1f} s, {len(spoken)} sentences, action items at:")
        check_windows(spoken, duration_s)
        write_video(folder / "sample.mp4", sound, slide_starts)
        ASSETS.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / "sample.mp4", ASSETS / "sample_meeting.mp4")
    facts = {
        "duration_s": duration_s,
        "slides": [
            {"start_s": round(start_s, 2), "title": slide.title, "lines": slide.lines}
            for start_s, slide in zip(slide_starts, MEETING, strict=True)
        ],
        "sentences": [
            {
                "start_s": round(sentence.start_s, 2),
                "end_s": round(sentence.end_s, 2),
                "speaker": sentence.speaker,
                "text": sentence.text,
                "action_item": sentence.is_action_item,
            }
            for sentence in spoken
        ],
    }
    (ASSETS / "sample_meeting.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
    size = (ASSETS / "sample_meeting.mp4").stat().st_size
    print(f"{ASSETS / 'sample_meeting.mp4'}: {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
