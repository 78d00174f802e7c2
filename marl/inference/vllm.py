"""VllmServer: replies sampled by a vLLM server elsewhere, for seats whose adapters are trained here.

vLLM holds the base model. After each update the adapter is written as a folder of peft and loaded there under a name of
its own, and the one before is unloaded. A request holds the transcript's token ids and the grammar of the reply over
token ids (marl/grammar/lark.py); back come the tokens that were drawn and their log-probabilities. So nothing is
tokenised again, and training scores the distribution that was sampled from.

The server must be started as `START` says, and must be able to read the run's folder.
"""

from __future__ import annotations

import asyncio
import math
import shutil
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from arenas.spec import ReplySpec
from marl.context.transcript import Transcript
from marl.episode import Sample
from marl.errors import ContextFullError, UserError
from marl.grammar import lark as token_grammar
from marl.grammar.automaton import Grammar
from marl.inference.server import PolicyServer
from marl.models.chat_model import ChatModel
from marl.models.language_model import LanguageModel
from marl.policy.base import Answered, PendingReply
from marl.policy.openai_client import Endpoint, RetryError, connect, parse_json
from protocols.realtime import outside, real_loop

START: Final = (
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve BASE --enable-lora --logprobs-mode processed_logprobs "
    "--structured-outputs-config.backend guidance"
)
CERTAIN: Final = 1e-3
"""How far from 0 the log-probability of the only token allowed may be."""

Drawn = tuple[tuple[int, ...], tuple[float, ...]]
"""Tokens, and their log-probabilities."""


class VllmServer(PolicyServer):
    """The policy of seats whose replies a vLLM server samples, by an adapter that is trained here.

    Args:
        lm: the policy; `lm.settings.vllm` is the server's address.
        name: of the policy.
        folder: where adapters are handed over.
    """

    lm: ChatModel

    def __init__(self, lm: LanguageModel, name: str, folder: Path) -> None:
        super().__init__(lm, name)
        assert isinstance(lm, ChatModel)
        self.endpoint: Endpoint = connect(f"vllm:{lm.settings.vllm}", lm.settings.rows)
        self.folder = folder.resolve()
        self.loaded = ""
        """The name under which vLLM has the adapter."""
        self._mark = uuid4().hex[:8]  # other runs may be served too
        self._texts: dict[Grammar, str] = {}

    def ask(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool, done: Answered) -> PendingReply:
        """Send a question off; the answer is ContextFullError where the transcript leaves no room for a reply."""

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
        if grammar not in self._texts:
            self._texts[grammar] = token_grammar.written(grammar, self._class, self.lm.eos)
        heat = 0.0 if greedy else self.lm.settings.temperature
        tokens, logp = await outside(self._draw(transcript.ids, self._texts[grammar], grammar.longest, seed, heat))
        rows = self.lm.rows(spec, tokens)
        if tokens[-1:] != (self.lm.eos,) or not bool(self.lm.masks[rows, list(tokens)].all()):
            raise UserError(f"vLLM at {self.endpoint.url} drew what the reply's grammar forbids; {START} starts it")
        transcript.replied(tokens)
        self.sampled += len(tokens)
        return self.lm.sample(spec, tokens, logp, self.version)

    def publish(self, version: int) -> None:
        """Hand the adapter as it is now to vLLM, and have it forget the one before; raises UserError."""
        first, before, place = not self.loaded, self.loaded, self.folder / f"{version:06d}"
        self.lm.save(place)
        self.loaded = f"{self.name}-{self._mark}-{version}"
        _now(self._load(place))
        if first:
            _now(self._try_out())
        if before and before != self.loaded:
            _now(self.endpoint.ask("unload_lora_adapter", {"lora_name": before}, 0, "to unload an adapter", _nothing))
        for old in self.folder.glob("[0-9]*"):
            if old != place:
                shutil.rmtree(old, ignore_errors=True)
        super().publish(version)

    async def _load(self, place: Path) -> None:
        body = {"lora_name": self.loaded, "lora_path": str(place), "load_inplace": True}
        what = f"to load the adapter {place}, which it must be able to read; {START} starts it"
        await self.endpoint.ask("load_lora_adapter", body, 0, what, _nothing)

    async def _try_out(self) -> None:
        """Ask for the one token that is allowed: raises UserError if another comes, or one that is not certain."""
        text = f"start: {token_grammar.ids([self.lm.eos])}"
        try:
            tokens, logp = await self._draw(self.lm.open().ids or [self.lm.eos], text, 1, 0, 1.0)
        except UserError as error:
            raise UserError(f"{error}, asked for the one token that a grammar allows; {START} starts it") from None
        if tokens != (self.lm.eos,) or abs(logp[0]) > CERTAIN:
            raise UserError(
                f"vLLM at {self.endpoint.url} does not give the log-probabilities of what it samples from; {START} "
                "starts it"
            )

    async def _draw(self, ids: Sequence[int], grammar: str, longest: int, seed: int, temperature: float) -> Drawn:
        body = {
            "model": self.loaded,
            "prompt": list(ids),
            "add_special_tokens": False,
            "max_tokens": longest,
            "temperature": temperature,
            "seed": seed % (1 << 31),
            "logprobs": 0,  # of what is drawn alone
            "return_token_ids": True,
            "stop_token_ids": [self.lm.eos],
            "structured_outputs": {"grammar": grammar},
        }
        return await self.endpoint.ask("completions", body, seed, "to complete a transcript", drawn)

    def _class(self, kind: str) -> Sequence[int]:
        found: list[int] = self.lm.of_class(kind).nonzero()[:, 0].tolist()
        return found


def drawn(response: Any) -> Drawn:
    """Return the tokens of a completion and their log-probabilities; raises RetryError."""
    answer = parse_json(response)
    try:
        choice = answer["choices"][0]
        tokens = tuple(map(int, choice["token_ids"]))
        logp = tuple(map(float, choice["logprobs"]["token_logprobs"]))
    except (LookupError, TypeError, ValueError, AttributeError):
        raise RetryError("answers nonsense (no token ids with log-probabilities): is it vLLM?") from None
    if not tokens or len(tokens) != len(logp) or not all(map(math.isfinite, logp)):
        raise RetryError("answers nonsense (tokens without log-probabilities): is it vLLM?")
    return tokens, logp


def _nothing(response: Any) -> None:
    """Take an answer that says nothing but that it was done."""


def _now(work: Coroutine[Any, Any, Any]) -> None:
    """Do something in real time, and wait for it."""
    asyncio.run_coroutine_threadsafe(work, real_loop()).result()
