"Notebooks from a warm start: what happens when a process is slow or is killed."

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from test_run import alive

from book import execute

pytestmark = pytest.mark.slow


@pytest.fixture
def notebook(tmp_path):
    "Writes a notebook of one cell; its path."
    import nbformat  # here: it takes longer to import than all tests to collect

    def write(code):
        path, cell = tmp_path / "one.ipynb", nbformat.v4.new_code_cell(code)
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
        return path

    return write


SLOW = """
import json, os, sys, time
import warm
real = os.setsid
os.setsid = lambda: (time.sleep(2), real())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(warm.run(json.load(sys.stdin)), 0)[1]))
"""


def test_a_kernel_slow_to_leave_its_session_does_not_get_papermill_interrupted(
    notebook, tmp_path
):
    log, env = tmp_path / "log", execute.environment(sys.executable, 1)
    job = {"path": str(notebook("print(6 * 7)")), "out": str(tmp_path / "out.ipynb")}
    job |= {"log": str(log), "parameters": {}, "cwd": str(tmp_path), "env": env}
    done = subprocess.run(
        [sys.executable, "-c", SLOW],
        cwd=Path(execute.__file__).parent,
        input=json.dumps(job),
        text=True,
    )
    assert done.returncode == 0, log.read_text()
    assert "\n42\n" in log.read_text()


NOISY = """
import importlib, runpy
real = importlib.import_module
importlib.import_module = lambda *given: (print("hello"), real(*given))[1]
runpy.run_path("warm.py", run_name="__main__")
"""


def starter_of(code):
    "A starter that runs `code`; with its input and its output."
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=Path(execute.__file__).parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_what_is_printed_by_imports_is_no_report(tmp_path):
    log, env = tmp_path / "log", execute.environment(sys.executable, 1)
    job = {"name": "x", "path": "none.ipynb", "out": "", "log": str(log), "env": env}
    job |= {"parameters": {}, "cwd": str(tmp_path)}
    with starter_of(NOISY) as starter:
        print(json.dumps(job), file=starter.stdin, flush=True)
        report = json.loads(starter.stdout.readline())
        starter.stdin.close()
    assert report["name"] == "x" and report["status"] == 1
    assert "none.ipynb" in log.read_text(), "a notebook that is not there is told"


def started():
    "The starter of this interpreter; test_book may have made others, for the wheel's."
    ours = [s for key, s in execute.STARTERS.items() if key[:2] == (sys.executable, 1)]
    [one] = [s for s in ours if s.process.poll() is None]
    return one


CHILD = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open({pid!r}, "w").write(str(child.pid))
time.sleep(60)
"""


def test_a_run_that_was_stopped_leaves_nothing(notebook, tmp_path):
    "No word about the next, no file, and nothing that the notebook has started."
    out, pid = tmp_path / "out.ipynb", tmp_path / "pid"
    connections = {*Path(tempfile.gettempdir()).glob("tmp*.json")}
    with pytest.raises(execute.ChapterFailed, match="still running after 6 s"):
        path = notebook(CHILD.format(pid=str(pid)))
        execute.execute(path, out, "test", {}, timeout=6)
    assert {*Path(tempfile.gettempdir()).glob("tmp*.json")} <= connections
    deadline = time.monotonic() + 10
    while sys.platform == "linux" and alive(int(pid.read_text())):
        assert time.monotonic() < deadline, "what a notebook started has outlived it"
        time.sleep(0.1)
    execute.execute(notebook("print(6 * 7)"), out, "test", {}, timeout=100)


def test_a_notebook_that_leaves_early_has_failed(notebook, tmp_path):
    "papermill takes this status for a good end."
    path, out = notebook("raise SystemExit(0)"), tmp_path / "out.ipynb"
    with pytest.raises(execute.ChapterFailed, match="SystemExit"):
        execute.execute(path, out, "test", {}, timeout=100)
    assert not out.exists()


CLOCK = """
import os, time, warm
imported = []
warm.run = lambda job: (imported.append(1), os.fork() or os._exit(0))[1]
time.monotonic = lambda: 100.0 if imported else 0.0
with os.fdopen(os.dup(1), "w") as reports:
    warm.serve(reports)
"""


def test_imports_of_the_starter_are_no_time_of_the_first_notebook():
    with starter_of(CLOCK) as starter:
        print('{"name": "first"}', file=starter.stdin, flush=True)
        report = json.loads(starter.stdout.readline())
        starter.stdin.close()
    assert (report["name"], report["seconds"]) == ("first", 0)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no one kills them")
def test_a_killed_starter_takes_its_notebooks_along_and_is_replaced(notebook, tmp_path):
    out, pid = tmp_path / "out.ipynb", tmp_path / "pid"

    def kill():
        while not (pid.exists() and pid.read_text()):
            time.sleep(0.1)
        started().process.kill()

    threading.Thread(target=kill, daemon=True).start()
    code = f"import os, time\nopen({str(pid)!r}, 'w').write(str(os.getpid()))"
    with pytest.raises(execute.ChapterFailed, match="has ended .status -9"):
        path = notebook(f"{code}\ntime.sleep(60)")
        execute.execute(path, out, "test", {}, timeout=100)
    deadline = time.monotonic() + 10
    while alive(int(pid.read_text())):
        assert time.monotonic() < deadline, "a kernel has outlived its starter"
        time.sleep(0.1)
    execute.execute(notebook("print(6 * 7)"), out, "test", {}, timeout=100)


def test_a_changed_library_has_a_starter_of_its_own(notebook, tmp_path, monkeypatch):
    "The earlier one ends when what it runs has ended."
    monkeypatch.setattr(execute, "library_digest", lambda: "before")
    log, sign = tmp_path / "first.log", str(tmp_path / "sign")

    def run(code, name):
        out = tmp_path / f"{name}.ipynb"
        return execute.execute(notebook(code), out, "test", {}, timeout=100)

    waits = f"while not os.path.exists({sign!r}): time.sleep(0.1)"
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(run, f"import os, time\n{waits}", "first")
        while not (log.exists() and "Executing Cell 1" in log.read_text()):
            assert not first.done(), first.result()
            time.sleep(0.1)
        old = started().process
        monkeypatch.setattr(execute, "library_digest", lambda: "after")
        run(f"open({sign!r}, 'w')", "second")
        first.result()
    assert old.wait(20) == 0 and started().process is not old


@pytest.mark.skipif(sys.platform != "linux", reason="finds the process under /proc")
def test_a_killed_notebook_is_told_with_its_signal(notebook, tmp_path):
    path, out = (
        notebook("import time\nprint('asleep')\ntime.sleep(60)"),
        tmp_path / "out.ipynb",
    )

    def kill():
        log = out.with_suffix(".log")
        while not (log.exists() and "asleep" in log.read_text()):
            time.sleep(0.1)
        pid = started().process.pid
        tasks = f"/proc/{pid}/task/{pid}/children"
        for child in open(tasks).read().split():
            os.kill(int(child), signal.SIGTERM)

    threading.Thread(target=kill, daemon=True).start()
    with pytest.raises(execute.ChapterFailed, match="ended by SIGTERM"):
        execute.execute(path, out, "test", {}, timeout=50)
