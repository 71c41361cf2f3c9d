"""Media that tests make for themselves."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, cast

import av

from tools import timecode

if TYPE_CHECKING:
    from pathlib import Path

    from av.audio.stream import AudioStream
    from av.video.stream import VideoStream

_RATE = 30
_SOUND_RATE = 48_000


def make_still(target: Path, seconds: int = 30) -> Path:
    """Make a small grey picture a second, without sound, whose segments are ten seconds long.

    A thousand recordings of it cost little; a segment costs what it holds, and much more to be opened and closed.
    """
    with av.open(str(target), "w") as out:
        video = out.add_stream("libx264", rate=1, options={"preset": "ultrafast", "g": "10", "bf": "0"})
        video.width, video.height, video.pix_fmt = 64, 36, "yuv420p"
        grey = av.VideoFrame(64, 36, "yuv420p")
        for plane in grey.planes:
            plane.update(b"\x80" * plane.buffer_size)
        for index in range(seconds):
            grey.pts = index
            out.mux(video.encode(grey))
        out.mux(video.encode(None))
    return target


def make_silence(target: Path, seconds: int = 60) -> Path:
    """Make a grey picture with a sound track in which nothing is heard."""
    with av.open(str(target), "w") as out:
        video = out.add_stream("libx264", rate=_RATE, options={"preset": "ultrafast", "g": str(_RATE), "bf": "0"})
        video.width, video.height, video.pix_fmt = 320, 180, "yuv420p"
        audio = out.add_stream("aac", rate=_SOUND_RATE, layout="mono")
        grey = av.VideoFrame(320, 180, "yuv420p")
        for plane in grey.planes:
            plane.update(b"\x80" * plane.buffer_size)
        for index in range(seconds * _RATE):
            grey.pts = index
            out.mux(video.encode(grey))
            sound = av.AudioFrame("s16", "mono", _SOUND_RATE // _RATE)
            sound.planes[0].update(bytes(sound.planes[0].buffer_size))
            sound.sample_rate, sound.pts = _SOUND_RATE, index * (_SOUND_RATE // _RATE)
            out.mux(audio.encode(sound))
        out.mux(video.encode(None))
        out.mux(audio.encode(None))
    return target


def make_sound(target: Path, seconds: int = 60) -> Path:
    """Make a sound track without pictures."""
    with av.open(str(target), "w") as out:
        audio = out.add_stream("aac", rate=_SOUND_RATE, layout="mono")
        for index in range(seconds * _RATE):
            sound = av.AudioFrame("s16", "mono", _SOUND_RATE // _RATE)
            sound.planes[0].update(os.urandom(sound.planes[0].buffer_size))
            sound.sample_rate, sound.pts = _SOUND_RATE, index * (_SOUND_RATE // _RATE)
            out.mux(audio.encode(sound))
        out.mux(audio.encode(None))
    return target


def make_noise(target: Path, frames: int = 70) -> Path:
    """Make a picture of noise, hardly compressed: about a third of a megabyte for each frame."""
    with av.open(str(target), "w") as out:
        options = {"preset": "ultrafast", "g": str(_RATE), "bf": "0", "qp": "1"}
        video = out.add_stream("libx264", rate=_RATE, options=options)
        video.width, video.height, video.pix_fmt = 640, 360, "yuv420p"
        noise = av.VideoFrame(640, 360, "yuv420p")
        for index in range(frames):
            for plane in noise.planes:
                plane.update(os.urandom(plane.buffer_size))
            noise.pts = index
            out.mux(video.encode(noise))
        out.mux(video.encode(None))
    return target


@dataclass(frozen=True)
class Scene:
    """A stretch of a synthetic source: which encoder settings it has. Its pictures carry the time code."""

    seconds: float = 3.0
    width: int = 320
    height: int = 180
    profile: str = "high"
    pix_fmt: str = "yuv420p"
    fps: int = 25
    gop: int = 25
    sound_rate: int | None = 48_000
    channels: int = 1
    has_video: bool = True
    options: tuple[tuple[str, str], ...] = ()
    aspect: Fraction | None = None
    codec: str = "libx264"


def make_scene(target: Path, scene: Scene, *, shows_s: float = 0.0, starts_s: float = 0.0) -> Path:
    """Make a file of a scene.

    Args:
        target: its suffix chooses the container.
        scene: the settings.
        shows_s: what the time code of the first picture says.
        starts_s: the first time stamp.
    """
    with av.open(
        str(target), "w", options={"flvflags": "no_duration_filesize"} if target.suffix == ".flv" else {}
    ) as out:
        options = {"preset": "ultrafast", "bf": "0", "tune": "zerolatency", **dict(scene.options)}
        if scene.codec == "libx264":
            options |= {"profile": scene.profile}
        video: VideoStream | None = None
        audio: AudioStream | None = None
        if scene.has_video:
            video = cast("VideoStream", out.add_stream(scene.codec, rate=scene.fps, options=options))
            video.width, video.height, video.pix_fmt, video.gop_size = (
                scene.width,
                scene.height,
                scene.pix_fmt,
                scene.gop,
            )
            if scene.aspect:
                video.codec_context.sample_aspect_ratio = scene.aspect
        if scene.sound_rate is not None:
            layout = "mono" if scene.channels == 1 else "stereo"
            audio = out.add_stream("aac", rate=scene.sound_rate, layout=layout)
        at, sounds = Fraction(0), 0
        while at < Fraction(scene.seconds):
            if video is not None:
                frame = _coded(scene, shows_s + float(at))
                frame.pts, frame.time_base = round((at + Fraction(starts_s)) * scene.fps), Fraction(1, scene.fps)
                out.mux(video.encode(frame))
            at += Fraction(1, scene.fps)
            while audio is not None and scene.sound_rate and Fraction(sounds, scene.sound_rate) < at:
                out.mux(audio.encode(_tone(scene, sounds, starts_s)))
                sounds += 1024
        for stream in (video, audio):
            if stream is not None:
                out.mux(stream.encode(None))
    return target


def _coded(scene: Scene, shows_s: float) -> av.VideoFrame:
    """Draw a grey picture with the time code at its foot and a light corner at the top left."""
    frame = av.VideoFrame(scene.width, scene.height, "yuv420p")
    luma, *chroma = frame.planes
    rows = [bytearray(b"\x60" * luma.line_size) for _ in range(scene.height)]
    for y in range(timecode.CELL_PX):
        rows[y][: timecode.CELL_PX * 2] = b"\xc8" * (timecode.CELL_PX * 2)
        for cell, light in enumerate(timecode.cells(int(shows_s * 10 + 1e-6))):
            level = timecode.LIGHT_LUMA if light else timecode.DARK_LUMA
            begin = cell * timecode.CELL_PX
            rows[scene.height - timecode.CELL_PX + y][begin : begin + timecode.CELL_PX] = (
                bytes([level]) * timecode.CELL_PX
            )
    luma.update(b"".join(rows))
    for plane in chroma:
        plane.update(b"\x80" * plane.buffer_size)
    return frame if scene.pix_fmt == "yuv420p" else frame.reformat(format=scene.pix_fmt)


def _tone(scene: Scene, at: int, starts_s: float) -> av.AudioFrame:
    rate = scene.sound_rate or _SOUND_RATE
    frame = av.AudioFrame("s16", "mono" if scene.channels == 1 else "stereo", 1024)
    wave = b"".join(
        (8000 if (at + n) * 880 // rate % 2 else -8000).to_bytes(2, "little", signed=True) * scene.channels
        for n in range(1024)
    )
    frame.planes[0].update(wave.ljust(frame.planes[0].buffer_size, b"\0"))
    frame.sample_rate, frame.pts, frame.time_base = rate, at + round(starts_s * rate), Fraction(1, rate)
    return frame


def join_scenes(target: Path, scenes: list[Scene], *, restarts: bool = False) -> Path:
    """Make one FLV or MPEG-TS file in which scenes follow each other, as under one connection of a relay.

    The time code counts on. Time stamps do too, unless each scene `restarts` them at zero.
    """
    begins_s = 0.0
    parts = []
    for number, scene in enumerate(scenes):
        part = target.with_name(f"{target.stem}-{number}{target.suffix}")
        make_scene(part, scene, shows_s=begins_s, starts_s=0.0 if restarts else begins_s)
        data = part.read_bytes()
        part.unlink()
        # The header of an FLV stands once, at its beginning.
        parts.append(data[13:] if number and target.suffix == ".flv" else data)
        begins_s += scene.seconds
    target.write_bytes(b"".join(parts))
    return target
