"""XNOR-Net's input scales K: they give back to a product the size of the inputs, which the sign removes."""

from duonet import backend, nn
from duonet import functional as F
from duonet.quant import Clip, Sign
from duonet.tensor import Tensor


class InputScales(nn.Module):
    """A product of signs times the mean size of its inputs: y = body(sign(x)) K, K = A ∗ box, A = mean |x|.

    The mean A is over the channels. The box is the window of the convolution, of numbers 1/k², with the stride and
    the zero padding of the convolution; for a linear layer K is A, one number per sample. The sign has the
    gradient of a clip at ±1. K has its own gradient, which adds sign(x) dA / C to dx. The module stands behind
    batch norm, in place of an activation and the layer behind it. The paper has K; its published code and the
    shelf leave K out.

    Parameters
    ----------
    body : Conv2d or Linear
        A layer without a bias, because K would multiply the bias.

    Raises
    ------
    TypeError, ValueError
        If the body is another layer or has a bias.

    References
    ----------
    Rastegari et al., XNOR-Net, ECCV 2016. Code: allenai/XNOR-Net, which has no K.

    Examples
    --------
    >>> import numpy as np
    >>> scaled = InputScales(nn.Linear(3, 2, rng=np.random.default_rng(0), bias=False))
    >>> y, signs = scaled(Tensor([[2.0, -4.0, 6.0]])), scaled.body(Tensor([[1.0, -1.0, 1.0]]))
    >>> bool(np.allclose(y.data, 4 * signs.data))
    True
    """

    samplewise = True

    def __init__(self, body: nn.Module):
        super().__init__()
        if not isinstance(body, (nn.Conv2d, nn.Linear)):
            raise TypeError(f"InputScales: body must be a Conv2d or Linear, got {type(body).__name__}")
        if body.bias is not None:
            raise ValueError("InputScales: body must have no bias, which the scales would multiply")
        self.activation = nn.QuantActivation(Sign(), Clip(-1, 1))
        self.body = body

    def scales(self, x: Tensor) -> Tensor:
        """Return K: (N, OH, OW, 1), or (N, 1)."""
        signs = Tensor(backend.get_xp(x.data).where(x.data >= 0, 1, -1).astype(x.dtype))
        sizes = (x * signs).mean(axis=-1, keepdims=True)
        if isinstance(self.body, nn.Linear):
            return sizes
        k = self.body.kernel_size
        box = backend.get_xp(x.data).full((k, k, 1, 1), 1 / k**2, x.dtype)
        return F.conv2d(sizes, Tensor(box), None, self.body.stride, self.body.padding)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (N, H, W, C) to y (N, OH, OW, OC), or (N, IN) to (N, OUT)."""
        return self.body(self.activation(x)) * self.scales(x)
