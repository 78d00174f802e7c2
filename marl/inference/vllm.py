"""VllmServer: sample replies on a remote vLLM server, with LoRA adapters that are trained here.

vLLM holds the base model. After each update the adapter is written as a peft folder and loaded there under a new name;
the previous one is unloaded. A request holds the transcript's token ids and the reply's grammar over token ids
(marl/grammar/lark.py); the response holds the drawn tokens and their log-probabilities. So nothing is tokenised twice,
and training scores the distribution that was sampled from.

The server must be started with `START_COMMAND`, and must be able to read the run's folder.
"""

from __future__ import annotations

import asyncio
import math
import shutil
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from typing_extensions import override

from arenas.spec import ReplySpec
from marl.context.transcript import Transcript
from marl.episode import Sample
from marl.errors import ContextFullError, UserError
from marl.grammar.automaton import Grammar
from marl.grammar.lark import to_lark, token_set
from marl.inference.server import PolicyServer
from marl.models.chat_model import ChatModel
from marl.models.language_model import LanguageModel
from marl.policy.base import Answered, PendingReply
from marl.policy.openai_client import Endpoint, RetryError, connect, parse_json
from protocols.realtime import outside, real_loop

START_COMMAND: Final = (
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve BASE --enable-lora --logprobs-mode processed_logprobs "
    "--structured-outputs-config.backend guidance"
)
MAX_FORCED_LOGPROB: Final = 1e-3
"""The log-probability of the only allowed token may differ from 0 by this much, in nats."""

Drawn = tuple[tuple[int, ...], tuple[float, ...]]
"""Tokens of a reply, and their behavior log-probabilities."""


class VllmServer(PolicyServer):
    """The policy of seats whose replies a vLLM server samples; the adapter is trained here.

    Args:
        lm: the policy; `lm.settings.vllm` is the server's address.
        name: of the policy.
        folder: where adapters are written for the server to load.
    """

    lm: ChatModel

    def __init__(self, lm: LanguageModel, name: str, folder: Path) -> None:
        super().__init__(lm, name)
        assert isinstance(lm, ChatModel)
        self.endpoint: Endpoint = connect(f"vllm:{lm.settings.vllm}", lm.settings.rows)
        self.folder = folder.resolve()
        self.loaded = ""
        """Name of the adapter on the vLLM server; empty before the first `publish`."""
        self._run_id = uuid4().hex[:8]  # the server may serve other runs too
        self._lark: dict[Grammar, str] = {}

    @override
    def ask(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool, done: Answered) -> PendingReply:
        # `done` gets ContextFullError where the transcript leaves no room for a reply.

        def answered(task: asyncio.Task[Sample]) -> None:
            if not task.cancelled():
                error = task.exception()
                done(error if isinstance(error, Exception) else task.result())

        task = asyncio.get_running_loop().create_task(self._sample(transcript, spec, seed, greedy))
        task.add_done_callback(answered)
        return task

    async def _sample(self, transcript: Transcript, spec: ReplySpec, seed: int, greedy: bool) -> Sample:
        grammar = self.lm.automaton(spec)
        need = len(transcript.ids) + grammar.longest
        if need > self.lm.context:
            raise ContextFullError(
                f"the context is full: {len(transcript.ids)} tokens and a reply need {need} of {self.lm.context}"
            )
        if grammar not in self._lark:
            self._lark[grammar] = to_lark(grammar, self._class, self.lm.eos)
        temperature = 0.0 if greedy else self.lm.settings.temperature
        request = self._draw(transcript.ids, self._lark[grammar], grammar.longest, seed, temperature)
        tokens, behavior_logprobs = await outside(request)
        rows = self.lm.rows(spec, tokens)
        if tokens[-1:] != (self.lm.eos,) or not bool(self.lm.masks[rows, list(tokens)].all()):
            raise UserError(
                f"vLLM at {self.endpoint.url} drew tokens that the reply's grammar forbids; start it with "
                f"{START_COMMAND}"
            )
        transcript.replied(tokens)
        self.sampled += len(tokens)
        return self.lm.sample(spec, tokens, behavior_logprobs, self.version)

    @override
    def publish(self, version: int) -> None:
        # Load the current adapter on the server and unload the previous one; raises UserError.
        previous, path = self.loaded, self.folder / f"{version:06d}"
        self.lm.save(path)
        self.loaded = f"{self.name}-{self._run_id}-{version}"
        _run_now(self._load(path))
        if not previous:
            _run_now(self._check_server())
        if previous and previous != self.loaded:
            body = {"lora_name": previous}
            _run_now(self.endpoint.ask("unload_lora_adapter", body, 0, "to unload an adapter", _ignore))
        for old in self.folder.glob("[0-9]*"):
            if old != path:
                shutil.rmtree(old, ignore_errors=True)
        super().publish(version)

    async def _load(self, path: Path) -> None:
        body = {"lora_name": self.loaded, "lora_path": str(path), "load_inplace": True}
        what = f"to load the adapter {path}, which it must be able to read; start it with {START_COMMAND}"
        await self.endpoint.ask("load_lora_adapter", body, 0, what, _ignore)

    async def _check_server(self) -> None:
        """Request a reply of one forced token; raises UserError if another comes, or its log-probability is not 0."""
        grammar = f"start: {token_set([self.lm.eos])}"
        try:
            tokens, logprobs = await self._draw(self.lm.open().ids or [self.lm.eos], grammar, 1, 0, 1.0)
        except UserError as error:
            raise UserError(
                f"{error}, asked for the only token that a grammar allows; start it with {START_COMMAND}"
            ) from None
        if tokens != (self.lm.eos,) or abs(logprobs[0]) > MAX_FORCED_LOGPROB:
            raise UserError(
                f"vLLM at {self.endpoint.url} does not return the log-probabilities of the distribution that it "
                f"samples from; start it with {START_COMMAND}"
            )

    async def _draw(self, ids: Sequence[int], grammar: str, longest: int, seed: int, temperature: float) -> Drawn:
        body = {
            "model": self.loaded,
            "prompt": list(ids),
            "add_special_tokens": False,
            "max_tokens": longest,
            "temperature": temperature,
            "seed": seed % (1 << 31),
            "logprobs": 0,  # of the drawn tokens only
            "return_token_ids": True,
            "stop_token_ids": [self.lm.eos],
            "structured_outputs": {"grammar": grammar},
        }
        return await self.endpoint.ask("completions", body, seed, "to complete a transcript", parse_completion)

    def _class(self, kind: str) -> Sequence[int]:
        tokens: list[int] = self.lm.of_class(kind).nonzero()[:, 0].tolist()
        return tokens


def parse_completion(response: Any) -> Drawn:
    """Return the tokens of a completion and their log-probabilities; raises RetryError."""
    answer = parse_json(response)
    try:
        choice = answer["choices"][0]
        tokens = tuple(map(int, choice["token_ids"]))
        logprobs = tuple(map(float, choice["logprobs"]["token_logprobs"]))
    except (LookupError, TypeError, ValueError, AttributeError):
        raise RetryError("returned an invalid response (no token ids with log-probabilities): is it vLLM?") from None
    if not tokens or len(tokens) != len(logprobs) or not all(map(math.isfinite, logprobs)):
        raise RetryError("returned an invalid response (tokens without log-probabilities): is it vLLM?")
    return tokens, logprobs


def _ignore(response: Any) -> None:
    """Accept a response whose body does not matter."""


def _run_now(work: Coroutine[Any, Any, Any]) -> None:
    """Run a coroutine in real time, and wait for it."""
    asyncio.run_coroutine_threadsafe(work, real_loop()).result()
