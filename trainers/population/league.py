"""League: frozen versions of the policies, matchmaking and ratings.

All draws have coordinates, and the state is a handful of numbers: a resumed run meets the same opponents. The weights
are in `trainers/population/selfplay.py`.
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
"""Minimum share of episodes against frozen versions: with fewer, self-play forgets what it once could beat."""
MEAN: Final = 25.0
DEVIATION: Final = MEAN / 3
"""Rating before any game, on TrueSkill's scale: 6.5 points more win 3 of 4 games (beta = 25/6)."""
DRIFT: Final = MEAN / 300
"""Skill drift of the policies in training per update: their variance grows by its square."""
MEMORY: Final = 0.95
"""Decay per update of the weight of earlier results, which older policies won."""


class LeagueConfig(BaseModel):
    """League settings: the frozen opponents of a run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    every: int = Field(default=10, ge=1, description="updates between frozen versions")
    size: int = Field(default=32, ge=2, description="the most versions kept")
    share: float = Field(default=0.25, ge=FLOOR, le=1, description="of the episodes that is against frozen versions")
    matchmaking: Literal["uniform", "prioritised", "latest"] = "prioritised"
    opponents: int = Field(default=2, ge=1, description="the most versions met in one update; each is a copy in memory")


class Rating(NamedTuple):
    """Skill rating: mean and deviation of a normal distribution."""

    mean: float = MEAN
    deviation: float = DEVIATION


class Match(NamedTuple):
    """Episode against a frozen version: the seat of the policy in training, and the version on all others."""

    learner: str
    opponent: int


@dataclass
class Member:
    """Frozen version, with the weighted results of the policies in training against it."""

    rating: Rating
    wins: float = 0.0
    draws: float = 0.0
    losses: float = 0.0

    @property
    def beaten(self) -> float:
        """Win rate against the version, a draw counting half; 0.5 before any game."""
        return (self.wins + self.draws / 2 + 0.5) / (self.wins + self.draws + self.losses + 1)


class League:
    """Members of the league and their ratings; `current` rates the policies in training."""

    def __init__(self, config: LeagueConfig, seed: int) -> None:
        self.config = config
        self.seed = seed
        self.current = Rating()
        self.members: dict[int, Member] = {}
        """Version -> member, oldest first."""

    def add(self, version: int) -> None:
        """Add a frozen version, rated like the policies in training; evict one member above `size`.

        The evicted version is the one, between the first and the newest, whose neighbours are nearest to each other, so
        that the others stay spread over the whole run.
        """
        self.members[version] = Member(self.current)
        versions = list(self.members)
        if len(versions) > self.config.size:
            crowded = min(range(1, len(versions) - 1), key=lambda i: versions[i + 1] - versions[i - 1])
            del self.members[versions[crowded]]

    def chances(self, version: int) -> dict[int, float]:
        """Return each member's probability of being the opponent of a version: only older ones, if there are any.

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
        """Assign a match to each episode of an update; None: the policies in training play themselves.

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
        """Update ratings and results: pairs of an opponent and 1, 0 or -1 for the policies in training.

        Ratings follow Bradley and Terry's model (Weng & Lin 2011, algorithm 1). For a win s = 1, a draw 1/2, a loss 0:

            c^2 = 2 beta^2 + sigma^2 + sigma_j^2      p = 1 / (1 + exp((mu_j - mu) / c))
            mu += sigma^2 / c (s - p)                 sigma^2 *= 1 - sigma^3 / c^3 p (1 - p)

        and likewise for the opponent. Before, sigma^2 of the policies in training grows by DRIFT^2: they have changed.
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
        """Return the state for a checkpoint."""
        return {"current": self.current, "members": {str(v): asdict(m) for v, m in self.members.items()}}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore the state of a checkpoint."""
        self.current = Rating(*state["current"])
        self.members = {
            int(version): Member(Rating(*saved["rating"]), saved["wins"], saved["draws"], saved["losses"])
            for version, saved in state["members"].items()
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
    """Return the name of a frozen version in logs."""
    return f"{policy}{FROZEN}{version}"


def outcome(episode: Episode, learner: str) -> int:
    """Return the learner's result: 1, 0 or -1 for a return above, equal to or below the mean of the others'."""
    returns = dict(zip(episode.agents, episode.returns, strict=True))
    own = returns.pop(learner)
    lead = own - sum(returns.values()) / len(returns)
    return int(lead > 1e-9) - int(lead < -1e-9)


def _pick(chances: Mapping[int, float], u: float) -> int:
    """Sample a version: invert the cumulative distribution at u."""
    total = 0.0
    for version, p in chances.items():
        total += p
        if u < total:
            return version
    return next(reversed(list(chances)))  # u so near 1 that rounding passed the end


def _model() -> BradleyTerryFull:
    """Build the rating model; without drift (tau = 0), as frozen versions do not change."""
    from openskill.models import BradleyTerryFull

    return BradleyTerryFull(mu=MEAN, sigma=DEVIATION, beta=DEVIATION / 2, tau=0.0)
