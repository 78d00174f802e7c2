"""Policies named on the command line (`--seat SEAT=POLICY`), and the world they play in."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from marl.cli.console import ERR, note
from marl.cli.setting_names import scenario_settings
from marl.errors import UserError

if TYPE_CHECKING:
    from arenas.spec import ReplySpec
    from marl.policy.base import Policy
    from marl.scenario.world import World
    from protocols.envelope import Envelope


POLICIES = (
    "random, human, scripted:NAME, trained or trained:RUN, hf:MODEL, openai:URL#MODEL, "
    "critique:POLICY or reflexion:POLICY"
)


def world_and_run(source: str, settings: Sequence[str]) -> tuple[World, Path | None]:
    """Return the world to play in, and the run's folder if the source is one."""
    import arenas
    from marl.rundir import load
    from marl.rundir.folder import RunDir
    from marl.scenario import arena_file
    from marl.scenario.world import load_world
    from marl.settings import override, read_toml

    path = Path(source)
    # A folder that only happens to be called like an arena does not hide it.
    run = path if RunDir(path).exists or (path.is_dir() and source not in arenas.ARENAS) else None
    if run is not None or path.suffix == ".toml":
        config = load.run_dir(path).config if run is not None else path
        scenario = read_toml(config).get("scenario")
        if not isinstance(scenario, dict):
            raise UserError(f"{config} has no [scenario]")
        basis, origin = arena_file.anchored(scenario, config.parent), str(config)
        return load_world(arena_file.admit(override(basis, scenario_settings(settings, basis))), origin), run
    basis = {"arena": {"name": source}}
    if arena_file.is_file(source):
        return load_world(arena_file.admit(override(basis, scenario_settings(settings, basis))), source), None
    if source not in arenas.ARENAS:
        if "/" in source and ":" not in source:
            raise UserError(f"there is neither a run's folder nor an arena {source!r}; `marl arenas` lists the arenas")
        arenas.find(source)  # raises ArenaError, with a likely name
    return load_world(override(basis, scenario_settings(settings, basis)), source), None


def policy_of(seat: str, policy: str, world: World, run: Path | None, loaded: dict[Path, dict[str, Policy]]) -> Policy:
    """Return the policy for one --seat SEAT=POLICY; raises UserError. A run is loaded once."""
    from marl.policy.human import Human
    from marl.policy.scripted import Random
    from marl.rundir import load

    kind, _, folder = policy.partition(":")
    if policy == "random":
        return Random()
    if policy == "human":
        return Human(lambda heard, spec: ask_person(seat, heard, spec))
    if kind == "scripted":
        return script_of(world, folder)
    if kind in ("critique", "reflexion"):
        return verbal(kind, policy_of(seat, folder, world, run, loaded), run)
    if kind == "openai":
        return endpoint_of(world, seat, policy)
    if kind == "hf":
        return chat_of(world, folder, loaded)
    if kind != "trained":
        raise UserError(f"--seat {seat}={policy}: a policy is one of {POLICIES}")
    path = Path(folder) if folder else run
    if path is None:
        raise UserError(f"--seat {seat}={policy}: name the run, as in {seat}=trained:runs/mine")
    if path not in loaded:
        with ERR.status("loading the policies"):
            loaded[path] = dict(load.trained(path).seats)
    if seat not in loaded[path]:
        raise UserError(f"--seat {seat}={policy}: that run has no seat {seat!r} but {', '.join(loaded[path])}")
    return loaded[path][seat]


def verbal(kind: str, inner: Policy, run: Path | None) -> Policy:
    """Wrap a chat policy so that it learns in words; raises UserError for a policy that is no chat model."""
    from marl.policy.reflection import Reflexion, SelfCritique

    if not inner.name.startswith(("openai:", "hf:", "critique:")):
        raise UserError(
            f"{kind}:{inner.name}: only a chat model can learn in words: write openai: or hf: after {kind}:"
        )
    return SelfCritique(inner) if kind == "critique" else Reflexion(inner, run / "lessons" if run else None)


def endpoint_of(world: World, seat: str, address: str) -> Policy:
    """Return the model of an endpoint as a policy; raises UserError."""
    from marl.policy.endpoint import EndpointPolicy
    from marl.policy.openai_client import connect

    return EndpointPolicy(connect(address), world.about(seat))


def chat_of(world: World, source: str, loaded: dict[Path, dict[str, Policy]]) -> Policy:
    """Return a pretrained model as a policy; all seats it plays share its weights. Raises UserError."""
    if not source:
        raise UserError("hf: needs a model, as in hf:smollm2: a folder, a GGUF file, a hub id, an installed package")
    cached = loaded.setdefault(Path(f"hf:{source}"), {})
    if not cached:
        with ERR.status(f"loading {source}"):  # the libraries too: they take seconds
            try:
                from marl.inference.server import serve
                from marl.models.pretrained import seat
            except ImportError as error:
                raise UserError(f"hf:{source} needs {error.name}: pip install 'sabir[lm,hf]'") from None
            cached[""] = serve(seat(source, world.about), f"hf:{source}")
    return cached[""]


def script_of(world: World, name: str) -> Policy:
    """Return a script of the arena by name, by default the best one. Raises UserError."""
    from arenas.solvers.measure import best
    from marl.policy.scripted import ArenaScriptPolicy

    scripts = world.arena.scripts()
    if not scripts:
        raise UserError(f"{world.arena.name} has no scripts: seat random, human or trained:RUN")
    name = name or best(scripts)
    if name not in scripts:
        raise UserError(f"{world.arena.name} has no script {name!r}; it has {', '.join(scripts)}")
    return ArenaScriptPolicy(scripts[name], f"scripted:{name}")


def ask_person(seat: str, heard: Sequence[Envelope], spec: ReplySpec) -> str:
    """Show a person what is new and return the line typed."""
    from protocols.envelope import Kind

    with _interruptible():
        if not heard:
            note("  not a legal reply")
        for envelope in heard:
            prefix = "you are shown" if envelope.kind is Kind.VIEW else f"{envelope.sender} says"
            note(f"  {prefix}: {envelope.body}")
        note(f"{seat} {spec.describe()}", "bold")
        ERR.print("> ", end="")
        line = sys.stdin.readline()
    if not line:
        raise UserError("input ended before the episode was over")
    return line.strip()


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C end a prompt at once; the event loop's own handler would wait for the line."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
