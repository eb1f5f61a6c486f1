"Data sets and pictures of your own, as images that a model can take."

from ..core import moved
from .files import DatasetError, cache_dir
from .images import Images
from .loading import DATASETS, load, on_disk
from .pictures import photograph
from .tensors import Data, TensorData, as_batch, as_data, as_tensor

__all__ = [
    # a data set
    "load",
    "DATASETS",
    "Images",
    # images of your own
    "photograph",
    "as_data",
    "TensorData",
    "Data",
    # where files are, and the error if they are not
    "cache_dir",
    "DatasetError",
]

__getattr__ = moved(
    __name__,
    SPLITS="data.images.SPLITS",
    binarise="data.images.binarise",
    resize="data.images.resize",
    as_picture="data.pictures.as_picture",
    decode="data.pictures.decode",
    opened="data.pictures.open_picture",
    by_split="data.folders.by_split",
    image_paths="data.folders.image_paths",
    digits="data.sets.digits",
    faces="data.sets.faces",
    cifar10="data.sets.cifar10",
    caltech101="data.sets.caltech101",
    CIFAR_CLASSES="data.sets.CIFAR_CLASSES",
    CELEBA_ATTRIBUTES="data.celeba.CELEBA_ATTRIBUTES",
)
