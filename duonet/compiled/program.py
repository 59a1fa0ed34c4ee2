"""Consecutive layers of a packed network as one call: a small machine that executes a list of instructions.

Its memory is two arrays, words of bits and floats, small enough for the cache of a thread, whose images pass
through one after the other. Another network needs no new compilation, and between two layers nothing is checked,
allocated or handed over.
"""

import numpy as np

from duonet.compiled.dense import AT_ONCE
from duonet.compiled.instructions import (
    ADD,
    CONV,
    COPY,
    COUNT,
    LANES,
    NORM,
    RELU,
    REPEAT,
    STEPS,
    SUMS,
    VALUES,
    line,
)
from duonet.compiled.popcount import at_least, counts, join, keep, larger, put, reached, signed, window
from duonet.compiled.rows import load, number, outer, repeated
from duonet.compiled.rows import put as put_rows
from duonet.compiled.running import inlined, kernel

_line = inlined(line)


@kernel
def program(start, stop, x, code, words, limits, floats, memory, out):
    """Run images through all instructions; each image is a task.

    x is (N, numbers of an image) and out (N, numbers of a result), float32. `memory` has the numbers of words, of
    floats, of words of four windows and of floats of a block, and the place of the result among the floats.
    """
    bits, values = np.zeros(memory[0], np.uint64), np.zeros(memory[1], np.float32)
    windows, block = np.zeros(memory[2], np.uint64), np.zeros(memory[3], np.float32)
    for image in range(start, stop):
        _move(x[image], 0, values, 0, x.shape[1])
        for i in range(len(code)):
            c = code[i]
            if c.kind == CONV:
                _conv(c, values, floats, block)
            elif c.kind == STEPS:
                _steps(c, values, bits, floats, words)
            elif c.kind == COUNT or c.kind == SUMS:
                _count(c, bits, values, words, limits, floats, windows, block)
            elif c.kind == VALUES:
                _values(c, bits, values, floats)
            else:
                _elementwise(c, values, floats)
        _move(values, memory[4], out[image], 0, out.shape[1])


@inlined
def _move(x, at, y, to, count):
    for i in range(count):  # numba needs seconds to compile the assignment of a slice
        y[to + i] = x[at + i]


@inlined
def _conv(c, values, floats, block):
    """Compute as `dense.Conv2d` does, in the same order: products of the kernel's rows, one after the other."""
    long = (c.width + 2 * c.padding) * c.channels
    run, edge = c.kernel_width * c.channels, c.padding * c.channels
    for r in range(c.out_height):
        for p in range(c.kernel_height):
            row = r * c.stride + p - c.padding
            block[p * long : (p + 1) * long] = 0
            if 0 <= row < c.height:
                wide = c.width * c.channels
                _move(values, c.source + row * wide, block, p * long + edge, wide)
        for first in range(0, c.outputs, LANES):
            o = min(first, c.outputs - LANES)  # the last outputs, and pixels, may be computed twice
            for begin in range(0, c.out_width, AT_ONCE):
                q = min(begin, c.out_width - AT_ONCE)
                sums = repeated(load(floats, c.more + o, LANES), AT_ONCE)
                for p in range(c.kernel_height):
                    for k in range(run):
                        row = load(floats, c.floats + (p * run + k) * c.outputs + o, LANES)
                        step = c.stride * c.channels
                        sums = outer(sums, block, p * long + q * step + k, step, row)
                put_rows(values, c.target + (r * c.out_width + q) * c.outputs + o, c.outputs, sums)


@inlined
def _join(c, bits, row, column, step, copy, o, found, words):
    """Write 8 comparisons to their place in an image of bits; falling channels are 1 below their threshold."""
    place = copy * c.padded + o
    found ^= (number(words, c.more + (place >> 6)) >> np.uint64(place & 63)) & np.uint64(255)
    channels = c.copies * c.outputs
    place = ((column + c.out_border) * c.steps + step) * channels + copy * c.outputs + o
    at = c.target + (row + c.out_border) * _line(c.out_width, channels, c.out_border, c.steps)
    join(bits, at + (place >> 6), place & 63, found)


@inlined
def _clear(c, bits):
    long = _line(c.out_width, c.copies * c.outputs, c.out_border, c.steps)
    bits[c.target : c.target + (c.out_height + 2 * c.out_border) * long] = 0


@inlined
def _steps(c, values, bits, floats, words):
    """Turn floats into bits: compare each with its thresholds."""
    _clear(c, bits)
    for row in range(c.height):
        for column in range(c.width):
            at = c.source + (row * c.width + column) * c.channels
            for step in range(c.steps):
                for copy in range(c.copies):
                    limits = c.floats + (step * c.copies + copy) * c.padded
                    for o in range(0, c.channels, LANES):
                        found = at_least(values, at + o, floats, limits + o)
                        _join(c, bits, row, column, step, copy, o, found, words)


