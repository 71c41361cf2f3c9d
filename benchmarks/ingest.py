"""What recording costs: our recorder against the ffmpeg program, side by side in one run.

    python benchmarks/ingest.py [--streams 1,5,20] [--seconds 20] [--rounds 2]

A publisher in a process of its own plays one file in a loop over RTSP: 720p at 30 pictures a second with 48 kHz
sound, 2 Mb/s, made here. N streams of it are recorded by stream copy into segments of two seconds, in turn by our
recorder (N threads of one process) and by N processes of `ffmpeg -c copy -f hls`, which must be installed. Counted is
the CPU time of the recording processes while media flows: start-up, the import of Python included, is left out of
both. The target is a ratio of at most 1.5.

What was measured stands in benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import av

from prefect_videodb.local_server.media.recorder import Recorder
from prefect_videodb.local_server.media.rtsp_server import LoopingRTSPServer

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
SETTLE_S = 9.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="CPU of recording: ours against ffmpeg")
    parser.add_argument("--streams", default="1,5,20")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--role", choices=["publish", "record"], help=argparse.SUPPRESS)
    parser.add_argument("--argument", action="append", default=[], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role == "publish":
        publish(Path(options.argument[0]))
    elif options.role == "record":
        record(options.argument[0], Path(options.argument[1]), int(options.argument[2]))
    else:
        compare([int(number) for number in options.streams.split(",")], options.seconds, options.rounds)


def compare(counts: list[int], seconds: float, rounds: int) -> None:
    """Run both, in turn, for each number of streams."""
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        raise SystemExit("ffmpeg is not installed; there is nothing to compare with")
    version = subprocess.run([ffmpeg, "-version"], capture_output=True, text=True, check=True).stdout.split()[2]
    libraries = ".".join(map(str, av.library_versions["libavformat"]))
    print(f"Python {platform.python_version()}, PyAV {av.__version__} (libavformat {libraries}), ffmpeg {version}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        media = make_media(folder / "noise.mp4")
        publisher = start("publish", str(media))
        try:
            url = read_line(publisher)
            for count in counts:
                ours, theirs = [], []
                for _ in range(rounds):
                    ours.append(measure([start("record", url, str(folder / "ours"), str(count))], seconds))
                    shutil.rmtree(folder / "ours")
                    theirs.append(measure(start_ffmpegs(ffmpeg, url, folder / "theirs", count), seconds))
                    shutil.rmtree(folder / "theirs")
                mine, other = statistics.mean(ours), statistics.mean(theirs)
                print(
                    f"{count:3} streams: ours {100 * mine / count:.2f} % of a core each, "
                    f"ffmpeg {100 * other / count:.2f} %, ratio {mine / other:.2f}"
                )
        finally:
            end(publisher)


def measure(processes: list[subprocess.Popen[str]], seconds: float) -> float:
    """Let processes settle, then return what part of a core they take together; end them."""
    try:
        time.sleep(SETTLE_S)
        before, began = sum(map(cpu_s, processes)), time.monotonic()
        time.sleep(seconds)
        return (sum(map(cpu_s, processes)) - before) / (time.monotonic() - began)
    finally:
        for process in processes:
            end(process)


def cpu_s(process: subprocess.Popen[str]) -> float:
    """Return the CPU seconds that a running process took so far."""
    if process.poll() is not None:
        raise SystemExit(f"a recording process ended with {process.returncode}; nothing was measured")
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def start(role: str, *arguments: str) -> subprocess.Popen[str]:
    """Start this file in another role."""
    given = [part for argument in arguments for part in ("--argument", argument)]
    command = [sys.executable, __file__, "--role", role, *given]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def start_ffmpegs(ffmpeg: str, url: str, folder: Path, count: int) -> list[subprocess.Popen[str]]:
    """Start as many ffmpeg processes as there are streams."""
    processes = []
    for number in range(count):
        target = folder / str(number)
        target.mkdir(parents=True)
        command = [ffmpeg, "-v", "error", "-rtsp_transport", "tcp", "-i", url, "-c", "copy", "-f", "hls"]
        command += ["-hls_time", "1.9", "-hls_list_size", "0", str(target / "live.m3u8")]
        processes.append(
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
        )
    return processes


def end(process: subprocess.Popen[str]) -> None:
    """Kill a process and collect it."""
    process.kill()
    process.communicate()


def read_line(process: subprocess.Popen[str]) -> str:
    """Return the next line that a process prints."""
    if process.stdout is None:
        raise SystemExit("the process has no output")
    return process.stdout.readline().strip()


def publish(media: Path) -> None:
    """Play the file until standard input ends."""
    with LoopingRTSPServer(media) as server:
        print(server.url, flush=True)
        sys.stdin.read()


def record(url: str, folder: Path, count: int) -> None:
    """Record as many streams in threads of this process, until it is killed."""
    for number in range(count):
        Recorder(
            url,
            folder / str(number),
            media_types=frozenset({"audio", "video"}),
            on_segment=lambda _: None,
            on_state=lambda *_: None,
            min_free_bytes=0,
        ).start()
    threading.Event().wait()


def make_media(target: Path) -> Path:
    """Encode 20 s of noise at 2 Mb/s: as many bytes a second as a camera sends."""
    dice = random.Random(1)  # noqa: S311 - noise, no secret
    planes = [[dice.randbytes(size) for _ in range(8)] for size in (1280 * 720, 640 * 360, 640 * 360)]
    with av.open(str(target), "w") as out:
        options = {
            "preset": "ultrafast",
            "bf": "0",
            "g": "60",
            "x264-params": "nal-hrd=cbr:vbv-maxrate=2000:vbv-bufsize=1000",
        }
        video = out.add_stream("libx264", rate=30, options=options)
        video.width, video.height, video.pix_fmt, video.bit_rate = 1280, 720, "yuv420p", 2_000_000
        audio = out.add_stream("aac", rate=48_000, layout="mono")
        for index in range(600):
            frame = av.VideoFrame(1280, 720, "yuv420p")
            for plane, noise in zip(frame.planes, planes, strict=True):
                plane.update(noise[index % len(noise)])
            out.mux(video.encode(frame))
            sound = av.AudioFrame("s16", "mono", 1600)
            sound.planes[0].update(dice.randbytes(sound.planes[0].buffer_size))
            sound.sample_rate, sound.pts = 48_000, index * 1600
            out.mux(audio.encode(sound))
        out.mux(video.encode(None))
        out.mux(audio.encode(None))
    return target


if __name__ == "__main__":
    main()
