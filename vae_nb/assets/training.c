// The arithmetic of the lab, which trains a VAE in the page: products of matrices and of their transposes, activations with their
// slopes, likelihoods with their gradients, Adam. `make wasm` compiles it. A batch is stored by feature: a row for each feature, a
// column for each image. Every array has room for a multiple of four numbers, so that whole Fours may be read and written at its end.
#include "four.h"

static Four add(Four a, Four b) { return wasm_f32x4_add(a, b); }
static Four sub(Four a, Four b) { return wasm_f32x4_sub(a, b); }
static Four mul(Four a, Four b) { return wasm_f32x4_mul(a, b); }
static Four divide(Four a, Four b) { return wasm_f32x4_div(a, b); }
static Four load(const float *at) { return wasm_v128_load(at); }
static void store(float *at, Four v) { wasm_v128_store(at, v); }
static Four where(Four condition, Four yes, Four no) { return wasm_v128_bitselect(yes, no, condition); }
static Four positive(Four v) { return wasm_f32x4_gt(v, fill(0)); }

// The last Four of an array may reach beyond its end: what lies there counts as 0.
static Four within(Four v, int left) { return left >= 4 ? v : wasm_v128_and(v, wasm_i32x4_gt(wasm_i32x4_splat(left), wasm_i32x4_make(0, 1, 2, 3))); }

// --- products ---

// `count` rows of C = A B + bias, where A[r, i] is A[r * down + i * across]: 8 columns at a time in registers, then one by one.
static inline __attribute__((always_inline)) void rows_of(int count, const float *A, int down, int across, const float *B, const float *bias, float *C, int n, int columns) {
  int column = 0;
  for (; column + 8 <= columns; column += 8) {
    Four left[4], right[4];
    const float *a = A, *b = B + column;
    for (int r = 0; r < count; r++) left[r] = right[r] = fill(bias ? bias[r] : 0);
    for (int i = 0; i < n; i++, a += across, b += columns) {
      Four b0 = load(b), b1 = load(b + 4);
      for (int r = 0; r < count; r++) {
        Four weight = fill(a[r * down]);
        left[r] = multiply_add(left[r], weight, b0);
        right[r] = multiply_add(right[r], weight, b1);
      }
    }
    for (int r = 0; r < count; r++) store(C + r * columns + column, left[r]), store(C + r * columns + column + 4, right[r]);
  }
  for (; column < columns; column++)
    for (int r = 0; r < count; r++) {
      float sum = bias ? bias[r] : 0;
      for (int i = 0; i < n; i++) sum += A[r * down + i * across] * B[i * columns + column];
      C[r * columns + column] = sum;
    }
}

// C[rows, columns] = A[rows, n] B[n, columns] + bias[rows]. A is stored row by row (down = n, across = 1), or it is the transpose
// of what is stored (down = 1, across = rows). bias may be null.
EXPORT(product) void product(const float *A, int down, int across, const float *B, const float *bias, float *C, int rows, int n, int columns) {
  int row = 0;
  for (; row + 4 <= rows; row += 4) rows_of(4, A + row * down, down, across, B, bias ? bias + row : 0, C + row * columns, n, columns);
  for (; row < rows; row++) rows_of(1, A + row * down, down, across, B, bias ? bias + row : 0, C + row * columns, n, columns);
}

EXPORT(transpose) void transpose(const float *from, float *to, int rows, int columns) {
  for (int top = 0; top < rows; top += 16)
    for (int column = 0; column < columns; column++)
      for (int row = top; row < rows && row < top + 16; row++) to[column * rows + row] = from[row * columns + column];
}

EXPORT(row_sums) void row_sums(const float *from, float *to, int rows, int columns) {
  for (int row = 0; row < rows; row++, from += columns) {
    Four sums = fill(0);
    for (int i = 0; i < columns; i += 4) sums = add(sums, within(load(from + i), columns - i));
    to[row] = sum_of(sums);
  }
}

EXPORT(multiply) void multiply(float *a, const float *b, int size) {
  for (int i = 0; i < size; i += 4) store(a + i, mul(load(a + i), load(b + i)));
}

// --- functions of single numbers ---

// e^x = 2^k e^r with a whole k and |r| < 0.35, where the series converges fast.
static Four exp4(Four x) {
  x = wasm_f32x4_max(wasm_f32x4_min(x, fill(88)), fill(-87));
  Four k = wasm_f32x4_nearest(mul(x, fill(1.44269504f))), r = sub(sub(x, mul(k, fill(0.693359375f))), mul(k, fill(-2.12194440e-4f)));
  Four sum = fill(1 / 5040.f);
  const float series[] = {1 / 720.f, 1 / 120.f, 1 / 24.f, 1 / 6.f, 1 / 2.f, 1, 1};
  for (int i = 0; i < 7; i++) sum = multiply_add(fill(series[i]), sum, r);
  return mul(sum, wasm_i32x4_shl(wasm_i32x4_add(wasm_i32x4_trunc_sat_f32x4(k), wasm_i32x4_splat(127)), 23));
}

