"""Sampling and scoring see one distribution, however a batch is put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice, product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from arenas.spec import ReplySpec, choose, fill, say, symbols
from marl.context.transcript import Transcript
from marl.episode import Sample
from marl.inference import sampler
from marl.inference.kv_cache import RowCache
from marl.inference.request import GenerationRequest
from marl.inference.sampler import generate
from marl.models.gpt2 import hidden_states
from marl.models.language_model import LanguageModel
from marl.models.tiny import seeded, tiny, word_tokenizer
from protocols.draws import key
from tests.marl.worlds import WORLDS, lm_for, played, seated, world
from trainers.batch import collate

WORDS = (*symbols("m", 4), *symbols("x", 3))
SPECS = (
    choose(symbols("x", 3)),
    say(symbols("m", 4), 3, 1),
    say(symbols("m", 4), 2),
    say(symbols("m", 3), 4, 0),
    fill(symbols("x", 2), symbols("m", 3)),
)


def gpt2(plain: bool = True) -> LanguageModel:
    model = tiny(WORDS, width=16, layers=2, heads=2, context=128, init=0.15, seed=3)
    assert model.plain
    model.plain = plain
    return model


def other(kind: Any, config: Any, **sizes: int) -> LanguageModel:
    tokenizer = word_tokenizer(WORDS)
    settings = config(vocab_size=len(tokenizer), initializer_range=0.15, **sizes)
    model = LanguageModel(seeded(lambda: kind(settings), 3), tokenizer)
    assert not model.plain
    return model


LLAMA = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
GPT2 = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 128}
MODELS: dict[str, Callable[[], LanguageModel]] = {
    "plain": gpt2,
    "through transformers": lambda: gpt2(plain=False),
    "with dropout": lambda: other(GPT2LMHeadModel, GPT2Config, **GPT2),
    "llama": lambda: other(LlamaForCausalLM, LlamaConfig, **LLAMA, num_key_value_heads=4),
    "qwen": lambda: other(Qwen2ForCausalLM, Qwen2Config, **LLAMA, num_key_value_heads=2),
}


@pytest.fixture(params=MODELS)
def lm(request: pytest.FixtureRequest) -> LanguageModel:
    model = MODELS[request.param]()
    model.eval()
    return model


def transcript(lm: LanguageModel, text: str) -> Transcript:
    opened = Transcript(lm.encode)
    opened.ids += lm.encode(text)
    opened.ask()
    return opened


def scored(lm: LanguageModel, ids: Sequence[int], spec: ReplySpec, tokens: Sequence[int]) -> Tensor:
    """Log-probabilities of a reply at the end of a context, by the function that training uses."""
    row = torch.tensor([[*ids, *tokens]])
    trained = torch.zeros_like(row, dtype=torch.bool)
    trained[0, len(ids) :] = True
    rows = torch.tensor(lm.grammar(spec)[: len(tokens)])
    with torch.no_grad():
        return lm.score(row, trained, rows).logp


def close(sample: Sample, logp: Tensor) -> None:
    assert sample.behavior_logprobs == pytest.approx(logp.tolist(), abs=1e-5)


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("concurrency", [1, 256])
def test_what_was_recorded_while_sampling_is_what_training_scores(name: str, concurrency: int) -> None:
    """Ragged prompts, several turns with kept caches, lost and late messages, missed deadlines: all of it."""
    here = world(**WORLDS[name])
    lm = lm_for(here)
    episodes = played(here, seated(here, lm), 5, concurrency=concurrency)
    ones = np.ones((len(episodes), max(len(e.turns) for e in episodes)))
    batch = collate(lm, episodes, here.agents, ones)
    with torch.no_grad():
        logp = lm.score(batch.ids, batch.trained, batch.mask_rows[batch.trained]).logp
    assert batch.tokens >= 10
    torch.testing.assert_close(logp, batch.behavior_logprobs[batch.trained], atol=1e-5, rtol=0)
    assert logp.std() > 0.1


PROMPTS = ("m0", "x0 x1 x2 m0 m1 m2 m3 x0", "x1 m3", "m0 m0 m0 m0 m0", "x2", "m1", "m3 m2", "x2 x2")


def ragged(lm: LanguageModel) -> list[GenerationRequest]:
    return [GenerationRequest(transcript(lm, p), s, key(i)) for i, (p, s) in enumerate(product(PROMPTS, SPECS))]


def test_a_mixed_batch_scores_as_it_sampled(lm: LanguageModel) -> None:
    requests = ragged(lm)
    prompts = [tuple(r.transcript.ids) for r in requests]
    lengths = set()
    for request, prompt, sample in zip(requests, prompts, generate(lm, requests), strict=True):
        close(sample, scored(lm, prompt, request.spec, sample.tokens))
        assert tuple(request.transcript.ids) == prompt + sample.tokens
        lengths.add((request.spec, len(sample.tokens)))
    assert len(lengths) > len(SPECS), "no reply was shorter than it may be"


def test_a_batch_answers_as_each_alone_in_any_order(lm: LanguageModel) -> None:
    together = generate(lm, ragged(lm))
    alone = [generate(lm, [request])[0] for request in ragged(lm)]
    backwards = generate(lm, ragged(lm)[::-1])[::-1]
    for one, two, three in zip(together, alone, backwards, strict=True):
        assert one.tokens == two.tokens == three.tokens
        assert one.behavior_logprobs == pytest.approx(two.behavior_logprobs, abs=1e-5)
        assert one.behavior_logprobs == pytest.approx(three.behavior_logprobs, abs=1e-5)


def test_what_prompts_have_in_common_is_read_once(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve words that all share, then one to four of their own: 60 transcripts, of which 20 differ."""
    ends = [" ".join(w) for n in (1, 2, 3) for w in islice(product(WORDS, repeat=n), 6)] + [
        "x2 x2 x2 x2",
        "x2 x1 x0 m0",
    ]
    prompts = [f"{'m0 x1 m3 ' * 4}{end}" for end in ends] * 3
    read: list[int] = []
    forward = sampler._forward

    def counted(lm: LanguageModel, cache: RowCache, inputs: Tensor, *rest: Any) -> Tensor:
        read.append(inputs.numel())
        return forward(lm, cache, inputs, *rest)

    monkeypatch.setattr(sampler, "_forward", counted)
    monkeypatch.setattr(sampler, "MIN_SAVED_TOKENS", 200)
    requests = [GenerationRequest(transcript(lm, prompt), SPECS[2], key(i)) for i, prompt in enumerate(prompts)]
    contexts = [tuple(r.transcript.ids) for r in requests]
    begun = set()
    for context, sample in zip(contexts, generate(lm, requests), strict=True):
        close(sample, scored(lm, context, SPECS[2], sample.tokens))
        begun.add((context, sample.tokens[0]))
    assert 20 < len(begun) < 60
    # <bos> and the twelve; each end, padded, with its prompt; the first words drawn, once where all before was alike
    assert read == [13, 20 * 5, len(begun)]
    for request in requests:  # what was kept for each row is its own
        request.transcript.ids += lm.encode("x0 m1")
        request.transcript.ask()
    contexts = [tuple(r.transcript.ids) for r in requests]
    for context, sample in zip(contexts, generate(lm, requests), strict=True):
        close(sample, scored(lm, context, SPECS[2], sample.tokens))


