// The elementwise functions: one pass each, 16 bytes a thread at a time where all operands
// are aligned (`packed`), one element otherwise. p and q are a function's constants.
#include "taper.cuh"

// value: f(x). gradient: g f'(x), from what the function saves (x, or its result) and g.
// Conventions at kinks and for NaN are PyTorch's.

// The function saves its result.
struct Relu {
    template <typename W>
    __device__ static W value(W x, W, W) {
        return x <= W(0) ? W(0) : x;
    }
    template <typename W>
    __device__ static W gradient(W y, W g, W, W) {
        return y <= W(0) ? W(0) : g;
    }
};

// p: the slope below 0.
struct LeakyRelu {
    template <typename W>
    __device__ static W value(W x, W p, W) {
        return x > W(0) ? x : x * p;
    }
    template <typename W>
    __device__ static W gradient(W x, W g, W p, W) {
        return x > W(0) ? g : g * p;
    }
};

// p: what multiplies exp x - 1 below 0; q: what multiplies x above.
struct Elu {
    template <typename W>
    __device__ static W value(W x, W p, W q) {
        return x > W(0) ? q * x : p * W(expm1(x));
    }
    template <typename W>
    __device__ static W gradient(W x, W g, W p, W q) {
        return g * (x > W(0) ? q : p * W(exp(x)));
    }
};

template <typename W>
__device__ inline W clamp(W x, W low, W high) {
    return x < low ? low : (x > high ? high : x);
}

// The function saves its result.
struct Relu6 {
    template <typename W>
    __device__ static W value(W x, W, W) {
        return clamp(x, W(0), W(6));
    }
    template <typename W>
    __device__ static W gradient(W y, W g, W, W) {
        return y > W(0) && y < W(6) ? g : W(0);
    }
};

struct HardSigmoid {
    template <typename W>
    __device__ static W value(W x, W, W) {
        return clamp(x + W(3), W(0), W(6)) / W(6);
    }
    template <typename W>
    __device__ static W gradient(W x, W g, W, W) {
        return x > W(-3) && x < W(3) ? g / W(6) : W(0);
    }
};

struct HardSwish {
    template <typename W>
    __device__ static W value(W x, W, W) {
        return x * clamp(x + W(3), W(0), W(6)) / W(6);
    }
    template <typename W>
    __device__ static W gradient(W x, W g, W, W) {
        if (x >= W(3)) return g;
        return x <= W(-3) ? W(0) : g * (x / W(3) + W(0.5));
    }
};

template <typename W>
__device__ inline W logistic(W x) {
    return W(1) / (W(1) + W(exp(-x)));
}

// The function saves its result.
struct Sigmoid {
    template <typename W>
    __device__ static W value(W x, W, W) {
        return logistic(x);
    }
    template <typename W>
    __device__ static W gradient(W y, W g, W, W) {
        return g * (y * (W(1) - y));
    }
};

// The function saves its result.
struct Tanh {
    template <typename W>
    __device__ static W value(W x, W, W) {
        return W(tanh(x));
    }
    template <typename W>
    __device__ static W gradient(W y, W g, W, W) {
        return g * (W(1) - y * y);
    }
};

struct Softplus {
    template <typename W>
    __device__ static W value(W x, W, W) {
        W power = W(exp(x < W(0) ? x : -x));
        return (x < W(0) ? W(0) : x) + W(log1p(power));
    }
    template <typename W>
    __device__ static W gradient(W x, W g, W, W) {
        return g * logistic(x);
    }
};

struct Silu {
    template <typename W>
    __device__ static W value(W x, W, W) {
        return x * logistic(x);
    }
    template <typename W>
    __device__ static W gradient(W x, W g, W, W) {
        W s = logistic(x);
        return g * (s * (W(1) + x * (W(1) - s)));
    }
};

// With e = exp x and n = e (e + 2): tanh ln(1 + e) = n / (n + 2); 1 from 20 on.
struct Mish {
    template <typename W>
    __device__ static W power(W x) {
        return W(exp(x > W(20) ? W(20) : x));
    }
    template <typename W>
    __device__ static W value(W x, W, W) {
        W e = power(x), n = e * (e + W(2));
        return x * (n / (n + W(2)));
    }
    template <typename W>
    __device__ static W gradient(W x, W g, W, W) {
        W e = power(x), n = e * (e + W(2)), rest = W(2) / (n + W(2));
        W rise = rest * rest * (e * (e + W(1)));
        return g * (n / (n + W(2)) + x * (x > W(20) ? W(0) : rise));
    }
};

