"""Games of OpenSpiel as arenas: `openspiel:kuhn_poker`, `openspiel:goofspiel`.

An agent sees its information state (or its observation: `observe`) in declared words: names and numbers that occur in
random games are words, others are spelled (`1 ~ 2 ~ 3`), punctuation stands alone, and a line break is /. Legal actions
are its replies. Chance is drawn from the arena's seed. (Lanctot et al. 2019, OpenSpiel.)
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from inspect import Parameter, Signature, signature
from string import ascii_letters, punctuation
from typing import Any, ClassVar, Final

import numpy as np
from typing_extensions import override

from arenas.bridges import install
from arenas.core import Anchors, Arena, Outcome
from arenas.errors import ArenaError
from arenas.scripted import uniform
from arenas.solvers.play import sample
from arenas.spec import ReplySpec, Words, choose

MOST_ACTIONS: Final = 1 << 13
PROBES: Final = 100
"""Random games that reveal the words of a game and the names of its actions."""
PROBED: Final = 1000
"""Maximum decisions in these games, all together."""
EPISODES: Final = 50
"""Episodes of random play that estimate the anchor `random` where it does not follow from the rules."""
STATE: Final = "information_state"
PARTS: Final = re.compile(r"[A-Za-z]+|[0-9]+|[^\sA-Za-z0-9]")
"""Names, numbers and signs."""
_ESTIMATES: dict[tuple[str, str], float] = {}


def games() -> dict[str, str]:
    """Return the games of OpenSpiel: name -> "", or the reason it cannot be played."""
    problems = {}
    for name in _library().registered_names():
        try:
            find(name)()
        except ArenaError as error:
            problems[name] = str(error)
        else:
            problems[name] = ""
    return problems


def find(game: str) -> Callable[..., Arena]:
    """Return the factory of a game's arena; raises ArenaError."""
    library = _library()
    if game not in library.registered_names():
        raise ArenaError(f"OpenSpiel has no game {game!r}: `marl arenas openspiel:` lists them")
    types = {game_type.short_name: game_type for game_type in library.registered_games()}
    maker = partial(OpenSpiel, game)
    own = [p for p in signature(OpenSpiel).parameters.values() if p.kind is Parameter.KEYWORD_ONLY]
    theirs = types[game].parameter_specification
    named = [Parameter(name, Parameter.KEYWORD_ONLY, default=theirs[name]) for name in theirs if name.isidentifier()]
    maker.__signature__ = Signature([*named, *own])  # type: ignore[attr-defined]
    return maker


def _library() -> Any:
    return install("pyspiel", "sabir[openspiel]")


class OpenSpiel(Arena):
    """Game of OpenSpiel.

    Args:
        game: its short name.
        observe: "information_state" or "observation"; by default the first of them that the game provides.
        view_words: maximum words of an observation, for PettingZoo.
        options: parameters of the game.
    """

    tags = ("openspiel",)
    metadata: ClassVar[dict[str, Any]] = Arena.metadata

    def __init__(self, game: str, *, observe: str = "", view_words: int = 1024, **options: Any) -> None:
        self.game = _load(game, options)
        self.kind = self.game.get_type()
        self._key = game, repr(sorted(options.items()))
        self.observe_as = _observed(game, self.kind, observe)
        self.metadata = Arena.metadata | {"name": f"{game}_v0"}  # type: ignore[misc]
        seats = [f"player_{i}" for i in range(self.game.num_players())]
        try:
            self.actions, self.known = described(str(self.game), self.observe_as)
        except (_library().SpielError, RuntimeError, TypeError, ValueError) as error:
            raise ArenaError(f"openspiel:{game} cannot be played here: {_reason(error)}") from None
        super().__init__(
            {seat: choose(self.actions[player]) for player, seat in enumerate(seats)},
            words=[*ascii_letters, *punctuation, *map(str, range(100)), *sorted(self.known)],
            view_words=view_words,
        )
        self.rules = f"{self.kind.long_name}, a game of OpenSpiel for {len(seats)} players."

    def _read(self, text: str) -> str:
        """Convert a text of OpenSpiel to declared words."""
        text = text.strip("\n").replace("\n", "/").encode("ascii", "backslashreplace").decode()
        return " ".join(part if part in self._ids else " ~ ".join(part) for part in PARTS.findall(text))

    @override
    def deal(self, rng: np.random.Generator, split: str) -> None:
        # All chance of a game follows from one number.
        self.luck, self.drawn = int(rng.integers(1 << 31)), 0
        self.node = self._settled(self.game.new_initial_state())

    def _settled(self, state: Any) -> Any:
        """Resolve chance nodes until players move."""
        while state.is_chance_node():
            state.apply_action(_drawn(state, np.random.default_rng((self.luck, self.drawn))))
            self.drawn += 1
        return state

    @override
    def acting(self) -> tuple[str, ...]:
        # All players with a move at simultaneous nodes.
        return () if self.node.is_terminal() else tuple(f"player_{player}" for player, _ in _asked(self.node))

    @override
    def view(self, agent: str) -> str:
        return self._read(_shown(self.node, int(agent.rpartition("_")[2]), self.observe_as))

    @override
    def spec(self, agent: str) -> ReplySpec:
        player = int(agent.rpartition("_")[2])
        legal = {} if self.node.is_terminal() else dict(_asked(self.node))
        if player not in legal:
            return self.replies[agent][0]
        return choose(tuple(self.actions[player][action] for action in legal[player]))

    @override
    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        # The reward is the change of the returns.
        state = self.node.clone()
        before = state.returns()
        players = {int(agent.rpartition("_")[2]): words[0] for agent, words in replies.items()}
        _apply(state, {player: self.actions[player].index(word) for player, word in players.items()})
        self.node = self._settled(state)
        paid = {f"player_{i}": now - then for i, (now, then) in enumerate(zip(state.returns(), before, strict=True))}
        return Outcome(paid, done=state.is_terminal())

    @override
    def hidden(self) -> str:
        return self._read(str(self.node))

    @override
    def anchors(self) -> Anchors:
        # In games of constant sum every score is its share; else random play is estimated, with fixed seeds.
        utility = type(self.kind.utility)
        if self.kind.utility in (utility.ZERO_SUM, utility.CONSTANT_SUM):
            share = float(self.game.utility_sum() or 0.0) / self.game.num_players()
            return Anchors(random=share, silent=share, full=share, equilibrium=share)
        if self._key not in _ESTIMATES:
            fresh = self.copy()
            fresh._rng = np.random.Generator(np.random.PCG64())
            _ESTIMATES[self._key] = float(sample(fresh, uniform, EPISODES).mean())
        return Anchors(random=_ESTIMATES[self._key])


