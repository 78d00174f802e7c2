"""What stands in the folder of a run outlives a crash, a full disk and a resumed run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from marl.errors import UserError
from marl.policy.base import Policy
from marl.policy.scripted import Random
from marl.rundir.folder import KEEP, RunDir
from protocols import log
from protocols.log import Log
from tests.marl.worlds import played, raw, world


def logs(seed: int, count: int = 3) -> list[Log]:
    here = world("lewis")
    seats: dict[str, Policy] = dict.fromkeys(here.agents, Random())
    return [episode.log for episode in played(here, seats, count, seed=seed)]


def write(text: str) -> Callable[[Path], None]:
    def save(folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "weights").write_text(text)

    return save


def begun(path: Path) -> RunDir:
    path.mkdir()
    folder = RunDir(path)
    folder.config.write_text("seed = 1\n")
    return folder


def test_the_newest_checkpoints_are_kept_and_older_ones_removed(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run")
    assert folder.exists
    assert not folder.finished
    for update in (1, 2, 9, 10, 11):
        where = folder.checkpoint(update, {"seconds": 1.5}, write(str(update)))
        assert where == folder.newest()
        assert (where / "weights").read_text() == str(update)
    assert sorted(p.name for p in folder.checkpoints.iterdir()) == ["000010", "000011"]
    assert KEEP == 2
    newest, state = folder.resume()
    assert newest.name == "000011"
    assert state["update"] == 11
    assert state["seconds"] == 1.5


def test_a_checkpoint_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run")
    folder.checkpoint(1, {}, write("one"))

    def fails(part: Path) -> None:
        write("half")(part)
        assert not (folder.checkpoints / "000002").exists()  # nothing of it stands in its place yet
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        folder.checkpoint(2, {}, fails)
    assert folder.newest().name == "000001"
    assert folder.resume()[1]["update"] == 1
    folder.checkpoint(2, {}, write("two"))
    assert (folder.newest() / "weights").read_text() == "two"
    assert sorted(p.name for p in folder.checkpoints.iterdir()) == ["000001", "000002"]


def test_a_checkpoint_may_be_written_again(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run")
    for text in ("first", "second"):
        folder.checkpoint(3, {}, write(text))
    assert (folder.newest() / "weights").read_text() == "second"


def test_without_a_checkpoint_the_user_is_told(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run")
    with pytest.raises(UserError, match="no checkpoint yet"):
        folder.resume()


def test_what_was_written_after_the_checkpoint_is_cut_off_on_resuming(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run")
    folder.append_metrics({"update": 1})
    folder.append_logs(logs(1))
    folder.checkpoint(1, {}, write("one"))
    kept = (folder.metrics.read_bytes(), folder.train_log.read_bytes())
    for update in (2, 3):
        folder.append_metrics({"update": update})
        folder.append_logs(logs(update))
    assert len(list(log.load(folder.train_log))) == 9
    folder.resume()
    assert (folder.metrics.read_bytes(), folder.train_log.read_bytes()) == kept
    assert folder.read_metrics() == [{"update": 1}]
    assert raw(list(log.load(folder.train_log))) == raw(logs(1))


def test_a_log_that_began_after_the_checkpoint_is_emptied(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run")
    folder.append_metrics({"update": 1})
    folder.checkpoint(1, {}, write("one"))
    folder.append_logs(logs(1))
    folder.resume()
    assert folder.train_log.read_bytes() == b""
    assert len(folder.read_metrics()) == 1


@pytest.mark.parametrize("left", [0, 10, 40, 400, 900, None])
def test_what_was_cut_is_said_and_stays_readable(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, left: int | None
) -> None:
    folder = begun(tmp_path / "run")
    for update in (1, 2, 3):
        folder.append_metrics({"update": update, "loss": 0.5})
        folder.append_logs(logs(update))
    folder.checkpoint(3, {}, write("three"))
    for path in (folder.metrics, folder.train_log):
        length = path.stat().st_size
        if left is None:
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[: min(left, length - 1)])
    folder.resume()
    assert [message.partition(" was cut: it has ")[0] for message in caplog.messages] == [
        str(folder.metrics),
        str(folder.train_log),
    ]
    assert f"of the {length} bytes that it had at checkpoint 000003" in caplog.messages[1]
    rows = len(folder.read_metrics())
    assert rows < 3
    before = len(list(log.load(folder.train_log))) if folder.train_log.exists() else 0
    assert before in (0, 3, 6)
    folder.append_metrics({"update": 4})
    folder.append_logs(logs(4))
    assert len(folder.read_metrics()) == rows + 1
    assert len(list(log.load(folder.train_log))) == before + 3, "what comes after the cut can be read"


NAMES = ("000010 (copy)", "000010.bak", "000010.damaged", "10", "0000011", "000011-old", "٠٠٠٠١١", "1e9999", "part")


def test_a_folder_with_another_name_is_no_checkpoint(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run")
    folder.checkpoint(9, {}, write("nine"))
    folder.checkpoint(10, {}, write("ten"))
    for name in NAMES:
        shutil.copytree(folder.checkpoints / "000010", folder.checkpoints / name)
    (folder.checkpoints / "000099").write_text("a file")
    assert folder.newest().name == "000010"
    folder.checkpoint(11, {}, write("eleven"))
    assert {p.name for p in folder.checkpoints.iterdir()} == {*NAMES, "000099", "000010", "000011"} - {"part"}


def test_a_copy_under_another_number_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = begun(tmp_path / "run")
    folder.checkpoint(10, {}, write("ten"))
    shutil.copytree(folder.checkpoints / "000010", folder.checkpoints / "000020")
    assert folder.newest().name == "000010"
    assert "000020 is damaged (state.json: it is of update 10): 000010 is used instead" in caplog.text


def test_checkpoints_are_ordered_by_number(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run")
    folder.checkpoint(999_999, {}, write("a"))
    folder.checkpoint(1_000_000, {}, write("b"))
    assert folder.newest().name == "1000000"


@pytest.mark.parametrize(
    "line",
    [b"{", b"[]", b"3", b"\xff", b'{"update": "x"}', b'{"loss": 1}', b"[" * 99999, b'{"update": 1, "x": 1' + b"0" * 400
     + b"}", b'{"update": 1' + b"0" * 5000 + b"}", b'{"update": 1, "\\ud800": 1}', b"\x00" * 40, b"", b" " * (5 << 20)],
)  # fmt: skip
def test_damaged_metrics_are_named_with_their_line(tmp_path: Path, line: bytes) -> None:
    folder = begun(tmp_path / "run")
    folder.append_metrics({"update": 1})
    with folder.metrics.open("ab") as file:
        file.write(line + b"\n")
    with pytest.raises(UserError, match=r"metrics.jsonl, line 2: .*: restore the file, or remove this line"):
        folder.read_metrics()


def test_half_a_line_that_a_killed_process_left_is_not_read(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run")
    folder.append_metrics({"update": 1})
    with folder.metrics.open("a") as file:
        file.write('{"update": 2, "train/sc')
    assert folder.read_metrics() == [{"update": 1}]


def test_the_log_of_the_last_evaluation_replaces_the_one_before(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run")
    for seed in (1, 2):
        folder.write_eval(logs(seed))
        assert raw(list(log.load(folder.eval_log))) == raw(logs(seed))
    assert [p.name for p in folder.eval_log.parent.iterdir()] == ["eval.jsonl.gz"]


def test_clearing_removes_the_run_and_nothing_else(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run")
    folder.append_metrics({})
    folder.append_logs(logs(1))
    folder.checkpoint(1, {}, write("one"))
    folder.summary.write_text("{}")
    assert folder.finished
    (folder.path / "notes.txt").write_text("mine")
    folder.clear()
    assert [p.name for p in folder.path.iterdir()] == ["notes.txt"]
    assert not folder.exists
    assert folder.read_metrics() == []


FULL_DISK = """
import resource, sys
from pathlib import Path
from marl.rundir import RunDir
from protocols import log
folder = RunDir(Path(sys.argv[1]))
episodes = list(log.load(Path(sys.argv[2])))
def save(part):
    part.mkdir()
    (part / "weights").write_text("x" * 9999)
