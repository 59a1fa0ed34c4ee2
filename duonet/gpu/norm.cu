// Batch normalisation of x (rows, channels). Blocks of 256 threads, the first `width` of them on neighbouring
// channels of one row, the next `width` on the row below, and so on: `lanes` rows at a time.

struct Moments {
    int count;
    T mean, square;  // Σ (x − mean)²
};

// Chan, Golub, LeVeque: the moments of both groups together, without the cancellation of Σ x² − (Σ x)² / n.
__device__ Moments merged(Moments a, Moments b) {
    if (a.count == 0) return b;
    if (b.count == 0) return a;
    const T delta = b.mean - a.mean, share = (T)b.count / (T)(a.count + b.count);
    return {a.count + b.count, a.mean + delta * share, a.square + b.square + delta * delta * (T)a.count * share};
}

__device__ Moments merged_lanes(Moments mine, int width, int lanes) {
    __shared__ Moments all[256];
    const int t = threadIdx.x, lane = t / width;
    all[t] = mine;
    for (int step = 128; step > 0; step /= 2) {
        __syncthreads();
        if (lane < step && lane + step < lanes) all[t] = merged(all[t], all[t + step * width]);
    }
    return all[t];
}

// A grid of (channels / width, rows / chunk): mean and square of each chunk of rows, (chunks, channels).
extern "C" __global__ void moments(const T* __restrict__ x, T* __restrict__ means, T* __restrict__ squares, int rows,
                                   int channels, int width, int chunk) {
    const int lanes = blockDim.x / width, lane = threadIdx.x / width;
    const int c = blockIdx.x * width + threadIdx.x % width;
    const int first = blockIdx.y * chunk + lane, end = min(rows, (int)(blockIdx.y + 1) * chunk);
    Moments mine = {0, 0, 0};
    if (lane < lanes && c < channels && first < end) {
        // Sums of the distance from this thread's first value: it is one of them, so they cancel little.
        const T origin = x[first * channels + c];
        T sum = 0, square = 0;
        for (int row = first; row < end; row += lanes) {
            const T distance = x[row * channels + c] - origin;
            sum += distance;
            square += distance * distance;
            mine.count++;
        }
        const T mean = sum / (T)mine.count, left = square - sum * mean;
        mine.mean = origin + mean;
        mine.square = left < 0 ? 0 : left;
    }
    mine = merged_lanes(mine, width, lanes);
    if (lane == 0 && c < channels) {
        means[blockIdx.y * channels + c] = mine.mean;
        squares[blockIdx.y * channels + c] = mine.square;
    }
}

// The chunks together: mean and 1 / √(var + eps), and the running averages where there are any.
extern "C" __global__ void statistics(const T* __restrict__ means, const T* __restrict__ squares, T* mean, T* scale,
                                      T* running_mean, T* running_var, int rows, int channels, int width, int chunk,
                                      int chunks, T momentum, T unbiased, T eps) {
    const int lanes = blockDim.x / width, lane = threadIdx.x / width;
    const int c = blockIdx.x * width + threadIdx.x % width;
    Moments mine = {0, 0, 0};
    if (lane < lanes && c < channels) {
        for (int k = lane; k < chunks; k += lanes) {
            const int count = min(rows, (k + 1) * chunk) - k * chunk;
            mine = merged(mine, {count, means[k * channels + c], squares[k * channels + c]});
        }
    }
    mine = merged_lanes(mine, width, lanes);
    if (lane == 0 && c < channels) {
        const T var = mine.square / (T)rows;
        mean[c] = mine.mean;
        scale[c] = 1 / sqrt(var + eps);
        if (running_mean) {
            running_mean[c] += momentum * (mine.mean - running_mean[c]);
            running_var[c] += momentum * (var * unbiased - running_var[c]);
        }
    }
}

