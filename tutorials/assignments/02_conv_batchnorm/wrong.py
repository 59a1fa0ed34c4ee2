"""Wrong submissions of assignment 2, and what each must lose."""

from assignment import Wrong

PAD = "x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))"
WINDOWS = "windows[:, :, :, p, q] = x[:, p : p + stride * oh : stride, q : q + stride * ow : stride]"
KERNEL = "@ w.reshape(kh * kw * c, oc)"
OUT = "return y.reshape(len(x), oh, -1, oc)"
DX_SUM = "dx[:, p : p + stride * oh : stride, q : q + stride * ow : stride] += dcols[:, :, :, p, q]"
CROP = "return dx[:, padding : padding + h, padding : padding + width], dw.reshape(w.shape)"
STATISTICS = "mean, var = x.mean(axes), x.var(axes)"
MOVE_MEAN = "running_mean += momentum * (mean - running_mean)"
MOVE_VAR = "running_var += momentum * (var * m / (m - 1) - running_var)"
SIGMA = "sigma = np.sqrt(var + eps)"
NORM_DX = "return gamma / sigma * (dy - dbeta / m - x_hat * dgamma / m), dgamma, dbeta"
ZEROS = "dx = np.zeros(x.shape, dy.dtype)"
HIT = "np.where(hit, dy, 0)"
SHARES = """blocks = x[:, : 2 * oh, : 2 * ow].reshape(len(x), oh, 2, ow, 2, -1)
    ties = (blocks == y[:, :, None, :, None]).sum((2, 4))
    """
PLACE = "slice(p, 2 * oh, 2), slice(q, 2 * ow, 2)"

IM2COL = ["test_im2col", "test_im2col_with_padding"]
CONV = ["test_conv2d", "test_conv2d_with_stride_and_padding"]
DW = ["test_conv2d_dw", "test_conv2d_dw_with_stride_and_padding"]
DX = ["test_conv2d_dx", "test_conv2d_dx_with_stride", "test_conv2d_dx_with_padding"]
NORM = ["test_batch_norm_in_training", "test_batch_norm_returns_x_hat_and_sigma"]
RUNNING = ["test_batch_norm_moves_the_running_mean", "test_batch_norm_moves_the_running_variance"]
TIES = ["test_max_pool2d_backward_with_ties"]

