"""Conformance suite of arenas: `check_arena(factory)` runs PettingZoo's suites and our own checks.

Use it in your own tests:

from arenas.testing import check_arena

def test_mine() -> None:
    check_arena(Mine)
"""

from __future__ import annotations

import io
import json
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout, suppress
from inspect import signature
from itertools import chain, count
from typing import Any, Final

import numpy as np

from arenas.core import Arena
from arenas.errors import ArenaError
from arenas.spec import ReplySpec, Words, from_wire
from arenas.testing.complaint import blame, require
from arenas.testing.declared import build, check_anchors, check_deals, check_description, check_scripts

MAX_TURNS: Final = 10_000
_HARMLESS: Final = (  # warnings of PettingZoo that arenas cause on purpose
    "Observation is not a NumPy array",  # it is a dict: ids, text and mask
    "Observation space for each agent probably should be",  # a dict space, for the same reason
    "Agents have different observation space sizes",  # their masks differ in length
    "Observation numpy array is all zeros",  # an agent that is not asked sees nothing
    "State numpy array is all zeros",  # an arena need not hide anything
    "(Observation|Action mask) is a single number",  # one reply, or views of one word
)


def check_arena(
    factory: Callable[[], Arena], *, seed: int = 0, passed: Callable[[str], object] = lambda what: None
) -> None:
    """Run the conformance suite; raises ArenaError, which says what is wrong and how to fix it.

    Args:
        factory: builds the arena, each time the same one: a class, or `lambda: make("lewis", n=3)`.
        seed: of the episodes.
        passed: called with the name of each check that has passed.
    """
    for what, check in checks(factory, seed):
        check()
        passed(what)


