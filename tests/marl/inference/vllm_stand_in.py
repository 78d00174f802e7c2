"""A stand-in for vLLM, which runs on few machines: what its API documents of adapters and of completions, and no more.

It shares no code with what it tests: adapters are loaded by peft from their folders, grammars read by llguidance, and
every token costs a whole pass of transformers.
"""

from __future__ import annotations

import json
import threading
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer


class StandIn(ThreadingHTTPServer):
    """Serves a model's folder. `adapters` are those that are loaded, `raw` gives log-probabilities without masks."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.adapters: dict[str, Any] = {}
        self.loaded: list[str] = []
        self.asked: list[dict[str, Any]] = []
        self.lora, self.raw, self.constrained = True, False, True
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self._one = threading.Lock()
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1?tries=1"

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        with self._one:
            self.asked.append(body)
            if path == "/v1/completions":
                if body["model"] not in self.adapters:
                    return 404, {"error": {"message": f"The model `{body['model']}` does not exist."}}
                return 200, self.complete(self.adapters[body["model"]], body)
            if path == "/v1/load_lora_adapter" and self.lora:
                base = AutoModelForCausalLM.from_pretrained(self.folder)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", FutureWarning)  # peft still reads a name that transformers gives up
                    self.adapters[body["lora_name"]] = PeftModel.from_pretrained(base, body["lora_path"]).eval()
                self.loaded.append(body["lora_name"])
                return 200, f"Success: LoRA adapter '{body['lora_name']}' added successfully."
            if path == "/v1/unload_lora_adapter" and self.lora:
                del self.adapters[body["lora_name"]]
                return 200, "Success"
        return 404, {"detail": "Not Found"}

    @torch.no_grad()
    def complete(self, model: Any, body: dict[str, Any]) -> dict[str, Any]:
        from llguidance import LLMatcher
        from llguidance.hf import from_tokenizer

        size = model.config.vocab_size
        matcher = LLMatcher(from_tokenizer(self.tokenizer, n_vocab=size), body["structured_outputs"]["grammar"])
        ids, generator = list(body["prompt"]), torch.Generator().manual_seed(body["seed"])
        tokens: list[int] = []
        logps: list[float] = []
        while len(tokens) < body["max_tokens"]:
            raw = model(torch.tensor([ids])).logits[0, -1].float() / (body["temperature"] or 1.0)
            bits = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), np.uint8), bitorder="little")[:size]
            allowed = torch.from_numpy(bits).bool() if self.constrained else torch.ones(size, dtype=torch.bool)
            logits = raw.masked_fill(~allowed, -torch.inf)
            drawn = torch.multinomial(logits.softmax(-1), 1, generator=generator) if body["temperature"] else logits
            token = int(drawn) if body["temperature"] else int(logits.argmax())
            tokens.append(token)
            logps.append(float((raw if self.raw else logits).log_softmax(-1)[token]))
            if token in body["stop_token_ids"]:
                break
            matcher.consume_tokens([token])
            ids.append(token)
        text = self.tokenizer.decode(tokens)
        return {"choices": [{"text": text, "token_ids": tokens, "logprobs": {"token_logprobs": logps}}]}


class _Handler(BaseHTTPRequestHandler):
    server: StandIn

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, answer = self.server.answer(self.path, body)
        data = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        pass
