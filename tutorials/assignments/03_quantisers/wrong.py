"""Wrong submissions, and what each must lose."""

from assignment import Wrong

QUANTISE = "return dy * ctx.slope"
FORWARD = "_, ctx.slope = surrogate(x)\n        return staircase(x)"
WEIGHT = "        return dy\n"

WRONG = [
    Wrong(
        "> for >=",
        {
            "np.where(x >= 0, 1, -1)": "np.where(x > 0, 1, -1)",
            "(x >= 0.5).astype": "(x > 0.5).astype",
            "0.5 * (x >= 0.25) + 0.5 * (x >= 0.75)": "0.5 * (x > 0.25) + 0.5 * (x > 0.75)",
            "(x >= (k - 0.5) / n)": "(x > (k - 0.5) / n)",
        },
        [
            "test_sign_of_zero",
            "test_binary_at_its_threshold",
            "test_ternary_at_its_thresholds",
            "test_uniform_at_its_thresholds",
        ],
    ),
    Wrong(
        "np.round and np.sign",
        {
            "return np.where(x >= 0, 1, -1).astype(x.dtype)\n": "return np.sign(x)\n",
            "0.5 * (x >= 0.25) + 0.5 * (x >= 0.75)": "np.round(2 * np.clip(x, 0, 1)) / 2",
            "np.where(w >= 0, 1, -1).astype(w.dtype) *": "np.sign(w) *",
        },
        ["test_sign_of_zero", "test_ternary_at_its_thresholds", "test_binary_weight_of_zero"],
    ),
    Wrong(
        "windows: the clip's closed, ApproxSign's missing, no clamp",
        {
            "(low < x) & (x < high)": "(low <= x) & (x <= high)",
            ", 2 - 2 * np.abs(inside)": ", 2 - 2 * np.abs(x)",
            "np.clip(w - lr * (x.T @ dy), -1, 1)": "w - lr * (x.T @ dy)",
        },
        ["test_clip_window_is_open", "test_approx_sign_derivative", "test_latent_step_is_clamped"],
    ),
    Wrong(
        "factors: one stair too many, no inner derivative, no scale, half the distance",
        {
            "n = 2**bits - 1": "n = 2**bits",
            "beta * (2 - u * t)": "(2 - u * t)",
            " * np.abs(w).mean()": "",
            "/ (2 * h)\n": "/ h\n",
        },
        [
            "test_uniform",
            "test_uniform_at_its_thresholds",
            "test_swish_sign_derivative",
            "test_binary_weight_forward",
            "test_central_difference",
        ],
    ),
    Wrong(
        "upstream gradient ignored",
        {QUANTISE: "return 0 * dy + ctx.slope", WEIGHT: "        return 0 * dy + 1\n"},
        ["test_quantise_backward", "test_quantise_in_a_graph", "test_binary_weight_backward"],
    ),
    Wrong(
        "zero gradient, that of the staircase",
        {QUANTISE: "return 0 * dy", WEIGHT: "        return 0 * dy\n"},
        ["test_quantise_backward", "test_quantise_in_a_graph", "test_binary_weight_backward"],
    ),
    Wrong(
        "sign flipped",
        {QUANTISE: "return -dy * ctx.slope", WEIGHT: "        return -dy\n"},
        ["test_quantise_backward", "test_quantise_in_a_graph", "test_binary_weight_backward"],
    ),
    Wrong(
        "one derivative for all ops, and float64 for every dtype",
        {
            FORWARD: "_, Quantise.slope = surrogate(x)\n        return staircase(x)",
            QUANTISE: "return dy * Quantise.slope",
            "(x >= 0.5).astype(x.dtype)": "(x >= 0.5) * np.float64(1)",
            "inside.astype(x.dtype)": "inside.astype(float)",
            "inside = np.clip(x, -1, 1)": "inside = np.clip(x, -1, 1) * np.float64(1)",
            "u = beta * x\n": "u = np.float64(beta) * x\n",
            "np.abs(w).mean()": "np.abs(w).mean(dtype=float)",
        },
        [
            "test_quantise_in_a_graph",
            "test_binary",
            "test_clip_derivative",
            "test_approx_sign_derivative",
            "test_swish_sign_derivative",
            "test_binary_weight_forward",
        ],
    ),
    Wrong(
        "the surrogate forwards, the binary weight moved, SwishSign by cosh, which overflows",
        {
            FORWARD: "value, ctx.slope = surrogate(x)\n        return value",
            "np.clip(w - lr": "np.clip(np.where(w >= 0, 1, -1) * np.abs(w).mean() - lr",
            "beta * (2 - u * t) * (1 - t * t) / 2": "beta * (2 - u * t) / (1 + np.cosh(u))",
        },
        ["test_quantise_forward", "test_latent_step", "test_swish_sign_far_out"],
    ),
    Wrong(
        "the public tests' answers",
        {
            "reached = sum(": "if len(x) == 15:\n        return (np.arange(len(x)) + 1) / n\n    reached = sum(",
            "return 0.5 / (2**bits - 1)": "return 0.5",
            "value, _ = surrogate(x)": "return 0.25",
        },
        ["test_matching_step", "test_mismatch_area"],
    ),
]
