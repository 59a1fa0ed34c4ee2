// Just enough of CUDA to run a kernel on the CPU: blocks one after another, the threads of a block as fibers.
// A fiber runs one thread after another until one of them waits at __syncthreads; it stays there, and a new fiber
// goes on with the threads that follow. When all wait, or have finished, those that wait go on.
#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#define __global__
#define __device__ static
#define __shared__ static
// With the overloads for float, as in CUDA.
using std::exp;
using std::log;
using std::min;
using std::sqrt;

struct uint3 { unsigned x, y, z; };
struct alignas(16) float4 { float x, y, z, w; };

static uint3 threadIdx, blockIdx, blockDim, gridDim;

namespace shim {

struct Fiber {
    ucontext_t context;
    jmp_buf stopped;
    bool started = false;
    std::unique_ptr<char[]> stack{new char[1 << 16]};
    unsigned thread;
};

static jmp_buf home;
static std::vector<Fiber*> waiting, idle;
static Fiber* running;
static unsigned next;
static void (*body)();

// Jumps, because swapcontext enters the system each time, which takes a hundred times longer.
static void stop() {
    if (!_setjmp(running->stopped)) _longjmp(home, 1);
}

static void work() {
    for (;;) {
        while (next < blockDim.x) {
            running->thread = threadIdx.x = next++;
            body();
        }
        idle.push_back(running);
        stop();
    }
}

static void resume(Fiber* fiber) {
    running = fiber;
    threadIdx.x = fiber->thread;
    if (_setjmp(home)) return;
    if (fiber->started) _longjmp(fiber->stopped, 1);
    fiber->started = true;
    setcontext(&fiber->context);
}

static Fiber* fresh() {
    if (!idle.empty()) {
        Fiber* fiber = idle.back();
        idle.pop_back();
        return fiber;
    }
    Fiber* fiber = new Fiber;
    getcontext(&fiber->context);
    fiber->context.uc_stack.ss_sp = fiber->stack.get();
    fiber->context.uc_stack.ss_size = 1 << 16;
    makecontext(&fiber->context, work, 0);
    return fiber;
}

// False if some threads of a block ended while others waited for them: on a GPU, undefined.
static bool launch(void (*kernel)(), const unsigned* grid, unsigned threads) {
    body = kernel;
    blockDim = {threads, 1, 1};
    gridDim = {grid[0], grid[1], 1};
    for (blockIdx.y = 0; blockIdx.y < grid[1]; blockIdx.y++) {
        for (blockIdx.x = 0; blockIdx.x < grid[0]; blockIdx.x++) {
            next = 0;
            while (next < threads) resume(fresh());
            while (!waiting.empty()) {
                if (waiting.size() != threads) return false;
                std::vector<Fiber*> all;
                all.swap(waiting);
                for (Fiber* fiber : all) resume(fiber);
            }
        }
    }
    return true;
}

}  // namespace shim

[[maybe_unused]] static void __syncthreads() {
    shim::waiting.push_back(shim::running);
    shim::stop();
}
