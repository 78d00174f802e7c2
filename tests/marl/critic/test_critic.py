"""What the critic sees of an episode, and when."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from marl.critic.critic import Critic
from marl.critic.reading import table
from marl.critic.tiny import tiny_critic
from marl.episode import Episode, Stop
from marl.errors import UserError
from marl.models.gpt2 import states_at
from marl.rollout.collect import collect
from marl.rollout.replay import replay
from marl.scenario.world import World
from protocols.envelope import Kind
from protocols.log import Entry, Heard
from tests.marl.worlds import WORLDS, played, seated, world

everywhere = pytest.mark.parametrize("name", WORLDS)
scopes = pytest.mark.parametrize("scope", ["central", "own"])


def critic_for(here: World, scope: Any, context: int = 1024) -> Critic:
    critic = tiny_critic(
        here.agents, here.vocabulary, scope=scope, width=16, layers=2, heads=2, context=context, seed=4
    )
    torch.nn.init.normal_(critic.network.get_parameter("head.weight"), generator=torch.Generator().manual_seed(1))
    return critic


def double(critic: Critic) -> Critic:
    critic.network.double()
    return critic


def values(critic: Critic, episode: Episode) -> NDArray[np.float64]:
    """[decisions + 1, agents]"""
    with torch.no_grad():
        reading, predicted = critic.predict([episode])
    rows = table(reading, predicted, 1, len(episode.turns) + 1, len(episode.agents))
    return rows.reshape(rows.shape[1:])


def other(words: str, vocabulary: tuple[str, ...], agents: tuple[str, ...]) -> str:
    """As many words, none of them the same."""
    plain = [word for word in vocabulary if word not in (":", *agents)]
    sets = [plain if word in plain else list(agents) for word in words.split()]
    return " ".join(
        among[(among.index(word) + 1) % len(among)] for word, among in zip(words.split(), sets, strict=True)
    )


def altered(here: World, episode: Episode, chosen: Any) -> Episode:
    """The episode with other words in the chosen entries, as said and as heard."""
    entries = []
    for envelope, heard in episode.log.entries:
        if chosen(envelope) and envelope.kind is not Kind.END:
            words = (here.vocabulary, here.agents)
            envelope = envelope._replace(body=other(envelope.body, *words))
            heard = tuple(Heard(h.to, h.time, h.body and other(h.body, *words)) for h in heard)
        entries.append(Entry(envelope, heard))
    return replace(episode, log=replace(episode.log, entries=entries))


def sample(name: str, count: int = 1) -> tuple[World, list[Episode]]:
    here = world(**WORLDS[name])
    return here, played(here, seated(here), count)


@everywhere
@scopes
def test_a_value_depends_on_nothing_that_came_later(name: str, scope: str) -> None:
    here, episodes = sample(name, 2)
    critic = double(critic_for(here, scope))
    for episode in episodes:
        before = values(critic, episode)
        for slot, turn in enumerate(episode.turns):
            after = values(critic, altered(here, episode, lambda e, seq=turn.seq: e.seq >= seq))
            np.testing.assert_allclose(after[: slot + 1], before[: slot + 1], atol=1e-12)
            said = episode.log.entries[turn.seq].envelope.body
            if slot + 1 < len(episode.turns) and scope == "central" and said:
                assert not np.allclose(after[slot + 1], before[slot + 1], atol=1e-4)


@pytest.mark.parametrize("do", ["swap", "inject", "drop"])
@scopes
def test_the_critic_sees_what_listeners_were_told_and_not_before_they_were(do: str, scope: str) -> None:
    settings = {
        "swap": {"type": "swap", "round": 2, "sender": "a_0", "seat": "b_0"},
        "inject": {"type": "inject", "round": 2, "sender": "a_0", "body": "m0"},
        "drop": {"type": "drop", "round": 2},
    }
    here, (plain,) = sample("chat")
    (changed,) = collect(world(**WORLDS["chat"], interventions=[settings[do]]), [replay(plain.log)])
    critic = double(critic_for(here, scope))
    before, after = values(critic, plain), values(critic, changed)
    first = next(slot for slot, turn in enumerate(plain.turns) if turn.stage == 2)
    np.testing.assert_allclose(after[:first], before[:first], atol=1e-12)
    for agent in (0, 2) if do == "drop" else (2,):  # b_0 is not fooled about its own name
        assert not np.allclose(after[-2, agent], before[-2, agent], atol=1e-5)


@everywhere
def test_the_central_critic_sees_whatever_came_before(name: str) -> None:
    here, (episode,) = sample(name)
    critic = critic_for(here, "central")
    before = values(critic, episode)
    last = episode.turns[-1].seq
    for seq, (envelope, _) in enumerate(episode.log.entries[:last]):
        if envelope.kind is Kind.REWARD or not envelope.body:
            continue
        after = values(critic, altered(here, episode, lambda e, seq=seq: e.seq == seq))
        assert not np.allclose(after[len(episode.turns) - 1], before[len(episode.turns) - 1], atol=1e-6)


@everywhere
def test_the_hidden_state_is_for_the_central_critic_alone(name: str) -> None:
    here, (episode,) = sample(name)
    changed = altered(here, episode, lambda e: e.kind is Kind.WORLD)
    for scope, blind in (("central", False), ("own", True)):
        critic = critic_for(here, scope)
        assert np.allclose(values(critic, changed), values(critic, episode), atol=1e-6) is blind


def test_an_agents_own_critic_sees_what_the_agent_heard_and_not_what_was_lost() -> None:
    here, episodes = sample("chat, all effects", 6)
    critic = critic_for(here, "own")
    lost = got = 0
    for episode in episodes:
        before = values(critic, episode)
        for seq, (envelope, heard) in enumerate(episode.log.entries):
            if envelope.kind is not Kind.SAY:
                continue
            after = values(critic, altered(here, episode, lambda e, seq=seq: e.seq == seq))
            for h in heard:
                i = here.agents.index(h.to)
                same = np.allclose(after[:, i], before[:, i], atol=1e-6)
                if h.body is None:
                    assert same
                    lost += 1
                got += not same
    assert lost > 3
    assert got > 3


def test_what_an_agent_heard_changes_its_own_value_only_when_it_heard_it() -> None:
    """A message that is on its way is known to the central critic and not to the listener's own."""
    here = world(arena={"rounds": 1}, channel=[{"type": "delay", "seconds": 5.0}], latency={"constant": 1.0})
    (episode,) = played(here, seated(here), 1)
    changed = altered(here, episode, lambda e: e.seq == episode.turns[0].seq)
    own, central = critic_for(here, "own"), critic_for(here, "central")
    decided = [(slot, here.agents.index(turn.agent)) for slot, turn in enumerate(episode.turns) if turn.agent != "a_0"]
    for slot, i in decided:
        assert values(own, changed)[slot, i] == pytest.approx(values(own, episode)[slot, i], abs=1e-6)
    assert not np.allclose(values(central, changed)[1], values(central, episode)[1], atol=1e-4)


