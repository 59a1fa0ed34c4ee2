"""Wrong submissions, and what each must lose."""

from assignment import Wrong

ONE = """    start = w[index]
    try:
        w[index] = start + step
        up = loss()
        w[index] = start - step
        down = loss()
    finally:
        w[index] = start
"""
UNDONE = """    w[index] += step
    up = loss()
    w[index] -= 2 * step
    down = loss()
    w[index] += step
"""
BACK = "dz = (dz @ weights[layer + 1].T) * slope(sums[layer])"
TERM = "(loss(w + sigma * u) - loss(w - sigma * u)) / (2 * sigma) * u"

LAYER = "coordinate_difference(loss, w, index, step)\n    return"

WRONG = [
    Wrong(
        "a copy of w moved",
        {"    start = w[index]\n": "    w = w.copy()\n    start = w[index]\n"},
        ["test_one_weight"],
        says="the loss never saw w move: it looks at w itself",
    ),
    Wrong(
        "a copy of the layer moved",
        {LAYER: LAYER.replace("w,", "w.copy(),")},
        ["test_layer"],
        says="the loss never saw w move: it looks at w itself",
    ),
    Wrong(
        "moves undone by adding and subtracting",
        {ONE: UNDONE},
        ["test_weight_is_put_back", "test_weight_is_put_back_after_an_error"],
    ),
    Wrong(
        "no finally, a one-sided window, no first level, the output quantised",
        {
            "    try:\n        w[index] = start + step": "    if True:\n        w[index] = start + step",
            "    finally:\n": "    if True:\n",
            "/ cells - 1)": "/ cells)",
            "np.full_like(x, levels[0])": "np.zeros_like(x)",
            "sums.append(inputs[-1] @ weights[-1])": "sums.append(staircase(inputs[-1] @ weights[-1]))",
        },
        [
            "test_weight_is_put_back_after_an_error",
            "test_window_average",
            "test_smoothed_staircase",
            "test_forward",
        ],
    ),
    Wrong(
        "factors: ε for 2ε, no division by N, no |w|, K for K − 1",
        {
            "return (up - down) / (2 * step)": "return (up - down) / step",
            "(x - threshold + step) / (2 * step)": "(x - threshold + step) / step",
            "(sums[-1] - target) / len(x)": "sums[-1] - target",
            "(2 * np.pi * np.linalg.norm(w))": "(2 * np.pi)",
            "ddof=1": "ddof=0",
        },
        [
            "test_one_weight",
            "test_smoothed_staircase",
            "test_smoothing_identity",
            "test_coarse_gradient_of_the_last_layer",
            "test_coarse_gradients",
            "test_coarse_gradients_of_a_smooth_network",
            "test_true_gradient",
            "test_true_gradient_and_lengths",
            "test_evolution_stderr",
        ],
    ),
    Wrong(
        "upstream gradient ignored",
        {BACK: "dz = slope(sums[layer])"},
        ["test_coarse_gradients", "test_coarse_gradients_of_a_smooth_network"],
    ),
    Wrong(
        "zero gradient",
        {BACK: "dz = 0 * (dz @ weights[layer + 1].T)"},
        ["test_coarse_gradients", "test_coarse_gradients_of_a_smooth_network"],
    ),
    Wrong(
        "signs flipped",
        {
            "(sums[-1] - target)": "(target - sums[-1])",
            "return -(v @ v_star)": "return (v @ v_star)",
        },
        [
            "test_coarse_gradient_of_the_last_layer",
            "test_coarse_gradients",
            "test_coarse_gradients_of_a_smooth_network",
            "test_true_gradient",
        ],
    ),
    Wrong(
        "the slope at the activations",
        {BACK: "dz = (dz @ weights[layer + 1].T) * slope(inputs[layer + 1])"},
        ["test_coarse_gradients", "test_coarse_gradients_of_a_smooth_network"],
    ),
    Wrong(
        "products within a half, one product above the line, no care for zero",
        {
            "float((c1 * c2).sum()), float((g1 * g2).sum())": "float((c1 * c1).sum()), float((g1 * g1).sum())",
            "if lengths > 0 else": "if True else",
            "((c1 * g2).sum() + (c2 * g1).sum()) / 2": "(c1 * g2).sum()",
        },
        [
            "test_cosine_with_zero",
            "test_corrected_cosine",
            "test_corrected_cosine_is_free_of_noise",
            "test_corrected_cosine_hidden_by_noise",
        ],
    ),
    Wrong(
        "one side only, the length of w* taken for 1, no care for rounding",
        {
            TERM: "(loss(w + sigma * u) - loss(w)) / sigma * u",
            "(np.linalg.norm(w) * np.linalg.norm(w_star))": "np.linalg.norm(w)",
            "np.arccos(np.clip(cosine, -1, 1))": "np.arccos(cosine)",
        },
        [
            "test_evolution_gradient",
            "test_evolution_stderr",
            "test_evolution_is_antithetic",
            "test_population_loss",
            "test_population_loss_of_parallel_weights",
        ],
    ),
    Wrong(
        "the public tests' answers",
        {
            "    return gradient\n": "    return np.array([[2.8, -2.0], [3.2, 4.0]])\n",
            TERM: "np.array([2.0, 3.0])",
            "    across = ": "    return np.array([0, -1 / (2 * np.pi)])\n    across = ",
        },
        [
            "test_layer",
            "test_evolution_gradient",
            "test_evolution_stderr",
            "test_evolution_is_antithetic",
            "test_true_gradient",
            "test_true_gradient_and_lengths",
        ],
    ),
]
