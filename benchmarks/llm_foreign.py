"""Peers of llm_peers.py: rollouts with llama.cpp and openvino-genai, steps with TRL and CoMLRL (not run alone)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from llm_task import LR, NEW, PROMPT, RANK, ROWS, SHAPES, Rollout, reward
from lockstep import Pace


def llama_rows(task: Mapping[str, Any], folder: Path, threads: int) -> Rollout:
    """Sample with llama.cpp: a sequence for each row, all in one batch, by its own sampler."""
    import llama_cpp as api

    api.llama_backend_init()
    model = api.llama_model_load_from_file(str(folder / "bf16.gguf").encode(), api.llama_model_default_params())
    settings = api.llama_context_default_params()
    settings.n_ctx, settings.n_batch, settings.n_seq_max = ROWS * (PROMPT + NEW), ROWS * PROMPT, ROWS
    settings.n_threads = settings.n_threads_batch = threads
    context = api.llama_init_from_model(model, settings)
    batch = api.llama_batch_init(ROWS * PROMPT, 0, 1)
    sampler = api.llama_sampler_init_dist(1)

    def decode(tokens: Sequence[Sequence[int]], begin: int) -> list[int]:
        """Read tokens of each row from a place on; draw what comes next."""
        ends = []
        batch.n_tokens = 0
        for row, own in enumerate(tokens):
            for place, token in enumerate(own):
                at = batch.n_tokens
                batch.token[at], batch.pos[at], batch.seq_id[at][0], batch.n_seq_id[at] = token, begin + place, row, 1
                batch.logits[at] = place == len(own) - 1
                batch.n_tokens += 1
            ends.append(batch.n_tokens - 1)
        assert api.llama_decode(context, batch) == 0
        return [api.llama_sampler_sample(sampler, context, at) for at in ends]

    def roll(prompts: Sequence[list[int]]) -> int:
        api.llama_memory_clear(api.llama_get_memory(context), True)
        drawn = decode(prompts, 0)
        for place in range(NEW - 1):
            drawn = decode([[token] for token in drawn], PROMPT + place)
        return len(drawn) * NEW

    return roll


def openvino_rows(task: Mapping[str, Any], folder: Path, threads: int) -> Rollout:
    """Sample with openvino-genai."""
    import numpy as np
    import openvino as ov
    import openvino_genai as api

    limits = api.SchedulerConfig()
    limits.enable_prefix_caching = False
    limits.max_num_batched_tokens = ROWS * PROMPT
    engine = api.LLMPipeline(task["gguf"], "CPU", scheduler_config=limits, INFERENCE_NUM_THREADS=threads)
    settings = api.GenerationConfig(max_new_tokens=NEW, ignore_eos=True, do_sample=True, temperature=1.0, top_p=1.0)

    def roll(prompts: Sequence[list[int]]) -> int:
        ids = np.array(prompts)
        results = engine.generate(api.TokenizedInputs(ov.Tensor(ids), ov.Tensor(np.ones_like(ids))), settings)
        return sum(map(len, results.tokens))

    return roll


def load_for_training(task: Mapping[str, Any], weights: str) -> tuple[Any, Any]:
    """Return a model that never ends a reply, and its tokenizer, which pads with what no chat holds."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(task["model"], padding_side="left", pad_token="<|endoftext|>")
    model = AutoModelForCausalLM.from_pretrained(task["model"], dtype=getattr(torch, weights))
    model.generation_config.suppress_tokens = [tokenizer.eos_token_id, tokenizer.pad_token_id]
    model.generation_config.top_k = 0
    return model, tokenizer


def adapter() -> Any:
    from peft import LoraConfig

    return LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM")


def trl_step(race: str, task: Mapping[str, Any], folder: Path, weights: str, pace: Pace) -> None:
    """Train with TRL's GRPO."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    model, tokenizer = load_for_training(task, weights)

    def rewarded(completions: Sequence[str], completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float]:
        pace.wait(sum(map(len, completion_ids)))
        return [reward([text]) for text in completions]

    _, episodes = SHAPES[race]
    config = GRPOConfig(
        output_dir=str(folder / "trl"),
        per_device_train_batch_size=episodes,
        num_generations=episodes,
        max_completion_length=NEW,
        max_steps=len(task[race]),
        learning_rate=LR,
        lr_scheduler_type="constant",
        temperature=1.0,
        top_k=0,
        beta=0.0,
        bf16=weights == "float32",
        gradient_checkpointing=False,
        use_cpu=True,
        shuffle_dataset=False,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        generation_kwargs={"suppress_tokens": model.generation_config.suppress_tokens},
    )
    GRPOTrainer(
        model=model,
        reward_funcs=rewarded,
        args=config,
        train_dataset=Dataset.from_list([{"prompt": row[0]["text"]} for row in task[race]]),
        processing_class=tokenizer,
        peft_config=adapter() if "lora" in race else None,
    ).train()


def comlrl_step(race: str, task: Mapping[str, Any], folder: Path, weights: str, pace: Pace) -> None:
    """Train with CoMLRL's MAGRPO."""
    from comlrl.trainers.reinforce import MAGRPOConfig, MAGRPOTrainer
    from datasets import Dataset
    from peft import get_peft_model

    agents, episodes = SHAPES[race]
    models, tokenizers = zip(*(load_for_training(task, weights) for _ in range(agents)), strict=True)
    if "lora" in race:
        models = tuple(get_peft_model(model, adapter()) for model in models)

    rewarded_so_far = 0

    def rewarded(*completions: Sequence[str]) -> list[float]:
        nonlocal rewarded_so_far
        scores = [reward(joint) for joint in zip(*completions, strict=True)]
        rewarded_so_far += len(scores)  # it asks for the rewards of a step in parts
        if rewarded_so_far >= episodes:
            pace.wait(agents * rewarded_so_far * NEW)  # all that may end a reply is suppressed
            rewarded_so_far = 0
        return scores

    MAGRPOTrainer(
        agents=list(models),
        num_agents=agents,
        tokenizer=tokenizers[0],
        reward_func=rewarded,
        formatters=[partial(lambda seat, item: item[seat], f"writer_{i}") for i in range(agents)],
        train_dataset=Dataset.from_list(
            [{f"writer_{i}": asked["text"] for i, asked in enumerate(row)} for row in task[race]]
        ),
        args=MAGRPOConfig(
            num_train_epochs=1,
            agent_learning_rate=LR,
            num_turns=1,
            num_generations=episodes,
            max_new_tokens=NEW,
            temperature=1.0,
            top_p=1.0,
            top_k=0,
            agent_devices="cpu",
            rollout_buffer_size=1,
            eval_interval=0,
        ),
    ).train()
