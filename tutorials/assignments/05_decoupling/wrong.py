"""Wrong submissions, and what each must lose."""

from assignment import Wrong

COPIES = "np.concatenate([h >= 0.75, h >= 0.25], axis=-1)"
POINTS = "np.concatenate([np.nextafter(at, -np.inf), at, np.nextafter(at, np.inf)])"
LINEAR = "np.concatenate([w / 2, w / 2])\n"
CONV = "np.concatenate([w / 2, w / 2], axis=2)"
FLATTENED = "np.concatenate([by_pixel / 2, by_pixel / 2], axis=1)"
BETA = "return doubled_gamma, np.concatenate([beta - 0.25, beta + 0.25])"
COUPLED = "return dy * ((0 < h) & (h < 1))"
DECOUPLED = "dy1 * ((0.25 < h) & (h < 1.25)) + dy2 * ((-0.25 < h) & (h < 0.75))"

NETWORKS = ["test_perceptron", "test_conv_network", "test_network_at_ties", "test_pool_after_the_activation"]

WRONG = [
    Wrong(
        "a missing replicate",
        {'decoupled += [("replicate",), ("norm", *doubled)]': 'decoupled += [("norm", *doubled)]'},
        NETWORKS,
        says="0 replicates for 2 doubled norms: one stands right before each",
    ),
    Wrong(
        "the copies of a flattened image not pixel by pixel",
        {"decouple_flattened(arrays[0], channels)": "decouple_linear(arrays[0])"},
        NETWORKS[1:],
    ),
    Wrong(
        "> for >=, closed windows, a proof without the ties",
        {
            COPIES: "np.concatenate([h > 0.75, h > 0.25], axis=-1)",
            POINTS: "np.concatenate([at - 0.01, at + 0.01])",
            COUPLED: "return dy * ((0 <= h) & (h <= 1))",
            DECOUPLED: "dy1 * ((0.25 <= h) & (h <= 1.25)) + dy2 * ((-0.25 <= h) & (h <= 0.75))",
        },
        [
            "test_activation_at_its_thresholds",
            "test_counterexamples_at_ties",
            "test_counterexamples_beside_ties",
            "test_coupled_backward",
            "test_decoupled_backward_at_the_ends",
        ],
    ),
    Wrong(
        "copy 2 before copy 1, a proof at the thresholds alone",
        {
            COPIES: "np.concatenate([h >= 0.25, h >= 0.75], axis=-1)",
            POINTS: "at",
            BETA: "return doubled_gamma, np.concatenate([beta + 0.25, beta - 0.25])",
            "dy1, dy2 = ": "dy2, dy1 = ",
        },
        [
            "test_activation",
            "test_activation_at_its_thresholds",
            "test_counterexamples_beside_ties",
            "test_norm_by_beta",
            "test_decoupled_backward",
            "test_decoupled_backward_at_the_ends",
        ],
    ),
    Wrong(
        "copies side by side instead of in blocks",
        {
            COPIES: "np.stack([h >= 0.75, h >= 0.25], axis=-1).reshape(*h.shape[:-1], -1)",
            LINEAR: "np.repeat(w / 2, 2, axis=0)\n",
            CONV: "np.repeat(w / 2, 2, axis=2)",
            "np.repeat([0.75, 0.25], len(beta))": "np.tile([0.75, 0.25], len(beta))",
        },
        [
            "test_activation",
            "test_activation_at_its_thresholds",
            "test_linear",
            "test_conv",
            "test_norm_by_threshold",
            "test_norm_by_threshold_in_float32",
        ],
    ),
    Wrong(
        "weights not halved",
        {LINEAR: "np.concatenate([w, w])\n", CONV: "np.concatenate([w, w], axis=2)"},
        ["test_linear", "test_conv"],
    ),
    Wrong(
        "kernels stacked along their first axis, the flatten forgotten",
        {CONV: "np.concatenate([w / 2, w / 2], axis=0)", FLATTENED: "np.concatenate([w / 2, w / 2], axis=0)"},
        ["test_conv", "test_flattened"],
    ),
    Wrong(
        "no shift in beta, one in the mean, thresholds in float64",
        {
            BETA: "return doubled_gamma, np.concatenate([beta, beta])",
            "for a in (gamma, mean, var)": "for a in (gamma, mean - 0.25, var)",
            ".astype(beta.dtype)": "",
        },
        ["test_norm_by_beta", "test_norm_by_beta_moves_beta_alone", "test_norm_by_threshold_in_float32"],
    ),
    Wrong(
        "every batch norm doubled, the given beta changed, a last width that never shrinks and has no limit",
        {
            'kind == "norm" and following[0] == "ternary"': 'kind == "norm"',
            BETA: "beta -= 0.25\n    return doubled_gamma, np.concatenate([beta, beta + 0.5])",
            "while count(narrow) > budget:": "while False:",
            "narrow[-1] < widths[-1] and ": "",
        },
        [
            *NETWORKS[1:],
            "test_norm_by_beta_moves_beta_alone",
            "test_coupled_widths",
            "test_coupled_widths_of_a_tight_budget",
        ],
    ),
    Wrong(
        "counterexamples unsorted, the network by beta, a budget that must not be used up, a width of 0",
        {
            "points = np.sort(np.concatenate([np": "points = (np.concatenate([np",
            "*doubled, thresholds = decouple_norm_by_threshold(*arrays)": (
                "doubled, thresholds = decouple_norm_by_beta(*arrays), np.full(2 * len(arrays[0]), 0.5)"
            ),
            "<= budget:": "< budget:",
            "max(1, int(width / 2**0.5))": "int(width / 2**0.5)",
        },
        ["test_counterexamples_beside_ties", "test_perceptron", "test_coupled_widths"],
    ),
    Wrong(
        "upstream gradient ignored",
        {
            COUPLED: "return 1.0 * ((0 < h) & (h < 1))",
            DECOUPLED: "0.5 * ((0.25 < h) & (h < 1.25)) + 0.5 * ((-0.25 < h) & (h < 0.75))",
        },
        ["task 5"],
    ),
    Wrong(
        "sign flipped, the coupled window for both copies",
        {COUPLED: "return -dy * ((0 < h) & (h < 1))", DECOUPLED: "(dy1 + dy2) * ((0 < h) & (h < 1))"},
        ["task 5"],
    ),
    Wrong(
        "zero gradient, k for k², widths halved",
        {
            COUPLED: "return 0 * dy",
            DECOUPLED: "0 * dy1",
            "* k * k * c * oc": "* k * c * oc",
            "int(width / 2**0.5)": "width // 2",
        },
        ["task 5", "task 6"],
    ),
    Wrong(
        "the public tests' answers",
        {
            "by_pixel = ": "return np.array([[1.0, 2, 1, 2, 3, 4, 3, 4]]).T\n    by_pixel = ",
            "layers = zip(": "return 1_575_616 if not any(doubled) else 1_573_229\n    layers = zip(",
            "narrow = [": "return [45, 45, 90, 90, 336]\n    narrow = [",
        },
        ["test_flattened", "task 6"],
    ),
]
