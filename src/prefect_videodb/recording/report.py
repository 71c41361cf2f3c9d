"""The artifact that a person reads after a meeting."""

from datetime import UTC

from prefect.artifacts import create_markdown_artifact

from prefect_videodb._showing import only_showing
from prefect_videodb.recording.archive import place
from prefect_videodb.recording.models import MeetingRecording, Span
from prefect_videodb.recording.showing import REPORT
from prefect_videodb.recording.text import LONGEST_WORD_OF_A_TITLE, clock, escape, link, timecode
from prefect_videodb.recording.time_zones import showing_times_in, zone_named


def publish(recording: MeetingRecording) -> None:
    """Show the report in the UI. What only shows must not fail a recording: when Prefect is away, the log says so."""
    with only_showing("The report"):
        create_markdown_artifact(markdown(recording), key=REPORT, description=f"Recording of {escape(recording.name)}")


def markdown(recording: MeetingRecording) -> str:
    """Write a recorded meeting up: player links, the hits with their time codes, what each step took."""
    with showing_times_in(zone_named(recording.time_zone) or UTC):
        return "\n".join([*_head(recording), "", *_hits(recording), "", *_clip(recording), "", *_steps(recording)])


def _head(recording: MeetingRecording) -> list[str]:
    window = recording.window
    length = f", {timecode(recording.video_length_s)} long" if recording.video_length_s else ""
    early = ", ended early" if recording.ended_early else ""
    lines = [
        f"# {escape(recording.name, LONGEST_WORD_OF_A_TITLE)}",
        "",
        f"Recorded from {clock(window.start)} to {clock(window.end)}{length}{early}.",
        "",
    ]
    is_audio = recording.media == "audio"
    plays = recording.video.player_url or (recording.video.stream_url if is_audio else None)
    lines += [f"- {link('▶ Play the recording', plays)}"] if plays else []
    lines += [f"- {link('▶ Play the clip of the hits', recording.clip.player_url)}"] if recording.clip else []
    if recording.playback.player_url:
        lines += [f"- {link('The same window of the live stream', recording.playback.player_url)}"]
    kind = "Sound alone" if is_audio else "Video"
    lines += [f"- {kind} {escape(recording.video_id)}, stream {escape(recording.rtstream_id)}"]
    lines += [f"- An earlier part is the video {escape(video_id)}" for video_id in recording.earlier_video_ids]
    lines += [f"- Not recorded: {clock(gap.start)} to {clock(gap.end)}" for gap in recording.missing]
    lines += [f"- Archived as {place(copy)}" for copy in recording.archived]
    lines += [f"- **Not archived**: {escape(reason)}" for reason in recording.not_archived]
    if recording.missing_s:
        is_late = bool(recording.missing) and recording.missing[0].start == window.start
        why = "it began late" if is_late else "the stream was away"
        lines += ["", f"**{timecode(recording.missing_s)} of the window are not in the video**: {why}."]
    if recording.overrun_s:
        over = f"**The video goes on for {timecode(recording.overrun_s)} after the planned end**: it was stopped late."
        lines += ["", f"{over} What was searched, and the clip, is of the planned window alone."]
    return lines


def _hits(recording: MeetingRecording) -> list[str]:
    if recording.spoken_words == "none":
        return ["## What was found", "", "Nobody spoke, or there is no sound: there was nothing to search."]
    if recording.spoken_words == "not searched" and recording.media == "audio":
        told = "Nothing was searched: only sound was recorded, and VideoDB searches videos only."
        return ["## What was found", "", told]
    if recording.spoken_words == "not searched":
        return ["## What was found", "", "Nothing was searched."]
    if not recording.hits:
        return ["## What was found", "", "None of the queries found anything."]
    rows = [
        f"- {link(timecode(hit.start_s), hit.player_url)} {escape(hit.text)} "
        f"({escape(hit.query)}{'' if hit.score is None else f', {hit.score:.2f}'})"
        for hit in recording.hits
    ]
    return ["## What was found", "", *rows]


def _clip(recording: MeetingRecording) -> list[str]:
    if not recording.clip_parts:
        return []
    length_s = sum(part.end_s - part.start_s for part in recording.clip_parts)
    return [f"The clip is {timecode(length_s)} long: {', '.join(map(_span, recording.clip_parts))}."]


def _span(part: Span) -> str:
    return f"{timecode(part.start_s)} to {timecode(part.end_s)}"


def _steps(recording: MeetingRecording) -> list[str]:
    rows = [f"| {escape(step)} | {seconds:.1f} s |" for step, seconds in recording.steps_s.items()]
    return ["## What each step took", "", "| step | time |", "| --- | --- |", *rows]
