"""A process that archives one video, as standard input says, so that tests can kill it."""

import json
import sys

from prefect_videodb.blocks import RecordingArchive, VideoDBCredentials
from prefect_videodb.tasks import archive_video


def main() -> None:
    """Archive."""
    told = json.load(sys.stdin)
    archive_video.fn(VideoDBCredentials(**told["account"]), told["video_id"], RecordingArchive(**told["archive"]))


if __name__ == "__main__":
    main()