def _load(game: str, options: Mapping[str, Any]) -> Any:
    """Load a game that can be an arena; raises ArenaError for any other."""
    library = _library()
    takes = list(signature(find(game)).parameters)
    if unknown := [name for name in options if name not in takes]:
        raise ArenaError(f"openspiel:{game} has no parameter {unknown[0]!r}; it takes {', '.join(takes)}")
    try:
        loaded = library.load_game(game, dict(options))
    except (library.SpielError, TypeError, RuntimeError, LookupError) as error:
        raise ArenaError(f"openspiel:{game} cannot be loaded with {dict(options)}: {_reason(error)}") from None
    kind = loaded.get_type()
    if kind.chance_mode == type(kind.chance_mode).SAMPLED_STOCHASTIC:
        raise ArenaError(f"openspiel:{game} draws by itself, so its episodes could not be replayed: choose another")
    if kind.dynamics == type(kind.dynamics).MEAN_FIELD:
        raise ArenaError(f"openspiel:{game} is a mean-field game, which has no players one by one: choose another")
    if loaded.num_distinct_actions() > MOST_ACTIONS:
        count = loaded.num_distinct_actions()
        raise ArenaError(f"openspiel:{game} has {count} actions; replies need at most {MOST_ACTIONS}: make it smaller")
    return loaded


def _reason(error: Exception) -> str:
    """Return OpenSpiel's message without the position in its source."""
    return re.sub(r"^\S+\.(cc|h):\d+ ", "", " ".join(str(error).split()))[:300]


def _observed(game: str, kind: Any, wanted: str) -> str:
    provided = {
        STATE: kind.provides_information_state_string,
        "observation": kind.provides_observation_string,
    }
    there = [name for name, provides in provided.items() if provides]
    if not there or (wanted and wanted not in there):
        raise ArenaError(
            f"openspiel:{game} can show {' or '.join(there) or 'nothing as text'}, not {wanted or 'that'!r}"
        )
    return wanted or there[0]


@lru_cache(maxsize=64)
def described(game: str, observe: str) -> tuple[tuple[Words, ...], frozenset[str]]:
    """Probe a game by random play: a word per action of each player, and the names and numbers shown."""
    loaded = _library().load_game(game)
    rng = np.random.default_rng(0)
    texts: list[str] = []
    called: list[dict[int, set[str]]] = [{} for _ in range(loaded.num_players())]
    decisions = 0
    for _ in range(PROBES):
        state = loaded.new_initial_state()
        while not state.is_terminal() and decisions < PROBED:
            if state.is_chance_node():
                state.apply_action(_drawn(state, rng))
                continue
            decisions += 1
            legal_actions = dict(_asked(state))
            for player, legal in legal_actions.items():
                for action in legal:
                    called[player].setdefault(action, set()).add(state.action_to_string(player, action))
                texts += [_shown(state, player, observe), str(state)]
            _apply(state, {player: int(rng.choice(legal)) for player, legal in legal_actions.items()})
        texts.append(str(state))
    shown = frozenset(part for text in texts for part in PARTS.findall(text) if len(part) > 1)
    return tuple(_named(names, loaded.num_distinct_actions()) for names in called), shown


def _shown(state: Any, player: int, observe: str) -> str:
    shown: str = state.information_state_string(player) if observe == STATE else state.observation_string(player)
    return shown


def _named(called: Mapping[int, set[str]], n: int) -> Words:
    """Return a word for each action: its name, or its number if names collide or change."""
    if any(len(aliases) > 1 for aliases in called.values()):
        return tuple(f"action_{action}" for action in range(n))
    names = {action: "_".join(name.strip(" ,").split()) for action, (name,) in called.items()}
    alike = Counter(names.values())
    plain = {action: name for action, name in names.items() if name.isascii() and name and alike[name] == 1}
    return tuple(plain.get(action, f"action_{action}") for action in range(n))


def _drawn(state: Any, rng: np.random.Generator) -> int:
    outcomes, chances = zip(*state.chance_outcomes(), strict=True)
    index = int(np.searchsorted(np.cumsum(chances), rng.random() * sum(chances), side="right"))
    return int(outcomes[min(index, len(outcomes) - 1)])


def _asked(state: Any) -> Iterator[tuple[int, list[int]]]:
    """Yield the players to move and their legal actions."""
    players = range(state.num_players()) if state.is_simultaneous_node() else (state.current_player(),)
    for player in players:
        if legal := state.legal_actions(player):
            yield player, legal


def _apply(state: Any, actions: Mapping[int, int]) -> None:
    if state.is_simultaneous_node():
        state.apply_actions([actions.get(player, 0) for player in range(state.num_players())])
    else:
        state.apply_action(*actions.values())