class Dialogue:
    """Transcripts that are answered several times, some of them later than others."""

    def __init__(self, lm: LanguageModel) -> None:
        self.lm = lm
        self.open = [transcript(lm, prompt) for prompt in PROMPTS]
        self.turn = 0

    def step(self, who: Sequence[int], version: int = 0, heard: str = "x2 m1") -> None:
        """Answer for some of them; each hears another number of words first."""
        requests = []
        for i in who:
            if self.turn:
                self.open[i].ids += self.lm.encode(" ".join([heard] * i))
                self.open[i].ask()
            spec = SPECS[(i + self.turn) % len(SPECS)]
            requests.append(GenerationRequest(self.open[i], spec, key(i, self.turn)))
        prompts = [tuple(r.transcript.ids) for r in requests]
        for request, prompt, sample in zip(requests, prompts, generate(self.lm, requests, version), strict=True):
            close(sample, scored(self.lm, prompt, request.spec, sample.tokens))
        self.turn += 1


def test_kept_caches_give_what_a_fresh_reading_gives(lm: LanguageModel) -> None:
    talk = Dialogue(lm)
    for who in ([0, 1, 2, 3, 4], [4, 2], [0, 1, 2, 3, 4], [1], [3, 0], [4, 3, 2, 1, 0]):
        talk.step(who)


def test_caches_of_older_weights_are_dropped(lm: LanguageModel) -> None:
    talk = Dialogue(lm)
    talk.step([0, 1, 2, 3, 4])
    with torch.no_grad():
        for parameter in lm.model.parameters():
            parameter.mul_(1.3)
    talk.step([0, 2, 4], version=1)
    talk.step([0, 1, 2, 3, 4], version=1)


def test_a_cache_that_is_not_dropped_would_be_noticed(lm: LanguageModel) -> None:
    talk = Dialogue(lm)
    talk.step([0, 1, 2, 3, 4])
    with torch.no_grad():
        for parameter in lm.model.parameters():
            parameter.mul_(1.3)
    with pytest.raises(AssertionError):
        talk.step([0, 1, 2, 3, 4])


