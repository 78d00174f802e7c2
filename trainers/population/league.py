"""A league: frozen versions of the policies, who of them is played against, and how good each is.

All draws have coordinates, and the state is a handful of numbers: a run that is taken up again meets the same
opponents. Where the weights are, `trainers/population/selfplay.py` knows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from marl.episode import FROZEN, Episode
from protocols.draws import below, key, uniform

if TYPE_CHECKING:
    from openskill.models import BradleyTerryFull

FLOOR: Final = 0.2
"""The least share of episodes against frozen versions: with fewer, self-play forgets what it once could beat."""
MEAN: Final = 25.0
DEVIATION: Final = MEAN / 3
"""A rating before any game, on TrueSkill's scale: 6.5 points more win 3 of 4 games (beta = 25/6)."""
DRIFT: Final = MEAN / 300
"""How far an update may move the skill of the policies in training: their variance grows by its square."""
MEMORY: Final = 0.95
"""What an update leaves of the weight of earlier results: the policies that won them were others."""


class LeagueConfig(BaseModel):
    """Frozen opponents of a run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    every: int = Field(default=10, ge=1, description="updates between frozen versions")
    size: int = Field(default=32, ge=2, description="the most versions kept")
    share: float = Field(default=0.25, ge=FLOOR, le=1, description="of the episodes that is against frozen versions")
    matchmaking: Literal["uniform", "prioritised", "latest"] = "prioritised"
    opponents: int = Field(default=2, ge=1, description="the most versions met in one update; each is a copy in memory")


class Rating(NamedTuple):
    """What is believed of a skill: a normal distribution."""

    mean: float = MEAN
    deviation: float = DEVIATION


class Match(NamedTuple):
    """An episode against a frozen version: the seat that the policy in training has, and the version on all others."""

    learner: str
    opponent: int


@dataclass
class Member:
    """A frozen version, and the weighted results of the policies in training against it."""

    rating: Rating
    wins: float = 0.0
    draws: float = 0.0
    losses: float = 0.0

    @property
    def beaten(self) -> float:
        """The share of games won against it, a draw being half of one; a half before any game."""
        return (self.wins + self.draws / 2 + 0.5) / (self.wins + self.draws + self.losses + 1)


class League:
    """The members and the ratings. `current` is that of the policies in training."""

    def __init__(self, config: LeagueConfig, seed: int) -> None:
        self.config = config
        self.seed = seed
        self.current = Rating()
        self.members: dict[int, Member] = {}
        """Version -> member, oldest first."""

    def add(self, version: int) -> None:
        """Freeze a version, which is as good as the policies in training; let go of one if there are too many.

        Of the versions between the first and the newest goes the one whose neighbours are nearest to each other, so
        that the others stay spread over the whole run.
        """
        self.members[version] = Member(self.current)
        kept = list(self.members)
        if len(kept) > self.config.size:
            crowded = min(range(1, len(kept) - 1), key=lambda i: kept[i + 1] - kept[i - 1])
            del self.members[kept[crowded]]

    def chances(self, version: int) -> dict[int, float]:
        """Return how likely each member is to be the opponent of a version: only older ones, if there are any.

        prioritised: p_j ~ (1 - share won against j)^2, so that the hardest are met most often (PFSP, Vinyals et al.
        2019); uniform: all alike; latest: the newest one.
        """
        older = [v for v in self.members if v < version] or list(self.members)
        if self.config.matchmaking == "latest":
            return {older[-1]: 1.0}
        even = self.config.matchmaking == "uniform"
        weights = {v: 1.0 if even else (1 - self.members[v].beaten) ** 2 for v in older}
        return {v: weight / sum(weights.values()) for v, weight in weights.items()}

    def opponents(self, version: int) -> list[int]:
        """Draw the opponents of an update; the same one may come twice."""
        chances = self.chances(version)
        return [
            _pick(chances, uniform(key(self.seed, "league", version, "opponent", i)))
            for i in range(self.config.opponents)
        ]

    def matches(self, version: int, episodes: int, seats: Sequence[str]) -> list[Match | None]:
        """Say for each episode of an update whom it is played against; None: the policies in training play themselves.

        Every N episodes, N being the number of seats, are a set: one opponent, and the learner once on each seat, in an
        order drawn for the set. At least `share` of all episodes are in sets against frozen versions.
        """
        drawn = self.opponents(version)
        result: list[Match | None] = []
        sets = against = 0
        for first in range(0, episodes, len(seats)):
            size = min(len(seats), episodes - first)
            if against >= self.config.share * (first + size) - 1e-9:
                result += [None] * size
                continue
            turn = below(len(seats), key(self.seed, "league", version, "seat", first))
            opponent = drawn[sets % len(drawn)]
            result += [Match(seats[(turn + i) % len(seats)], opponent) for i in range(size)]
            sets, against = sets + 1, against + size
        return result

    def record(self, results: Iterable[tuple[int, int]]) -> None:
        """Take in an update's results: the opponent, and 1, 0 or -1 for what the policies in training did.

        Ratings follow Bradley and Terry's model (Weng & Lin 2011, algorithm 1). For a win s = 1, a draw 1/2, a loss 0:

            c^2 = 2 beta^2 + sigma^2 + sigma_j^2      p = 1 / (1 + exp((mu_j - mu) / c))
            mu += sigma^2 / c (s - p)                 sigma^2 *= 1 - sigma^3 / c^3 p (1 - p)

        and likewise for the opponent. Before, sigma^2 of the policies in training grows by DRIFT^2: they have learned.
        """
        model = _model()
        self.current = Rating(self.current.mean, math.hypot(self.current.deviation, DRIFT))
        for member in self.members.values():
            member.wins, member.draws, member.losses = (
                MEMORY * count for count in (member.wins, member.draws, member.losses)
            )
        for opponent, outcome in results:
            member = self.members[opponent]
            pair = [[model.create_rating(list(self.current))], [model.create_rating(list(member.rating))]]
            ((own,), (other,)) = model.rate(pair, scores=[outcome, 0])
            self.current, member.rating = Rating(own.mu, own.sigma), Rating(other.mu, other.sigma)
            member.wins += outcome > 0
            member.draws += outcome == 0
            member.losses += outcome < 0

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"current": self.current, "members": {str(v): asdict(m) for v, m in self.members.items()}}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a checkpoint's state."""
        self.current = Rating(*state["current"])
        self.members = {
            int(version): Member(Rating(*kept["rating"]), kept["wins"], kept["draws"], kept["losses"])
            for version, kept in state["members"].items()
        }

    def summary(self) -> dict[str, Any]:
        """Return the table of the league for the summary of a run."""
        members = [
            {"version": v, **m.rating._asdict(), "beaten": m.beaten, "wins": m.wins, "draws": m.draws}
            | {"losses": m.losses}
            for v, m in self.members.items()
        ]
        return {**self.current._asdict(), "members": members}


def named(policy: str, version: int) -> str:
    """Return the name under which a frozen version stands in a log."""
    return f"{policy}{FROZEN}{version}"


def outcome(episode: Episode, learner: str) -> int:
    """Return 1, 0 or -1: the learner's return is above, equal to or below the mean of the others'."""
    returns = dict(zip(episode.agents, episode.returns, strict=True))
    own = returns.pop(learner)
    lead = own - sum(returns.values()) / len(returns)
    return int(lead > 1e-9) - int(lead < -1e-9)


def _pick(chances: Mapping[int, float], u: float) -> int:
    """Invert the cumulative distribution at u."""
    total = 0.0
    for version, p in chances.items():
        total += p
        if u < total:
            return version
    return next(reversed(list(chances)))  # u so near 1 that rounding passed the end


def _model() -> BradleyTerryFull:
    """Return the model of ratings; it lets nobody drift, for frozen versions do not."""
    from openskill.models import BradleyTerryFull

    return BradleyTerryFull(mu=MEAN, sigma=DEVIATION, beta=DEVIATION / 2, tau=0.0)