folder.append_metrics({"update": 1, "text": "a" * 500})
folder.append_logs(episodes)
folder.checkpoint(1, {}, save)
resource.setrlimit(resource.RLIMIT_FSIZE, (2500, 2500))
for what in (lambda n: folder.append_metrics({"update": n, "text": "b" * 700}), lambda n: folder.append_logs(episodes)):
    written = 0
    try:
        for n in range(2, 50):
            what(n)
            written += 1
    except OSError as error:
        print(written, error.strerror)
try:
    folder.checkpoint(2, {}, save)
except OSError as error:
    print("checkpoint", error.strerror)
"""


def test_a_full_disk_is_an_error_that_leaves_what_was_written_before(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run")
    log.save(tmp_path / "log", logs(1))
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(folder.path), str(tmp_path / "log")],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    (rows, *reason), (appends, *_), (last, *_) = (line.split() for line in done.stdout.splitlines())
    assert " ".join(reason) == "File too large"
    assert last == "checkpoint"
    assert int(rows) >= 1
    assert int(appends) >= 1
    assert [row["update"] for row in folder.read_metrics()] == list(range(1, 2 + int(rows)))
    assert len(list(log.load(folder.train_log))) == 3 * (1 + int(appends))
    folder.append_metrics({"update": 99})  # nothing that was half written stands in the way
    assert folder.read_metrics()[-1] == {"update": 99}
    assert folder.resume()[1]["update"] == 1
    assert [row["update"] for row in folder.read_metrics()] == [1]
    assert raw(list(log.load(folder.train_log))) == raw(logs(1))
    folder.checkpoint(2, {}, write("two"))
    assert folder.newest().name == "000002"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "3", '{"update": 1}', '{"sizes": {"metrics.jsonl": "x"}}', '{"sizes": 3}']
)
def test_a_state_that_cannot_be_read_is_a_users_error(tmp_path: Path, text: str) -> None:
    folder = begun(tmp_path / "run")
    folder.append_metrics({"update": 1})
    folder.checkpoint(1, {}, write("one"))
    (folder.newest() / "state.json").write_text(text)
    with pytest.raises(UserError, match="is damaged"):
        folder.resume()
    assert json.loads(folder.metrics.read_text()) == {"update": 1}
