"""vLLM samples, with adapters that are trained here: what comes back is what is scored, before and after each swap.

The server of the quick tests is a stand-in (tests/marl/inference/vllm_stand_in.py). The slow test starts a real vLLM,
where the environment variable SABIR_VLLM names its program.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from marl.episode import Episode, Stop
from marl.errors import UserError
from marl.inference.vllm import START_COMMAND, VllmServer
from marl.models.chat_model import ChatModel
from marl.models.pretrained import policies
from marl.policy.config import HfPolicy, LoraSettings
from marl.policy.openai_client import connect
from marl.rollout.collect import collect
from marl.rollout.plan import Plan
from marl.scenario.world import World
from tests.marl import chats
from tests.marl.worlds import world
from trainers.batch import collate
from trainers.run import Run
from trainers.run_config import RunConfig

pytest.importorskip("httpx2")
pytest.importorskip("llguidance")
from tests.marl.inference.vllm_stand_in import StandIn


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chats.folder(tmp_path_factory.mktemp("model"))


@pytest.fixture
def server(folder: Path) -> Iterator[StandIn]:
    connect.cache_clear()
    with StandIn(folder) as stand_in:
        yield stand_in
        stand_in.shutdown()


def served(here: World, folder: Path, address: str, out: Path, **settings: Any) -> dict[str, VllmServer]:
    policy_config = HfPolicy(
        hf=str(folder), lora=LoraSettings(rank=4), dtype="float32", vllm=address, **({"talk": 8} | settings)
    )
    models = policies(policy_config, list(here.agents), here.about, seed=1)
    return {name: VllmServer(lm, name, out / name) for name, lm in models.items()}


def change(servers: Mapping[str, VllmServer], seed: int) -> None:
    """Have every adapter change something, as an update would."""
    generator = torch.Generator().manual_seed(seed)
    for server in servers.values():
        assert server.lm.adapter is not None
        for weight in server.lm.base.parameters_of(server.lm.adapter)[1::2]:
            weight.data.normal_(0, 0.2, generator=generator)
        server.lm.base.touch()


def apart(lm: ChatModel, seat: str, episodes: list[Episode]) -> float:
    """How far the log-probabilities that came with the tokens are from those that training computes, at most."""
    batch = collate(lm, episodes, [seat], np.zeros((len(episodes), max(len(e.turns) for e in episodes))))
    assert batch.tokens
    with torch.no_grad():
        logp = lm.score(batch.ids, batch.trained, batch.mask_rows[batch.trained]).logp
    return float((logp - batch.behavior_logprobs[batch.trained]).abs().max())


@pytest.mark.parametrize(("free", "think"), [(0, 0), (0, 4), (60, 0)])
def test_what_comes_back_is_what_is_scored(
    free: int, think: int, folder: Path, server: StandIn, tmp_path: Path
) -> None:
    here = world("chat", arena={"free": free})
    servers = served(here, folder, server.address, tmp_path, think=think, temperature=0.8)
    for version in range(2):
        change(servers, version)
        for sampler in servers.values():
            sampler.publish(version)
        episodes = collect(here, [Plan(f"e{version}-{i}", servers, 1) for i in range(2)])
        assert [episode.error for episode in episodes] == ["", ""]
        assert {turn.sample.version for episode in episodes for turn in episode.turns} == {version}
        assert all(turn.legal for episode in episodes for turn in episode.turns)
        for seat, sampler in servers.items():
            assert apart(sampler.lm, seat, episodes) < 1e-4
            assert [place.name for place in sampler.folder.iterdir()] == [f"{version:06d}"]
    assert sorted(server.adapters) == sorted(sampler.loaded for sampler in servers.values()), "old ones are unloaded"
    assert len(server.loaded) == 2 * len(servers)


def test_a_run_hands_its_adapter_over_after_each_update_and_goes_on(
    folder: Path, server: StandIn, tmp_path: Path
) -> None:
    policy = {"hf": str(folder), "lora": {"rank": 2}, "dtype": "float32", "vllm": server.address}
    settings: dict[str, Any] = {
        "scenario": {"arena": {"name": "lewis"}},
        "out": tmp_path / "run",
        "updates": 2,
        "episodes": 4,
        "checkpoint_every": 1,
        "evaluate_every": 9,
        "sharing": "shared",
        "policy": policy,
        "algorithm": {"behaviour_cap": 2.0},
    }
    Run(RunConfig.model_validate(settings)).train()
    assert [name.split("-")[0] + name[-2:] for name in server.loaded] == ["shared-0", "shared-1", "shared-2"]
    Run(RunConfig.model_validate(settings | {"updates": 3})).train()
    assert [name[-2:] for name in server.loaded[3:]] == ["-2", "-3"]
    assert len(set(server.loaded)) == 5, "another start is another name"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            "lora",
            "refuses to load the adapter .*000000, which it must be able to read; start it with VLLM.*404 Not Found",
        ),
        (
            "raw",
            "the distribution that it samples from; start it with VLLM.*processed_logprobs",
        ),
        ("constrained", "does not return the log-probabilities of the distribution that it samples from"),
    ],
)
def test_a_server_that_was_started_otherwise_is_refused(
    wrong: str, message: str, folder: Path, server: StandIn, tmp_path: Path
) -> None:
    setattr(server, wrong, wrong == "raw")
    (first, *_) = served(world("lewis"), folder, server.address, tmp_path).values()
    with pytest.raises(UserError, match=message):
        first.publish(0)


def test_what_goes_wrong_later_ends_the_episode_in_a_sentence(folder: Path, server: StandIn, tmp_path: Path) -> None:
    here = world("lewis")
    servers = served(here, folder, server.address, tmp_path)
    for sampler in servers.values():
        sampler.publish(0)

    def error() -> str:
        (episode,) = collect(here, [Plan("e", servers, 1)])
        assert episode.stop is Stop.ERROR
        return episode.error

    server.constrained = False
    assert "drew tokens that the reply's grammar forbids; start it with VLLM_ALLOW" in error()
    server.adapters.clear()
    assert "refuses to complete a transcript (404 The model `sender_0-" in error()
    server.complete = lambda model, body: {"choices": [{"text": "m0"}]}  # type: ignore[method-assign]
    for sampler in servers.values():
        server.adapters[sampler.loaded] = None
    assert "returned an invalid response (no token ids with log-probabilities): is it vLLM?" in error()


def test_a_transcript_that_leaves_no_room_ends_the_episode(folder: Path, server: StandIn, tmp_path: Path) -> None:
    here = world("chat")
    servers = served(here, folder, server.address, tmp_path, context=16)
    for sampler in servers.values():
        sampler.publish(0)
    (episode,) = collect(here, [Plan("e", servers, 1)])
    assert episode.stop is Stop.OVERFLOW


def test_a_server_that_is_down_is_said_to_be(folder: Path, tmp_path: Path) -> None:
    (first, *_) = served(world("lewis"), folder, "http://127.0.0.1:9/v1?tries=1", tmp_path).values()
    with pytest.raises(UserError, match=r"the endpoint http://127.0.0.1:9/v1 cannot be reached"):
        first.publish(0)


def test_all_weights_are_not_handed_over() -> None:
    with pytest.raises(ValueError, match=r"handed adapters, not all weights: set policy.lora"):
        HfPolicy(hf="tiny", vllm="http://localhost/v1")
    with pytest.raises(UserError, match=r"write vllm:http://HOST:PORT/v1$"):
        connect("vllm:localhost")


@pytest.fixture
def real(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A vLLM with a tiny chat model of random weights; it wants heads of 32."""
    folder = chats.folder(tmp_path / "model", head=32)
    program = os.environ.get("SABIR_VLLM")
    if not program:
        pytest.skip("SABIR_VLLM does not name vLLM's program")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    more = [*START_COMMAND.split()[4:], "--dtype", "float32", "--enforce-eager"]
    command = [program, "serve", str(folder), "--port", str(port), "--max-model-len", "1024", *more]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
        "VLLM_CPU_KVCACHE_SPACE": "1",
    }
    log = (folder / "server.log").open("w")
    process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=folder, start_new_session=True)
    try:
        for _ in range(600):
            assert process.poll() is None, (folder / "server.log").read_text()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).read()
                break
            except OSError:
                time.sleep(0.5)
        yield folder, f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        log.close()


@pytest.mark.slow
def test_a_real_vllm_samples_what_is_scored(real: tuple[Path, str], tmp_path: Path) -> None:
    here = world("chat")
    servers = served(here, *real, tmp_path, think=4, temperature=0.8)
    for version in range(2):
        change(servers, version)
        for sampler in servers.values():
            sampler.publish(version)
        episodes = collect(here, [Plan(f"e{version}-{i}", servers, 1) for i in range(4)])
        assert [episode.error for episode in episodes] == [""] * 4
        for seat, sampler in servers.items():
            assert apart(sampler.lm, seat, episodes) < 1e-3