WRONG = [
    Wrong(
        "the stride ignored in the windows",
        {WINDOWS: WINDOWS.replace("stride * ", "").replace(" : stride", "")},
        IM2COL,
    ),
    Wrong(
        "padding at the end alone",
        {PAD: PAD.replace("(padding, padding)", "(0, 2 * padding)")},
        IM2COL[1:],
    ),
    Wrong("padding with pixels", {PAD: PAD.replace("(0, 0)))", '(0, 0)), mode="edge")')}, IM2COL[1:]),
    Wrong(
        "the public windows by heart",
        {PAD: "return np.array([[0.0, 1], [1, 2], [2, 3]] if stride == 1 else [[0.0, 1], [2, 3]])"},
        IM2COL,
    ),
    Wrong(
        "the stride forgotten in conv2d",
        {"im2col(x, kh, kw, stride, padding) @": "im2col(x, kh, kw, 1, padding) @"},
        CONV[1:],
    ),
    Wrong("the kernel flipped", {KERNEL: "@ w[::-1, ::-1].reshape(kh * kw * c, oc)"}, CONV),
    Wrong("rows and columns exchanged", {OUT: "return y.reshape(len(x), -1, oh, oc)"}, CONV),
    Wrong("zero dw", {CROP: "dw *= 0\n    " + CROP}, DW),
    Wrong("dw averaged over the batch", {CROP: CROP.replace("dw.reshape", "(dw / n).reshape")}, DW),
    Wrong("dy ignored in dx", {"dcols = (rows @": "dcols = (np.ones_like(rows) @"}, DX),
    Wrong("windows overwrite each other", {DX_SUM: DX_SUM.replace("+=", "=")}, DX),
    Wrong("padding cut off at the end alone", {CROP: CROP.replace("padding : padding + ", ":")}, DX[2:]),
    Wrong("the stride ignored in dx", {DX_SUM: DX_SUM.replace("stride * ", "").replace(" : stride", "")}, DX[1:]),
    Wrong(
        "one mean and variance for all channels",
        {STATISTICS: "mean, var = np.full(len(gamma), x.mean()), np.full(len(gamma), x.var())"},
        [*NORM, *RUNNING],
    ),
    Wrong(
        "statistics over the images alone", {"axes = tuple(range(x.ndim - 1))": "axes = (0,)"}, [NORM[0], *RUNNING]
    ),
    Wrong(
        "the unbiased variance normalises",
        {SIGMA: SIGMA.replace("var", "(var * m / (m - 1) if training else var)")},
        NORM,
    ),
    Wrong("eps outside the root", {SIGMA: "sigma = np.sqrt(var) + eps"}, [*NORM, "test_batch_norm_in_evaluation"]),
    Wrong("the biased variance moves", {MOVE_VAR: MOVE_VAR.replace(" * m / (m - 1)", "")}, RUNNING[1:]),
    Wrong(
        "momentum the wrong way round", {MOVE_MEAN: MOVE_MEAN.replace("momentum", "(1 - momentum)")}, RUNNING[:1]
    ),
    Wrong(
        "a new running mean, not in place",
        {MOVE_MEAN: MOVE_MEAN.replace("+=", "= running_mean +")},
        RUNNING[:1],
        says="running_mean is what it was: change the array in place",
    ),
    Wrong(
        "a new running variance, not in place",
        {MOVE_VAR: MOVE_VAR.replace("+=", "= running_var +")},
        RUNNING[1:],
        says="running_var is what it was: change the array in place",
    ),
    Wrong("evaluation by the batch", {"    if training:\n": "    if True:\n"}, ["test_batch_norm_in_evaluation"]),
    Wrong(
        "no term of the mean", {NORM_DX: NORM_DX.replace(" - dbeta / m", "")}, ["test_batch_norm_dx_in_training"]
    ),
    Wrong(
        "no term of the variance",
        {NORM_DX: NORM_DX.replace(" - x_hat * dgamma / m", "")},
        ["test_batch_norm_dx_in_training"],
    ),
    Wrong(
        "sign of the variance's term",
        {NORM_DX: NORM_DX.replace("- x_hat", "+ x_hat")},
        ["test_batch_norm_dx_in_training"],
    ),
    Wrong(
        "M counts the images", {"m = dy.size // dy.shape[-1]": "m = len(dy)"}, ["test_batch_norm_dx_in_training"]
    ),
    Wrong(
        "no factor gamma",
        {NORM_DX: NORM_DX.replace("gamma / sigma *", "1 / sigma *")},
        ["test_batch_norm_dx_in_training"],
    ),
    Wrong(
        "training's dx in evaluation",
        {"    if not training:\n": "    if False:\n"},
        ["test_batch_norm_backward_in_evaluation"],
    ),
    Wrong("dgamma without x_hat", {"(dy * x_hat).sum(axes)": "dy.sum(axes)"}, ["task 4"]),
    Wrong("every winner of a tie receives dy", {"waiting &= ~hit": "pass"}, TIES),
    Wrong(
        "columns before rows in a tie", {PLACE: PLACE.replace("p", "r").replace("q", "p").replace("r", "q")}, TIES
    ),
    Wrong("a tie shared", {ZEROS: SHARES + ZEROS, HIT: "np.where(x[place] == y, dy / ties, 0)"}, TIES),
    Wrong("a quarter for every place", {HIT: "dy / 4"}, ["task 5"]),
    Wrong(
        "dx without the odd row",
        {ZEROS: "dx = np.zeros((len(x), 2 * oh, 2 * ow, y.shape[3]))"},
        ["test_max_pool2d_backward_with_odd_sizes"],
    ),
]
