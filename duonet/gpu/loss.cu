// Softmax cross entropy: a block of 256 threads for each row of logits (rows, classes).

__device__ T together(T mine, int largest) {
    __shared__ T all[256];
    const int t = threadIdx.x;
    __syncthreads();  // of an earlier call, everyone has read the result
    all[t] = mine;
    for (int step = blockDim.x / 2; step > 0; step /= 2) {
        __syncthreads();
        if (t < step) all[t] = largest ? (all[t] > all[t + step] ? all[t] : all[t + step]) : all[t] + all[t + step];
    }
    __syncthreads();
    return all[0];
}

extern "C" __global__ void cross_entropy(const T* __restrict__ logits, const T* __restrict__ onehot,
                                         T* __restrict__ softmax, T* __restrict__ losses, int classes) {
    const int row = blockIdx.x * classes, t = threadIdx.x;
    T largest = logits[row];
    for (int k = t; k < classes; k += blockDim.x) largest = logits[row + k] > largest ? logits[row + k] : largest;
    largest = together(largest, 1);
    T sum = 0;
    for (int k = t; k < classes; k += blockDim.x) {
        softmax[row + k] = exp(logits[row + k] - largest);
        sum += softmax[row + k];
    }
    sum = together(sum, 0);
    T loss = 0;
    for (int k = t; k < classes; k += blockDim.x) {
        softmax[row + k] /= sum;
        if (onehot[row + k] != 0) loss -= logits[row + k] - largest - log(sum);
    }
    loss = together(loss, 0);
    if (t == 0) losses[blockIdx.x] = loss;
}

// One block: the mean of the losses.
extern "C" __global__ void mean_loss(const T* __restrict__ losses, T* y, int rows) {
    T sum = 0;
    for (int i = threadIdx.x; i < rows; i += blockDim.x) sum += losses[i];
    sum = together(sum, 0);
    if (threadIdx.x == 0) *y = sum / (T)rows;
}

extern "C" __global__ void cross_entropy_gradient(const T* __restrict__ softmax, const T* __restrict__ onehot,
                                                  const T* dy, T* __restrict__ dlogits, int n, int rows) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    const T slope = i < n ? softmax[i] - onehot[i] : 0;
    if (i < n) dlogits[i] = slope == 0 ? 0 : slope * (*dy / (T)rows);
}
