"""Wrong submissions of assignment 1, and what each must lose."""

from assignment import Wrong

IMPORT = "import numpy as np\n"
SUM = "return gradient.sum(axis=(*range(extra), *stretched), keepdims=True).reshape(shape)"
ZERO_EXP = {"return (dy * ctx.y,)": "return (0 * dy,)"}
HIT = "ctx.axis, ctx.hit = axis, x == largest"
DLOGITS = "return (dy * (ctx.p - ctx.onehot) / len(ctx.p),)"
BEGIN = "    order, seen, stack = [], set(), [(output, False)]\n"
ADDED = "gradients[id(parent)] = part if before is None else before + part"
GRAD = "tensor.grad = gradient + (0 if tensor.grad is None else tensor.grad)"

BROADCASTING = [
    "test_unbroadcast_sums_axes_that_the_input_does_not_have",
    "test_unbroadcast_sums_axes_of_length_one",
]
CROSS_ENTROPY_GRADIENT = ["test_cross_entropy_backward", "test_cross_entropy_with_large_logits"]
ALL_TASKS = [f"task {number}" for number in range(1, 7)]

FIRST_WINNER = """ctx.axis, ctx.hit = axis, np.zeros(x.shape)
        np.put_along_axis(ctx.hit, x.argmax(axis, keepdims=True), 1, axis)"""
IN_PLACE = """if before is None:
                gradients[id(parent)] = part
            else:
                before += part"""
EVERY_PATH = """    if output.op is None:
        output.grad = dy + (0 if output.grad is None else output.grad)
    else:
        for parent, part in zip(output.parents, output.op.backward(output.ctx, dy)):
            backward(parent, part)
    return
"""
VISIT = """    def visit(tensor):
        if id(tensor) not in seen:
            seen.add(id(tensor))
            for parent in tensor.parents:
                visit(parent)
            order.append(tensor)

    visit(output)
    stack = []
    while stack:
"""
BREADTH_FIRST = """    order = [output]
    for tensor in order:
        order += [parent for parent in dict.fromkeys(tensor.parents) if parent not in order]
    order.reverse()
    gradients = {id(output): dy}
"""
JUDGES_REPLACED = """
np.testing.assert_allclose = np.testing.assert_array_equal = lambda *a, **k: None
np.testing._private.utils.assert_allclose = lambda *a, **k: None
"""
COMPARISONS_HOLLOW = "\nnp.testing._private.utils.assert_array_compare = lambda *a, **k: None\n"
EQUALS_ANYTHING = """

class Anything(np.ndarray):
    def __array_function__(self, function, *rest):
        return True if function.__name__ == "isclose" else super().__array_function__(function, *rest)
"""
PASS_ALL = """
import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    report.outcome = "passed"
    return report
"""

