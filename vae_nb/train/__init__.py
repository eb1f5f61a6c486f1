"One training loop for every model, in one process or several."

# the order of imports inside the package, which a test holds
from . import history, numerics, processes, run, state, checkpoint, loop
from .history import History, Snapshots
from .loop import fit, validate
from .numerics import NotFinite
from .processes import launch

# for other rooms, until they import it from its module
from .checkpoint import CHECKPOINT, Checkpoint
from .loop import check_settings
from .run import make_optimiser

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
