"""Media that tests make for themselves."""

import os
from pathlib import Path

import av

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
