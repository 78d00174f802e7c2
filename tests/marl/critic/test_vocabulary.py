"""Words that agents say may be any; those that the arena shows may not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from arenas.spec import UNKNOWN
from marl.context.transcript import PAD
from marl.critic.tiny import tiny_critic
from marl.critic.vocabulary import Vocabulary
from marl.episode import Episode, Sample
from marl.errors import UserError
from protocols.log import Entry
from tests.marl.worlds import played, seated, world
from tests.trainers.games import policies


def test_unknown_words() -> None:
    vocabulary = Vocabulary(["a_0"], ["m0", "m1"])
    m0, pad = vocabulary.index["m0"], vocabulary.index[PAD]
    assert vocabulary.encode("m0 <move> <pad>", True) == [m0, pad, pad]
    for said in (False, True):
        with pytest.raises(UserError, match="the critic does not know the word 'zzz': it was made for another arena"):
            vocabulary.encode("m0 zzz", said)
    assert Vocabulary(["a_0"], ["m0", UNKNOWN]).encode("zzz m0", True)[0] == len(vocabulary) - 1


@pytest.mark.parametrize("text", ["zzz", "m0 zzz <move>", "\u200d", "", "m0 m1 m2 m3 m0"])
def test_an_illegal_reply_is_read_word_by_word(text: str) -> None:
    here = world("chat")
    (episode,) = played(here, seated(here, *policies(here, 1).values()), 1)
    critic = tiny_critic(
        here.agents, here.vocabulary, scope="central", width=16, layers=1, heads=2, context=512, seed=4
    )
    length = critic.read([with_illegal(episode, "")]).ids.shape[1]
    assert critic.read([with_illegal(episode, text)]).ids.shape[1] == length + min(len(text.split()), 3)


def with_illegal(episode: Episode, text: str) -> Episode:
    """The episode with an illegal reply in place of its first one."""
    first = episode.turns[0]
    turn = first._replace(legal=False, words=first.spec.default, sample=Sample(text))
    envelope = episode.log.entries[turn.seq].envelope
    envelope = envelope._replace(body=text, to="", data={"seen": envelope.data["seen"], "legal": False})
    entries = list(episode.log.entries)
    entries[turn.seq] = Entry(envelope)
    return replace(episode, log=replace(episode.log, entries=entries), turns=(turn, *episode.turns[1:]))


@pytest.mark.parametrize("scope", ["central", "joint", "own"])
@pytest.mark.parametrize("inside", [False, True])
def test_a_long_illegal_reply_takes_no_more_room_than_a_legal_one(scope: Any, inside: bool) -> None:
    """Else it would push what others said out of the critic's context, and fill its memory."""
    here = world("chat")
    (episode,) = played(here, seated(here, *policies(here, 1).values()), 1)
    critic = tiny_critic(
        here.agents, here.vocabulary, scope=scope, width=16, layers=1, heads=2, context=512, seed=4, inside=inside
    )
    torch.nn.init.normal_(critic.network.get_parameter("head.weight"), generator=torch.Generator().manual_seed(1))
    short = critic.predict([with_illegal(episode, "zzz zzz zzz")])
    long = critic.predict([with_illegal(episode, " ".join(["zzz"] * 100_000))])
    assert torch.equal(short[0].ids, long[0].ids)
    assert torch.equal(short[1], long[1])
