"""Is it a sound arena? `check_arena(factory)` runs PettingZoo's suites and our own checks; use it in your own tests.

from arenas.testing import check_arena

def test_mine() -> None:
    check_arena(Mine)
"""

from __future__ import annotations

import io
import json
import math
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from itertools import chain, count
from typing import Any, Final

import numpy as np

from arenas.core import Arena
from arenas.errors import ArenaError
from arenas.spec import Words, from_wire

MAX_TURNS: Final = 10_000
_MAX_LISTED: Final = 1 << 20  # splits with more deals are checked at their ends only
_HARMLESS: Final = (  # what PettingZoo warns about and arenas do on purpose
    "Observation is not a NumPy array",  # it is a dict: ids, text and mask
    "Observation space for each agent probably should be",  # a dict space, for the same reason
    "Agents have different observation space sizes",  # their masks differ in length
    "Observation numpy array is all zeros",  # an agent that is not asked is shown nothing
    "State numpy array is all zeros",  # an arena need not hide anything
    "(Observation|Action mask) is a single number",  # one reply, or views of one word
)


def check_arena(factory: Callable[[], Arena], *, seed: int = 0) -> None:
    """Play the arena in every way it must bear; raises ArenaError, which says what is wrong and how to mend it.

    Args:
        factory: builds the arena, each time the same one: a class, or `lambda: make("lewis", n=3)`.
        seed: of the episodes that are played.
    """
    arena = factory()
    _check_description(arena)
    _check_anchors(arena)
    _check_deals(arena, seed)
    _check_stages(arena, seed)
    _check_bad_replies(arena, seed)
    _check_seeds(factory, seed)
    _check_pettingzoo(factory)


def transcript(arena: Arena, seed: int = 0) -> str:
    """Play one episode of uniformly random legal replies; return what was hidden, seen, replied and paid as text."""
    return "\n".join(_turns(arena, seed)) + "\n"


def _turns(arena: Arena, seed: int) -> Iterator[str]:
    draws = np.random.default_rng((seed, 1))  # not the numbers that the arena draws
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


def _require(arena: Arena, holds: bool, message: str) -> None:
    if not holds:
        raise ArenaError(f"{arena.name}: {message}")


@contextmanager
def _blame(arena: Arena, what: str, remedy: str) -> Iterator[None]:
    """Turn any exception into one sentence about the arena."""
    try:
        yield
    except Exception as error:
        if isinstance(error, ArenaError) and str(error).startswith(f"{arena.name}: "):
            raise
        raise ArenaError(f"{arena.name}: {what} raised {error!r}; {remedy}") from error


def _check_description(arena: Arena) -> None:
    cls = type(arena)
    name = str(arena.metadata.get("name", ""))
    if not re.fullmatch(r"[a-z0-9_]+_v[0-9]+", name) or name == Arena.metadata["name"]:
        raise ArenaError(f'{cls.__name__}: give it metadata = Arena.metadata | {{"name": "..._v0"}}, not {name!r}')
    _require(arena, bool((cls.__doc__ or "").strip()), f"write a docstring for {cls.__name__} that tells the rules")
    for agent in arena.possible_agents:
        named = re.fullmatch(r"[a-z]+_[0-9]+", agent) is not None
        _require(arena, named, f"name the agent {agent!r} after its role and a number, such as player_0")


def _check_anchors(arena: Arena) -> None:
    with _blame(arena, "anchors()", "it must work right after __init__, before any episode"):
        known = arena.anchors()
    for field in ("random", "silent", "full", "equilibrium"):
        score = getattr(known, field)
        if score is None and field == "equilibrium":
            continue
        _require(arena, math.isfinite(score), f"give a finite number for the anchor {field}, not {score}")
        _require(
            arena,
            score <= known.full + 1e-9,
            f"the anchor {field} = {score:g} is above full = {known.full:g}, so one is wrong",
        )


def _check_deals(arena: Arena, seed: int) -> None:
    splits = arena.splits()
    _require(arena, "train" in splits or not arena.cases, 'splits() must have a "train", from which episodes are dealt')
    owner: dict[int, str] = {}
    for split, cases in splits.items():
        _require(arena, len(cases) > 0, f"the split {split!r} is empty; leave it out")
        listed = cases if len(cases) <= _MAX_LISTED else (cases[0], cases[-1])
        for case in listed:
            _require(
                arena,
                0 <= case < arena.cases,
                f"the split {split!r} has deal {case}, not one of 0 to {arena.cases - 1}; mend splits() or cases",
            )
            _require(
                arena,
                owner.setdefault(case, split) == split,
                f"deal {case} is in the splits {owner[case]!r} and {split!r}; splits() must keep them apart",
            )
        with _blame(arena, f"a deal of the split {split!r}", "lay() must take every case of every split"):
            arena.begin(seed, split=split)
    for case in {0, arena.cases - 1} if arena.cases else ():
        with _blame(arena, f"lay({case})", f"it must take every case from 0 to {arena.cases - 1}"):
            arena.begin(seed, case=case)
            before = arena.hidden()
            arena.begin(seed, case=case)
        _require(
            arena,
            arena.hidden() == before,
            f"deal {case} with the same seed was laid in two ways; draw only from self._rng in lay()",
        )


