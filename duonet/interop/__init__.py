"""The same network in PyTorch, as ONNX and as safetensors, with images channels-first."""

from duonet.interop.onnx_file import to_onnx
from duonet.interop.plan import CannotTranslate
from duonet.interop.pytorch import to_torch
from duonet.interop.state import from_torch_state, load_safetensors, save_safetensors, to_torch_state

__all__ = [
    "CannotTranslate", "from_torch_state", "load_safetensors", "save_safetensors", "to_onnx", "to_torch",
    "to_torch_state",
]  # fmt: skip
