"""Finding sentences: the query's words, and what a query asks for by its name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_videodb.local_server.media.sample import sample_transcript
from prefect_videodb.local_server.search import SearchType, search
from prefect_videodb.local_server.speech import Sentence

SAMPLE = [Sentence(spoken.text, spoken.start_s, spoken.end_s) for spoken in sample_transcript()]
ACTION_ITEMS = {spoken.text for spoken in sample_transcript() if spoken.is_action_item}
# Another meeting, in words that the lexicon was not written with in view.
OTHER = [
    Sentence(text, float(number), number + 1.0)
    for number, text in enumerate(
        [
            "thanks for joining let us start with the numbers",
            "revenue grew by ten percent compared to last year",
            "the churn in the north region worries me",
            "why did the northern customers leave",
            "priya is going to interview five of them next week",
            "can you also ask the support team for their notes",
            "we settled on moving the warehouse to the new site",
            "the lease is blocked because the landlord is away",
            "somebody has to write to the landlord before friday",
            "the weather was lovely on the trip by the way",
        ]
    )
]


def texts(
    sentences: list[Sentence], query: str, kind: str = "semantic", least: float = 0.2, most: int = 5
) -> list[str]:
    hits = search(sentences, query, "keyword" if kind == "keyword" else "semantic")
    return [hit.sentence.text for hit in hits if hit.score >= least][:most]


@pytest.mark.parametrize("query", ["action items", "action items and next steps", "next steps", "What are the to-dos?"])
def test_action_items_are_the_sentences_that_hold_them(query: str) -> None:
    found = texts(SAMPLE, query, most=len(ACTION_ITEMS))
    assert set(found) == ACTION_ITEMS


def test_action_items_are_found_in_another_meeting() -> None:
    assert set(texts(OTHER, "action items", most=3)) == {OTHER[4].text, OTHER[5].text, OTHER[8].text}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("decisions", 6),
        ("what did we decide", 6),
        ("risks and blockers", 7),
        ("problems", 7),
        ("open questions", 3),
        ("deadlines", 8),
        ("revenue", 1),
        ("how much did our revenue grow?", 1),
        ("customers in the north", 3),
        ("tasks about the landlord", 8),
    ],
)
def test_a_query_finds_what_it_asks_for(query: str, expected: int) -> None:
    assert OTHER[expected].text in texts(OTHER, query, most=2)


def test_tasks_about_something_come_before_other_tasks() -> None:
    found = texts(SAMPLE, "action items for Bob")
    assert set(found[:2]) == {text for text in ACTION_ITEMS if text.startswith("Bob")}


def test_a_rare_word_weighs_more_than_a_common_one() -> None:
    said = ["the report is late", "the report is long", "the report is about zinc", "we like reports"]
    sentences = [Sentence(text, 0.0, 1.0) for text in said]
    assert texts(sentences, "zinc report")[0] == said[2]


def test_a_keyword_search_wants_every_word_in_any_order_and_form() -> None:
    assert texts(SAMPLE, "finance budgets", "keyword") == ["Alice will send the budget to finance by Friday."]
    assert texts(SAMPLE, "budget zebra", "keyword") == []


def test_a_query_about_something_else_finds_nothing() -> None:
    assert texts(SAMPLE, "zebra quantum pineapple", least=0) == []


@given(st.text(max_size=200), st.sampled_from(["semantic", "keyword"]))
def test_no_query_breaks_the_search_and_every_score_is_a_share(query: str, kind: SearchType) -> None:
    hits = search(SAMPLE, query, kind)
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score <= 1 for score in scores)
