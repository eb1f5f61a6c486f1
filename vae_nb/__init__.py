"""Variational autoencoders that are right to the nat.

What people type is here, whatever module it is in: `from vae_nb import load, mlp_vae, fit`.
Nothing is imported before it is asked for, so `import vae_nb` alone needs no PyTorch.
One name is missing: `vae_nb.evaluate` is the package, `vae_nb.evaluate.evaluate` the
function in it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_NAMES = {  # room → what it gives, in the order of use
    "data": "load DATASETS Images TensorData as_data photograph",
    "faces": "draw_faces random_factors FACTORS",
    "vae": "mlp_vae VAE LatentModel",
    "builders": "builder",
    "saving": "load_model save_model",
    "conv": "conv_vae",
    "joint": "joint_vae JointVAE joint_loss Capacity",
    "objectives": "importance_weighted",
    "labels": "conditional_vae semi_supervised",
    "train": "fit validate History Snapshots",
    "recipes": "recipe RECIPES pretrained PRETRAINED",
    "evaluate": "diagnose nll nll_by_k encode_all active_units",
    "latent": "interpolate traverse traverse_classes manifold "
    "attribute_direction Direction edit edit_images",
    "explore": "LatentExplorer Interpolator ReconstructionExplorer BetaExplorer "
    "ElboExplorer BoundExplorer TemperatureExplorer PriorExplorer StyleExplorer Lab "
    "to_onnx",
    "plots": "show_grid show_pairs compare_rows strip loss_curves kl_per_dim_bars "
    "latent_map latent_tsne latent_histograms manifold_grid set_style",
    "elbo": "kl_normal free_bits_kl linear_warmup importance_weighted_bound",
    "core": "seed_everything pick_device",
    "exercises": "check",
}
_ROOMS = {name: room for room, names in _NAMES.items() for name in names.split()}
__all__ = [*_ROOMS]

if TYPE_CHECKING:  # the same for type checkers and editors; a test compares
    from .data import (
        load as load,
        DATASETS as DATASETS,
        Images as Images,
        TensorData as TensorData,
        as_data as as_data,
        photograph as photograph,
    )
    from .faces import (
        draw_faces as draw_faces,
        random_factors as random_factors,
        FACTORS as FACTORS,
    )
    from .vae import (
        mlp_vae as mlp_vae,
        VAE as VAE,
        LatentModel as LatentModel,
    )
    from .builders import builder as builder
    from .saving import load_model as load_model, save_model as save_model
    from .conv import conv_vae as conv_vae
    from .joint import (
        joint_vae as joint_vae,
        JointVAE as JointVAE,
        joint_loss as joint_loss,
        Capacity as Capacity,
    )
    from .objectives import importance_weighted as importance_weighted
    from .labels import (
        conditional_vae as conditional_vae,
        semi_supervised as semi_supervised,
    )
    from .train import (
        fit as fit,
        validate as validate,
        History as History,
        Snapshots as Snapshots,
    )
    from .recipes import (
        recipe as recipe,
        RECIPES as RECIPES,
        pretrained as pretrained,
        PRETRAINED as PRETRAINED,
    )
    from .evaluate import (
        diagnose as diagnose,
        nll as nll,
        nll_by_k as nll_by_k,
        encode_all as encode_all,
        active_units as active_units,
    )
    from .latent import (
        interpolate as interpolate,
        traverse as traverse,
        traverse_classes as traverse_classes,
        manifold as manifold,
        attribute_direction as attribute_direction,
        Direction as Direction,
        edit as edit,
        edit_images as edit_images,
    )
    from .explore import (
        LatentExplorer as LatentExplorer,
        Interpolator as Interpolator,
        ReconstructionExplorer as ReconstructionExplorer,
        BetaExplorer as BetaExplorer,
        ElboExplorer as ElboExplorer,
        BoundExplorer as BoundExplorer,
        TemperatureExplorer as TemperatureExplorer,
        PriorExplorer as PriorExplorer,
        StyleExplorer as StyleExplorer,
        Lab as Lab,
        to_onnx as to_onnx,
    )
    from .plots import (
        show_grid as show_grid,
        show_pairs as show_pairs,
        compare_rows as compare_rows,
        strip as strip,
        loss_curves as loss_curves,
        kl_per_dim_bars as kl_per_dim_bars,
        latent_map as latent_map,
        latent_tsne as latent_tsne,
        latent_histograms as latent_histograms,
        manifold_grid as manifold_grid,
        set_style as set_style,
    )
    from .elbo import (
        kl_normal as kl_normal,
        free_bits_kl as free_bits_kl,
        linear_warmup as linear_warmup,
        importance_weighted_bound as importance_weighted_bound,
    )
    from .core import seed_everything as seed_everything, pick_device as pick_device
    from .exercises import check as check
else:  # hidden from them: to a type checker, it would make every name right

    def __getattr__(name):
        "A name of the table, from its room; or the room itself."
        if name in _NAMES:
            return import_module(f".{name}", __name__)
        if name in _ROOMS:
            return getattr(import_module(f".{_ROOMS[name]}", __name__), name)
        from difflib import get_close_matches

        close = get_close_matches(name, __dir__(), n=1)
        hint = f". Did you mean {close[0]!r}?" if close else ""
        text = f"module {__name__!r} has no attribute {name!r}{hint}"
        raise AttributeError(text, name=name, obj=None)  # or Python adds a hint, too


def __dir__() -> list[str]:
    return sorted({*globals(), *_NAMES, *_ROOMS})
