"""The same network in ONNX, layer by layer, with the same numbers: the model of onnxruntime in inference.py."""

import functools

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from duonet import nn


class Graph:
    """Nodes and constants as they grow."""

    def __init__(self):
        self.nodes, self.constants = [], []

    def add(self, op, *inputs, **attributes):
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def constant(self, array):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name


@functools.singledispatch
def build(layer, graph, x):
    """Add a layer that reads x, on NCHW tensors; return the name of its output."""
    raise TypeError(f"no ONNX twin for {type(layer).__name__}")


@build.register
def _(layer: nn.Sequential, graph, x):
    for child in layer:
        x = build(child, graph, x)
    return x


@build.register
def _(layer: nn.Residual, graph, x):
    body = build(layer.body, graph, x)
    return graph.add("Add", body, x if layer.shortcut is None else build(layer.shortcut, graph, x))


def _weight(layer):
    return (layer.weight if layer.weight_quantizer is None else layer.weight_quantizer(layer.weight)).numpy()


@build.register
def _(layer: nn.Conv2d, graph, x):
    w = _weight(layer).transpose(3, 2, 0, 1)
    return graph.add(
        "Conv",
        x,
        graph.constant(w),
        pads=[layer.padding] * 4,
        strides=[layer.stride] * 2,
        kernel_shape=w.shape[2:],
    )


@build.register
def _(layer: nn.Linear, graph, x):
    return graph.add("Gemm", x, graph.constant(_weight(layer)), graph.constant(layer.bias.numpy()))


@build.register
def _(layer: nn.BatchNorm, graph, x):
    numbers = (layer.gamma, layer.beta, layer.running_mean, layer.running_var)
    return graph.add(
        "BatchNormalization", x, *(graph.constant(n.numpy()) for n in numbers), epsilon=float(layer.eps)
    )


@build.register
def _(layer: nn.QuantActivation, graph, x):
    (threshold,) = layer.staircase.thresholds
    steps = graph.add("GreaterOrEqual", x, graph.constant(np.float32(threshold).reshape(1, -1, 1, 1)))
    return graph.add("Cast", steps, to=TensorProto.FLOAT)


@build.register
def _(layer: nn.MaxPool2d, graph, x):
    return graph.add("MaxPool", x, kernel_shape=[layer.size] * 2, strides=[layer.stride] * 2)


@build.register
def _(layer: nn.AvgPool2d, graph, x):
    return graph.add("AveragePool", x, kernel_shape=[layer.size] * 2, strides=[layer.stride] * 2)


@build.register
def _(layer: nn.GlobalAvgPool, graph, x):
    return graph.add("Flatten", graph.add("GlobalAveragePool", x))


@build.register
def _(layer: nn.ReLU, graph, x):
    return graph.add("Relu", x)


@build.register
def _(layer: nn.Flatten, graph, x):
    return graph.add("Flatten", x)  # of one pixel


def session(model, shape, threads):
    """Return a function from NCHW images to logits, by onnxruntime on the CPU."""
    graph, (h, w, c) = Graph(), shape
    y = build(model, graph, "x")
    ends = (
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", c, h, w])],
        [helper.make_tensor_value_info(y, TensorProto.FLOAT, ["n", "classes"])],
    )
    proto = helper.make_model(
        helper.make_graph(graph.nodes, "network", *ends, graph.constants),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    proto.ir_version = 9
    onnx.checker.check_model(proto)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    runs = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda x: runs.run(None, {"x": x})[0]
