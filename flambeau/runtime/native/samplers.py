"""Words: numbers of distributions that are drawn by rejection, one after the other.

Which candidate is made of which uniforms is PyTorch's: the same seed gives the same numbers. Where
its arithmetic has single precision (a third, 0.0331), the constants here have their digits.
"""

from .twister import TWISTER

SAMPLERS = (
    TWISTER
    + """
SPARE = 5024
HAS_SPARE = 5040

def pow(x: f64, y: f64) -> f64: ...
def sqrt(x: f64) -> f64: ...
def fabs(x: f64) -> f64: ...
def floor(x: f64) -> f64: ...
def ceil(x: f64) -> f64: ...
def lgamma(x: f64) -> f64: ...

def bits(record):
    drawn = stack(1)
    draw(record, drawn, 2)
    return as_real(((half_word(drawn) << 32) | half_word(drawn + 4)) & ((1 << 53) - 1))

@real
def uniform(record):
    return bits(record) * 1.1102230246251565e-16

def spare(record, value):
    set_half_word(record + HAS_SPARE, 1)
    record[SPARE // 8] = value

# Two from two uniforms (Box and Muller, Ann. Math. Stat. 29, 1958), of which one is kept.
@real
def fresh_normal(record):
    angle = 6.283185307179586 * uniform(record)
    radius = sqrt(-2 * log1p(-uniform(record)))
    spare(record, radius * sin(angle))
    return radius * cos(angle)

def normal(record):
    if half_word(record + HAS_SPARE):
        set_half_word(record + HAS_SPARE, 0)
        return record[SPARE // 8]
    return fresh_normal(record)

# Marsaglia and Tsang, ACM TOMS 26(3), 2000, for the shape d + 1/3; shapes below 1 are drawn for 1
# more, and scaled by a uniform to the power 1 / shape.
@real
def gamma(record, d, power):
    scale = 1
    if power > 1.7976931348623157e308:
        return 0
    if power > 0:
        scale = pow(1 - uniform(record), power)
    c = 1 / sqrt(9 * d)
    while True:
        x = normal(record)
        y = 1 + c * x
        while y <= 0:
            x = normal(record)
            y = 1 + c * x
        v = y * y * y
        u = 1 - uniform(record)
        xx = x * x
        if u < 1 - 0.03310000151395798 * xx * xx:
            return scale * d * v
        if log(u) < 0.5 * xx + d * (1 - v + log(v)):
            return scale * d * v

def draw_gamma(record: ptr, values: ptr, powers: ptr, count: i64) -> None:
    for i in range(count):
        values[i] = gamma(record, values[i], powers[i])

# Waiting times, and from a mean of 10 on Hoermann's transformed rejection PTRS (Insurance:
# Mathematics and Economics 12, 1993).
@real
def poisson(record, mean):
    if mean <= 0:
        return 0
    if mean < 10:
        least = exp(-mean)
        count = 0
        left = uniform(record)
        while left > least:
            count = count + 1
            left = left * uniform(record)
        return count
    b = 0.931 + 2.53 * sqrt(mean)
    a = -0.059 + 0.02483 * b
    inverse = 1.1239 + 1.1328 / (b - 3.4)
    tight = 0.9277 - 3.6224 / (b - 2)
    while True:
        u = uniform(record) - 0.5
        v = uniform(record)
        us = 0.5 - fabs(u)
        k = floor((2 * a / us + b) * u + mean + 0.43)
        if us >= 0.07 and v <= tight:
            return k
        if k >= 0 and not (us < 0.013 and v > us):
            ratio = log(v) + log(inverse) - log(a / (us * us) + b)
            if ratio <= -mean + k * log(mean) - lgamma(k + 1):
                return k

def draw_poisson(record: ptr, values: ptr, count: i64) -> None:
    for i in range(count):
        values[i] = poisson(record, values[i])

# What Stirling's approximation leaves of log(k!).
@real
def tail(k):
    n = k + 1
    if k <= 9:
        return lgamma(n) - (k + 0.5) * log(n) + n - 0.9189385332046728
    return (1 / 12 - (1 / 360 - 1 / 1260 / (n * n)) / (n * n)) / n

# Trials up to each success, and from a mean of 10 on Hoermann's BTRS (Journal of Statistical
# Computation and Simulation 46, 1993); for probabilities up to one half.
@real
def successes(record, trials, p):
    if trials * p < 10:
        count = 0
        last = ceil(log(uniform(record)) / log1p(-p))
        while last <= trials:
            count = count + 1
            last = last + ceil(log(uniform(record)) / log1p(-p))
        return count
    spread = sqrt(trials * p * (1 - p))
    b = 1.15 + 2.53 * spread
    a = -0.0873 + 0.0248 * b + 0.01 * p
    centre = trials * p + 0.5
    tight = 0.92 - 4.2 / b
    odds = p / (1 - p)
    alpha = (2.83 + 5.1 / b) * spread
    m = floor((trials + 1) * p)
    while True:
        u = uniform(record) - 0.5
        v = uniform(record)
        us = 0.5 - fabs(u)
        k = floor((2 * a / us + b) * u + centre)
        if us >= 0.07 and v <= tight:
            return k
        if k >= 0 and k <= trials:
            bound = (m + 0.5) * log((m + 1) / (odds * (trials - m + 1)))
            bound = bound + (trials + 1) * log((trials - m + 1) / (trials - k + 1))
            bound = bound + (k + 0.5) * log(odds * (trials - k + 1) / (k + 1))
            bound = bound + tail(m) + tail(trials - m) - tail(k) - tail(trials - k)
            if log(v * alpha / (a / (us * us) + b)) <= bound:
                return k

@real
def binomial(record, trials, p):
    if trials <= 0 or p <= 0:
        return 0
    if p >= 1:
        return trials
    if p <= 0.5:
        return successes(record, trials, p)
    return trials - successes(record, trials, 1 - p)

def draw_binomial(record: ptr, values: ptr, probabilities: ptr, count: i64) -> None:
    for i in range(count):
        values[i] = binomial(record, values[i], probabilities[i])
"""
)
