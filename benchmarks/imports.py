"""What importing the library costs beside importing PyTorch: alternating fresh processes."""

import resource
import statistics
import subprocess
import sys

from .record import write

ROUNDS = 9
LINES = {
    "import torch, torchvision": "import torch, torchvision",
    "the same, then from vae_nb.train import fit": "import torch, torchvision; from vae_nb.train import fit",
}


def cpu_seconds(line):
    "User and system time of a fresh interpreter that runs `line`."
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", line], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    times = {name: [] for name in LINES}
    for _ in range(ROUNDS + 1):
        for name, line in LINES.items():
            times[name].append(cpu_seconds(line))
    medians = {
        name: statistics.median(values[1:]) for name, values in times.items()
    }  # the first of each reads the disk
    base = medians["import torch, torchvision"]
    rows = [
        {"line": name, "CPU-seconds": f"{median:.2f}", "ratio": f"{median / base:.3f}"}
        for name, median in medians.items()
    ]
    print(rows)
    write(
        "imports",
        "Import time",
        rows,
        f"Medians of {ROUNDS} fresh processes, alternating. A ratio below 1 is noise: the second line does more.",
    )
