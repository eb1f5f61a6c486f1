"Every figure that is drawn twice: arrays and tables in, one axes out."

# in the order in which the modules import each other
from .style import set_style
from .pictures import compare_rows, show_grid, show_pairs, strip
from .curves import (
    bound_curve,
    count_matrix,
    kl_per_dim_bars,
    labelled_bars,
    loss_curves,
)
from .latents import (
    latent_histograms,
    latent_map,
    latent_map_3d,
    latent_tsne,
    manifold_grid,
)

__all__ = [
    # the look of all figures
    "set_style",
    # images
    "show_grid",
    "show_pairs",
    "compare_rows",
    "strip",
    # training and its results
    "loss_curves",
    "kl_per_dim_bars",
    "bound_curve",
    "labelled_bars",
    "count_matrix",
    # the latent space
    "latent_map",
    "latent_map_3d",
    "latent_tsne",
    "manifold_grid",
    "latent_histograms",
]