@scopes
def test_a_batch_gives_what_each_alone_gives_and_padding_adds_nothing(scope: str) -> None:
    here = world(**WORLDS["chat with a deadline"])
    episodes = [*played(here, seated(here), 5), *played(world(arena={"rounds": 1}), seated(here), 2)]
    critic = critic_for(here, scope)
    slots = max(len(e.turns) for e in episodes) + 1
    with torch.no_grad():
        reading, predicted = critic.predict(episodes)
        longer = reading._replace(ids=torch.nn.functional.pad(reading.ids, (0, 30)))
        torch.testing.assert_close(critic(longer), predicted)
    together = table(reading, predicted, len(episodes), slots, 3)
    for row, episode in zip(together, episodes, strict=True):
        alone = values(critic, episode)
        np.testing.assert_allclose(row[: len(alone)], alone, atol=1e-5)
        assert (row[len(alone) :] == 0).all()


@scopes
def test_a_part_of_what_was_read_is_what_is_read_of_a_part(scope: str) -> None:
    here, episodes = sample("chat, all effects", 7)
    critic = critic_for(here, scope)
    chosen = [5, 0, 3]
    some = [episodes[i] for i in chosen]
    shape = (len(some), max(len(episode.turns) for episode in episodes) + 1, len(here.agents))
    reading = critic.read(episodes).of(torch.tensor(chosen))
    apart = critic.predict(some)
    assert np.allclose(table(reading, critic(reading), *shape), table(*apart, *shape), atol=1e-5)
    assert np.abs(table(*apart, *shape)).sum() > 0
    assert reading.ids.shape == apart[0].ids.shape


@scopes
def test_one_pass_gives_every_value_of_every_episode(scope: str, monkeypatch: pytest.MonkeyPatch) -> None:
    here, episodes = sample("chat with a deadline", 3)
    critic = critic_for(here, scope)
    passes = []

    def counting(*inputs: Any) -> Any:
        passes.append(1)
        return states_at(*inputs)

    monkeypatch.setattr("marl.critic.tiny.states_at", counting)
    reading, predicted = critic.predict(episodes)
    assert len(passes) == 1
    assert len(predicted) == sum(len(e.turns) + 1 for e in episodes) * len(here.agents)  # cut off, so with a last value
    assert len({*zip(*(t.tolist() for t in (reading.episode, reading.slot, reading.agent)), strict=True)}) == len(
        predicted
    )


