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
    check_n="data.images.check_n",
    as_picture="data.pictures.as_picture",
    decode="data.pictures.decode",
    opened="data.pictures.open_picture",
    flat="data.pictures.as_grey_or_rgb",
    check_file="data.pictures.check_is_file",
    reason="data.pictures.reason",
    SUFFIXES="data.pictures.SUFFIXES",
    check_numbers="data.tensors.check_numbers",
    read_pictures="data.decoded.read_pictures",
    by_split="data.folders.by_split",
    image_paths="data.folders.image_paths",
    class_names="data.folders.class_names",
    of_split="data.folders.of_split",
    _skip="data.folders.leave_out",
    _tell="data.folders.warn_left_out",
    cannot_write="data.files.cannot_write",
    failed_download="data.files.failed_download",
    places="data.files.places",
    say_once="data.files.say_once",
    digits="data.sets.digits",
    faces="data.sets.faces",
    cifar10="data.sets.cifar10",
    caltech101="data.sets.caltech101",
    find_idx="data.sets.idx_at",
    CIFAR_CLASSES="data.sets.CIFAR_CLASSES",
    CELEBA_ATTRIBUTES="data.celeba.CELEBA_ATTRIBUTES",
    KNOWN_ATTRIBUTES="data.celeba.CELEBA_ATTRIBUTES",
    DOWNLOADS="data.loading.DOWNLOADS",
    EMBEDDED="data.loading.EMBEDDED",
)
