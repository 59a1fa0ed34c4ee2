// One thread for each parameter. The operations and their order are those of duonet/optim.py.

extern "C" __global__ void sgd(T* __restrict__ w, const T* __restrict__ g, T* __restrict__ velocity, int n, T lr,
                               T momentum, int nesterov, T weight_decay) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const T gradient = weight_decay != 0 ? g[i] + weight_decay * w[i] : g[i];
    const T v = velocity[i] * momentum + gradient;
    velocity[i] = v;
    w[i] -= lr * (nesterov ? gradient + momentum * v : v);
}

// `shrink` multiplies w beforehand (AdamW), `weight_decay` · w joins the gradient (Adam); `rate` is lr / (1 − β₁ᵗ) and
// `correction` 1 − β₂ᵗ.
extern "C" __global__ void adam(T* __restrict__ w, const T* __restrict__ g, T* __restrict__ mean,
                                T* __restrict__ square, int n, T beta1, T rest1, T beta2, T rest2, T rate,
                                T correction, T eps, T weight_decay, T shrink) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const T value = w[i] * shrink;
    const T gradient = weight_decay != 0 ? g[i] + weight_decay * value : g[i];
    const T m = mean[i] * beta1 + rest1 * gradient;
    const T v = square[i] * beta2 + rest2 * gradient * gradient;
    mean[i] = m;
    square[i] = v;
    w[i] = value - rate * m / (sqrt(v / correction) + eps);
}
