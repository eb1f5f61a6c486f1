"Notebooks from a warm start: what happens when a process is slow or is killed."

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

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
        # test_book may have started others in this process, for the wheel's interpreter
        ours = [s for key, s in execute.STARTERS.items() if sys.executable in key]
        [pid] = [s.process.pid for s in ours if s.process.poll() is None]
        tasks = f"/proc/{pid}/task/{pid}/children"
        for child in open(tasks).read().split():
            os.kill(int(child), signal.SIGTERM)

    threading.Thread(target=kill).start()
    with pytest.raises(execute.ChapterFailed, match="ended by SIGTERM"):
        execute.execute(path, out, "test", {}, timeout=50)
