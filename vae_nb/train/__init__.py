"One training loop for every model, in one process or several."

from .history import History, Snapshots
from .loop import fit, validate
from .numerics import NotFinite
from .processes import launch

# for other rooms, until they import it from its module
from .checkpoint import CHECKPOINT, Checkpoint  # isort: skip
from .loop import check_settings  # isort: skip
from .processes import join_processes  # isort: skip
from .run import make_optimiser  # isort: skip

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
