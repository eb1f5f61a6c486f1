"Data sets and pictures of your own, as images that a model can take."

from .files import DatasetError, cache_dir
from .images import Images
from .loading import DATASETS, load, on_disk
from .pictures import photograph
from .tensors import TensorData, as_batch, as_data, as_tensor

__all__ = [
    # a data set
    "load",
    "DATASETS",
    "Images",
    # images of your own
    "photograph",
    "as_data",
    "as_batch",
    "as_tensor",
    "TensorData",
    # where files are
    "cache_dir",
    "on_disk",
    "DatasetError",
]

# for other rooms, until they import it from its module
from .decoded import read_decoded  # noqa: E402, F401
from .files import cannot_write, places, say_once  # noqa: E402, F401
from .folders import name_hash  # noqa: E402, F401
from .loading import DOWNLOADS, EMBEDDED  # noqa: E402, F401
from .sets import idx_names  # noqa: E402, F401
