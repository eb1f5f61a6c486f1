__version__ = "0.1.0"


def __getattr__(name):
    "`vae_nb.pretrained` and its list, fetched when they are asked for: `import vae_nb` alone needs no PyTorch."
    if name in ("pretrained", "PRETRAINED"):
        from . import recipes

        return getattr(recipes, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
