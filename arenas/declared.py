"""What an arena declares about itself, checked before it is played: description, anchors, deals and their splits."""

from __future__ import annotations

import math
import re
from typing import Final

from arenas.complaint import blame, require
from arenas.core import Arena
from arenas.errors import ArenaError

_MAX_LISTED: Final = 1 << 20  # splits with more deals are checked at their ends only


def check_description(arena: Arena) -> None:
    """Name, rules in words, and names of the seats."""
    cls = type(arena)
    name = str(arena.metadata.get("name", ""))
    if not re.fullmatch(r"[a-z0-9_]+_v[0-9]+", name) or name == Arena.metadata["name"]:
        raise ArenaError(f'{cls.__name__}: give it metadata = Arena.metadata | {{"name": "..._v0"}}, not {name!r}')
    require(arena, bool((cls.__doc__ or "").strip()), f"write a docstring for {cls.__name__} that tells the rules")
    for agent in arena.possible_agents:
        named = re.fullmatch(r"[a-z]+_[0-9]+", agent) is not None
        require(arena, named, f"name the agent {agent!r} after its role and a number, such as player_0")


def check_anchors(arena: Arena) -> None:
    """The known scores are numbers, and none is above the optimum."""
    with blame(arena, "anchors()", "it must work right after __init__, before any episode"):
        known = arena.anchors()
    for field in ("random", "silent", "full", "equilibrium"):
        score = getattr(known, field)
        if score is None:
            continue  # not known
        require(arena, math.isfinite(score), f"give a finite number for the anchor {field}, not {score}")
        require(
            arena,
            known.full is None or score <= known.full + 1e-9,
            f"the anchor {field} = {score:g} is above full = {known.full}, so one is wrong",
        )


def check_deals(arena: Arena, seed: int) -> None:
    """Numbered deals can be laid, each in one way, and each is in one split."""
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
                f"the split {split!r} has deal {case}, not one of 0 to {arena.cases - 1}; mend splits() or cases",
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