// x times the normal distribution function, erfc(-x / sqrt 2) / 2.
struct Gelu {
    template <typename W>
    __device__ static W distribution(W x) {
#if defined(__CUDA_ARCH__)
        // In double the function behind normcdf, without its call: that spills registers.
        if constexpr (sizeof(W) == sizeof(float)) return W(normcdf(x));
#endif
        return W(0.5) * W(erfc(x * W(-0.70710678118654752440)));
    }
    template <typename W>
    __device__ static W value(W x, W, W) {
        return x * distribution(x);
    }
    template <typename W>
    __device__ static W gradient(W x, W g, W, W) {
        // The call of the distribution first: the fewer numbers outlive it, the fewer are spilled.
        W below = distribution(x);
        return g * (below + x * W(exp(W(-0.5) * x * x)) * W(0.39894228040143267794));
    }
};

// (1 + tanh z) / 2 = logistic 2z with 2z = sqrt(8 / pi) (x + 0.044715 x^3)
struct GeluTanh {
    static constexpr double LINEAR = 1.5957691216057307117, CUBIC = LINEAR * 0.044715;
    template <typename W>
    __device__ static W value(W x, W, W) {
        return x * logistic(x * (W(LINEAR) + W(CUBIC) * (x * x)));
    }
    template <typename W>
    __device__ static W gradient(W x, W g, W, W) {
        W s = logistic(x * (W(LINEAR) + W(CUBIC) * (x * x)));
        W slope = W(LINEAR) + W(3 * CUBIC) * (x * x);
        return g * (s + x * (s * (W(1) - s)) * slope);
    }
};

// What a pass computes of one element of each operand.
template <typename Function>
struct Value {
    template <typename W>
    __device__ static W of(W x, W, W p, W q) {
        return Function::value(x, p, q);
    }
};
template <typename Function>
struct Gradient {
    template <typename W>
    __device__ static W of(W saved, W g, W p, W q) {
        return Function::gradient(saved, g, p, q);
    }
};
struct AddRelu {
    template <typename W>
    __device__ static W of(W a, W b, W p, W q) {
        return Relu::value(a + b, p, q);
    }
};

template <typename Formula, typename T>
__device__ void zip(const T* a, const T* b, T* y, int64 length, int packed, double p, double q) {
    typedef Wide<T> W;
    constexpr int LANES = Pack<T>::LANES;
    // Two doubles at once would spill registers where a division or an exponential is called.
    int64 packs = packed && sizeof(T) < 8 ? length / LANES : 0;
    for (int64 i = grid_thread(); i < packs; i += grid_threads()) {
        Pack<T> left = load_pack(a + i * LANES), right = load_pack(b + i * LANES), result;
#pragma unroll
        for (int lane = 0; lane < LANES; lane++) {
            W value = Formula::of(widen(left.lane[lane]), widen(right.lane[lane]), W(p), W(q));
            result.lane[lane] = narrow<T>(value);
        }
        store_pack(y + i * LANES, result);
    }
#pragma unroll 1
    for (int64 i = packs * LANES + grid_thread(); i < length; i += grid_threads())
        y[i] = narrow<T>(Formula::of(widen(a[i]), widen(b[i]), W(p), W(q)));
}

#define FUNCTION(T, suffix, name, Function)                                                         \
    KERNEL(name##_##suffix, const T* x, T* y, int64 length, int packed, double p, double q) {       \
        zip<Value<Function>>(x, x, y, length, packed, p, q);                                        \
    }                                                                                               \
    KERNEL(name##_gradient_##suffix, const T* saved, const T* gradient, T* dx, int64 length,        \
           int packed, double p, double q) {                                                        \
        zip<Gradient<Function>>(saved, gradient, dx, length, packed, p, q);                         \
    }

#define INSTANCE(T, suffix)                                                                         \
    FUNCTION(T, suffix, relu, Relu)                                                                 \
    FUNCTION(T, suffix, leaky_relu, LeakyRelu)                                                      \
    FUNCTION(T, suffix, elu, Elu)                                                                   \
    FUNCTION(T, suffix, relu6, Relu6)                                                               \
    FUNCTION(T, suffix, hard_sigmoid, HardSigmoid)                                                  \
    FUNCTION(T, suffix, hard_swish, HardSwish)                                                      \
    FUNCTION(T, suffix, sigmoid, Sigmoid)                                                           \
    FUNCTION(T, suffix, tanh, Tanh)                                                                 \
    FUNCTION(T, suffix, softplus, Softplus)                                                         \
    FUNCTION(T, suffix, silu, Silu)                                                                 \
    FUNCTION(T, suffix, mish, Mish)                                                                 \
    FUNCTION(T, suffix, gelu, Gelu)                                                                 \
    FUNCTION(T, suffix, gelu_tanh, GeluTanh)                                                        \
    KERNEL(add_relu_##suffix, const T* a, const T* b, T* y, int64 length, int packed, double p,     \
           double q) {                                                                              \
        zip<AddRelu>(a, b, y, length, packed, p, q);                                                \
    }
EACH_TYPE(INSTANCE)
