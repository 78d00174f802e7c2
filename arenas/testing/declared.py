"""Checks of an arena's declarations: description, anchors, deals and their splits, scripts."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Final

from arenas.core import Arena
from arenas.errors import ArenaError
from arenas.solvers.exact import expected_returns
from arenas.solvers.play import play
from arenas.spec import PUBLIC
from arenas.testing.complaint import blame, lacking, require

SCRIPTS: Final = ("silent", "best", "full", "equilibrium")
"""The names that scripts may have."""
_COUNTED: Final = 100  # deals of a split over which scripts are averaged exactly
_MAX_LISTED: Final = 1 << 20  # splits with more deals are checked at their ends only


def build(factory: Callable[[], Arena]) -> Arena:
    """Build the arena; raises ArenaError if its class lacks methods or its __init__ fails."""
    try:
        arena = factory()
    except ArenaError:
        raise
    except Exception as error:
        if isinstance(factory, type) and (missing := lacking(factory)):
            raise ArenaError(f"{factory.__name__} lacks {missing}: write what is missing") from error
        name = getattr(factory, "__name__", "the arena")
        raise ArenaError(f"{name}: __init__ raised {error!r}; it must work without arguments") from error
    if not isinstance(arena, Arena):
        raise ArenaError(f"check_arena needs what builds an Arena, and this built a {type(arena).__name__}")
    if missing := lacking(type(arena)):
        raise ArenaError(f"{type(arena).__name__} lacks {missing}: write what is missing")
    if "possible_agents" not in vars(arena):
        raise ArenaError(f"{type(arena).__name__}: __init__ must call super().__init__ with the seats' reply specs")
    return arena


def check_description(arena: Arena) -> None:
    """Check name, rules, seats, words and channels."""
    cls = type(arena)
    name = str(arena.metadata.get("name", ""))
    if not re.fullmatch(r"[a-z0-9_]+_v[0-9]+", name) or name == Arena.metadata["name"]:
        raise ArenaError(f'{cls.__name__}: give it metadata = Arena.metadata | {{"name": "..._v0"}}, not {name!r}')
    require(arena, bool(arena.rules.strip()), f'give {cls.__name__} rules in words: rules = """..."""')
    for agent in arena.possible_agents:
        named = re.fullmatch(r"[a-z]+_[0-9]+", agent) is not None
        require(arena, named, f"name the agent {agent!r} after its role and a number, such as player_0")
    require(
        arena,
        not isinstance(arena.tags, str),
        f'tags must be a tuple of words, such as ("cooperative",), not {arena.tags!r}',
    )
    for word in arena.vocabulary:
        require(arena, word.split() == [word], f"{word!r} among its words is not one word; list each by itself")
    _check_channels(arena)


def _check_channels(arena: Arena) -> None:
    """Check that members of channels are agents, and that speakers on a channel are members."""
    for name, members in arena.channels.items():
        for member in members:
            require(
                arena,
                member in arena.possible_agents,
                f"the channel {name} has the member {member!r}, who is not an agent; "
                f"choose from {', '.join(arena.possible_agents)}",
            )
    for agent, specs in arena.replies.items():
        for name in dict.fromkeys(name for spec in specs for name in spec.channels if name != PUBLIC):
            require(
                arena,
                agent in arena.channels.get(name, ()),
                f"{agent} speaks on the channel {name} and is not a member; name it in channels={{{name!r}: (...)}}",
            )


def check_anchors(arena: Arena) -> None:
    """Check that the anchors are finite numbers, and that none is above the optimum."""
    with blame(arena, "anchors()", "it must work right after __init__, before any episode"):
        anchors = arena.anchors()
    for field in ("random", "silent", "full", "equilibrium"):
        score = getattr(anchors, field)
        if score is None:
            continue  # not known
        require(arena, math.isfinite(score), f"give a finite number for the anchor {field}, not {score}")
        require(
            arena,
            anchors.full is None or score <= anchors.full + 1e-9,
            f"the anchor {field} = {score:g} is above full = {anchors.full}, so one is wrong",
        )
    if anchors.values is not None:
        seats = len(arena.possible_agents)
        require(
            arena,
            len(anchors.values) == seats and all(map(math.isfinite, anchors.values)),
            f"the anchors' values are one finite number for each of the {seats} seats, not {anchors.values}",
        )


def check_deals(arena: Arena, seed: int) -> None:
    """Check that each numbered deal can be laid in one way, and is in one split."""
    splits = arena.splits()
    require(arena, "train" in splits or not arena.cases, 'splits() must have a "train", from which episodes are dealt')
    owner: dict[int, str] = {}
    for split, cases in splits.items():
        require(arena, len(cases) > 0, f"the split {split!r} is empty; leave it out")
        listed = cases if len(cases) <= _MAX_LISTED else (cases[0], cases[-1])
        for case in listed:
            require(
                arena,
                0 <= case < arena.cases,
                f"the split {split!r} has deal {case}, not one of 0 to {arena.cases - 1}; fix splits() or cases",
            )
            require(
                arena,
                owner.setdefault(case, split) == split,
                f"deal {case} is in the splits {owner[case]!r} and {split!r}; splits() must keep them apart",
            )
        with blame(arena, f"a deal of the split {split!r}", "lay() must take every case of every split"):
            arena.begin(seed, split=split)
    for case in {0, arena.cases - 1} if arena.cases else ():
        with blame(arena, f"lay({case})", f"it must take every case from 0 to {arena.cases - 1}"):
            arena.begin(seed, case=case)
            before = arena.hidden()
            arena.begin(seed, case=case)
        require(
            arena,
            arena.hidden() == before,
            f"deal {case} with the same seed was laid in two ways; draw only from self._rng in lay()",
        )


def check_scripts(arena: Arena, seed: int) -> None:
    """Check that scripts play whole episodes, and that those named like an anchor attain it.

    The score is checked only where it can be averaged exactly over few deals. For the others see
    tests/arenas/testing/test_arena_scripts.py.
    """
    with blame(arena, "scripts()", "it must work right after __init__, before any episode"):
        scripts = dict(arena.scripts())
        anchors = arena.anchors()
    for name, script in scripts.items():
        require(arena, name in SCRIPTS, f"a script is named one of {', '.join(SCRIPTS)}, not {name!r}")
        everyone = dict.fromkeys(arena.possible_agents, script)
        for episode in range(3):
            with blame(arena, f"the script {name!r}", "it must reply to every Memory that the rules lead to"):
                play(arena, everyone, seed + episode)
        if name == "best" or not 0 < len(arena.splits().get("train", ())) <= _COUNTED:
            continue
        try:
            returns = expected_returns(arena, everyone)
        except ArenaError:  # the arena draws beside its numbered deals
            continue
        score, anchor = sum(returns.values()) / len(returns), getattr(anchors, name)
        require(
            arena,
            anchor is not None and abs(score - anchor) <= 1e-9 + 1e-6 * abs(score),
            f"the script {name!r} scores {score:g} on average, and the anchor {name} is {anchor}; fix one of them",
        )
