"""The sample meeting is what its transcript and its time strip say."""

from __future__ import annotations

import json
from fractions import Fraction
from itertools import pairwise

import av
import pytest
from av.video.frame import VideoFrame

from prefect_videodb.local_server.media.export import probe
from prefect_videodb.local_server.media.sample import sample_meeting, sample_transcript
from prefect_videodb.local_server.media.sound import pcm
from tools import timecode

# A recorder that joins the loop begins with the next keyframe: that much of a window can be lost.
JOIN_S = 1.5


def test_the_sample_is_small_and_what_a_meeting_tool_would_send() -> None:
    facts = probe(sample_meeting())
    assert (facts.width, facts.height, facts.has_video, facts.has_audio) == (1280, 720, True, True)
    assert facts.duration_s == pytest.approx(64.0, abs=0.1)
    assert sample_meeting().stat().st_size <= 1_500_000


def test_the_sample_has_a_keyframe_each_second_and_no_pictures_out_of_order() -> None:
    with av.open(str(sample_meeting())) as media:
        packets = [packet for packet in media.demux(video=0) if packet.dts is not None]
    keyframes = [packet.pts * packet.time_base for packet in packets if packet.is_keyframe and packet.pts is not None]
    assert keyframes == [Fraction(second) for second in range(64)]
    assert all(packet.pts == packet.dts for packet in packets)


def test_every_picture_tells_where_in_the_meeting_it_is() -> None:
    with av.open(str(sample_meeting())) as media:
        for frame in media.decode(video=0):
            assert frame.time is not None
            assert timecode.read(frame) == pytest.approx(int(frame.time * 10 + 1e-6) / 10)


def test_a_picture_without_the_strip_is_refused() -> None:
    for width, height in [(64, 8), (1280, 720)]:
        frame = VideoFrame(width, height, "yuv420p")
        for plane in frame.planes:
            plane.update(bytes([90]) * plane.buffer_size)
        with pytest.raises(timecode.NoTimecodeError):
            timecode.read(frame)


@pytest.mark.parametrize("tenths", [-1, 4096])
def test_the_strip_counts_only_so_far(tenths: int) -> None:
    with pytest.raises(ValueError, match="strip counts"):
        timecode.cells(tenths)


def test_the_transcript_is_in_order_and_within_the_meeting() -> None:
    sentences = sample_transcript()
    assert {sentence.speaker for sentence in sentences} == {"Martin", "Susan"}
    assert all(sentence.start_s < sentence.end_s for sentence in sentences)
    assert all(before.end_s < after.start_s for before, after in pairwise(sentences))
    assert sentences[-1].end_s < 64.0


def test_the_sentences_are_where_the_transcript_says() -> None:
    """It is loud within each sentence, and silent between them."""
    samples = memoryview(b"".join(pcm(sample_meeting()))).cast("h")

    def loudest(start_s: float, end_s: float) -> int:
        return max(abs(sample) for sample in samples[round(start_s * 16_000) : round(end_s * 16_000)])

    sentences = sample_transcript()
    for sentence in sentences:
        assert loudest(sentence.start_s, sentence.start_s + 0.3) > 1000
        assert loudest(sentence.end_s - 0.3, sentence.end_s) > 300
    for before, after in pairwise(sentences):
        assert loudest(before.end_s + 0.1, after.start_s - 0.1) < 300


def test_half_a_minute_from_anywhere_in_the_loop_holds_a_whole_action_item() -> None:
    items = [sentence for sentence in sample_transcript() if sentence.is_action_item]
    assert len(items) >= 4
    for tenth in range(640):
        start_s, end_s = tenth / 10 + JOIN_S, tenth / 10 + 30.0
        assert any(
            start_s <= item.start_s + loop and item.end_s + loop <= end_s for item in items for loop in (0.0, 64.0)
        ), f"nothing to do from {start_s} s"


def test_the_assets_hold_nothing_but_the_meeting() -> None:
    facts = json.loads(sample_meeting().with_suffix(".json").read_text())
    assert [slide["title"] for slide in facts["slides"]] == [
        "Agenda",
        "Status",
        "Decision",
        "Action items",
        "Next steps",
    ]
