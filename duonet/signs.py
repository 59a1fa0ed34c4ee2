"""Products with weights ±α: the signs are summed, and α multiplies the sum, so that whole numbers stay whole."""

from duonet import backend, engine
from duonet.functional import conv, products
from duonet.functional.channels import per_channel
from duonet.tensor import Function, Tensor


class SignProduct(Function):
    """y = product(x, sign(w)) α + bias for weights w = ±α: product(x, w, bias), but for rounding.

    With x of 0, ±½ and ±1 the sum is a multiple of ½, exact in float32 up to 2²³ in any order, and y is rounded
    once, by α. The gradients are the gradients of product(x, w, bias): dx and dw as if w itself were multiplied.
    """

    @staticmethod
    def forward(ctx, x, w, bias, *, product, **options):
        """Sum, then scale, then add the bias."""
        xp = backend.get_xp(w)
        signs = xp.where(w >= 0, 1, -1).astype(w.dtype)
        ctx.op = engine.version(product, backend.device_of(x), x, signs, bias, **options)
        y = ctx.op.forward(ctx, x, signs, None, **options)
        ctx.w = w  # `backward` reads it in every version of an op
        y = per_channel(xp.multiply, y, abs(w.reshape(-1, w.shape[-1])[0]))
        return y if bias is None else per_channel(xp.add, y, bias, out=y)

    @staticmethod
    def backward(ctx, dy):
        """Return dx, dw, dbias of product(x, w, bias)."""
        return ctx.op.backward(ctx, dy)


def sign_product(x: Tensor, w: Tensor, bias: Tensor | None = None, stride: int = 1, padding: int = 0) -> Tensor:
    """Multiply by weights of two values ±α per channel, or convolve with them; α scales the sum.

    Parameters
    ----------
    x : Tensor
        (N, IN), or (N, H, W, C)
    w : Tensor
        (IN, OUT), or (KH, KW, C, OC): every output channel has values ±α with one α.
    bias : Tensor, optional
        (OUT,), or (OC,)
    stride, padding : int
        For a convolution.

    Returns
    -------
    Tensor
        The result of `functional.linear` or `functional.conv2d`, but for rounding.

    Examples
    --------
    >>> sign_product(Tensor([[1.0, 0.0, 1.0]]), Tensor([[0.3], [-0.3], [0.3]])).data
    array([[0.6]], dtype=float32)
    """
    if w.ndim == 2:
        return SignProduct.apply(x, w, bias, product=products.Linear)
    stride, padding = conv.steps(stride, padding)
    return SignProduct.apply(x, w, bias, product=conv.Conv2d, stride=stride, padding=padding)