WRONG = [
    Wrong("no sum over broadcast axes", {SUM: "return gradient"}, BROADCASTING),
    Wrong("the mean over broadcast axes", {SUM: SUM.replace(".sum(", ".mean(")}, BROADCASTING),
    Wrong(
        "axes of length one not summed",
        {SUM: "return gradient.sum(axis=tuple(range(extra)))"},
        BROADCASTING[1:],
    ),
    Wrong(
        "the public answers by heart",
        {SUM: "return np.array([11.0, 22.0]) if shape == (2,) else np.array([[3.0], [30.0]])"},
        BROADCASTING,
    ),
    Wrong(
        "no gradient is summed in add",
        {"unbroadcast(dy, a_shape), unbroadcast(dy, b_shape)": "dy, dy"},
        ["test_add"],
    ),
    Wrong(
        "mul sums before it multiplies",
        {"(dy * ctx.b, ctx.a.shape)": "(dy, ctx.a.shape) * unbroadcast(ctx.b, ctx.b.shape)"},
        ["test_mul"],
    ),
    Wrong(
        "mul modifies dy",
        {"return unbroadcast(dy * ctx.b": "dy *= 2\n        return unbroadcast(dy * ctx.b"},
        ["test_mul"],
    ),
    Wrong(
        "w reshaped in place of transposed",
        {"dy @ ctx.w.T": "dy @ ctx.w.reshape(ctx.w.shape[::-1])"},
        ["test_matmul_dx"],
    ),
    Wrong("dw averaged over the batch", {"ctx.x.T @ dy": "ctx.x.T @ dy / len(dy)"}, ["test_matmul_dw"]),
    Wrong(
        "an endless loop",
        {"return x @ w": "while True:\n            pass"},
        ["task 2"],
        says="over the time limit of 10 s, in MatMul.forward",
    ),
    Wrong("zero gradient", ZERO_EXP, ["test_exp"]),
    Wrong("left on the class in place of ctx", {"ctx.y = np.exp(x)": "Context.y = np.exp(x)"}, ["test_exp"]),
    Wrong(
        "the process ended",
        {"ctx.y = np.exp(x)": "ctx.y = __import__('os')._exit(0)"},
        ["task 3"],
        says="or a crash, in Exp.forward",
    ),
    Wrong("sign flipped", {"return (dy / ctx.x,)": "return (-dy / ctx.x,)"}, ["test_log"]),
    Wrong("sys.exit in an op", {"return np.log(x)": "raise SystemExit(0)"}, ["test_log"]),
    Wrong(
        "upstream gradient ignored",
        {"dy * ctx.positive": "1.0 * ctx.positive"},
        ["test_relu", "test_relu_at_its_kink"],
    ),
    Wrong("the kink takes 1", {"ctx.positive = x > 0": "ctx.positive = x >= 0"}, ["test_relu_at_its_kink"]),
    Wrong(
        "each winner of a tie receives all",
        {"np.expand_dims(dy, ctx.axis) / ties": "np.expand_dims(dy, ctx.axis)"},
        ["test_max_backward_with_ties"],
    ),
    Wrong("the first winner of a tie receives all", {HIT: FIRST_WINNER}, ["test_max_backward_with_ties"]),
    Wrong(
        "dy spread along the last axis",
        {"np.expand_dims(dy, ctx.axis)": "np.expand_dims(dy, -1)"},
        ["test_max_backward"],
    ),
    Wrong("no 1 / N", {DLOGITS: "return (dy * (ctx.p - ctx.onehot),)"}, CROSS_ENTROPY_GRADIENT),
    Wrong("the loss's dy taken to be 1", {DLOGITS: DLOGITS.replace("dy * ", "")}, CROSS_ENTROPY_GRADIENT),
    Wrong(
        "logits not shifted",
        {"shifted = logits - logits.max(axis=1, keepdims=True)": "shifted = logits"},
        ["test_cross_entropy_with_large_logits"],
    ),
    Wrong(
        "the logarithm of a probability that may be 0",
        {"return -log_p[ctx.onehot].mean()": "return -np.log(ctx.p[ctx.onehot]).mean()"},
        ["test_cross_entropy_with_large_logits"],
    ),
    Wrong(
        "the last use alone counts",
        {ADDED: "gradients[id(parent)] = part"},
        [
            "test_backward_adds_up_all_uses",
            "test_backward_waits_for_the_longest_way",
            "test_backward_runs_each_op_once",
            "test_backward_keeps_gradients_apart",
        ],
    ),
    Wrong(
        "breadth first",
        {"    gradients = {id(output): dy}\n": BREADTH_FIRST},
        ["test_backward_waits_for_the_longest_way"],
    ),
    Wrong("added up in place", {ADDED: IN_PLACE}, ["test_backward_keeps_gradients_apart"]),
    Wrong(
        "a second call starts anew",
        {GRAD: "tensor.grad = gradient + 0"},
        ["test_backward_keeps_gradients_apart"],
    ),
    Wrong(
        "grad is dy itself",
        {GRAD: "tensor.grad = gradient if tensor.grad is None else tensor.grad + gradient"},
        ["test_backward_keeps_gradients_apart"],
    ),
    Wrong(
        "every path walked",
        {BEGIN: EVERY_PATH + BEGIN},
        ["test_backward_runs_each_op_once", "test_backward_is_not_limited_by_recursion"],
    ),
    Wrong("recursion", {"    while stack:\n": VISIT}, ["test_backward_is_not_limited_by_recursion"]),
    Wrong("sys.exit at import", {IMPORT: IMPORT + "\nraise SystemExit(0)\n"}, ALL_TASKS),
    Wrong(
        "the library's op handed in",
        {"class SoftmaxCrossEntropy:": "from duonet.functional.loss import SoftmaxCrossEntropy\n\n\nclass Mine:"},
        ["task 5"],
        says="answers.py imports duonet.functional.loss.SoftmaxCrossEntropy; this assignment allows numpy",
    ),
    Wrong(
        "an import that one op needs",
        {
            IMPORT: IMPORT + "from scipy.special import logsumexp\n",
            "np.log(np.exp(shifted).sum(axis=1, keepdims=True))": "logsumexp(shifted, axis=1, keepdims=True)",
        },
        ["task 5"],
        says="answers.py imports scipy.special.logsumexp",
    ),
    Wrong(
        "a bracket never closed",
        {"return (dy / ctx.x,)": "return (dy / ctx.x,"},
        ["test_log"],
        says="SyntaxError: '(' was never closed",
    ),
    Wrong("numpy's comparisons replaced", {IMPORT: IMPORT + JUDGES_REPLACED, **ZERO_EXP}, ["test_exp"]),
    Wrong("numpy's comparisons hollowed out", {IMPORT: IMPORT + COMPARISONS_HOLLOW, **ZERO_EXP}, ["test_exp"]),
    Wrong(
        "a gradient that says it equals anything",
        {IMPORT: IMPORT + EQUALS_ANYTHING, "return (dy * ctx.y,)": "return ((0 * dy).view(Anything),)"},
        ["test_exp"],
    ),
    Wrong("a conftest that passes everything", ZERO_EXP, ["test_exp"], files={"conftest.py": PASS_ALL}),
]
