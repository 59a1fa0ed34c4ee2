/* What runs a network of duonet's: bits in words of 32, counted. C99, no allocation, no library.

   A pixel of a binary image is `planes` times `words` words: its channels, the first in the lowest bit, once for every
   step of an activation. A weight is a sign: 1 for +1, 0 for -1. For signs s and bits b the sum of their products is
   2 popcount(s & b) - popcount(b). */
#ifndef DUONET_RUNTIME
#define DUONET_RUNTIME

#include <math.h>
#include <stdint.h>

struct duonet_window {
    int32_t height, width, channels;              /* of the input */
    int32_t kernel_height, kernel_width, stride, padding;
    int32_t sum_height, sum_width, outputs;       /* of the sums */
    int32_t pool, pool_stride, pool_padding;      /* the largest of pool times pool sums; 1, 1, 0 for none */
    int32_t out_height, out_width;                /* of what comes out */
    int32_t copies, steps, out_words;             /* thresholds: copies times outputs for each of the steps */
};

struct duonet_signs {
    struct duonet_window window;
    int32_t words, planes;                        /* of an input pixel */
    int32_t rise, low;                            /* a bit's worth and that of no bit, in units */
    const uint32_t *signs;                        /* outputs, kernel height, kernel width, words */
    const int16_t *narrow;                        /* thresholds, in units: steps, copies times outputs; */
    const int32_t *wide;                          /* or here, where 16 bits do not hold them */
    const uint32_t *falls;                        /* channels that are 1 below the threshold */
};

static inline int32_t duonet_ones(uint32_t v) {
#if defined(__GNUC__)
    return (int32_t)__builtin_popcount(v);
#else
    v -= (v >> 1) & 0x55555555u;
    v = (v & 0x33333333u) + ((v >> 2) & 0x33333333u);
    return (int32_t)((((v + (v >> 4)) & 0x0f0f0f0fu) * 0x01010101u) >> 24);
#endif
}

static inline int32_t duonet_bit(const uint32_t *bits, int32_t i) {
    return (int32_t)((bits[i >> 5] >> (i & 31)) & 1u);
}

/* Of a window and one output's signs: how many bits are set where the sign is +1, where there is no `sign` at all, and
   the sum of the signs on the image. */
static inline int32_t duonet_set(const struct duonet_signs *layer, const uint32_t *x, int32_t row, int32_t column,
                                 const uint32_t *sign, int32_t *signs) {
    const struct duonet_window *w = &layer->window;
    int32_t set = 0;
    for (int32_t p = 0; p < w->kernel_height; p++) {
        const int32_t y = row * w->stride - w->padding + p;
        if (y < 0 || y >= w->height) continue;
        for (int32_t q = 0; q < w->kernel_width; q++) {
            const int32_t z = column * w->stride - w->padding + q;
            if (z < 0 || z >= w->width) continue;
            const uint32_t *pixel = x + (y * w->width + z) * layer->planes * layer->words;
            const uint32_t *s = sign ? sign + (p * w->kernel_width + q) * layer->words : 0;
            for (int32_t plane = 0; plane < layer->planes; plane++)
                for (int32_t k = 0; k < layer->words; k++)
                    set += duonet_ones(s ? s[k] & *pixel++ : *pixel++);
            if (signs) {
                for (int32_t k = 0; k < layer->words; k++) *signs += 2 * duonet_ones(s[k]);
                *signs -= w->channels;
            }
        }
    }
    return set;
}

/* The sums of one window for all outputs, in units; the larger of each and of what is there, unless it is the first. */
static inline void duonet_sums(const struct duonet_signs *layer, const uint32_t *x, int32_t row, int32_t column,
                               int32_t first, int32_t *sums) {
    const struct duonet_window *w = &layer->window;
    const int32_t length = w->kernel_height * w->kernel_width * layer->words;
    const int32_t all = duonet_set(layer, x, row, column, 0, 0);
    for (int32_t o = 0; o < w->outputs; o++) {
        int32_t signs = 0;
        const int32_t set = duonet_set(layer, x, row, column, layer->signs + o * length, layer->low ? &signs : 0);
        const int32_t sum = layer->rise * (2 * set - all) + layer->low * signs;
        if (first || sum > sums[o]) sums[o] = sum;
    }
}

