"""Notebooks from a warm start. This file runs as a program of its own, in the interpreter whose library the notebooks shall use: `python -P warm.py`.

It imports once what every notebook needs, which takes longer than most notebooks of the library do. Then it reads jobs from its standard
input, one line of JSON each, and forks twice for each: a process that runs papermill, and one that becomes the kernel when papermill asks for
it. So each notebook still has a process, a folder and an environment of its own. When a job ends, its line says so on standard output. When
standard input ends, or this program does, everything that runs is killed: nothing outlives the program that started it.
"""

import contextlib
import ctypes
import functools
import gc
import importlib
import json
import logging
import os
import pkgutil
import re
import select
import signal
import sys
import tempfile
import time

# matplotlib_inline is in neither: it has to find its kernel when it is imported
RUNNING = ["papermill", "ipykernel.kernelapp"]
LIBRARY = """torch torchvision.transforms.v2 torchmetrics pandas matplotlib.pyplot
seaborn sklearn.datasets sklearn.manifold safetensors.torch anywidget typer""".split()


@functools.cache
def warm(library):
    "Import what runs a notebook or, with `library`, what one needs that uses vae_nb. What fails here is told by the notebook that needs it."
    names = [*(LIBRARY if library else RUNNING)]
    with contextlib.suppress(Exception):
        path = importlib.import_module("vae_nb").__path__ if library else []
        modules = pkgutil.walk_packages(path, "vae_nb.")
        names += [m.name for m in modules if not m.name.endswith("__main__")]
    for name in names:
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    gc.freeze()  # what is here already needs no second look, and stays shared


class Forked:
    "A child of this process, with the manners of subprocess.Popen."

    stdin = stdout = stderr = returncode = None

    def __init__(self, pid):
        self.pid = pid

    def poll(self, how=os.WNOHANG):
        "Its exit status; None while it runs."
        if self.returncode is None:
            ended, status = os.waitpid(self.pid, how)
            if ended:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self):
        return self.poll(0)

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def terminate(self):
        self.send_signal(signal.SIGTERM)


def end_with_parent():
    "Have this process killed when the one that forked it is gone, however it went. Only Linux can do that."
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def kernel(orders, ready):
    "The process that becomes the kernel: it says that it has left its parent's session, waits for the command that would have started one, and obeys it."
    end_with_parent()
    os.setsid()
    os.close(ready)
    with os.fdopen(orders) as stream:
        said = stream.read()
    if not said:  # papermill did not get as far as that
        os._exit(0)
    order = json.loads(said)
    os.environ.clear()
    os.environ.update(order["env"])
    os.chdir(order["cwd"])
    from ipykernel.kernelapp import IPKernelApp

    sys.argv = order["command"]
    # a kernel ends with its parent; which that is, ipykernel has asked when it was imported
    parent = int(os.environ["JPY_PARENT_PID"])
    IPKernelApp.launch_instance(order["command"][3:], parent_handle=parent)


def notebook(job):
    "The process that runs one notebook."
    end_with_parent()
    os.setsid()
    with open(job["log"], "w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.clear()
    os.environ.update(job["env"])
    os.chdir(job["cwd"])
    theirs, ours = os.pipe()
    waiting, ready = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ours)
        os.close(waiting)
        kernel(theirs, ready)
        os._exit(0)
    os.close(theirs)
    os.close(ready)
    # jupyter_client sends signals to the kernel's group: it must not be ours
    os.read(waiting, 1)
    os.close(waiting)

    def launch(command, *, cwd=None, env=None, **_):
        env = dict(env or os.environ, JPY_PARENT_PID=str(os.getpid()))
        with os.fdopen(ours, "w") as stream:
            json.dump(
                {"command": command, "cwd": cwd or os.getcwd(), "env": env}, stream
            )
        return Forked(pid)

    tempfile.tempdir = os.path.dirname(job["cwd"])  # of the connection's file
    from jupyter_client.provisioning import local_provisioner
    from papermill import execute_notebook

    local_provisioner.launch_kernel = launch
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = {"kernel_name": "python3", "progress_bar": False, "log_output": True}
    execute_notebook(
        job["path"], job["out"], job["parameters"], cwd=job["cwd"], **options
    )


def run(job):
    "Fork the process that runs a job; its number. It ends with status 1 and the error in its log when the notebook fails."
    if sys.platform == "linux":  # macOS forbids a fork after some of these imports
        warm(library=False)
        # a notebook that cannot be read is told by the process that runs it
        with contextlib.suppress(OSError, ValueError), open(job["path"]) as text:
            if re.search("(from|import) vae_nb", text.read()):
                warm(library=True)
    if pid := os.fork():
        return pid
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        notebook(job)
        status = 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def kill(pid):
    "Kill the process of a job, its kernel, and what that has started: the kernel leads a session of its own. Elsewhere than on Linux the kernel sees that its parent is gone, and ends."
    kernels = []
    with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{pid}/children") as file:
        kernels = [int(kernel) for kernel in file.read().split()]
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    for kernel in kernels:
        with contextlib.suppress(OSError):  # it has not left our group yet, or is gone
            os.killpg(kernel, signal.SIGKILL)


def serve(reports):
    "Read jobs, run them, report how they ended; until standard input ends, or all have ended after an order that says `last`."
    running, unread, last = {}, b"", False  # process → its job's name, and its start
    try:
        while running or not last:
            readable, _, _ = select.select([0], [], [], 0.05 if running else None)
            if readable:
                text = os.read(0, 1 << 16)
                if not text:
                    break
                *lines, unread = (unread + text).split(b"\n")
                for line in map(json.loads, lines):
                    if "last" in line:
                        last = True
                    elif "kill" in line:
                        for pid, (name, _) in running.items():
                            if name == line["kill"]:
                                kill(pid)
                    else:
                        pid = run(line)  # imports first, on the first notebook
                        running[pid] = line["name"], time.monotonic()
            for pid in list(running):
                ended, status, usage = os.wait4(pid, os.WNOHANG)
                if ended:
                    name, started = running.pop(pid)
                    report = {
                        "name": name,
                        "status": os.waitstatus_to_exitcode(status),
                        "seconds": time.monotonic() - started,
                        "memory": usage.ru_maxrss,
                        "cpu": usage.ru_utime + usage.ru_stime,
                    }
                    print(json.dumps(report), file=reports, flush=True)
    finally:
        for pid in running:
            kill(pid)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it ends it
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"  # a kernel's
    reports = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints when it is imported is no report
    serve(reports)
    os._exit(0)  # not one word from libraries about how they end
