"""A stage of the arena on its floor: who is asked when, and what the arena gets in the end."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from arenas.spec import ReplySpec, Words, choose
from marl.rollout import asides
from marl.rollout.asides import Question
from protocols.floor import CALL, DONE, Floor, Free, Moderator

if TYPE_CHECKING:
    from marl.rollout.referee import Referee

Replies = dict[str, Words | None]


def hold(referee: Referee) -> Coroutine[Any, Any, Replies]:
    """Ask everyone who acts in this stage as the floor has it, and return a reply of each; None if it gave none."""
    floor = referee.world.scenario.floor
    acting = referee.arena.acting()
    if isinstance(floor, Floor):
        groups = floor.turns(acting)
    elif any(referee.arena.spec(agent).kind != "say" for agent in acting):
        groups = Floor.SIMULTANEOUS.turns(acting)
    elif isinstance(floor, Free):
        return _auctions(referee, floor, acting) if floor.bids else _free(referee, floor, acting)
    elif floor.seat:
        return _moderated(referee, floor, acting)
    else:
        drawn = floor.order(acting, referee.log.seed, referee.log.episode, referee.stage)
        groups = tuple((agent,) for agent in drawn)
    return _round(referee, groups[0]) if len(groups) == 1 else _rounds(referee, groups)


async def _rounds(referee: Referee, groups: Sequence[Sequence[str]]) -> Replies:
    """Ask one group after another."""
    replies: Replies = {}
    for group in groups:
        replies |= await _round(referee, group)
    return replies


async def _round(referee: Referee, group: Sequence[str]) -> Replies:
    """Ask a group at once."""
    world, arena = referee.world, referee.arena
    own = {agent: arena.spec(agent) for agent in group}
    if world.notes or world.box.configs:
        views = await asides.hold(referee, group)
        questions = {agent: asides.last(world.reply_spec(agent, own[agent]), view) for agent, view in views.items()}
    else:
        questions = {agent: Question(world.reply_spec(agent, spec), arena.view(agent)) for agent, spec in own.items()}
    replies = await referee.ask(questions)
    for agent, question in questions.items():
        words = replies[agent]
        if words is not None and question.spec is not own[agent]:  # the arena does not hear on which channel
            replies[agent] = question.spec.route(words)[1]
    return replies


def _spec(referee: Referee, agent: str) -> ReplySpec:
    return referee.world.reply_spec(agent, referee.arena.spec(agent))


def _for_arena(referee: Referee, agent: str, words: Words | None) -> Words | None:
    """Return a reply as the arena asked for it: it does not hear on which of the scenario's channels it was said."""
    own = referee.arena.spec(agent)
    spec = referee.world.reply_spec(agent, own)
    return words if words is None or spec is own else spec.route(words)[1]


async def _moderated(referee: Referee, floor: Moderator, acting: tuple[str, ...]) -> Replies:
    """Let the moderator call one speaker after another."""
    replies: Replies = dict.fromkeys(acting)
    waiting = list(acting)
    while waiting:
        call = Question(choose((*waiting, DONE)), " ".join([CALL, *waiting]))
        called = (await referee.ask({floor.seat: call}))[floor.seat] or call.spec.default
        if called == (DONE,):
            break
        replies |= await _round(referee, called)
        waiting.remove(called[0])
    return replies


def _freely(referee: Referee, floor: Free, agent: str) -> Question:
    """Return the question that an agent is asked on a free floor: it may also stay silent."""
    spec = referee.world.or_silent(_spec(referee, agent))
    return Question(spec, referee.arena.view(agent), free=True, speaking=floor.speaking, silence=floor.silence)


async def _free(referee: Referee, floor: Free, acting: tuple[str, ...]) -> Replies:
    """Ask whoever has heard something new, until nobody has; the arena gets the last thing each one said."""
    replies: Replies = dict.fromkeys(acting)
    questions = {agent: _freely(referee, floor, agent) for agent in acting}
    asked: dict[int, str] = {}
    until: dict[int, float | None] = {}
    said = 0
    referee.deliver()
    curious: Sequence[str] = acting
    while True:
        for agent in curious:
            place = referee.show(agent, questions[agent])
            asked[place], until[place] = agent, referee.patience()
        if asked:
            came = await referee.instant(asked, until)
        elif said < floor.limit and await referee.wait():
            came = {}
        else:
            return replies
        places = {agent: place for place, agent in asked.items()}
        for agent in (agent for agent in acting if agent in came):
            del asked[places[agent]], until[places[agent]]
            words = referee.accept(agent, questions[agent], came[agent])
            if words:
                replies[agent] = _for_arena(referee, agent, words)
                said += 1
        referee.deliver()
        waiting = set(asked.values())
        curious = [a for a in acting if a not in waiting and referee.news(a)] if said < floor.limit else []


async def _auctions(referee: Referee, floor: Free, acting: tuple[str, ...]) -> Replies:
    """Let all bid for the floor again and again, until nobody does; who wins it may speak."""
    replies: Replies = dict.fromkeys(acting)
    bid = Question(choose(floor.levels), CALL)
    seed, episode = referee.log.seed, referee.log.episode
    for turn in range(floor.limit):
        given = await referee.ask(dict.fromkeys(acting, bid))
        bids = {agent: floor.levels.index(words[0]) for agent, words in given.items() if words}
        winner = floor.winner(bids, seed, episode, referee.stage, turn)
        if winner is None:
            break
        question = _freely(referee, floor, winner)._replace(speaking=bids[winner] * floor.speaking)
        words = (await referee.ask({winner: question}))[winner]
        if words:
            replies[winner] = _for_arena(referee, winner, words)
    return replies
