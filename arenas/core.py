"""An arena: a PettingZoo environment whose author writes the rules and nothing else.

An episode is a sequence of *stages*. In each stage some agents reply (several at once, or one), and when all of them
have, the stage is resolved. The author gives `deal` or `lay`, `acting`, `view`, `resolve` (and `hidden`, `anchors`);
this class keeps PettingZoo's books, so that every arena is at once an AEC environment and what the referee plays over
the bus.
"""

from __future__ import annotations

import string
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from inspect import getdoc, getmodule
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pettingzoo import AECEnv

from arenas.errors import ArenaError
from arenas.spec import PUBLIC, UNKNOWN, ReplySpec, Words

if TYPE_CHECKING:
    from arenas.scripted import Script

MAX_ACTIONS: Final = 1 << 20
_TEXT: Final = string.ascii_letters + string.digits + string.punctuation + " \n"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What resolving a stage did: rewards by agent (missing ones are 0), and whether and how the episode ended."""

    rewards: Mapping[str, float] = field(default_factory=dict)
    done: bool = False
    truncated: bool = False  # with done: cut off by a time limit, so the rules would have gone on


@dataclass(frozen=True, slots=True)
class Anchors:
    """Known scores. The score of an episode is its return (sum over the episode), averaged over the agents.

    `random`: uniformly random replies. `silent`: the best known without communication. `full`: the optimum, with full
    information or perfect communication. `equilibrium`: where rational play ends, if that is one score. `values`: what
    each seat, in seat order, gets there; the value of the game to each if it is of constant sum. None is not known, as
    in games of other libraries.
    """

    random: float | None = None
    silent: float | None = None
    full: float | None = None
    equilibrium: float | None = None
    values: tuple[float, ...] | None = None

    def communication_gain(self, score: float) -> float | None:
        """(R - silent) / (full - silent): 0 is silence, 1 the optimum; None: talk gains nothing, or one is unknown."""
        if self.silent is None or self.full is None:
            return None
        span = self.full - self.silent
        return None if abs(span) < 1e-12 else (score - self.silent) / span


def _pcg64(seed: int) -> dict[str, Any]:
    """Return a generator state that depends on a seed alone; ten times quicker than making a generator."""
    digest = blake2b(str(seed).encode(), digest_size=32).digest()
    state, increment = int.from_bytes(digest[:16], "little"), int.from_bytes(digest[16:], "little")
    return {
        "bit_generator": "PCG64",
        "state": {"state": state, "inc": increment | 1},
        "has_uint32": 0,
        "uinteger": 0,
    }


class Arena(AECEnv[str, dict[str, Any], int]):  # type: ignore[misc]
    """Base of all arenas. See `arenas/games/signalling/lewis.py` for a whole one.

    Args:
        replies: for each seat, in seat order, the reply spec or specs it may be asked for.
        words: all words that views and `hidden` use beside those of the reply specs.
        view_words: the most words an observation holds (heard messages and view); PettingZoo's spaces need a bound.
        channels: the channels that the rules have beside the public one, and who speaks and hears on each.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["ansi"], "name": "arena_v0", "is_parallelizable": False}
    tags: tuple[str, ...] = ()  # cooperative | competitive | mixed, communication, ...
    open_text: bool = False  # views hold words that nobody declared: no model from scratch can read them
    view_chars: int = 4096  # the most characters of an observation, for PettingZoo
    cases: int = 0  # the number of equally likely deals, where they can be counted
    heard_as: str = ""  # whom all messages seem to come from, where nobody is told who speaks; a word of `words`
    ranges: ClassVar[Mapping[str, tuple[int, int]]] = {}
    """Parameters of generated arenas: name -> (lowest, highest). Whatever is chosen within all of them works."""

    def __init__(
        self,
        replies: Mapping[str, ReplySpec | Sequence[ReplySpec]],
        words: Sequence[str] = (),
        view_words: int = 32,
        channels: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        super().__init__()
        self.possible_agents = list(replies)
        self.replies = {a: (s,) if isinstance(s, ReplySpec) else tuple(s) for a, s in replies.items()}
        spoken = [word for specs in self.replies.values() for spec in specs for word in spec.alphabet]
        self.channels = {name: tuple(members) for name, members in (channels or {}).items()}
        free = (UNKNOWN,) if any(spec.free for specs in self.replies.values() for spec in specs) else ()
        known = [*self.possible_agents, ":", *words, *spoken, *self.channels, *free]
        self.vocabulary: Words = tuple(dict.fromkeys(known))
        self.view_words = view_words
        self.render_mode = "ansi"
        self.agents: list[str] = []
        self._rng = np.random.Generator(np.random.PCG64())

    # --- what an author writes -------------------------------------------------------------------------------

    def deal(self, rng: np.random.Generator, split: str) -> None:
        """Set up an episode. Arenas with countable deals give `cases` and `lay` instead."""
        cases = self.splits().get(split)
        if not cases:
            raise ArenaError(f"{self.name} has no deals called {split!r}; it has {', '.join(self.splits())}")
        self.lay(cases[int(rng.integers(len(cases)))])

    def lay(self, case: int) -> None:
        """Set up deal number `case` of `cases`."""
        raise ArenaError(f"{self.name} cannot number its deals: leave `case` out")

    @abstractmethod
    def acting(self) -> tuple[str, ...]:
        """Return the agents that reply in this stage, in seat order."""

    @abstractmethod
    def view(self, agent: str) -> str:
        """Return what an agent is shown when it is asked: words of `vocabulary`, without the messages it heard."""

    @abstractmethod
    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        """Apply one legal reply of every acting agent and go on to the next stage."""

    def spec(self, agent: str) -> ReplySpec:
        """Return what an acting agent may reply now; arenas in which that changes override this."""
        return self.replies[agent][0]

    def audience(self, speaker: str) -> Collection[str] | None:
        """Return who may hear what an agent says now, of those whom its channel lets hear; None: all of them."""
        return None

    def hidden(self) -> str:
        """Return the state that no agent sees whole, for the centralized critic, in words of `vocabulary`."""
        return ""

    def splits(self) -> Mapping[str, Sequence[int]]:
        """Return which deals belong to which split; held-out ones are never dealt in training."""
        return {"train": range(self.cases)} if self.cases else {}

    @abstractmethod
    def anchors(self) -> Anchors:
        """Return the known scores of this arena with these parameters."""

    def scripts(self) -> Mapping[str, Script]:
        """Return scripted ways to play all seats, by name: one named like an anchor attains it, `best` comes near full.

        `silent`: uses no message. `full`: the optimum. `equilibrium`: none of the seats gains by leaving it.
        """
        return {}

    @property
    def rules(self) -> str:
        """The rules in words: what the arena's module and class say of themselves."""
        made = type(self)
        return "\n\n".join(filter(None, [getdoc(getmodule(made)), getdoc(made)]))

    # --- what the referee uses -------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The name without its version."""
        return str(self.metadata["name"]).rpartition("_v")[0]

    def begin(self, seed: int | None = None, *, case: int | None = None, split: str = "train") -> None:
        """Start an episode; the same seed, case and split give the same one."""
        if seed is not None:
            self._rng.bit_generator.state = _pcg64(seed)
        if case is None:
            self.deal(self._rng, split)
        elif 0 <= case < self.cases:
            self.lay(case)
        else:
            raise ArenaError(f"{self.name} has deals 0 to {self.cases - 1}, so not {case}")

    def copy(self) -> Self:
        """Return the arena at this point of the episode; cheap, as rules bind new values and never change old ones."""
        return copy(self)

    def advance(self, replies: Mapping[str, Words | None]) -> Outcome:
        """Resolve the stage; None stands for a reply that was missing or illegal and becomes the spec's default."""
        return self.resolve({a: self.spec(a).default if r is None else r for a, r in replies.items()})

    # --- PettingZoo ------------------------------------------------------------------------------------------

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.vocabulary, 1)}

    @cached_property
    def action_spaces(self) -> dict[str, spaces.Discrete]:
        """Action i is the i-th reply of the present spec."""
        sizes = {agent: max(spec.size for spec in specs) for agent, specs in self.replies.items()}
        for agent, size in sizes.items():
            if size > MAX_ACTIONS:
                raise ArenaError(
                    f"{self.name}: {agent} has {size} different replies, and PettingZoo's Discrete holds "
                    f"{MAX_ACTIONS}; make its options, alphabet or length smaller"
                )
        return {agent: spaces.Discrete(size) for agent, size in sizes.items()}

    @cached_property
    def observation_spaces(self) -> dict[str, spaces.Dict]:
        """The words as ids (0 pads), the same as text, and which actions are legal."""
        ids = spaces.Box(0, len(self.vocabulary), (self.view_words,), np.int64)
        text = spaces.Text(min_length=0, max_length=self.view_chars, charset=_TEXT)
        return {
            agent: spaces.Dict(
                {"observation": ids, "text": text, "action_mask": spaces.Box(0, 1, (int(space.n),), np.int8)}
            )
            for agent, space in self.action_spaces.items()
        }

    def action_space(self, agent: str) -> spaces.Discrete:
        """Return the space of an agent's actions."""
        return self.action_spaces[agent]

    def observation_space(self, agent: str) -> spaces.Dict:
        """Return the space of an agent's observations."""
        return self.observation_spaces[agent]

    def encode(self, text: str) -> NDArray[np.int64]:
        """Return the ids of a text's words, padded with 0 to `view_words`; raises ArenaError beyond or outside.

        Where talk is free, a word outside the vocabulary is `<unk>`.
        """
        words = text.split()
        if len(words) > self.view_words:
            raise ArenaError(f"{self.name}: {len(words)} words do not fit; give view_words={len(words)} or more")
        ids = np.zeros(self.view_words, np.int64)
        try:
            unknown = self._ids.get(UNKNOWN)
            ids[: len(words)] = [self._ids[word] if unknown is None else self._ids.get(word, unknown) for word in words]
        except KeyError as error:
            raise ArenaError(f"{self.name}: add {error} to the arena's words") from None
        return ids

    def observe(self, agent: str) -> dict[str, Any]:
        """Return an agent's observation: what it heard in this episode, then its view."""
        asked = self.agent_selection == agent and not self.terminations[agent] and not self.truncations[agent]
        text = " ".join([*self._heard[agent], self.view(agent) if agent in self.acting() else ""]).strip()
        mask = np.zeros(int(self.action_spaces[agent].n), np.int8)
        mask[: self.spec(agent).size if asked or agent in self.acting() else 1] = 1
        return {"observation": self.encode(text), "text": text, "action_mask": mask}

    def state(self) -> NDArray[np.int64]:
        """Return the hidden state as word ids, padded with 0 to `view_words`."""
        return self.encode(self.hidden())

    @cached_property
    def state_space(self) -> spaces.Box:
        """The space of `state()`."""
        return spaces.Box(0, len(self.vocabulary), (self.view_words,), np.int64)

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Start an episode; `options` may name a `case` (a numbered deal) or a `split`, and other keys are ignored."""
        self.begin(seed, **{key: value for key, value in (options or {}).items() if key in ("case", "split")})
        self.agents = list(self.possible_agents)
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        self.infos: dict[str, dict[str, Any]] = {agent: {} for agent in self.agents}
        self._heard: dict[str, list[str]] = {agent: [] for agent in self.agents}
        self._pending: dict[str, Words | None] = {}
        self.agent_selection = self._first()

    def _first(self) -> str:
        acting = self.acting()
        if not acting:
            raise ArenaError(f"{self.name}: acting() names no agent; name one, or let resolve() end the episode")
        return acting[0]

    def step(self, action: int | None) -> None:
        """Take the selected agent's action; the last one resolves the stage. A channel's members hear what is said."""
        agent = self.agent_selection
        if self.terminations[agent] or self.truncations[agent]:
            self._was_dead_step(action)
            return
        self._cumulative_rewards[agent] = 0.0
        self._clear_rewards()
        spec = self.spec(agent)
        reply = spec.words(int(action)) if action is not None and 0 <= int(action) < spec.size else None
        self.infos[agent] = {} if reply is not None else {"illegal": True}
        self._pending[agent] = reply
        waiting = [a for a in self.acting() if a not in self._pending]
        if waiting:
            self.agent_selection = waiting[0]
        else:
            self._resolve_stage()
        self._accumulate_rewards()

    def _resolve_stage(self) -> None:
        specs = {a: self.spec(a) for a in self._pending}
        said = {a: specs[a].route(r or ()) for a, r in self._pending.items() if specs[a].kind == "say"}
        near = {speaker: self.audience(speaker) for speaker in said}
        outcome = self.advance(self._pending)
        self._pending = {}
        for speaker, (channel, message) in said.items():
            members = self.channels.get(channel)
            where = [channel] if channel != PUBLIC else []
            for listener in members or self.agents:
                if listener != speaker and ((among := near[speaker]) is None or listener in among):
                    self._heard[listener] += [self.heard_as or speaker, *where, ":", *message]
        self.rewards = {a: float(outcome.rewards.get(a, 0.0)) for a in self.agents}
        if outcome.done:
            over = self.truncations if outcome.truncated else self.terminations
            over.update(dict.fromkeys(self.agents, True))
            self.agent_selection = self.agents[0]
        else:
            self.agent_selection = self._first()

    def render(self) -> str:
        """Return the hidden state and everyone's view as text."""
        views = [f"{a}: {' '.join(self._heard[a])} | {self.view(a)}" for a in self.acting()]
        return "\n".join([self.hidden(), *views])

    def close(self) -> None:
        """Release nothing; there is nothing."""
