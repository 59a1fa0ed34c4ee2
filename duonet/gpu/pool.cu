// One thread for each output. Position p size + q of the first maximum goes into `at`, one byte; 255 where it is NaN,
// which no position receives the gradient of. The border holds `lowest`, minus infinity.
extern "C" __global__ void max_pool(const T* __restrict__ x, T* __restrict__ y, unsigned char* __restrict__ at,
                                    int count, int h, int w, int c, int oh, int ow, int size, int stride, int pad,
                                    T lowest) {
    const int t = blockIdx.x * blockDim.x + threadIdx.x;
    if (t >= count) return;
    const int window = t / c, channel = t - window * c;
    const int row = window / ow, left = (window - row * ow) * stride - pad;
    const int image = row / oh, top = (row - image * oh) * stride - pad;
    T best = lowest;
    int position = 0;
    for (int p = 0; p < size; p++) {
        for (int q = 0; q < size; q++) {
            const int i = top + p, j = left + q;
            if (i < 0 || i >= h || j < 0 || j >= w) continue;
            const T value = x[((image * h + i) * w + j) * c + channel];
            if (value > best || value != value) {
                best = value;
                position = p * size + q;
            }
        }
    }
    y[t] = best;
    at[t] = best == best ? position : 255;
}

// One thread for each input; it gathers the windows that it was the maximum of, in the order of p, then q.
extern "C" __global__ void max_pool_gradient(const T* __restrict__ dy, const unsigned char* __restrict__ at,
                                             T* __restrict__ dx, int count, int h, int w, int c, int oh, int ow,
                                             int size, int stride, int pad) {
    const int t = blockIdx.x * blockDim.x + threadIdx.x;
    if (t >= count) return;
    const int pixel = t / c, channel = t - pixel * c;
    const int row = pixel / w, left = pixel - row * w + pad;
    const int image = row / h, top = row - image * h + pad;
    T sum = 0;
    for (int p = 0; p < size; p++) {
        const int i = (top - p) / stride;
        if (top < p || i * stride != top - p || i >= oh) continue;
        for (int q = 0; q < size; q++) {
            const int j = (left - q) / stride;
            if (left < q || j * stride != left - q || j >= ow) continue;
            const int k = ((image * oh + i) * ow + j) * c + channel;
            if (at[k] == p * size + q) sum += dy[k];
        }
    }
    dx[t] = sum;
}
