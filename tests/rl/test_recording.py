"""Recordings that are stopped, killed or out of room, and environments with the habits of other people's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from rl import recording as recording_module
from rl.record import RecordConfig, RecordingInterrupted, main, record
from rl.recording import progress_path, recording_lock
from tests.record_envs import Drifting

DRIFTING = "tests.record_envs:Recorded/Drifting-v0"


def _config(out: Path, env: str = "Drifting", **changes: Any) -> RecordConfig:
    settings = {"frames": 101, "envs": 4, "every": 2, "progress": False, **changes}
    return RecordConfig(env=f"tests.record_envs:Recorded/{env}-v0", out=str(out), **settings)


def _content(path: Path) -> dict[str, Any]:
    with h5py.File(path) as file:
        content: dict[str, Any] = {name: file[name][:] for name in file if isinstance(file[name], h5py.Dataset)}
        content["bins"] = {name: file["factor_bins"][name][:] for name in file.get("factor_bins", ())}
        return {**content, **dict(file.attrs)}


def _assert_same(first: Path, second: Path) -> None:
    np.testing.assert_equal(_content(first), _content(second))


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A recording that nobody interrupts."""
    return record(_config(tmp_path / "whole.h5"))


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], None]], None]:
    """Do something before the step of that number, counted over all environments."""

    def plan(number: int, act: Callable[[], None]) -> None:
        steps, step = 0, Drifting.step

        def counted(self: Drifting, action: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == number:
                act()
            return step(self, action)

        monkeypatch.setattr(Drifting, "step", counted)

    return plan


def _fail() -> None:
    raise KeyError("the environment's own fault")


@pytest.mark.parametrize("number", [1, 2, 8, 9, 57, 120, 170])
def test_a_stopped_recording_ends_as_one_that_nobody_stopped(
    tmp_path: Path, whole: Path, number: int, at_step: Callable[[int, Callable[[], None]], None]
) -> None:
    out = tmp_path / "f.h5"
    at_step(number, _fail)
    with pytest.raises(KeyError, match="the environment's own fault"):
        record(_config(out))
    with pytest.raises(FileExistsError, match=r"interrupted recording is at .*continue it with --resume"):
        record(_config(out))
    with pytest.raises(ValueError, match=r"other settings \(seed: 0 there, 5 asked for\)"):
        record(_config(out, resume=True, seed=5))
    with pytest.raises(ValueError, match=r"other settings \(envs: 4 there, 3 asked for\)"):
        record(_config(out, resume=True, envs=3))
    _assert_same(record(_config(out, resume=True)), whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.h5", "whole.h5"]


def test_recordings_have_episodes_of_many_lengths_and_seeds_of_their_own(whole: Path, tmp_path: Path) -> None:
    clocks = _content(whole)["factor_values"][:, 1].reshape(-1)
    assert (clocks == 0).sum() > 6  # several episodes each
    first = _content(whole)["images"][clocks == 0]
    assert len(np.unique(first, axis=0)) == len(first)
    other = _content(record(_config(tmp_path / "other.h5", seed=1)))["images"]
    assert not any((image == other).all(axis=(1, 2, 3)).any() for image in first)


def test_resume_starts_where_there_is_nothing_and_keeps_what_is_finished(tmp_path: Path, whole: Path) -> None:
    out = tmp_path / "new" / "f.h5"
    _assert_same(record(_config(out, resume=True)), whole)
    before = out.stat().st_mtime_ns
    assert record(_config(out, resume=True)) == out
    assert out.stat().st_mtime_ns == before
    with pytest.raises(ValueError, match=r"f\.h5 was recorded with other settings \(frames: 101 there, 7 asked for\)"):
        record(_config(out, resume=True, frames=7))
    (tmp_path / "mine.h5").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=r"mine\.h5 exists, and is no recording"):
        record(_config(tmp_path / "mine.h5", resume=True))


def test_resume_starts_where_the_kill_came_before_the_first_save(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "f.h5"
    with monkeypatch.context() as patch:
        patch.setattr(recording_module.Recording, "save", lambda self: None)
        patch.setattr(recording_module.Recording, "finish", lambda self: _fail())
        with pytest.raises(KeyError):
            record(_config(out))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.h5.partial", "whole.h5"]
    _assert_same(record(_config(out, resume=True)), whole)


def test_a_recording_that_was_to_replace_one_is_continued(
    tmp_path: Path, whole: Path, at_step: Callable[[int, Callable[[], None]], None]
) -> None:
    out = tmp_path / "f.h5"
    record(_config(out, seed=3))
    at_step(50, _fail)
    with pytest.raises(KeyError):
        record(_config(out, overwrite=True))
    _assert_same(record(_config(out, resume=True)), whole)


def test_a_recording_of_an_earlier_version_is_continued_with_fresh_episodes(tmp_path: Path, whole: Path) -> None:
    out, first = tmp_path / "f.h5", _content(whole)
    settings = {**json.loads(first["settings"])}
    with h5py.File(tmp_path / "f.h5.partial", "w") as file:
        file.create_dataset("images", (101, 3, 6, 5), np.uint8)
        file["images"][:40] = first["images"][:40]
        file.create_dataset("factor_values", (101, 2), np.float32)
        file["factor_values"][:40] = first["factor_values"][:40]
        file.attrs.update({"environment": DRIFTING, "settings": json.dumps(settings), "frames_done": 40})
        file.attrs["factor_names"] = ["sum", "clock"]
    found = _content(record(_config(out, resume=True)))
    np.testing.assert_array_equal(found["images"][:40], first["images"][:40])
    assert (found["factor_values"][40:44, 1] == 0).all()
    assert found["images"].any(axis=(1, 2, 3)).all()
    assert not (found["images"][40:44] == first["images"][:4]).all(axis=(1, 2, 3)).any()  # not the same ones again


def _damage_progress(out: Path) -> None:
    progress_path(out).write_text('{"frames": 80}')


def _claim_too_much(out: Path) -> None:
    found = json.loads(progress_path(out).read_text())
    progress_path(out).write_text(json.dumps({**found, "frames": 102}))


def _cut(out: Path) -> None:
    os.truncate(f"{out}.partial", 4000)


def _garbage(out: Path) -> None:
    Path(f"{out}.partial").write_bytes(b"half")


@pytest.mark.parametrize("damage", [_damage_progress, _claim_too_much, _cut, _garbage])
def test_a_damaged_interrupted_recording_is_refused_by_name(
    tmp_path: Path, damage: Callable[[Path], None], at_step: Callable[[int, Callable[[], None]], None]
) -> None:
    out = tmp_path / "f.h5"
    at_step(100, _fail)
    with pytest.raises(KeyError):
        record(_config(out))
    damage(out)
    with pytest.raises(ValueError, match=r"f\.h5\.partial: cannot be continued .*start again with --overwrite"):
        record(_config(out, resume=True))
    record(_config(out, overwrite=True))
    assert [path.name for path in tmp_path.iterdir()] == ["f.h5"]


def test_links_planted_under_the_recorders_names_are_never_followed(tmp_path: Path, whole: Path) -> None:
    victim, out = tmp_path / "victim", tmp_path / "f.h5"
    victim.write_bytes(whole.read_bytes())
    for name in ("f.h5.partial", "f.h5.partial.json", "f.h5.partial.lock"):
        (tmp_path / name).symlink_to(victim)
    with pytest.raises(OSError, match="partial.lock"):
        record(_config(out, overwrite=True))
    (tmp_path / "f.h5.partial.lock").unlink()
    with pytest.raises(ValueError, match=r"f\.h5\.partial is no plain file, and links are not followed: remove it"):
        record(_config(out, resume=True))
    _assert_same(record(_config(out, overwrite=True)), whole)
    assert victim.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.h5", "victim", "whole.h5"]


def test_two_processes_never_record_one_file(
    tmp_path: Path, at_step: Callable[[int, Callable[[], None]], None]
) -> None:
    out = tmp_path / "f.h5"
    at_step(100, _fail)
    with pytest.raises(KeyError):
        record(_config(out))
    for how in ("resume", "overwrite"):
        with recording_lock(out), pytest.raises(FileExistsError, match=r"f\.h5 is being recorded by another process"):
            record(_config(out, **{how: True}))


@pytest.mark.parametrize(
    ("signals", "codes"),
    [((signal.SIGINT,), {130}), ((signal.SIGTERM,), {143}), ((signal.SIGTERM, signal.SIGINT), {130, 143})],
)
def test_a_signal_saves_all_frames_and_ends_with_one_line(
    tmp_path: Path,
    whole: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    at_step: Callable[[int, Callable[[], None]], None],
    signals: tuple[signal.Signals, ...],
    codes: set[int],
) -> None:
    out, save, write = tmp_path / "f.h5", recording_module.Recording.save, recording_module.Recording.write
    written = []

    def counted(self: recording_module.Recording, images: Any, values: Any, moment: Any) -> None:
        write(self, images, values, moment)
        written.append(moment.frames)

    monkeypatch.setattr(recording_module.Recording, "write", counted)

    def interrupted_again(self: recording_module.Recording) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        save(self)

    def send() -> None:
        monkeypatch.setattr(recording_module.Recording, "save", interrupted_again)
        for number in signals:
            os.kill(os.getpid(), number)

    at_step(100, send)
    words = [DRIFTING, "--out", str(out), "--frames", "101", "--envs", "4", "--every", "2", "--no-progress"]
    before = signal.getsignal(signal.SIGTERM)
    assert main(words) in codes
    assert signal.getsignal(signal.SIGTERM) is before
    line = f"stopped after {written[-1]} frames; they are in {out}.partial; the same command plus --resume continues\n"
    assert capsys.readouterr().err == line
    assert 50 < json.loads(progress_path(out).read_text())["frames"] == written[-1] < 70
    monkeypatch.undo()
    assert main([*words, "--resume"]) == 0
    _assert_same(out, whole)


def test_who_replaces_a_file_is_told_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], at_step: Callable[[int, Callable[[], None]], None]
) -> None:
    at_step(10, lambda: os.kill(os.getpid(), signal.SIGINT))
    out = tmp_path / "f.h5"
    assert main([DRIFTING, "--out", str(out), "--overwrite", "--no-progress"]) == 130
    assert capsys.readouterr().err.endswith("the same command plus --resume in place of --overwrite continues\n")
    assert main([DRIFTING, "--out", str(out), "--resume", "--no-progress"]) == 0


