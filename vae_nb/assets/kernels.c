// The arithmetic of the in-browser engine: matrix products, and convolutions written as matrix products.
// `make wasm` compiles this file to kernels.wasm. All numbers are float32, all matrices are stored row by row.
#include "four.h"

// y[rows] = W[rows, n] x[n] + bias[rows]
EXPORT(matvec) void matvec(const float *W, const float *x, const float *bias, float *y, int rows, int n) {
  for (int row = 0; row < rows; row++) {
    const float *w = W + row * n;
    Four sums = fill(0);
    int i = 0;
    for (; i + 4 <= n; i += 4) sums = multiply_add(sums, wasm_v128_load(w + i), wasm_v128_load(x + i));
    float sum = sum_of(sums);
    for (; i < n; i++) sum += w[i] * x[i];
    y[row] = sum + bias[row];
  }
}

// Up to four rows of C = W B + bias: 8 columns at a time in registers, then 4, then the rest one by one.
static inline __attribute__((always_inline)) void rows_of(int count, const float *W, const float *B, const float *bias, float *C, int n, int columns) {
  int column = 0;
  for (; column + 8 <= columns; column += 8) {
    Four left[4], right[4];
    for (int r = 0; r < count; r++) left[r] = right[r] = fill(bias ? bias[r] : 0);
    for (int i = 0; i < n; i++) {
      const float *b = B + i * columns + column;
      Four b0 = wasm_v128_load(b), b1 = wasm_v128_load(b + 4);
      for (int r = 0; r < count; r++) {
        Four w = fill(W[r * n + i]);
        left[r] = multiply_add(left[r], w, b0);
        right[r] = multiply_add(right[r], w, b1);
      }
    }
    for (int r = 0; r < count; r++) {
      wasm_v128_store(C + r * columns + column, left[r]);
      wasm_v128_store(C + r * columns + column + 4, right[r]);
    }
  }
  for (; column + 4 <= columns; column += 4) {
    Four sums[4];
    for (int r = 0; r < count; r++) sums[r] = fill(bias ? bias[r] : 0);
    for (int i = 0; i < n; i++) {
      Four b = wasm_v128_load(B + i * columns + column);
      for (int r = 0; r < count; r++) sums[r] = multiply_add(sums[r], fill(W[r * n + i]), b);
    }
    for (int r = 0; r < count; r++) wasm_v128_store(C + r * columns + column, sums[r]);
  }
  for (; column < columns; column++)
    for (int r = 0; r < count; r++) {
      float sum = bias ? bias[r] : 0;
      for (int i = 0; i < n; i++) sum += W[r * n + i] * B[i * columns + column];
      C[r * columns + column] = sum;
    }
}

// C[rows, columns] = W[rows, n] B[n, columns] + bias[rows]; bias may be null
EXPORT(matmul) void matmul(const float *W, const float *B, const float *bias, float *C, int rows, int n, int columns) {
  int row = 0;
  for (; row + 4 <= rows; row += 4) rows_of(4, W + row * n, B, bias ? bias + row : 0, C + row * columns, n, columns);
  for (; row < rows; row++) rows_of(1, W + row * n, B, bias ? bias + row : 0, C + row * columns, n, columns);
}

// Image (channels, H, W) to patches (channels * kernel * kernel, h * w): a convolution is then one matrix product.
EXPORT(gather_patches)
void gather_patches(const float *image, float *patches, int channels, int kernel, int stride, int padding, int H, int W, int h, int w) {
  for (int c = 0; c < channels; c++)
    for (int ky = 0; ky < kernel; ky++)
      for (int kx = 0; kx < kernel; kx++, patches += h * w)
        for (int y = 0; y < h; y++) {
          int Y = y * stride - padding + ky;
          for (int x = 0; x < w; x++) {
            int X = x * stride - padding + kx;
            patches[y * w + x] = Y >= 0 && Y < H && X >= 0 && X < W ? image[(c * H + Y) * W + X] : 0;
          }
        }
}

// The transpose of that: patches (channels * kernel * kernel, h * w), added up where they overlap, to (channels, H, W).
EXPORT(scatter_patches)
void scatter_patches(const float *patches, const float *bias, float *image, int channels, int kernel, int stride, int padding, int h, int w, int H, int W) {
  for (int c = 0; c < channels; c++, image += H * W) {
    for (int i = 0; i < H * W; i++) image[i] = bias[c];
    for (int ky = 0; ky < kernel; ky++)
      for (int kx = 0; kx < kernel; kx++, patches += h * w)
        for (int y = 0; y < h; y++) {
          int Y = y * stride - padding + ky;
          if (Y < 0 || Y >= H) continue;
          for (int x = 0; x < w; x++) {
            int X = x * stride - padding + kx;
            if (X >= 0 && X < W) image[Y * W + X] += patches[y * w + x];
          }
        }
  }
}