static Four sigmoid4(Four x) { return divide(fill(1), add(fill(1), exp4(wasm_f32x4_neg(x)))); }

// log(1 + e) for e from 0 to 1: 2 artanh(s) with s = e / (2 + e), which is at most 1/3.
static Four log1p4(Four e) {
  Four s = divide(e, add(fill(2), e)), square = mul(s, s), sum = fill(2 / 13.f);
  const float series[] = {2 / 11.f, 2 / 9.f, 2 / 7.f, 2 / 5.f, 2 / 3.f, 2};
  for (int i = 0; i < 6; i++) sum = multiply_add(fill(series[i]), sum, square);
  return mul(s, sum);
}

// The normal distribution function by Abramowitz & Stegun 7.1.26, wrong by at most 1e-7; `bell` is e^(-x²/2).
static Four normal_cdf(Four x, Four bell) {
  Four t = divide(fill(1), multiply_add(fill(1), fill(0.3275911f * 0.70710678f), wasm_f32x4_abs(x))), sum = fill(1.061405429f);
  const float series[] = {-1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f};
  for (int i = 0; i < 4; i++) sum = multiply_add(fill(series[i]), sum, t);
  Four tail = mul(mul(fill(0.5f), mul(sum, t)), bell);
  return where(positive(x), sub(fill(1), tail), tail);
}

enum { SILU, RELU, TANH, GELU, LEAKY_RELU, ELU };

// y = f(x), in place, and its slope f'(x).
static void activate_one(int kind, float *x, float *slope) {
  Four v = load(x), y = v, one = fill(1), d = one, up = positive(v);
  if (kind == SILU) {
    Four share = sigmoid4(v);
    y = mul(v, share), d = mul(share, multiply_add(one, v, sub(one, share)));
  } else if (kind == RELU || kind == LEAKY_RELU) {
    d = where(up, one, fill(kind == RELU ? 0 : 0.01f)), y = mul(v, d);
  } else if (kind == TANH) {
    y = sub(mul(fill(2), sigmoid4(add(v, v))), one), d = sub(one, mul(y, y));
  } else if (kind == GELU) {
    Four bell = exp4(mul(fill(-0.5f), mul(v, v))), share = normal_cdf(v, bell);
    y = mul(v, share), d = multiply_add(share, mul(v, bell), fill(0.39894228f));
  } else {
    d = where(up, one, exp4(v)), y = where(up, v, sub(d, one));
  }
  store(x, y), store(slope, d);
}

EXPORT(activate) void activate(int kind, float *x, float *slope, int size) {
  for (int i = 0; i < size; i += 4) activate_one(kind, x + i, slope + i);
}

// --- likelihoods: -log p(x|z) in nats, summed over the array, and `scale` times its gradient by the decoder's output ---

EXPORT(bernoulli) float bernoulli(const float *logits, const float *x, float *gradient, int size, float scale) {
  Four nats = fill(0);
  for (int i = 0; i < size; i += 4) {
    Four v = load(logits + i), target = load(x + i), e = exp4(wasm_f32x4_neg(wasm_f32x4_abs(v)));
    Four mean = divide(where(positive(v), fill(1), e), add(fill(1), e));
    Four softplus = add(wasm_f32x4_max(v, fill(0)), log1p4(e));
    nats = add(nats, within(sub(softplus, mul(target, v)), size - i));
    store(gradient + i, mul(sub(mean, target), fill(scale)));
  }
  return sum_of(nats);
}

// A Gaussian around the sigmoid of the output. Returns the sum of ((x - mean) / σ)², from which the caller has the nats.
EXPORT(normal) float normal(const float *out, const float *x, float *gradient, int size, float sigma, float scale) {
  Four squares = fill(0), precision = fill(1 / sigma);
  for (int i = 0; i < size; i += 4) {
    Four mean = sigmoid4(load(out + i)), error = mul(sub(mean, load(x + i)), precision);
    squares = add(squares, within(mul(error, error), size - i));
    store(gradient + i, mul(mul(mul(error, precision), mul(mean, sub(fill(1), mean))), fill(scale)));
  }
  return sum_of(squares);
}

EXPORT(sigmoid) void sigmoid(float *x, int size) {
  for (int i = 0; i < size; i += 4) store(x + i, sigmoid4(load(x + i)));
}

// --- Adam (Kingma & Ba 2015), with PyTorch's default settings ---

EXPORT(adam) void adam(float *weights, const float *gradient, float *m, float *v, int size, float rate, float correction) {
  for (int i = 0; i < size; i += 4) {
    Four g = load(gradient + i), mean = multiply_add(mul(fill(0.9f), load(m + i)), fill(0.1f), g);
    Four square = multiply_add(mul(fill(0.999f), load(v + i)), fill(0.001f), mul(g, g));
    Four size_of = add(mul(wasm_f32x4_sqrt(square), fill(correction)), fill(1e-8f)); // of a typical gradient
    store(m + i, mean), store(v + i, square);
    store(weights + i, sub(load(weights + i), mul(fill(rate), divide(mean, size_of))));
  }
}
