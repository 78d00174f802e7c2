"""Floors: who is asked when within a stage, and which replies the arena gets."""

from __future__ import annotations

from collections.abc import Sequence

from arenas.spec import ReplySpec, Words, choose
from marl.rollout.asides import ask_asides, final_request
from marl.rollout.exchange import Exchange
from marl.rollout.turn_request import TurnRequest
from protocols.floor import CALL, DONE, Floor, Free, Moderator

Replies = dict[str, Words | None]
"""Agent -> its reply to the arena; None if it gave no legal one."""


async def play_stage(exchange: Exchange) -> Replies:
    """Ask all agents that act in this stage, in the order of the scenario's floor."""
    floor = exchange.world.scenario.floor
    acting = exchange.arena.acting()
    if isinstance(floor, Floor):
        groups = floor.turns(acting)
    elif any(exchange.arena.spec(agent).kind != "say" for agent in acting):
        groups = Floor.SIMULTANEOUS.turns(acting)
    elif isinstance(floor, Free):
        return await (_auction(exchange, floor, acting) if floor.bids else _free_talk(exchange, floor, acting))
    elif floor.seat:
        return await _moderated(exchange, floor, acting)
    else:
        order = floor.order(acting, exchange.log.seed, exchange.log.episode, exchange.stage)
        groups = tuple((agent,) for agent in order)
    if len(groups) == 1:
        return await _ask_group(exchange, groups[0])
    replies: Replies = {}
    for group in groups:
        replies |= await _ask_group(exchange, group)
    return replies


async def _ask_group(exchange: Exchange, group: Sequence[str]) -> Replies:
    """Ask agents at the same time, after their asides."""
    world, arena = exchange.world, exchange.arena
    own = {agent: arena.spec(agent) for agent in group}
    if world.notes or world.box.configs:
        views = await ask_asides(exchange, group)
        requests = {agent: final_request(world.reply_spec(agent, own[agent]), view) for agent, view in views.items()}
    else:
        requests = {agent: TurnRequest(world.reply_spec(agent, spec), arena.view(agent)) for agent, spec in own.items()}
    replies = await exchange.ask(requests)
    for agent, request in requests.items():
        words = replies[agent]
        if words is not None and request.spec is not own[agent]:  # the arena does not learn the channel
            replies[agent] = request.spec.route(words)[1]
    return replies


def _spec(exchange: Exchange, agent: str) -> ReplySpec:
    return exchange.world.reply_spec(agent, exchange.arena.spec(agent))


def _for_arena(exchange: Exchange, agent: str, words: Words) -> Words:
    """Return a reply as the arena gets it: without the name of the channel."""
    own = exchange.arena.spec(agent)
    spec = exchange.world.reply_spec(agent, own)
    return words if spec is own else spec.route(words)[1]


async def _moderated(exchange: Exchange, floor: Moderator, acting: tuple[str, ...]) -> Replies:
    """Let the moderator call one speaker after another."""
    replies: Replies = dict.fromkeys(acting)
    waiting = list(acting)
    while waiting:
        request = TurnRequest(choose((*waiting, DONE)), " ".join([CALL, *waiting]))
        called = (await exchange.ask({floor.seat: request}))[floor.seat] or request.spec.default
        if called == (DONE,):
            break
        replies |= await _ask_group(exchange, called)
        waiting.remove(called[0])
    return replies


def _optional_request(exchange: Exchange, floor: Free, agent: str, speaking_cost: float) -> TurnRequest:
    """Return a request that the agent may answer with silence."""
    return TurnRequest(
        exchange.world.or_silent(_spec(exchange, agent)),
        exchange.arena.view(agent),
        optional=True,
        speaking_cost=speaking_cost,
        silence_cost=floor.silence,
    )


async def _free_talk(exchange: Exchange, floor: Free, acting: tuple[str, ...]) -> Replies:
    """Ask agents whenever they received something new; the arena gets the last message of each."""
    replies: Replies = dict.fromkeys(acting)
    requests = {agent: _optional_request(exchange, floor, agent, floor.speaking) for agent in acting}
    agents: dict[int, str] = {}  # seq of a view without a reply -> agent
    deadlines: dict[int, float | None] = {}
    messages = 0
    exchange.deliver()
    to_ask: Sequence[str] = acting
    while True:
        for agent in to_ask:
            seq = exchange.show(agent, requests[agent])
            agents[seq], deadlines[seq] = agent, exchange.reply_deadline()
        if agents:
            envelopes = await exchange.next_replies(agents, deadlines)
        elif messages < floor.limit and await exchange.wait():
            envelopes = {}
        else:
            return replies
        views = {agent: seq for seq, agent in agents.items()}
        for agent in (agent for agent in acting if agent in envelopes):
            del agents[views[agent]], deadlines[views[agent]]
            words = exchange.accept(agent, requests[agent], envelopes[agent])
            if words:
                replies[agent] = _for_arena(exchange, agent, words)
                messages += 1
        exchange.deliver()
        waiting = set(agents.values())
        to_ask = [a for a in acting if a not in waiting and exchange.has_news(a)] if messages < floor.limit else []


async def _auction(exchange: Exchange, floor: Free, acting: tuple[str, ...]) -> Replies:
    """Let all agents bid for the next message, until nobody bids; the winner may speak."""
    replies: Replies = dict.fromkeys(acting)
    bid = TurnRequest(choose(floor.levels), CALL)
    seed, episode = exchange.log.seed, exchange.log.episode
    for turn in range(floor.limit):
        answers = await exchange.ask(dict.fromkeys(acting, bid))
        bids = {agent: floor.levels.index(words[0]) for agent, words in answers.items() if words}
        winner = floor.winner(bids, seed, episode, exchange.stage, turn)
        if winner is None:
            break
        request = _optional_request(exchange, floor, winner, bids[winner] * floor.speaking)
        words = (await exchange.ask({winner: request}))[winner]
        if words:
            replies[winner] = _for_arena(exchange, winner, words)
    return replies
