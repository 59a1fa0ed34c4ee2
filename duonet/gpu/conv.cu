// Windows of images (n, h, w, c) as rows of a matrix (n oh ow, kh kw c), and back. UNIT is what one thread moves.

// One thread for each place in one row of a window, (q, c); it goes down the kh rows.
extern "C" __global__ void im2col(const UNIT* __restrict__ x, UNIT* __restrict__ cols, int count, int h, int w, int c,
                                  int oh, int ow, int kh, int kw, int stride, int pad_h, int pad_w) {
    const int t = blockIdx.x * blockDim.x + threadIdx.x;
    if (t >= count) return;
    const int across = kw * c;
    const int window = t / across, u = t - window * across;
    const int q = u / c;
    const int row = window / ow, j = window - row * ow;
    const int image = row / oh, i = row - image * oh;
    const int left = j * stride - pad_w + q;
    const bool inside = left >= 0 && left < w;
    const int top = i * stride - pad_h;
    const UNIT* from = x + ((image * h + top) * w + left) * c + (u - q * c);
    UNIT* to = cols + window * kh * across + u;
    for (int p = 0; p < kh; p++) {
        UNIT value = {};
        if (inside && top + p >= 0 && top + p < h) value = from[p * w * c];
        to[p * across] = value;
    }
}

// One thread for each element of the image; it gathers its windows, in the order of p, then q: no atomics.
extern "C" __global__ void col2im(const T* __restrict__ cols, T* __restrict__ x, int count, int h, int w, int c,
                                  int oh, int ow, int kh, int kw, int stride, int pad) {
    const int t = blockIdx.x * blockDim.x + threadIdx.x;
    if (t >= count) return;
    const int pixel = t / c, channel = t - pixel * c;
    const int row = pixel / w, left = pixel - row * w + pad;
    const int image = row / h, top = row - image * h + pad;
    T sum = 0;
    for (int p = 0; p < kh; p++) {
        const int i = (top - p) / stride;
        if (top < p || i * stride != top - p || i >= oh) continue;
        for (int q = 0; q < kw; q++) {
            const int j = (left - q) / stride;
            if (left < q || j * stride != left - q || j >= ow) continue;
            sum += cols[(((image * oh + i) * ow + j) * kh + p) * kw * c + q * c + channel];
        }
    }
    x[t] = sum;
}