def checks(factory: Callable[[], Arena], seed: int = 0) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield the checks of `check_arena` in order: a name in words, and a function that raises ArenaError."""
    arena = build(factory)
    yield "it says what it is: name, rules, seats, words, channels", lambda: check_description(arena)
    yield "the anchors are numbers, none above the optimum", lambda: check_anchors(arena)
    yield "it works at both ends of its ranges", lambda: _check_ranges(type(arena), seed)
    yield "every deal can be laid and belongs to one split", lambda: check_deals(arena, seed)
    yield "every stage has views, replies, rewards and an end", lambda: _check_stages(arena, seed)
    yield "missing and illegal replies are borne", lambda: _check_bad_replies(arena, seed)
    yield (
        "the scripts play by the rules, and reach their anchors where that can be counted",
        lambda: check_scripts(arena, seed),
    )
    yield "the seed decides the episode, and nothing else does", lambda: _check_seeds(factory, seed)
    yield "PettingZoo's own suites pass", lambda: _check_pettingzoo(factory)


def transcript(arena: Arena, seed: int = 0) -> str:
    """Play one episode of random legal replies; return hidden states, views, replies and rewards as text."""
    return "\n".join(_turns(arena, seed)) + "\n"


def _turns(arena: Arena, seed: int) -> Iterator[str]:
    draws = np.random.default_rng((seed, 1))  # independent of the arena's draws
    arena.reset(seed)
    yield f"hidden | {arena.hidden()}"
    while not any(arena.terminations.values()) and not any(arena.truncations.values()):
        agent, spec = arena.agent_selection, arena.spec(arena.agent_selection)
        action = int(draws.integers(spec.size))
        yield f"{agent} sees | {arena.observe(agent)['text']}"
        yield f"{agent} {spec.kind}s | {' '.join(spec.words(action))}"
        arena.step(action)
        if any(arena.rewards.values()):
            yield "paid | " + " ".join(f"{a} {reward:g}" for a, reward in arena.rewards.items())
    yield f"hidden | {arena.hidden()}"


def corners(ranges: Mapping[str, tuple[int, int]]) -> Iterator[dict[str, int]]:
    """Yield the corners of parameter ranges: all lowest, all highest, and each end alone."""
    for end in (0, 1):
        yield {name: limits[end] for name, limits in ranges.items()}
        yield from ({name: limits[end]} for name, limits in ranges.items() if len(ranges) > 1)


def _check_ranges(cls: type[Arena], seed: int) -> None:
    """Check that the parameters in `ranges` exist, and that the arena works at both ends of each."""
    parameters = signature(cls).parameters
    for name, (low, high) in cls.ranges.items():
        if name not in parameters:
            raise ArenaError(
                f"{cls.__name__}: ranges names {name!r}, which __init__ does not take; it takes {', '.join(parameters)}"
            )
        default = parameters[name].default
        if not isinstance(default, int) or not low <= default <= high:
            raise ArenaError(
                f"{cls.__name__}: the range of {name} is {low} to {high}, and its default {default!r} is not a whole "
                "number within it; fix ranges or the default"
            )
    for corner in corners(cls.ranges) if cls.ranges else ():
        chosen = ", ".join(f"{name}={value}" for name, value in corner.items())
        try:
            make: Callable[..., Arena] = cls
            arena = make(**corner)
            check_anchors(arena)
            transcript(arena, seed)
        except Exception as error:
            raise ArenaError(
                f"{cls.__name__}: {chosen} is within ranges, and yet {error}; narrow the range, or make it work"
            ) from error


def _check_stages(arena: Arena, seed: int) -> None:
    """Check stages, views, specs and rewards, with random replies, the first and the last ones."""
    for name in vars(arena):
        require(arena, not callable(getattr(Arena, name, None)), f"self.{name} hides a method; name it otherwise")
    for episode in range(6):
        draws = np.random.default_rng((seed, 1 + episode))
        arena.reset(seed + episode)
        for _ in _until_done(arena):
            _check_stage(arena)
            _check_copy(arena)
            agent = arena.agent_selection
            size = arena.spec(agent).size
            chosen = (0, size - 1, int(draws.integers(size)))[min(episode, 2)]
            words = arena.spec(agent).words(chosen)
            require(
                arena,
                arena.spec(agent).parse(" ".join(words)) == words,
                f"spec({agent!r}) has the reply {' '.join(words)!r} among its words, which its pattern or schema does "
                "not allow; fix its places",
            )
            with blame(arena, f"the reply of {agent}", "resolve() must take every reply that spec() allows"):
                arena.step(chosen)
            _check_rewards(arena, arena.rewards)
        with blame(arena, "hidden() after the end", "it is read there too, by the critic"):
            arena.state()


def _until_done(arena: Arena) -> Iterator[int]:
    for turn in range(MAX_TURNS):
        if any(arena.terminations.values()) or any(arena.truncations.values()):
            return
        yield turn
    raise ArenaError(
        f"{arena.name}: no end after {MAX_TURNS} turns; "
        "let resolve() return Outcome(done=True, truncated=True) at a limit of rounds"
    )


def _check_stage(arena: Arena) -> None:
    seats, acting = arena.possible_agents, list(arena.acting())
    require(
        arena,
        bool(acting) and acting == [agent for agent in seats if agent in acting],
        f"acting() must name at least one agent, in seat order ({', '.join(seats)}), each once, not {acting}",
    )
    require(
        arena,
        acting == seats or not arena.metadata["is_parallelizable"],
        "is_parallelizable means that all agents reply in every stage, and they do not; set it to False in metadata",
    )
    for agent in acting:
        with blame(arena, f"view({agent!r})", "it must work whenever acting() names the agent"):
            text = arena.view(agent)
            require(
                arena, text == arena.view(agent), f"view({agent!r}) changes when asked twice; draw in lay() or deal()"
            )
        _check_words(arena, text)
        require(
            arena,
            arena.open_text or text == " ".join(text.split()),
            f"view({agent!r}) is {text!r}; put one space between its words, and none around them",
        )
        _check_spec(arena, agent)
        seen = arena.observe(agent)
        require(
            arena,
            arena.observation_space(agent).contains(seen),
            f"what {agent} sees does not fit its observation space; use printable ASCII and at most "
            f"{arena.view_chars} characters",
        )
    with blame(arena, "hidden()", "it must work in every stage"):
        arena.state()
        _check_words(arena, arena.hidden())


def _check_words(arena: Arena, text: str) -> None:
    """Check that views have only declared words; with free talk, `encode` would accept others."""
    foreign = [word for word in text.split() if word not in arena.vocabulary]
    require(arena, arena.open_text or not foreign, f"add {', '.join(map(repr, foreign[:1]))} to the arena's words")


def _check_copy(arena: Arena) -> None:
    """Check that `resolve` changes nothing in place: it would change in every copy of the arena too."""
    copied = arena.copy()
    before = [copied.hidden(), *map(copied.view, copied.acting())]
    with suppress(Exception):  # other checks report it
        arena.copy().advance(dict.fromkeys(arena.acting()))
    require(
        arena,
        [copied.hidden(), *map(copied.view, copied.acting())] == before,
        "resolve() changed a copy of the arena too; bind new values (self.said = (*self.said, word)), "
        "and do not change lists, dicts and arrays in place",
    )


def _check_spec(arena: Arena, agent: str) -> None:
    spec = arena.spec(agent)
    unknown = set(spec.alphabet).difference(arena.vocabulary)
    require(
        arena,
        not unknown and spec.size <= int(arena.action_space(agent).n),
        f"spec({agent!r}) is larger than those that __init__ declared; name every spec it may return in `replies`",
    )
    again = from_wire(json.loads(json.dumps(spec.wire)))
    require(arena, again == spec, f"spec({agent!r}) changes on the wire; build it from say, choose, fill or ReplySpec")


def _check_rewards(arena: Arena, rewards: Mapping[str, float]) -> None:
    for agent, reward in rewards.items():
        require(
            arena,
            agent in arena.possible_agents,
            f"resolve() paid {agent!r}, who is not an agent of the arena; fix its rewards",
        )
        require(arena, math.isfinite(reward), f"resolve() paid {agent} {reward}; make every reward a finite number")


def _check_bad_replies(arena: Arena, seed: int) -> None:
    """Check that missing and illegal replies and actions are accepted: models send them."""
    for episode in range(4):
        draws = np.random.default_rng((seed, 1 + episode))
        arena.begin(seed)
        for _ in range(MAX_TURNS):
            specs = {agent: arena.spec(agent) for agent in arena.acting()}
            replies: dict[str, Words | None] = {
                agent: _any_reply(spec, draws) if episode and draws.random() < 0.5 else None
                for agent, spec in specs.items()
            }
            with blame(arena, f"advance({replies})", "resolve() must take a default reply, for one that was missing"):
                outcome = arena.advance(replies)
            _check_rewards(arena, outcome.rewards)
            require(
                arena,
                outcome.done or not outcome.truncated,
                "resolve() returned truncated without done; an episode that is cut off is Outcome(..., done=True, "
                "truncated=True)",
            )
            if outcome.done:
                break
        arena.reset(seed)
        for turn in _until_done(arena):
            largest = int(arena.action_space(arena.agent_selection).n)
            action: int | None = (int(draws.integers(largest)), largest, -1, None)[(turn + episode) % 4]
            with blame(arena, f"step({action})", "an illegal action must count as no reply"):
                arena.step(action)


def _any_reply(spec: ReplySpec, draws: np.random.Generator) -> Words:
    """Return a random legal reply; with free talk, half of the time text outside the vocabulary."""
    if spec.free and draws.random() < 0.5:
        channel = spec.channels[:1] if len(spec.channels) > 1 else ()
        words = (*channel, *["?!", "Lorem", "7", "%s", "{}", "ipsum"])
        if spec.formed(" ".join(words)):
            return words
    return spec.words(int(draws.integers(spec.size)))


def _check_seeds(factory: Callable[[], Arena], seed: int) -> None:
    """Check that only the seed decides the episode: not the instance, its past, or other instances."""
    used, other = factory(), factory()
    elsewhere = chain.from_iterable(_turns(other, seed + 1 + n) for n in count())
    for number in range(seed, seed + 5):
        alone = transcript(factory(), number)
        require(
            used,
            alone == transcript(factory(), number),
            f"the seed {number} gave two different episodes; draw only from the rng that deal() is given, or self._rng",
        )
        interleaved = []
        for line in _turns(used, number):
            interleaved.append(line)
            next(elsewhere)
        require(
            used,
            transcript(used, number) == alone,
            f"the seed {number} gave another episode in a used arena; set everything anew in deal() or lay()",
        )
        require(
            used,
            "\n".join(interleaved) + "\n" == alone,
            f"the seed {number} gave another episode beside a second arena; share no state and no global random",
        )


def _check_pettingzoo(factory: Callable[[], Arena]) -> None:
    """Run PettingZoo's own suites silently; every warning is an error but those of `_HARMLESS`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # importing them may pull in optional games
        from pettingzoo.test import api_test, parallel_api_test, parallel_seed_test, seed_test, state_test
        from pettingzoo.utils.conversions import aec_to_parallel, turn_based_aec_to_parallel

    def parallel() -> Any:
        arena = factory()
        return aec_to_parallel(arena) if arena.metadata["is_parallelizable"] else turn_based_aec_to_parallel(arena)

    suites: dict[str, Callable[[], Any]] = {
        "api_test": lambda: api_test(factory(), num_cycles=20),
        "seed_test": lambda: seed_test(factory, num_cycles=20),
        "parallel_api_test": lambda: parallel_api_test(parallel(), num_cycles=20),
        "parallel_seed_test": lambda: parallel_seed_test(parallel, num_cycles=20),
        "state_test": lambda: state_test(factory(), parallel(), num_cycles=20),
    }
    arena = factory()
    for name, suite in suites.items():
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("error")
            for harmless in _HARMLESS:
                warnings.filterwarnings("ignore", message=harmless)
            with blame(arena, f"PettingZoo's {name}", "fix what it names: it is what every PettingZoo user relies on"):
                suite()