def _check_stages(arena: Arena, seed: int) -> None:
    """Stages, views, specs and rewards, with random replies, the shortest and the longest."""
    for name in vars(arena):
        _require(arena, not callable(getattr(Arena, name, None)), f"self.{name} hides a method; name it otherwise")
    for episode in range(6):
        draws = np.random.default_rng((seed, 1 + episode))
        arena.reset(seed + episode)
        for _ in _until_done(arena):
            _check_stage(arena)
            _check_copy(arena)
            agent = arena.agent_selection
            size = arena.spec(agent).size
            with _blame(arena, f"the reply of {agent}", "resolve() must take every reply that spec() allows"):
                arena.step((0, size - 1, int(draws.integers(size)))[min(episode, 2)])
            _check_rewards(arena, arena.rewards)
        with _blame(arena, "hidden() after the end", "it is read there too, by the critic"):
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
    _require(
        arena,
        bool(acting) and acting == [agent for agent in seats if agent in acting],
        f"acting() must name at least one agent, in seat order ({', '.join(seats)}), each once, not {acting}",
    )
    _require(
        arena,
        acting == seats or not arena.metadata["is_parallelizable"],
        "is_parallelizable means that all agents reply in every stage, and they do not; set it to False in metadata",
    )
    for agent in acting:
        with _blame(arena, f"view({agent!r})", "it must work whenever acting() names the agent"):
            text = arena.view(agent)
            _require(
                arena, text == arena.view(agent), f"view({agent!r}) changes when asked twice; draw in lay() or deal()"
            )
        _check_spec(arena, agent)
        seen = arena.observe(agent)
        _require(
            arena,
            arena.observation_space(agent).contains(seen),
            f"what {agent} sees does not fit its observation space; use printable ASCII and at most 4096 characters",
        )
    with _blame(arena, "hidden()", "it must work in every stage"):
        arena.state()


def _check_copy(arena: Arena) -> None:
    """Rules that change a list in place would change it in every copy of the arena, so in every other future."""
    kept = arena.copy()
    shown = [kept.hidden(), *map(kept.view, kept.acting())]
    with suppress(Exception):  # other checks blame it
        arena.copy().advance(dict.fromkeys(arena.acting()))
    _require(
        arena,
        [kept.hidden(), *map(kept.view, kept.acting())] == shown,
        "resolve() changed a copy of the arena too; bind new values (self.said = (*self.said, word)), "
        "and do not change lists, dicts and arrays in place",
    )


def _check_spec(arena: Arena, agent: str) -> None:
    spec = arena.spec(agent)
    unknown = set(spec.alphabet).difference(arena.vocabulary)
    _require(
        arena,
        not unknown and spec.size <= int(arena.action_space(agent).n),
        f"spec({agent!r}) is larger than what __init__ was told; name every spec it may return in `replies`",
    )
    again = from_wire(json.loads(json.dumps(spec.wire)))
    _require(arena, again == spec, f"spec({agent!r}) changes on the wire; build it from say, choose, fill or ReplySpec")


def _check_rewards(arena: Arena, rewards: dict[str, float]) -> None:
    for agent, reward in rewards.items():
        _require(
            arena, agent in arena.possible_agents, f"resolve() paid {agent!r}, who is no agent of it; mend its rewards"
        )
        _require(arena, math.isfinite(reward), f"resolve() paid {agent} {reward}; make every reward a finite number")


def _check_bad_replies(arena: Arena, seed: int) -> None:
    """No reply, illegal ones and actions out of range must be borne: a model will send them."""
    for episode in range(4):
        draws = np.random.default_rng((seed, 1 + episode))
        arena.begin(seed)
        for _ in range(MAX_TURNS):
            specs = {agent: arena.spec(agent) for agent in arena.acting()}
            replies: dict[str, Words | None] = {
                agent: spec.words(int(draws.integers(spec.size))) if episode and draws.random() < 0.5 else None
                for agent, spec in specs.items()
            }
            with _blame(arena, f"advance({replies})", "resolve() must take a default reply, for one that was missing"):
                outcome = arena.advance(replies)
            _check_rewards(arena, dict(outcome.rewards))
            if outcome.done:
                break
        arena.reset(seed)
        for turn in _until_done(arena):
            largest = int(arena.action_space(arena.agent_selection).n)
            action: int | None = (int(draws.integers(largest)), largest, -1, None)[(turn + episode) % 4]
            with _blame(arena, f"step({action})", "an illegal action must count as no reply"):
                arena.step(action)


def _check_seeds(factory: Callable[[], Arena], seed: int) -> None:
    """The seed decides the episode: not the instance, its past, or what other instances draw meanwhile."""
    used, other = factory(), factory()
    elsewhere = chain.from_iterable(_turns(other, seed + 1 + n) for n in count())
    for number in range(seed, seed + 5):
        alone = transcript(factory(), number)
        _require(
            used,
            alone == transcript(factory(), number),
            f"the seed {number} gave two different episodes; draw only from the rng that deal() is given, or self._rng",
        )
        together = []
        for line in _turns(used, number):
            together.append(line)
            next(elsewhere)
        _require(
            used,
            transcript(used, number) == alone,
            f"the seed {number} gave another episode in a used arena; set everything anew in deal() or lay()",
        )
        _require(
            used,
            "\n".join(together) + "\n" == alone,
            f"the seed {number} gave another episode beside a second arena; share no state and no global random",
        )


def _check_pettingzoo(factory: Callable[[], Arena]) -> None:
    """PettingZoo's own suites, silent, with every warning an error but those that arenas cause on purpose."""
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
            with _blame(
                arena, f"PettingZoo's {name}", "mend what it names: it is what every PettingZoo user relies on"
            ):
                suite()
