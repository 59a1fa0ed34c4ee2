"""Saving and loading the weights of a model."""

import zipfile

import numpy as np

from duonet.files import replacing


def save_weights(path, model):
    """Write every parameter and buffer of a model to one npz file, replacing an older one only when done.

    Parameters
    ----------
    path : str or Path
    model : Module

    Examples
    --------
    >>> import tempfile
    >>> from duonet import nn
    >>> model = nn.Linear(2, 1, rng=np.random.default_rng(0))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_weights(f"{folder}/model.npz", model)
    ...     load_weights(f"{folder}/model.npz", nn.Linear(2, 1, rng=np.random.default_rng(1)))
    """
    with replacing(path) as part:
        np.savez(part, **model.state_dict())


def load_weights(path, model):
    """Read a file of `save_weights` into a model of the same shape; nothing changes if it does not fit.

    Parameters
    ----------
    path : str or Path
    model : Module

    Raises
    ------
    ValueError
        If the file is not such a file or is damaged, or its keys or shapes are not the model's.
    FileNotFoundError
        If there is no such file.

    Examples
    --------
    >>> from duonet import nn
    >>> load_weights(__file__, nn.Flatten())  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: load_weights: ... is not a whole npz file of weights
    """
    try:
        file = np.load(path, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise ValueError("a single array")
        with file:
            state = {name: file[name] for name in file.files}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"load_weights: {path} is not a whole npz file of weights") from error
    model.load_state_dict(state)