def test_the_end_of_an_episode_has_a_value_only_if_its_rules_would_have_gone_on() -> None:
    for truncated in (False, True):
        here = world(arena={"rounds": 1, "truncated": truncated})
        (episode,) = played(here, seated(here), 1)
        assert episode.stop is (Stop.TRUNCATED if truncated else Stop.TERMINATED)
        assert (values(critic_for(here, "central"), episode)[-1] != 0).all() == truncated


@scopes
def test_a_log_that_outgrows_the_context_keeps_its_end(scope: str) -> None:
    here = world(arena={"rounds": 4, "players": 2})
    (episode,) = played(here, seated(here), 1)
    critic = critic_for(here, scope, context=40)
    before = values(critic, episode)
    last = len(episode.turns) - 1
    recent = [t.seq for t in episode.turns if t.agent == episode.turns[last].agent][-2]
    early = values(critic, altered(here, episode, lambda e: e.seq <= episode.turns[1].seq))
    late = values(critic, altered(here, episode, lambda e: e.seq == recent))
    np.testing.assert_allclose(early[last], before[last], atol=1e-6)
    assert not np.allclose(late[last], before[last], atol=1e-4)
    for slot, turn in enumerate(episode.turns):  # a decision that was cut off must not be valued by what followed it
        after = values(critic, altered(here, episode, lambda e, seq=turn.seq: e.seq >= seq))
        np.testing.assert_allclose(after[slot], before[slot], atol=1e-6)


@scopes
def test_the_gradient_of_a_late_value_reaches_an_early_word(scope: str) -> None:
    here = world("lewis")
    (episode,) = played(here, seated(here), 1)
    critic = critic_for(here, scope)
    reading, predicted = critic.predict([episode])
    receiver = (reading.slot == 1) & (reading.agent == 1)
    predicted[receiver].sum().backward()  # type: ignore[no-untyped-call]
    gradient = critic.network.get_parameter("trunk.wte.weight").grad
    assert gradient is not None
    hidden = episode.log.entries[0].envelope.body.split()[1]
    (state,), (message,) = critic.reader.encode(hidden), critic.reader.encode(episode.turns[0].sample.text)
    assert float(gradient[message].abs().sum()) > 0
    assert (float(gradient[state].abs().sum()) > 0) == (scope == "central")


def test_a_new_critic_expects_nothing_and_its_weights_depend_on_the_seed_alone() -> None:
    here, (episode,) = sample("lewis")

    def make(seed: int) -> Critic:
        words = here.vocabulary
        return tiny_critic(here.agents, words, scope="central", width=16, layers=1, heads=2, context=64, seed=seed)

    assert (values(make(1), episode) == 0).all()
    torch.manual_seed(3)
    one = make(1)
    torch.manual_seed(4)
    again, another = make(1), make(2)
    assert all(torch.equal(a, b) for a, b in zip(one.network.parameters(), again.network.parameters(), strict=True))
    assert any(
        not torch.equal(a, b) for a, b in zip(one.network.parameters(), another.network.parameters(), strict=True)
    )


def test_a_word_that_the_critic_does_not_know_is_a_users_error() -> None:
    _, (episode,) = sample("lewis")
    with pytest.raises(UserError, match="made for another arena"):
        critic_for(world("matrix"), "central").read([episode])


def test_a_checkpoint_keeps_its_names() -> None:
    """Files of older versions hold these names; `critic.safetensors` must load."""
    here = world("lewis")
    layer = ["ln_1.weight", "ln_1.bias", "attn.c_attn.weight", "attn.c_attn.bias", "attn.c_proj.weight"]
    layer += ["attn.c_proj.bias", "ln_2.weight", "ln_2.bias", "mlp.c_fc.weight", "mlp.c_fc.bias"]
    layer += ["mlp.c_proj.weight", "mlp.c_proj.bias"]
    trunk = ["trunk.wte.weight", "trunk.wpe.weight", *(f"trunk.h.{i}.{name}" for i in (0, 1) for name in layer)]
    names = [*trunk, "trunk.ln_f.weight", "trunk.ln_f.bias", "head.weight", "head.bias"]
    assert list(critic_for(here, "central").network.state_dict()) == names
