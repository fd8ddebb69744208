"""Prints the polynomial coefficients of this folder and the relative errors they leave.

    python fit.py        (needs numpy and mpmath)

Minimax by Lawson's iteration: least squares whose weights grow where the error is largest.
"""

import mpmath
import numpy as np

mpmath.mp.dps = 40


def minimax(x, target, weight, powers):
    """Coefficients of x^k, k in `powers`, for the least maximum of |polynomial - target| * weight."""
    matrix = np.stack([x**k for k in powers], 1)
    share, best = np.full(len(x), 1 / len(x)), (np.inf, None)
    for _ in range(400):
        scale = np.sqrt(share) * weight
        coefficients = np.linalg.lstsq(matrix * scale[:, None], target * scale, rcond=None)[0]
        error = np.abs(matrix @ coefficients - target) * weight
        best = min(best, (error.max(), list(coefficients)), key=lambda pair: pair[0])
        share *= error / error.max() + 1e-3
        share /= share.sum()
    return best


def nodes(low, high, count=3000):
    """Chebyshev nodes."""
    return (low + high) / 2 + (high - low) / 2 * np.cos(np.pi * (np.arange(count) + 0.5) / count)


def exact(function, x):
    return np.array([float(function(mpmath.mpf(float(value)))) for value in x])


def show(name, fit):
    error, coefficients = fit
    print(f"{name}: error {error:.1e}: " + ", ".join(str(np.float32(value)) for value in coefficients))


# exp r = 1 + r + r^2 P(r)
x = nodes(-0.3467, 0.3467)
show("exp", minimax(x, exact(lambda r: (mpmath.exp(r) - 1 - r) / r**2, x), x**2 / np.exp(x), range(5)))

# tanh x = x + x^3 P(x^2)
x = nodes(1e-3, 0.625)
target = exact(lambda r: (mpmath.tanh(r) / r - 1) / r**2, x)
show("tanh", minimax(x, target, x**2 / (1 + x**2 * target), range(0, 9, 2)))

# ln(1 + f) = f - f^2/2 + f^3 P(f)
x = nodes(2**-0.5 - 1, 2**0.5 - 1)
target = exact(lambda f: (mpmath.log(1 + f) - f + f**2 / 2) / f**3, x)
show("ln", minimax(x, target, np.abs(x**3 / np.log1p(x)), range(8)))

# the normal tail over exp(-x^2/2) = u (1/2 + v P(v)), u = 1 / (1 + c x), v = 1 - u
c = 0.34
x = nodes(0, 14)
u = 1 / (1 + c * x)
v = 1 - u
tail = exact(lambda t: mpmath.erfc(t / mpmath.sqrt(2)) / 2 * mpmath.exp(t**2 / 2), x)
show("normal tail", minimax(v, (tail / u - 0.5) / v, u * v / tail, range(8)))
