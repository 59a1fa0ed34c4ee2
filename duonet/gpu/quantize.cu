// y = levels[number of thresholds that x has reached], and the slope of a surrogate that is 1 in a window, 0 outside.
// Where mean is given, x is normalised first: the batch norm in front, which is then never written down.
// Thresholds are (steps, channels) where per_channel, else (steps,). Ends of the window: 1 low and 2 high belong to it.
extern "C" __global__ void quantize(const T* __restrict__ x, const T* mean, const T* scale, const T* gamma,
                                    const T* beta, const T* __restrict__ thresholds, const T* __restrict__ levels,
                                    const T* offset, T* __restrict__ y, unsigned char* __restrict__ mask,
                                    unsigned n, int channels, int steps, int per_channel, T low, T high, int ends) {
    const unsigned start = blockIdx.x * blockDim.x + threadIdx.x, stride = gridDim.x * blockDim.x;
    const int c = start % channels;
    const T centre = mean ? mean[c] : 0, factor = mean ? gamma[c] * scale[c] : 1, shift = mean ? beta[c] : 0;
    const T moved = offset ? offset[c] : 0;
    const T* mine = thresholds + (per_channel ? c : 0);
    const int apart = per_channel ? channels : 1;
    for (unsigned i = start; i < n; i += stride) {
        const T value = mean ? (x[i] - centre) * factor + shift : x[i];
        int level = 0;
        for (int k = 0; k < steps; k++) level += value >= mine[k * apart];
        y[i] = levels[level];
        if (mask) {
            const T at = value - moved;
            const bool above = ends & 1 ? at >= low : at > low, below = ends & 2 ? at <= high : at < high;
            mask[i] = above && below;
        }
    }
}
