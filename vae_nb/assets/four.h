// Four floats at a time: what the kernels of the explorers and of the lab share.
#include <wasm_simd128.h>

#define EXPORT(name) __attribute__((export_name(#name)))

typedef v128_t Four;
extern unsigned char __heap_base;

static Four fill(float value) { return wasm_f32x4_splat(value); }
static Four multiply_add(Four sum, Four a, Four b) { return wasm_f32x4_add(sum, wasm_f32x4_mul(a, b)); }
static float sum_of(Four v) {
  return wasm_f32x4_extract_lane(v, 0) + wasm_f32x4_extract_lane(v, 1) + wasm_f32x4_extract_lane(v, 2) + wasm_f32x4_extract_lane(v, 3);
}

// Where the page may put its numbers: everything from here on is free.
EXPORT(heap) int heap(void) { return (int)&__heap_base; }