def test_a_second_turn_reads_only_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, read = gpt2(), list[int]()

    def counting(trunk: Any, ids: Tensor, *args: Any) -> Tensor:
        read.append(ids.shape[1])
        return hidden_states(trunk, ids, *args)

    monkeypatch.setattr("marl.inference.sampler.hidden_states", counting)
    talk = transcript(lm, " ".join(["m0"] * 40))
    generate(lm, [GenerationRequest(talk, SPECS[0], 1)])
    talk.ids += lm.encode("x1 x2 >")
    generate(lm, [GenerationRequest(talk, SPECS[0], 2)])
    assert read[0] == 42
    assert sum(read[1:]) <= 5  # the word drawn, its end, and the three new ones


def test_a_reply_that_was_taken_back_leaves_no_trace_in_the_cache(lm: LanguageModel) -> None:
    talk = transcript(lm, "m0 x1")
    before = len(talk.ids)
    generate(lm, [GenerationRequest(talk, SPECS[1], 7)])
    talk.take_back(before)
    talk.ids += lm.encode("x2 m3 >")
    prompt = tuple(talk.ids)
    (sample,) = generate(lm, [GenerationRequest(talk, SPECS[1], 8)])
    close(sample, scored(lm, prompt, SPECS[1], sample.tokens))


def test_the_end_is_a_choice_where_a_reply_may_end_and_certain_where_it_must(lm: LanguageModel) -> None:
    requests = [GenerationRequest(transcript(lm, "m0"), say(symbols("m", 4), 3, 1), key(i)) for i in range(200)]
    lengths = set()
    for sample in generate(lm, requests):
        *words, end = sample.tokens
        lengths.add(len(words))
        assert end == lm.eos
        assert lm.eos not in words
        assert len(sample.behavior_logprobs) == len(sample.tokens)
        assert (sample.behavior_logprobs[-1] == 0.0) == (len(words) == 3)
        assert sample.text == lm.tokenizer.decode(words)
    assert lengths == {1, 2, 3}


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_what_is_sampled_is_always_legal(lm: LanguageModel, spec: ReplySpec) -> None:
    for sample in generate(lm, [GenerationRequest(transcript(lm, "m0 x1"), spec, key(i)) for i in range(300)]):
        assert spec.parse(sample.text) is not None
        assert all(0 >= logp > -np.inf for logp in sample.behavior_logprobs)


def test_sampling_follows_the_scored_distribution(lm: LanguageModel) -> None:
    """Pearson's chi-square over all replies, far out in its tail; seeds are fixed, so it holds for ever or never."""
    spec, draws = say(symbols("m", 3), 2, 1), 6000
    prompt = transcript(lm, "x0 m2").ids
    with torch.no_grad():
        lm.model.get_output_embeddings().weight.mul_(0.5)  # every reply is to be expected a few times
    samples = generate(lm, [GenerationRequest(transcript(lm, "x0 m2"), spec, key("draw", i)) for i in range(draws)])
    counts = {spec.words(i): 0 for i in range(spec.size)}
    for sample in samples:
        counts[tuple(sample.text.split())] += 1
    statistic = total = 0.0
    for words, count in counts.items():
        tokens = [*map(lm.token, words), lm.eos]
        p = float(scored(lm, prompt, spec, tokens).sum().exp())
        assert p * draws > 5
        total += p
        statistic += (count - p * draws) ** 2 / (p * draws)
    freedom = spec.size - 1
    assert total == pytest.approx(1, abs=1e-5)  # the replies of a spec are all there is
    assert statistic < freedom + 4 * (2 * freedom) ** 0.5


def test_greedy_takes_the_best_word_at_each_place_whatever_the_seed(lm: LanguageModel) -> None:
    spec = say(symbols("m", 4), 3, 1)
    prompt = transcript(lm, "x1").ids
    best: list[int] = []
    while len(best) < 3 and lm.eos not in best:
        options = [*map(lm.token, spec.steps[0]), *([lm.eos] if best else [])]
        best.append(max(options, key=lambda token: float(scored(lm, prompt, spec, [*best, token])[-1])))
    best += [] if lm.eos in best else [lm.eos]
    requests = [GenerationRequest(transcript(lm, "x1"), spec, key(i), greedy=True) for i in range(9)]
    drawn = [GenerationRequest(transcript(lm, "x1"), spec, key(i)) for i in range(50)]
    samples = generate(lm, [*requests, *drawn])
    assert {sample.tokens for sample in samples[:9]} == {tuple(best)}
    assert len({sample.tokens for sample in samples[9:]}) > 1