def test_python_callers_learn_which_signal_it_was(
    tmp_path: Path, at_step: Callable[[int, Callable[[], None]], None]
) -> None:
    at_step(10, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(RecordingInterrupted) as stopped:
        record(_config(tmp_path / "f.h5"))
    assert stopped.value.signal_number == signal.SIGTERM


_FILLS = """
import resource, sys
from rl.record import main
from tests.record_envs import Drifting

steps, step = 0, Drifting.step

def counted(self, action):
    global steps
    steps += 1
    if steps == 100:  # no byte beyond this can be written any more, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (6000, resource.RLIM_INFINITY))
    return step(self, action)

Drifting.step = counted
sys.exit(main(sys.argv[1:]))
"""


def test_a_disk_that_fills_is_one_line_and_the_recording_goes_on_when_there_is_room(
    tmp_path: Path, whole: Path
) -> None:
    pytest.importorskip("resource")
    out = tmp_path / "f.h5"
    words = [DRIFTING, "--out", str(out), "--frames", "101", "--envs", "4", "--every", "2", "--no-progress"]
    # a process of its own: HDF5 ends the whole process when it cannot close its file
    ended = subprocess.run([sys.executable, "-c", _FILLS, *words], capture_output=True, text=True)
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.count("\n") == 1
    assert "f.h5.partial (File too large); free some space, then the same command plus --resume" in ended.stderr
    assert main([*words, "--resume"]) == 0
    _assert_same(out, whole)


def test_a_disk_without_room_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            record(_config(tmp_path / "f.h5", frames=100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_environments_that_share_one_array_are_recorded_as_they_were(tmp_path: Path, whole: Path) -> None:
    out = record(_config(tmp_path / "f.h5", "OneBuffer"))
    for name in ("images", "factor_values"):
        np.testing.assert_array_equal(_content(out)[name], _content(whole)[name])
    drawn = record(_config(tmp_path / "g.h5", "OneBuffer", render=True))
    np.testing.assert_array_equal(_content(drawn)["images"], _content(whole)["images"])


def test_infos_of_other_kinds_are_left_alone(tmp_path: Path, whole: Path) -> None:
    content = _content(record(_config(tmp_path / "f.h5", "OtherInfos")))
    np.testing.assert_array_equal(content["images"], _content(whole)["images"])
    assert "factor_values" not in content


@pytest.mark.parametrize(
    ("env", "changes", "message"),
    [
        ("Forgetful", {}, r"Forgetful-v0 reported factors at first, and then none"),
        ("Miscounted", {}, r"Miscounted-v0 needs info\['factors'\] of 2 numbers.*got \(3,\)"),
        ("Growing", {"render": True}, r"the pictures were \(3, 6, 5\) .* and are \(3, 8, 5\)"),
        ("Dark", {"env_kwargs": '{"high": 1}'}, r"Dark-v0 declares pixels in 0\.\.1, and 255 is taken for white"),
        ("Drifting", {"key": "camera"}, r"key names a part of Dict observations.*leave --key out"),
        ("Drifting", {"env_kwargs": '{"speed": 1}'}, r"could not be made with .*unexpected keyword argument 'speed'"),
    ],
)
def test_environments_that_cannot_be_recorded_are_refused(
    tmp_path: Path, env: str, changes: dict[str, Any], message: str
) -> None:
    # with one environment all pictures of a step have one size
    with pytest.raises(ValueError, match=message):
        record(_config(tmp_path / "f.h5", env, envs=1, **changes))


def test_pictures_that_nobody_can_see_are_told_of(
    tmp_path: Path, at_step: Callable[[int, Callable[[], None]], None]
) -> None:
    with pytest.warns(UserWarning, match=r"the brightest pixel of 101 frames is 1, and 255 is taken for white"):
        record(_config(tmp_path / "f.h5", "Dark"))
    at_step(100, _fail)
    with pytest.raises(KeyError):
        record(_config(tmp_path / "g.h5", "Dark"))
    with pytest.warns(UserWarning, match=r"the brightest pixel of 101 frames is 1,"):
        record(_config(tmp_path / "g.h5", "Dark", resume=True))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([DRIFTING, "--frames", str(2**70)], "frames needs a whole number in 1..1000000000000"),
        ([DRIFTING, "--frames", "1000000000000"], r"the recording needs 1"),
        ([DRIFTING, "--every", "-1"], "every needs a whole number in 1.."),
        ([DRIFTING, "--envs", "0"], "envs needs a whole number in 1.."),
        ([DRIFTING, "--envs", str(10**9)], "envs needs a whole number in 1.."),
        ([DRIFTING, "--seed", "-1"], "seed needs a whole number in 0.."),
        ([DRIFTING, "--out", ""], "out needs the name of a file"),
        ([DRIFTING, "--out", "/tmp"], "out needs the name of a file"),
        ([DRIFTING, "--out", "x\0y"], "null"),
        (["no_such_module:Env-v0"], "no_such_module"),
        (["tests.record_envs:Recorded/NoSuch-v0"], "NoSuch"),
        ([""], ""),
        ([DRIFTING, "--policy", "no_such_module:act"], "policy needs MODULE:FUNCTION"),
        ([DRIFTING, "--policy", "tests.record_envs"], "policy needs MODULE:FUNCTION"),
    ],
)
def test_arguments_that_cannot_be_used_are_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    out = [] if "--out" in words else ["--out", "f.h5"]
    assert main([*words, *out, "--no-progress"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert told.count("\n") == 1
    assert message in told
    assert list(tmp_path.iterdir()) == []


_WORDS = [DRIFTING, "--frames", "4001", "--envs", "4", "--no-progress"]


def _start(out: Path, *more: str) -> subprocess.Popen[str]:
    """The recorder in a process group of its own, saving as often as it can."""
    program = "import sys; import rl.record; rl.record._SAVE_S = 0.0; sys.exit(rl.record.main(sys.argv[1:]))"
    return subprocess.Popen(
        [sys.executable, "-c", program, *_WORDS, "--out", str(out), *more],
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )


# Python 3.12 warns of forking beside other threads, for locks that they may hold; the child here waits for none
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
def test_twenty_kills_at_random_moments_cost_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, generator = tmp_path / "f.h5", np.random.default_rng(0)
    monkeypatch.setattr("rl.record._SAVE_S", 0.0)
    config = _config(out, frames=4001, every=1, resume=True)
    ends, reached = [], [0]
    for _ in range(20):
        child = os.fork()
        if child == 0:
            os._exit(0 if record(config) == out else 1)
        time.sleep(generator.uniform(0, 0.25))
        os.kill(child, signal.SIGKILL)
        ends.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        if progress_path(out).exists():
            reached.append(json.loads(progress_path(out).read_text())["frames"])
    assert ends[:5] == [-signal.SIGKILL] * 5
    assert reached == sorted(reached)
    record(config)
    assert [path.name for path in tmp_path.iterdir()] == ["f.h5"]
    _assert_same(out, record(_config(tmp_path / "whole.h5", frames=4001, every=1)))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="the system has no process groups")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes_is_one_line_too(tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "f.h5"
    running = _start(out, "--parallel")
    while running.poll() is None and not progress_path(out).exists():
        time.sleep(0.01)
    os.killpg(running.pid, number)
    told = running.communicate()[1]
    assert running.returncode == 128 + number, told
    assert told.count("\n") == 1
    assert told.startswith("stopped after ")
    assert main([*_WORDS, "--out", str(out), "--parallel", "--resume"]) == 0
    _assert_same(out, record(_config(tmp_path / "whole.h5", frames=4001, every=1)))