/* Bits to bits. */
static inline void duonet_binary(const struct duonet_signs *layer, const uint32_t *x, int32_t *sums, uint32_t *out) {
    const struct duonet_window *w = &layer->window;
    const int32_t channels = w->copies * w->outputs;
    for (int32_t i = 0; i < w->out_height * w->out_width; i++) {
        int32_t first = 1;
        for (int32_t p = 0; p < w->pool; p++) {
            const int32_t row = i / w->out_width * w->pool_stride - w->pool_padding + p;
            if (row < 0 || row >= w->sum_height) continue;
            for (int32_t q = 0; q < w->pool; q++) {
                const int32_t column = i % w->out_width * w->pool_stride - w->pool_padding + q;
                if (column < 0 || column >= w->sum_width) continue;
                duonet_sums(layer, x, row, column, first, sums);
                first = 0;
            }
        }
        for (int32_t k = 0; k < w->steps * w->out_words; k++) out[k] = 0;
        for (int32_t c = 0; c < channels; c++) {
            const int32_t sum = sums[c % w->outputs];
            int32_t climbed = 0;
            for (int32_t step = 0; step < w->steps; step++) {
                const int32_t at = step * channels + c;
                const int32_t threshold = layer->narrow ? layer->narrow[at] : layer->wide[at];
                climbed += (sum >= threshold) != duonet_bit(layer->falls, c);
            }
            for (int32_t step = 0; step < climbed; step++)
                out[step * w->out_words + (c >> 5)] |= (uint32_t)1 << (c & 31);
        }
        out += w->steps * w->out_words;
    }
}

/* Floats to bits: the first layer. `best` holds a number for each output. */
static inline void duonet_first(const struct duonet_window *w, const float *weights, const float *bias,
                                const float *thresholds, const uint32_t *falls, const float *x, float *best,
                                uint32_t *out) {
    const int32_t channels = w->copies * w->outputs;
    for (int32_t i = 0; i < w->out_height * w->out_width; i++) {
        int32_t first = 1;
        for (int32_t at = 0; at < w->pool * w->pool; at++) {
            const int32_t row = i / w->out_width * w->pool_stride - w->pool_padding + at / w->pool;
            const int32_t column = i % w->out_width * w->pool_stride - w->pool_padding + at % w->pool;
            if (row < 0 || row >= w->sum_height || column < 0 || column >= w->sum_width) continue;
            for (int32_t o = 0; o < w->outputs; o++) {
                float sum = 0;
                for (int32_t p = 0; p < w->kernel_height; p++) {
                    const int32_t y = row * w->stride - w->padding + p;
                    if (y < 0 || y >= w->height) continue;
                    for (int32_t q = 0; q < w->kernel_width; q++) {
                        const int32_t z = column * w->stride - w->padding + q;
                        if (z < 0 || z >= w->width) continue;
                        const float *pixel = x + (y * w->width + z) * w->channels;
                        const float *weight = weights + (p * w->kernel_width + q) * w->channels * w->outputs + o;
                        for (int32_t c = 0; c < w->channels; c++) sum += pixel[c] * weight[c * w->outputs];
                    }
                }
                if (bias) sum += bias[o];
                if (first || sum > best[o]) best[o] = sum;
            }
            first = 0;
        }
        for (int32_t k = 0; k < w->steps * w->out_words; k++) out[k] = 0;
        for (int32_t c = 0; c < channels; c++) {
            int32_t climbed = 0;
            for (int32_t step = 0; step < w->steps; step++)
                climbed += (best[c % w->outputs] >= thresholds[step * channels + c]) != duonet_bit(falls, c);
            for (int32_t step = 0; step < climbed; step++)
                out[step * w->out_words + (c >> 5)] |= (uint32_t)1 << (c & 31);
        }
        out += w->steps * w->out_words;
    }
}

/* The last sums to floats: k halves or ones, times a scale for each output or one for all. */
static inline void duonet_scaled(const struct duonet_signs *layer, float unit, const float *scale, int32_t scales,
                                 const float *bias, const uint32_t *x, int32_t *sums, float *y) {
    duonet_sums(layer, x, 0, 0, 1, sums);
    for (int32_t o = 0; o < layer->window.outputs; o++) {
        y[o] = (float)sums[o] * unit * scale[scales == 1 ? 0 : o];
        if (bias) y[o] += bias[o];
    }
}

/* Bits to floats: the levels that they stand for. */
static inline void duonet_values(int32_t pixels, int32_t channels, int32_t planes, const float *levels,
                                 const uint32_t *x, float *y) {
    const int32_t words = (channels + 31) / 32;
    for (int32_t i = 0; i < pixels * channels; i++) {
        int32_t climbed = 0;
        for (int32_t plane = 0; plane < planes; plane++)
            climbed += duonet_bit(x + (i / channels * planes + plane) * words, i % channels);
        y[i] = levels[climbed];
    }
}

static inline void duonet_norm(int32_t n, const float *mean, const float *slope, const float *beta, float *x) {
    for (int32_t i = 0; i < n; i++) x[i] = (x[i] - mean[i]) * slope[i] + beta[i];
}

static inline void duonet_relu(int32_t n, float *x) {
    for (int32_t i = 0; i < n; i++) x[i] = x[i] > 0 ? x[i] : 0;
}

static inline void duonet_linear(int32_t inputs, int32_t outputs, const float *weights, const float *bias,
                                 const float *x, float *y) {
    for (int32_t o = 0; o < outputs; o++) {
        y[o] = 0;
        for (int32_t i = 0; i < inputs; i++) y[o] += x[i] * weights[i * outputs + o];
        if (bias) y[o] += bias[o];
    }
}

#endif