@inlined
def _count(c, bits, values, words, limits, floats, windows, block):
    """Turn bits into bits by integer thresholds, or into floats, for four windows or one at a time."""
    depth = c.channels * c.planes
    long, run = _line(c.width, c.channels, c.border, c.planes), c.kernel_width * depth
    count = (c.kernel_height * run + 63) // 64
    each, pixels = count + 1, c.out_height * c.out_width
    together = 1 if c.pool == 2 or pixels < 4 else 4
    m = 4 if c.pool == 2 else together
    total, sums = np.zeros(4, np.int64), np.empty(4 * LANES, np.int64)
    if c.kind == COUNT:
        _clear(c, bits)
    for begin in range(0, pixels, together):
        first = min(begin, pixels - together)  # the last pixels may be computed twice
        for k in range(m):
            row, column = divmod(first if c.pool == 2 else first + k, c.out_width)
            row, column = row * c.pool + (k >> 1) * (c.pool - 1), column * c.pool + (k & 1) * (c.pool - 1)
            at, shift = c.source + row * c.stride * long, column * c.stride * depth
            total[k] = window(bits, at, long, shift, c.kernel_height, run, windows, k * each, count)
        for o in range(0, c.padded, LANES):
            found = counts(windows, each, m, count, words, c.words + o * count)
            one, two = signed(found[0], total[0]), signed(found[1], total[1])
            three, four = signed(found[2], total[2]), signed(found[3], total[3])
            if c.kind == SUMS:
                put(block, o, one)
                put(block, c.padded + o, two)
                put(block, 2 * c.padded + o, three)
                put(block, 3 * c.padded + o, four)
                continue
            if c.pool == 2:
                one = larger(larger(one, two), larger(three, four))
            keep(sums, 0, one)
            if together == 4:
                keep(sums, LANES, two)
                keep(sums, 2 * LANES, three)
                keep(sums, 3 * LANES, four)
            for k in range(together):
                _compare(c, bits, first + k, o, sums, k * LANES, words, limits)
        if c.kind == SUMS:
            for k in range(together):
                _scale(c, values, c.target + (first + k) * c.outputs, floats, block, k * c.padded)


@inlined
def _compare(c, bits, pixel, o, sums, at, words, limits):
    row, column = divmod(pixel, c.out_width)
    for step in range(c.steps):
        for copy in range(c.copies):
            found = reached(sums, at, limits, c.limits + (step * c.copies + copy) * c.padded + o)
            _join(c, bits, row, column, step, copy, o, found, words)


@inlined
def _scale(c, values, at, floats, block, begin):
    """Scale after summing: a sum, times the rise of a step, times |w|, plus the bias."""
    rise, scale = floats[c.floats], floats[c.floats + 1 : c.floats + 1 + c.outputs]
    out, sums = values[at : at + c.outputs], block[begin : begin + c.outputs]
    for o in range(c.outputs):
        out[o] = sums[o] * rise * scale[o]
    if c.more:
        bias = floats[c.more : c.more + c.outputs]
        for o in range(c.outputs):
            out[o] += bias[o]


@inlined
def _values(c, bits, values, floats):
    """Turn bits into the levels that they stand for."""
    long = _line(c.width, c.channels, c.border, c.planes)
    for row in range(c.height):
        at = c.source + (row + c.border) * long
        for column in range(c.width):
            into = c.target + (row * c.width + column) * c.channels
            for o in range(c.channels):
                climbed = 0
                for plane in range(c.planes):
                    place = ((column + c.border) * c.planes + plane) * c.channels + o
                    climbed += np.int64((bits[at + (place >> 6)] >> np.uint64(place & 63)) & np.uint64(1))
                values[into + o] = floats[c.floats + climbed]


@inlined
def _elementwise(c, values, floats):
    """Change each float by itself; a norm's two vectors are repeated for the pixels of a row."""
    x, y = values[c.source : c.source + c.length], values[c.target : c.target + c.length]
    if c.kind == NORM:
        wide = c.width * c.channels
        slope, shift = floats[c.floats : c.floats + wide], floats[c.more : c.more + wide]
        for row in range(c.height):
            part = y[row * wide : (row + 1) * wide]
            for i in range(wide):
                part[i] = part[i] * slope[i] + shift[i]
    elif c.kind == RELU:
        for i in range(c.length):
            y[i] = np.float32(0) if y[i] < 0 else y[i]  # NaN stays
    elif c.kind == ADD:
        for i in range(c.length):
            y[i] += x[i]
    elif c.kind == COPY:
        _move(values, c.source, values, c.target, c.length)
    elif c.kind == REPEAT:
        for i in range(c.length // c.channels):
            for copy in range(c.copies):
                to = c.target + (c.copies * i + copy) * c.channels
                _move(values, c.source + i * c.channels, values, to, c.channels)
    else:
        each = c.channels // c.copies
        for i in range(c.length // c.channels):
            into = values[c.target + i * each : c.target + (i + 1) * each]
            for copy in range(c.copies):
                part, share = x[i * c.channels + copy * each :], floats[c.floats + copy]
                for o in range(each):
                    into[o] = part[o] * share if copy == 0 else into[o] + part[o] * share
