"""Data model of a study: written to study.json and drawn by the page."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import Field, ValidationError

from marl.errors import UserError
from marl.metrics.measure import Frozen, Measure

VERSION: Final = 1
Measures = dict[str, Measure]
"""By name, in the order in which they are told."""


class CodePair(Frozen):
    """A meaning and a message sent for it: one cell of the table meaning x message."""

    meaning: str
    message: str
    count: int
    answers: dict[str, int] = Field(default_factory=dict)
    """What listeners replied first after they heard it, and how often."""
    score: float | None = None
    """Mean score of those episodes; None where it is not known."""
    held_out: bool = False
    """Whether the meaning was held out of training."""


class Word(Frozen):
    """Dictionary entry: the concept of a symbol, and in what share of its uses."""

    symbol: str
    concept: str
    share: float
    uses: int


class Morpheme(Frozen):
    """A form (symbols, adjacent or not), its meaning (attribute values), and their mutual information in bits."""

    form: str
    meaning: str
    bits: float
    uses: int


class Language(Frozen):
    """The measured language of one speaker at one place of an episode (first message, second message)."""

    speaker: str
    place: int
    samples: int
    attributes: list[str]
    """Names of the attributes that meanings consist of."""
    measures: Measures
    positions: list[Measures] = Field(default_factory=list)
    """For each position, and each attribute by name, I(symbol at the position; attribute)."""
    pairs: list[CodePair]
    dictionary: list[Word] = Field(default_factory=list)
    morphemes: list[Morpheme] = Field(default_factory=list)


class ListenerEffect(Frozen):
    """Effects of one speaker's messages on one listener, from logs and forks."""

    speaker: str
    listener: str
    alternatives: int = 0
    """How many different messages were tried in place of each; 0 where only the log was read."""
    measures: Measures


class MessageCredit(Frozen):
    """Credit of one message: the score with it minus the mean score with another in its place."""

    episode: str
    seq: int
    speaker: str
    meaning: str
    message: str
    score: float
    without: float
    credit: float


class Tie(Frozen):
    """Statistical dependence of a listener's next decision on a speaker's messages."""

    speaker: str
    listener: str
    bits: float
    """I(message; the listener's first reply after it heard it), Miller-Madow, at least 0."""
    p: float
    """How often as much is found when the messages are dealt to the replies at random."""
    n: int


class Moment(Frozen):
    """Measures of the languages in one stretch of training."""

    update: int
    """The last update of the stretch."""
    measures: Measures
    ties: list[Tie] = Field(default_factory=list)


class Crossplay(Frozen):
    """Cross-play scores: `seat` of the row's run with the other seats of the column's run, greedy."""

    runs: list[str]
    seat: str
    scores: list[list[float]]
    relabelled: list[list[float]] = Field(default_factory=list)
    """The same where every message is heard in the words of the listener's run; empty where that has no meaning."""
    why: str = ""
    """Why there is no relabelled matrix."""
    within: Measure
    """Self-play: the mean of the diagonal."""
    across: Measure
    """Cross-play: the mean of everything else."""
    gap: Measure
    across_relabelled: Measure


class RunStudy(Frozen):
    """Results of one run, or one file of messages."""

    name: str
    source: str
    """The folder or file, as it was named."""
    arena: str = ""
    seed: int | None = None
    update: int | None = None
    """How many updates made the policies."""
    episodes: int
    scores: Measures = Field(default_factory=dict)
    languages: list[Language] = Field(default_factory=list)
    effects: list[ListenerEffect] = Field(default_factory=list)
    causes: Measures = Field(default_factory=dict)
    """What the channel and the seats are worth to the whole team."""
    credits: list[MessageCredit] = Field(default_factory=list)
    history: list[Moment] = Field(default_factory=list)
    """How the languages changed in training."""
    remarks: list[str] = Field(default_factory=list)
    """What a reader must know: what was left out, and why."""


class Study(Frozen):
    """Results of a study: each run, and across runs."""

    version: int = VERSION
    seed: int
    permutations: int
    runs: list[RunStudy]
    across: Measures = Field(default_factory=dict)
    """Interquartile means over the runs, each with its bootstrap interval; empty for one run."""
    crossplay: Crossplay | None = None
    """How the runs play with each other, where that can be asked."""

    def save(self, path: Path) -> None:
        """Write the study as JSON."""
        path.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Study:
        """Read what `save` wrote; raises UserError for anything else."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise UserError(f"{path}: {error.strerror or error}; `marl study RUN` writes it") from None
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the whole"
            raise UserError(
                f"{path} is not a valid study ({where}: {first['msg']}): write it again with marl study"
            ) from None
