"""Record a minute of a sample meeting on this machine, through a deployment, and show where to look at it.

Run by `make demo`. Starts the embedded VideoDB, a Prefect server and a worker, and stops them again. Everything it
keeps lies in `.demo`; a second run starts from what the first one left there.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn, cast

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".demo"
# Long enough to be parked: the run is shown as `Recording`, and holds no process.
MINUTES = 1.0
_API_KEY = "local-demo-key"
_START_TIMEOUT_S = 180.0
_RUN_TIMEOUT_S = 900.0
_STOP_TIMEOUT_S = 20.0

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

    from prefect_videodb.recording.models import MeetingRecording


def main() -> int:
    """Run the demo; 0 when every step succeeded."""
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, _leave)
    try:
        return _demo()
    except KeyboardInterrupt:
        _say("Stopped.")
        return 130


def _leave(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _demo() -> int:
    for folder in (HOME / "prefect", HOME / "logs", HOME / "tmp"):
        folder.mkdir(parents=True, exist_ok=True)
    # Not 4200, where another Prefect may come up at the same moment and be taken for this one.
    prefect_port = _free_port()
    # What the user has set for another Prefect must not reach this one.
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        del os.environ[name]
    os.environ |= {
        "PREFECT_HOME": str(HOME / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{prefect_port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "PREFECT_LOGGING_LEVEL": "INFO",
        "TMPDIR": str(HOME / "tmp"),
        "DO_NOT_TRACK": "1",
    }
    # Only now: Prefect reads its settings when it is imported.
    from prefect_videodb.local_server import LocalServer  # noqa: PLC0415

    _say("Starting the embedded VideoDB and the sample meeting …")
    with (
        LocalServer(HOME / "videodb", api_key=_API_KEY, port=0) as videodb,
        _process("prefect-server", "prefect", "server", "start", "--port", str(prefect_port)) as server,
    ):
        _say(f"VideoDB on {videodb.base_url}, the sample meeting on {videodb.sample_url}")
        _say("Starting a Prefect server …")
        _wait_for_prefect(server)
        _say(f"Prefect on http://127.0.0.1:{prefect_port}")
        _save_blocks(videodb.base_url, videodb.sample_url)
        _command("prefect", "work-pool", "create", "meetings", "--type", "videodb-in-process", "--overwrite")
        _command("prefect", "work-pool", "create", "cleanup", "--type", "process", "--overwrite")
        _command("prefect", "deploy", "--all")
        try:
            with (
                _process("worker", "prefect", "worker", "start", "--pool", "meetings"),
                _process("cleanup", "prefect", "worker", "start", "--pool", "cleanup"),
            ):
                return _record()
        finally:
            _stop_streams(videodb.base_url)


def _save_blocks(base_url: str, source_url: str) -> None:
    from pydantic import SecretStr  # noqa: PLC0415 - with the blocks

    from prefect_videodb.blocks import RTStreamSource, VideoDBCredentials  # noqa: PLC0415 - after the settings

    VideoDBCredentials(api_key=SecretStr(_API_KEY), base_url=base_url).save("default", overwrite=True)
    RTStreamSource(url=SecretStr(source_url), name="Sample meeting").save("meeting-room", overwrite=True)


def _stop_streams(base_url: str) -> None:
    """Stop what a demo that was ended in the middle left connected: the server would go on with it the next time."""
    from prefect_videodb.client import Client, streams  # noqa: PLC0415 - after the settings

    with Client(api_key=_API_KEY, base_url=base_url) as client:
        for stream in client.send(streams.list_page(limit=1000, status="connected")).results:
            client.send(streams.stop(stream.id))


def _record() -> int:
    from prefect.client.orchestration import get_client  # noqa: PLC0415 - after the settings
    from prefect.deployments import run_deployment  # noqa: PLC0415 - the same

    _say(f"Recording {MINUTES * 60:.0f} seconds through the deployment record-meeting …")
    run = run_deployment(
        "record-meeting/record-meeting", parameters={"duration_minutes": MINUTES, "name": "Demo meeting"}, timeout=0
    )
    run = cast("FlowRun", run)  # typed as if it might be a coroutine
    page = f"{os.environ['PREFECT_API_URL'].removesuffix('/api')}/runs/flow-run/{run.id}"
    _say(f"Look at it meanwhile: {page}")
    with get_client(sync_client=True) as client:
        run = _follow(client, run)
        if run.state is None or not run.state.is_completed():
            _say(f"The run ended as {run.state}. Its log: {page}; ours: {HOME / 'logs'}")
            return 1
        recording: MeetingRecording = run.state.result(_sync=True)  # type: ignore[call-arg]
    _show(recording, page)
    if not recording.hits or not recording.clip:
        _say("The recording holds no hit: the demo did not show what it should.")
        return 1
    if sys.stdout.isatty():
        _say("Everything stays up until you press Ctrl-C.")
        with suppress(KeyboardInterrupt):
            signal.pause()
        _say("Stopping …")
    return 0


def _follow(client: "SyncPrefectClient", run: "FlowRun") -> "FlowRun":
    """Say what happens to a run, line by line, until it ends."""
    from prefect.client.schemas.filters import (  # noqa: PLC0415 - after the settings
        ArtifactFilter,
        ArtifactFilterKey,
        FlowRunFilter,
        FlowRunFilterId,
        LogFilter,
        LogFilterFlowRunId,
    )

    deadline = time.monotonic() + _RUN_TIMEOUT_S
    this_run = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
    progress = ArtifactFilter(key=ArtifactFilterKey(any_=["recording-progress"]))
    state, lines, shown = "", 0, ""
    while time.monotonic() < deadline:
        run = client.read_flow_run(run.id)
        if run.state and run.state.name != state:
            state = run.state.name or ""
            _say(f"  {state}")
        logs = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id])), offset=lines, limit=200)
        lines += len(logs)
        for log in logs:
            if log.name == "prefect.flow_runs" and log.level >= 20 and "Finished in state" not in log.message:  # noqa: PLR2004
                _say(f"    {log.message}")
        for artifact in client.read_artifacts(artifact_filter=progress, flow_run_filter=this_run):
            if artifact.description and artifact.description != shown:
                shown = artifact.description
                _say(f"    {artifact.data:.0f} %  {shown}")
        if run.state and run.state.is_final():
            break
        time.sleep(1.0)
    return run


def _show(recording: "MeetingRecording", ui_url: str) -> None:
    from prefect_videodb.recording.text import timecode  # noqa: PLC0415 - after the settings

    print()
    for hit in recording.hits:
        print(f"  {timecode(hit.start_s):>5}  {hit.score or 0:.2f}  {hit.text}")
    print()
    print(f"  the run in Prefect's UI:  {ui_url}")
    print(f"  the recording:            {recording.video.player_url}")
    print(f"  the clip of the hits:     {recording.clip.player_url if recording.clip else 'nothing was found'}")
    print(flush=True)


@contextmanager
def _process(name: str, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program beside us, its output in a log, and end it with the block.

    It has a session of its own: Ctrl-C reaches it through us, after what depends on it has ended.
    """
    with (HOME / "logs" / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 - the arguments are made here
            [sys.executable, "-m", *command], cwd=ROOT, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _command(*command: str) -> None:
    done = subprocess.run(  # noqa: S603 - the arguments are made here
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def _wait_for_prefect(server: subprocess.Popen[bytes]) -> None:
    import httpx  # noqa: PLC0415 - with Prefect

    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and server.poll() is None:
        with suppress(httpx.HTTPError):
            if httpx.get(f"{os.environ['PREFECT_API_URL']}/health", timeout=5.0).text == "true":
                return
        time.sleep(0.3)
    sys.exit(f"the Prefect server did not start; its log: {HOME / 'logs' / 'prefect-server.log'}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
