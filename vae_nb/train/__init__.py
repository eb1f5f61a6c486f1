"One training loop for every model, in one process or several."

from ..core import moved

from .history import History, Snapshots
from .loop import fit, validate
from .numerics import NotFinite
from .processes import launch

__all__ = [
    # train, and judge
    "fit",
    "validate",
    # what a run returns, keeps, or ends with
    "History",
    "Snapshots",
    "NotFinite",
    # several processes from a notebook
    "launch",
]

__getattr__ = moved(
    __name__,
    as_data="data.as_data",
    TensorData="data.TensorData",
    device_of="core.device_of",
    Team="train.processes.World",
    join_team="train.processes.join_processes",
    shared_terms="train.run.TrainingLoss",
)
