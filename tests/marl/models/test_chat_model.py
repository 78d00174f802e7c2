"""Chat models: what is sampled is what is scored, whatever the company, the adapter or the cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from arenas.spec import ReplySpec, choose, fill, say
from marl.episode import Episode, Sample
from marl.inference.request import GenerationRequest
from marl.inference.server import ChatServer
from marl.models.chat_model import ChatModel
from marl.models.reply_probabilities import reply_probabilities
from marl.rollout.collect import collect
from marl.rollout.plan import Plan
from marl.rollout.replay import fork
from marl.scenario.world import World
from tests.marl import chats
from tests.marl.worlds import WORLDS, world
from trainers.batch import collate

SPECS = (
    choose(("yes", "no", "nobody")),
    say(("red", "reddish", "blue", "1", "10"), 3, 1),
    fill(("0", "1", "2"), ("give", "want")),
    say(("red", "blue"), 2, 0, free=60),
    say(("red", "blue"), 2, 0, ("public", "side"), free=60),
)


def scored(lm: ChatModel, ids: list[int], spec: ReplySpec, tokens: tuple[int, ...]) -> list[float]:
    """Log-probabilities of a reply at the end of a context, by the function that training uses."""
    row = torch.tensor([[*ids, *tokens]])
    trained = torch.zeros_like(row, dtype=torch.bool)
    trained[0, len(ids) :] = True
    with torch.no_grad():
        logps: list[float] = lm.score(row, trained, torch.tensor(lm.rows(spec, tokens))).logp.tolist()
    return logps


def answers(server: ChatServer, spec: ReplySpec, contexts: list[str], greedy: bool = False) -> list[Sample]:
    """Sample replies to several contexts as one batch."""
    samples: dict[int, Sample] = {}
    for number, text in enumerate(contexts):
        transcript = server.open()
        transcript.dialogue.messages.append({"role": "system", "content": text})  # type: ignore[attr-defined]
        transcript.ask()

        def done(sample: Sample | Exception, place: int = number) -> None:
            assert isinstance(sample, Sample)
            samples[place] = sample

        server.engine.ask(server.lm, GenerationRequest(transcript, spec, number, greedy, done), 0)
    while server.engine.run():
        pass
    return [samples[number] for number in range(len(contexts))]


@pytest.mark.parametrize("spec", SPECS)
def test_replies_are_in_the_form_of_their_spec(spec: ReplySpec) -> None:
    lm = chats.chat()
    for sample in answers(ChatServer(lm, "a"), spec, [f"case {i}" for i in range(40)]):
        assert spec.parse(sample.text) is not None, sample.text
        assert sample.tokens[-1] == lm.eos
        assert lm.read(spec, sample.tokens).text == sample.text


def test_masks_that_have_become_too_many_are_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    always, never = ChatServer(chats.chat(), "a"), ChatServer(chats.chat(), "a")
    sizes = []
    for turn in range(24):
        spec = choose(tuple(chr(97 + (turn + place) % 26) for place in (0, 7, 11)))
        texts = []
        for server, most in ((always, 0), (never, 1 << 40)):
            monkeypatch.setattr("marl.models.mask_table.MAX_MASK_BYTES", most)
            (sample,) = answers(server, spec, ["case"])
            assert scored(server.lm, [5, 9], spec, sample.tokens) == scored(chats.chat(), [5, 9], spec, sample.tokens)
            server.publish(0)
            texts.append(sample.text)
        assert texts[0] == texts[1]
        sizes.append([len(server.lm.masks) for server in (always, never)])
    assert max(few for few, _ in sizes) == 16 < sizes[-1][1]


def test_every_reply_of_a_spec_can_be_drawn_and_all_chances_sum_to_one() -> None:
    lm = chats.chat()
    spec = say(("red", "reddish", "1", "10"), 2, 0)
    (chances,) = reply_probabilities(lm, [(lm.base.template.encode("<|im_start|>user\nx<|im_end|>"), spec)])
    assert len(chances) == spec.size == 21
    assert chances.min() > 0
    assert chances.sum() == pytest.approx(1, abs=1e-4)


def played(name: str, seats: dict[str, ChatServer], episodes: int = 6) -> list[Episode]:
    here = world(**WORLDS[name])
    return collect(here, [Plan(f"e{i}", seats, seed=3) for i in range(episodes)])


SOME = ["lewis", "matrix with a deadline", "chat, all effects", "chat with channels", "chat, bids and channels"]
SOME += ["chat, anything may be said", "chat with a deadline"]
CASES = [*((name, "llama") for name in SOME), ("chat, all effects", "qwen3"), ("chat, anything may be said", "qwen3")]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_what_was_recorded_while_sampling_is_what_training_scores(name: str, kind: str) -> None:
    """Ragged prompts, several turns with kept caches, lost and late messages, missed deadlines, adapters mixed."""
    here = world(**WORLDS[name])
    base = chats.base(kind=kind)
    assert base.lean == (kind == "llama")
    one, two = chats.adapted(base, "one", "two").values()
    servers = {seat: ChatServer(lm, seat) for seat, lm in zip(here.agents, [one, two] * 4, strict=False)}
    episodes = played(name, servers)
    ones = np.ones((len(episodes), max(len(e.turns) for e in episodes)))
    checked = 0
    for seat, server in servers.items():
        batch = collate(server.lm, episodes, [seat], ones)
        with torch.no_grad():
            logp = server.lm.score(batch.ids, batch.trained, batch.mask_rows[batch.trained]).logp
        torch.testing.assert_close(logp, batch.behavior_logprobs[batch.trained], atol=1e-4, rtol=0)
        checked += batch.tokens
    assert checked >= 10
    assert next(iter(servers.values())).engine.read > 0


def test_a_fork_without_a_change_goes_on_as_it_was() -> None:
    """Recorded replies become part of the chat, and the live policy draws the same numbers after them."""
    here = world("chat")
    server = ChatServer(chats.chat(), "a")
    (episode,) = collect(here, [Plan("e", dict.fromkeys(here.agents, server), seed=3)])
    replies = list(episode.log.replies())
    for reply in (replies[3], replies[-1]):
        (again,) = collect(here, [fork(episode.log, reply.seq, dict.fromkeys(here.agents, server))])
        assert again.log.to_bytes() == episode.log.to_bytes()


def test_bf16_scores_are_near_those_of_sampling() -> None:
    lm = chats.chat(chats.base(torch.bfloat16))
    here = world("chat")
    episodes = collect(here, _plans(here, ChatServer(lm, "a")))
    batch = collate(lm, episodes, here.agents, np.ones((len(episodes), 64)))
    with torch.no_grad():
        logp = lm.score(batch.ids, batch.trained, batch.mask_rows[batch.trained]).logp
    apart = (logp - batch.behavior_logprobs[batch.trained]).abs()
    assert apart.mean() < 0.05
    assert apart.max() < 0.5


def _plans(here: World, server: ChatServer) -> list[Plan]:
    return [Plan(f"e{i}", dict.fromkeys(here.agents, server), seed=3) for i in range(8)]


def test_a_mixed_batch_answers_as_each_adapter_alone() -> None:
    spec = say(("red", "blue"), 2, 0, free=60)

    def drawn(names: tuple[str | None, ...]) -> dict[str | None, list[tuple[int, ...]]]:
        base = chats.base()
        policies: dict[str | None, ChatModel] = {None: chats.chat(base)}
        policies |= dict(chats.adapted(base, "one", "two").items())
        replies: dict[str | None, list[tuple[int, ...]]] = {name: [] for name in names}
        for number in range(6):
            for name in names:
                server = ChatServer(policies[name], str(name))
                transcript = server.open()
                transcript.ask()

                def done(sample: Sample | Exception, name: str | None = name) -> None:
                    assert isinstance(sample, Sample)
                    replies[name].append(sample.tokens)

                server.engine.ask(server.lm, GenerationRequest(transcript, spec, number, False, done), 0)
        while server.engine.run():
            pass
        return {name: sorted(token_lists) for name, token_lists in replies.items()}

    together = drawn(("one", "two", None))
    for name in ("one", "two", None):
        assert together[name] == drawn((name,))[name]
    assert together["one"] != together["two"] != together[None]


def test_an_adapter_that_is_disabled_is_the_base() -> None:
    base, alone = chats.base(), chats.base()
    chats.adapted(base, "one")
    ids = torch.tensor([[5, 9, 77, 30, 12]])
    with torch.no_grad():
        torch.testing.assert_close(base.states(ids, [None]), alone.model.model(ids).last_hidden_state)
        assert not torch.allclose(base.states(ids, ["one"]), base.states(ids, [None]), atol=1e-2)


def test_the_lean_pass_is_that_of_transformers_with_peft_in_value_and_gradient() -> None:
    base = chats.base()
    chats.adapted(base, "one")
    ids = torch.randint(5, 300, (3, 17), generator=torch.Generator().manual_seed(1))
    grads, values = [], []
    for lean in (True, False):
        base.lean = lean
        states = base.states(ids, ["one"] * 3)
        states.square().sum().backward()  # type: ignore[no-untyped-call]
        values.append(states.detach())
        grads.append([p.grad.clone() for p in base.parameters_of("one") if p.grad is not None])
        base.zero_grad()
    torch.testing.assert_close(values[0], values[1], atol=1e-4, rtol=1e-4)
    assert len(grads[0]) == len(grads[1]) == 2 * 2 * 7
    for one, two in zip(*grads, strict=True):
        torch.testing.assert_close(one, two, atol=1e-3, rtol=1e-3)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
def test_padding_on_either_side_does_not_matter(tmp_path: Path) -> None:
    """A saved adapter, scored by transformers and peft with padding on the left, says what we recorded."""
    from peft import PeftModel

    base = chats.base()
    lm = chats.adapted(base, "one")["one"]
    lm.save(tmp_path / "adapter")
    plain = PeftModel.from_pretrained(chats.model(len(base.tokenizer) + 5), tmp_path / "adapter").eval()
    spec = SPECS[0]
    server = ChatServer(lm, "a")
    for sample, text in zip(answers(server, spec, ["a", "b and more"]), ["a", "b and more"], strict=True):
        transcript = server.open()
        transcript.dialogue.messages.append({"role": "system", "content": text})  # type: ignore[attr-defined]
        transcript.ask()
        ids = torch.tensor([[0, 0, 0, *transcript.ids, *sample.tokens]])
        with torch.no_grad():
            logits = plain(ids, attention_mask=(torch.arange(ids.shape[1]) >= 3).long()[None]).logits[0]
        places = range(ids.shape[1] - len(sample.tokens) - 1, ids.shape[1] - 1)
        allowed = lm.masks[list(lm.rows(spec, sample.tokens))]
        logp = logits[list(places)].masked_fill(~allowed, -torch.inf).log_softmax(-1)
        picked = logp.gather(1, torch.tensor(sample.tokens)[:, None])[:, 0]
        assert picked.tolist() == pytest.approx(sample.behavior_logprobs, abs=1e-4)
