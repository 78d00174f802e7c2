"""Agents, policies, rollouts, critics, credit and study; the `marl` command."""

from arenas.moved import still_found

still_found(
    {
        "marl.base_model": "marl.models.lora_base",
        "marl.batch": "trainers.batch",
        "marl.build": "marl.rundir.load",
        "marl.chat": "marl.context.chat marl.context.chat_template",
        "marl.chat_model": "marl.models.chat_model",
        "marl.config": "marl.settings marl.policy.config",
        "marl.conversation": "marl.evaluation.log_lines",
        "marl.environment": "marl.rollout.pettingzoo_environment",
        "marl.lm": "marl.models.tiny",
        "marl.pretrained": "marl.models.pretrained",
        "marl.server": "marl.inference.server",
        "marl.study.causal": "marl.study.experiments.causal",
        "marl.study.conventions": "marl.study.experiments.conventions",
        "marl.study.corpus": "marl.study.data.corpus",
        "marl.study.crossplay": "marl.study.experiments.crossplay",
        "marl.study.lexicon": "marl.study.data.lexicon",
        "marl.study.replacement": "marl.study.experiments.replacement",
        "marl.study.statistics": "marl.metrics.statistics",
        "marl.study.structure": "marl.metrics.compositionality",
        "marl.study.study": "marl.study.pipeline",
        "marl.study.traffic": "marl.evaluation.traffic",
        "marl.verbal": "marl.policy.reflection",
    }
)
