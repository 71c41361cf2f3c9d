"""Find the sentences of a transcript that answer a query. Pure: knows nothing of videos, databases or HTTP.

Two things are looked for. First the query's own words, weighed by how rare they are in the transcript (FTS5 stems
them). Then what the query asks for by its name: nobody says "action item" when giving somebody something to do, they
say "Alice will send the budget by Friday". A small lexicon knows how such sentences are made.
"""

import math
import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

from prefect_videodb.local_server.speech import Sentence

SearchType = Literal["semantic", "keyword"]
# A query is a sentence or two; what is longer would only cost time.
MAX_TERMS = 64

_STOP_WORDS = """
a about all am an and any anybody anyone are as at be been being but by can could did do does doing done during each
every everybody everyone find for from get give given had has have he her here hers him his how i if in into is it its
just let list may me meeting mention mentioned might mine moment moments more most must my no nor not of off on once one
only or other our ours out over own part parts people person said same say says section sections she should show so some
somebody someone speak spoke such talk talked talking talks tell than that the their them then there these they this
those through to told too under until up us very was we were what when where which while who whom whose why will with
would you your yours discuss discussed
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())


@dataclass(frozen=True, slots=True)
class Hit:
    """A sentence that was found, and how well it answers, from 0 to 1."""

    sentence: Sentence
    score: float


@dataclass(frozen=True, slots=True)
class Intent:
    """Something that queries ask for by a name, and the signs by which sentences hold it.

    A sign's weight is the share of doubt that it takes away; several add up.
    """

    asked_by: re.Pattern[str]
    signs: tuple[tuple[re.Pattern[str], float], ...]

    def held_by(self, text: str) -> float:
        """Return how sure it is that the sentence holds what is asked for, from 0 to 1."""
        doubt = math.prod(1 - weight for sign, weight in self.signs if sign.search(text))
        return 1 - doubt


def _signs(*signs: tuple[str, float]) -> tuple[tuple[re.Pattern[str], float], ...]:
    return tuple((re.compile(pattern), weight) for pattern, weight in signs)


DAY = (
    r"(?:monday|tuesday|wednesday|thursday|friday|saturday|sunday|today|tonight|tomorrow|noon|midnight|"
    r"january|february|march|april|june|july|august|september|october|november|december|"
    r"(?:the )?end of|(?:this|next) (?:week|month|quarter|year|sprint)|the weekend)"
)
DEADLINE = (
    rf"\b(?:by|before|until|till|no later than) (?:the )?(?:next |this )?{DAY}|\bdue\b|\bdeadline\b|"
    r"\b(?:this|next) (?:week|month|quarter|year)\b|"
    r"\b(?:within|in) (?:a|one|two|three|four|five|six|seven|ten|the next) (?:\w+ )?(?:hours?|days?|weeks?|months?)\b"
)
WORK = (
    r"\b(?:add|arrange|ask|book|buy|call|change|check|clean|collect|confirm|contact|create|deliver|deploy|draft|email|"
    r"finish|fix|follow up|hire|improve|install|investigate|invite|move|order|organize|plan|prepare|present|publish|"
    r"remove|repair|reply|report|review|schedule|send|set up|share|ship|sign|submit|talk to|test|translate|update|"
    r"upload|verify|write)\b"
)

OPENING = r"(?:and |so |but |now |okay |ok )?"
AUXILIARY = r"(?:can|could|should|would|do|does|did|is|are|was|were|will|shall|has|have)"
SUBJECT = r"(?:we|you|i|they|he|she|it|the|there|this|that|any\w*|some\w*)"

INTENTS = (
    Intent(  # action items: who will do what by when
        re.compile(
            r"\b(?:action (?:items?|points?)|next steps?|to[ -]?dos?|tasks?|follow[ -]?ups?|assignments?|"
            r"(?:who|what) (?:will|should|needs? to|has to|have to|must) (?:do|be done))\b"
        ),
        _signs(
            (r"(?:\bwill|\bshall|\w'll) (?!be\b|have\b|not\b|see\b|go through\b)\w+", 0.55),
            (r"\b(?:needs?|has|have|got|ought) to (?!be\b|make a decision|decide|discuss)\w+|\bmust \w+", 0.5),
            (r"\b(?:agreed|promised|supposed|volunteered) to (?!be\b)\w+", 0.5),
            (r"\bplease \w+|\b(?:can|could|would) you \w+|\bmake sure\b|\b(?:do not|don't) forget\b", 0.5),
            (r"\bresponsible for\b|\bassigned to\b|\btakes? care of\b|\bin charge of\b|\btakes? over\b", 0.55),
            (r"\bshould (?!be\b)\w+|\bgoing to (?!be\b)\w+", 0.35),
            (DEADLINE, 0.4),
            (WORK, 0.15),  # below what a search shows: the word alone is also a noun
        ),
    ),
    Intent(
        re.compile(r"\b(?:decisions?|decide[ds]?|agreements?|agreed?|conclusions?|resolutions?)\b"),
        _signs(
            (r"\b(?:decide[ds]?|decision)\b", 0.5),
            (r"\b(?:agree[ds]?|approve[ds]?|settled? on|chose|chosen|choose|concluded?|finali[sz]ed?)\b", 0.5),
            (r"\b(?:go|going|went) (?:with|ahead)\b|\bthe plan is\b|\bit is settled\b|\bwe keep\b", 0.45),
        ),
    ),
    Intent(
        re.compile(r"\b(?:deadlines?|due dates?|timelines?|by when)\b"),
        _signs((DEADLINE, 0.6), (rf"\b(?:on|at|for) (?:the )?{DAY}", 0.4), (rf"\b{DAY}", 0.2)),
    ),
    Intent(
        re.compile(r"\b(?:risks?|blockers?|problems?|issues?|concerns?|obstacles?|worries)\b"),
        _signs(
            (r"\b(?:risks?|risky|danger(?:ous)?|threat|blockers?|blocked|blocking|obstacle)\b", 0.6),
            (r"\b(?:problems?|issues?|bugs?|errors?|outage|incident|crash(?:es|ed)?|broken|stuck)\b", 0.55),
            (r"\b(?:concern(?:s|ed)?|worr(?:y|ied|ies)|afraid|unfortunately)\b", 0.5),
            (r"\b(?:fail(?:s|ed|ing|ure)?|delay(?:s|ed)?|late|slip(?:s|ped)?|behind schedule|missing)\b", 0.45),
            (r"\b(?:might|may|will|can|could) not\b|\bcan't\b|\bwon't\b|\bnot enough\b|\bwaiting for\b", 0.35),
        ),
    ),
    Intent(
        re.compile(r"\b(?:open )?questions?\b"),
        _signs(
            (rf"^{OPENING}(?:who|what|when|where|why|how|which)\b", 0.6),
            (rf"^{OPENING}{AUXILIARY} {SUBJECT}\b", 0.6),
            (r"\b(?:i wonder|any questions?|question is|do you know|what about|how about)\b", 0.5),
        ),
    ),
)
# A sentence that only uses the asked-for name ("now the action items") answers less than one that holds the thing.
NAMED_ONLY = 0.5
# How much a sentence answers that holds the asked-for thing, but not about what the query's other words say.
OFF_TOPIC = 0.4


def search(sentences: Sequence[Sentence], query: str, search_type: SearchType) -> list[Hit]:
    """Return the sentences that answer the query, the best first; those that do not are not among them.

    `keyword` finds the sentences that hold all words of the query; `semantic` those that hold what it asks for.
    """
    terms = re.findall(r"[^\W_]+", query.lower())[:MAX_TERMS]
    if not terms or not sentences:
        return []
    with closing(_Words(sentences)) as words:
        if search_type == "keyword":
            scores = dict.fromkeys(words.with_all(terms), 1.0)
        else:
            scores = _semantic(sentences, query.lower(), terms, words)
        rank = words.bm25(terms)
    order = sorted(scores, key=lambda number: (-scores[number], rank.get(number, 0.0), number))
    return [Hit(sentences[number], round(scores[number], 4)) for number in order if scores[number] > 0]


def share_of_words(text: str, query: str, *, beside: frozenset[str] = frozenset()) -> float:
    """Return which share of the words of a query that say something is in a text, in any grammatical form.

    `beside` are words that say nothing in these queries, on top of those that say nothing in any. A query of nothing
    but such words is taken whole.
    """
    terms = list(dict.fromkeys(re.findall(r"[^\W_]+", query.lower())))[:MAX_TERMS]
    terms = [term for term in _content(terms) if term not in beside] or _content(terms)
    if not terms or not text:
        return 0.0
    with closing(_Words([Sentence(text, 0.0, 0.0)])) as words:
        return sum(bool(words.with_all([term])) for term in terms) / len(terms)


def _semantic(sentences: Sequence[Sentence], query: str, terms: Sequence[str], words: "_Words") -> dict[int, float]:
    lexical = words.coverage(_content(terms))
    intents = [intent for intent in INTENTS if intent.asked_by.search(query)]
    if not intents:
        return lexical
    topic = query
    for intent in intents:
        topic = intent.asked_by.sub(" ", topic)
    topic_terms = [term for term in re.findall(r"[^\W_]+", topic) if term not in STOP_WORDS][:MAX_TERMS]
    about = words.coverage(topic_terms)
    scores: dict[int, float] = {}
    for number, sentence in enumerate(sentences):
        held = max(intent.held_by(sentence.text.lower()) for intent in intents)
        fit = OFF_TOPIC + (1 - OFF_TOPIC) * about.get(number, 0.0) if topic_terms else 1.0
        scores[number] = max(held * fit, NAMED_ONLY * lexical.get(number, 0.0))
    return scores


def _content(terms: Sequence[str]) -> list[str]:
    """Return the terms that say something, or all when none does."""
    return [term for term in terms if term not in STOP_WORDS] or list(terms)


class _Words:
    """A full-text table of the sentences of one search, in memory.

    It is made anew for each search (a millisecond for an hour of talk): kept in one table for all videos, a word's
    weight in one meeting would change when another one is recorded.
    """

    def __init__(self, sentences: Sequence[Sentence]) -> None:
        self._count = len(sentences)
        self._table = sqlite3.connect(":memory:")
        self._table.execute("CREATE VIRTUAL TABLE spoken USING fts5 (text, tokenize = 'porter unicode61')")
        self._table.executemany(
            "INSERT INTO spoken (rowid, text) VALUES (?, ?)",
            ((number, sentence.text) for number, sentence in enumerate(sentences)),
        )

    def close(self) -> None:
        """Free the memory."""
        self._table.close()

    def coverage(self, terms: Sequence[str]) -> dict[int, float]:
        """Return, for each sentence that holds some of the terms, their share of the weight of all."""
        weights = 0.0
        found: dict[int, float] = {}
        for term in dict.fromkeys(terms):
            rows = self._matching(_quoted(term))
            weight = math.log(1 + (self._count - len(rows) + 0.5) / (len(rows) + 0.5))
            weights += weight
            for row in rows:
                found[row] = found.get(row, 0.0) + weight
        return {row: weight / weights for row, weight in found.items()}

    def with_all(self, terms: Sequence[str]) -> list[int]:
        """Return the sentences that hold every term."""
        return self._matching(" AND ".join(map(_quoted, terms)))

    def bm25(self, terms: Sequence[str]) -> dict[int, float]:
        """Return FTS5's rank of the sentences that hold any of the terms: the lower, the better."""
        query = " OR ".join(map(_quoted, terms))
        return dict(self._table.execute("SELECT rowid, rank FROM spoken WHERE spoken MATCH ?", (query,)))

    def _matching(self, query: str) -> list[int]:
        return [row for (row,) in self._table.execute("SELECT rowid FROM spoken WHERE spoken MATCH ?", (query,))]


def _quoted(term: str) -> str:
    """Write a term as FTS5's string: whatever it holds, it is no operator."""
    return '"' + term.replace('"', '""') + '"'