extern "C" __global__ void normalize(const T* __restrict__ x, const T* mean, const T* scale, const T* gamma,
                                     const T* beta, T* __restrict__ y, unsigned n, int channels) {
    const unsigned start = blockIdx.x * blockDim.x + threadIdx.x, step = gridDim.x * blockDim.x;
    const int c = start % channels;
    const T centre = mean[c], factor = gamma[c] * scale[c], shift = beta[c];
    for (unsigned i = start; i < n; i += step) y[i] = (x[i] - centre) * factor + shift;
}

struct Sums {
    T plain, weighted;
};

__device__ Sums summed_lanes(Sums mine, int width, int lanes) {
    __shared__ Sums all[256];
    const int t = threadIdx.x, lane = t / width;
    all[t] = mine;
    for (int step = 128; step > 0; step /= 2) {
        __syncthreads();
        if (lane < step && lane + step < lanes) {
            all[t].plain += all[t + step * width].plain;
            all[t].weighted += all[t + step * width].weighted;
        }
    }
    return all[t];
}

// Of each chunk of rows, Σ dy and Σ dy (x − mean). A mask, where there is one, is the slope of a staircase on top.
extern "C" __global__ void gradient_sums(const T* __restrict__ dy, const unsigned char* __restrict__ mask,
                                         const T* __restrict__ x, const T* mean, T* __restrict__ plain,
                                         T* __restrict__ weighted, int rows, int channels, int width, int chunk) {
    const int lanes = blockDim.x / width, lane = threadIdx.x / width;
    const int c = blockIdx.x * width + threadIdx.x % width;
    const int first = blockIdx.y * chunk + lane, end = min(rows, (int)(blockIdx.y + 1) * chunk);
    Sums mine = {0, 0};
    if (lane < lanes && c < channels) {
        const T centre = mean[c];
        for (int row = first; row < end; row += lanes) {
            const int i = row * channels + c;
            const T gradient = !mask || mask[i] ? dy[i] : 0;
            mine.plain += gradient;
            mine.weighted += gradient * (x[i] - centre);
        }
    }
    mine = summed_lanes(mine, width, lanes);
    if (lane == 0 && c < channels) {
        plain[blockIdx.y * channels + c] = mine.plain;
        weighted[blockIdx.y * channels + c] = mine.weighted;
    }
}

// The chunks together: dβ and dγ.
extern "C" __global__ void parameter_gradients(const T* __restrict__ plain, const T* __restrict__ weighted,
                                               const T* scale, T* dgamma, T* dbeta, int channels, int width,
                                               int chunks) {
    const int lanes = blockDim.x / width, lane = threadIdx.x / width;
    const int c = blockIdx.x * width + threadIdx.x % width;
    Sums mine = {0, 0};
    if (lane < lanes && c < channels) {
        for (int k = lane; k < chunks; k += lanes) {
            mine.plain += plain[k * channels + c];
            mine.weighted += weighted[k * channels + c];
        }
    }
    mine = summed_lanes(mine, width, lanes);
    if (lane == 0 && c < channels) {
        dbeta[c] = mine.plain;
        dgamma[c] = mine.weighted * scale[c];
    }
}

// dx = γ/σ (dy − dβ/M − x̂ dγ/M), rounded in the order of the plain op; without the last two terms in evaluation.
extern "C" __global__ void input_gradient(const T* __restrict__ dy, const unsigned char* __restrict__ mask,
                                          const T* __restrict__ x, const T* mean, const T* scale, const T* gamma,
                                          const T* dgamma, const T* dbeta, T* __restrict__ dx, unsigned n, int channels,
                                          int rows, int training) {
    const unsigned start = blockIdx.x * blockDim.x + threadIdx.x, step = gridDim.x * blockDim.x;
    const int c = start % channels;
    const T centre = mean[c], factor = gamma[c] * scale[c];
    const T slope = -gamma[c] * (scale[c] * scale[c]) * dgamma[c] / (T)rows;
    const T shift = -gamma[c] * scale[c] * dbeta[c] / (T)rows;
    for (unsigned i = start; i < n; i += step) {
        const T gradient = (!mask || mask[i] ? dy[i] : 0) * factor;
        dx[i] = training ? gradient + (x[i] - centre) * slope + shift : gradient;
    }
}
