"""duonet: binary-activation networks from scratch, gradient mismatch measured, BinaryDuo."""

from duonet import compiled as _compiled  # noqa: F401  (registers the versions on numba, when the first op asks)
from duonet import data, functional, methods, mismatch, models, nn, optim, quant
from duonet import fast as _fast  # noqa: F401  (registers the fast versions)
from duonet import gpu as _gpu  # noqa: F401  (registers the versions for a GPU, and needs none)
from duonet.checkpoint import load_checkpoint, load_model, save_checkpoint
from duonet.costs import summary
from duonet.decoupling import decouple
from duonet.engine import plain_ops
from duonet.folding import fold_batch_norm
from duonet.fusing import fuse
from duonet.gradcheck import check_gradients, check_surrogate, numerical_gradient
from duonet.inference import load_packed, pack, save_packed
from duonet.parallel import threads
from duonet.quantcheck import check_quantizer
from duonet.tape import no_grad, smooth_forward
from duonet.tensor import Function, Parameter, Tensor
from duonet.train import evaluate, fit
from duonet.version import VERSION
from duonet.widths import coupled_widths

__version__ = VERSION

__all__ = [
    "Function", "Parameter", "Tensor", "check_gradients", "check_quantizer", "check_surrogate",
    "coupled_widths", "data", "decouple", "evaluate", "fit", "fold_batch_norm", "functional", "fuse",
    "load_checkpoint", "load_model", "load_packed", "methods", "mismatch", "models", "nn", "no_grad",
    "numerical_gradient", "optim", "pack", "plain_ops", "quant", "save_checkpoint", "save_packed",
    "smooth_forward", "summary", "threads",
]  # fmt: skip
