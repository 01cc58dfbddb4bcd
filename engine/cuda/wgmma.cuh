// Warpgroup matrix products of Hopper (wgmma, PTX ISA 8.0): 64 rows by 64, 128 or 256 columns, 16 deep in bf16 or 32
// deep in e4m3, fp32 out. Device code for sm_90a only.
//
// In e4m3 the tensor cores line products and sums up to the largest of them and keep 14 bits of each (DeepSeek-AI 2024,
// DeepSeek-V3 Technical Report, section 3.5.2): enough for the sums of a product, not for what has to stay exact.
//
// A warpgroup's 128 threads hold the sums: thread t has rows 16 (t / 32) + t % 32 / 4 (+ 8) and columns 8 j + 2 (t % 4)
// (+ 1); d[4 j + 2 half + odd] is the element of row half `half` and column 8 j + 2 (t % 4) + odd.
#pragma once

#include <cstdint>

namespace audiobookd::engine::cuda {

#define WGMMA_NAMES_32                                                                                                 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                                             \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define WGMMA_NAMES_64                                                                                                 \
  WGMMA_NAMES_32                                                                                                       \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "                                 \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define WGMMA_NAMES_128                                                                                                \
  WGMMA_NAMES_64                                                                                                       \
  ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "                                 \
  "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "                                   \
  "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "                       \
  "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define WGMMA_SUMS_8(d, i)                                                                                             \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]),          \
      "+f"(d[i + 7])
#define WGMMA_SUMS_32(d, i) WGMMA_SUMS_8(d, i), WGMMA_SUMS_8(d, i + 8), WGMMA_SUMS_8(d, i + 16), WGMMA_SUMS_8(d, i + 24)
#define WGMMA_SUMS_64(d) WGMMA_SUMS_32(d, 0), WGMMA_SUMS_32(d, 32)
#define WGMMA_SUMS_128(d) WGMMA_SUMS_64(d), WGMMA_SUMS_32(d, 64), WGMMA_SUMS_32(d, 96)

/// d (+)= A B with both operands in shared memory: A [64 rows, 16] and B [64 rows, 16], K-major (wgmma_operand()).
/// @param keep 0 starts from zero.
__device__ inline void wgmma(float (&d)[32], std::uint64_t a, std::uint64_t b, int keep) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
               "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" WGMMA_NAMES_32
               "}, %32, %33, p, 1, 1, 0, 0;\n}\n"
               : WGMMA_SUMS_32(d, 0)
               : "l"(a), "l"(b), "r"(keep));
}

/// The same with A in registers: a[0], a[1] are columns 2 (t % 4) and one more of the two row halves, a[2], a[3] those
/// 8 further on. @param b_transposed whether B lies [16, 64] (MN-major) instead.
template <int b_transposed>
__device__ inline void wgmma(float (&d)[32], const std::uint32_t (&a)[4], std::uint64_t b, int keep) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
               "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" WGMMA_NAMES_32
               "}, {%32, %33, %34, %35}, %36, p, 1, 1, %38;\n}\n"
               : WGMMA_SUMS_32(d, 0)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(keep), "n"(b_transposed));
}

/// d (+)= A B with both operands in shared memory: A [64 rows, 16] and B [128 rows, 16], K-major (wgmma_operand()).
/// @param keep 0 starts from zero.
__device__ inline void wgmma(float (&d)[64], std::uint64_t a, std::uint64_t b, int keep) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
               "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" WGMMA_NAMES_64
               "}, %64, %65, p, 1, 1, 0, 0;\n}\n"
               : WGMMA_SUMS_64(d)
               : "l"(a), "l"(b), "r"(keep));
}

/// The same with A in registers: a[0], a[1] are columns 2 (t % 4) and one more of the two row halves, a[2], a[3] those
/// 8 further on. @param b_transposed whether B lies [16, 128] (MN-major) instead.
template <int b_transposed>
__device__ inline void wgmma(float (&d)[64], const std::uint32_t (&a)[4], std::uint64_t b, int keep) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"
               "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" WGMMA_NAMES_64
               "}, {%64, %65, %66, %67}, %68, p, 1, 1, %70;\n}\n"
               : WGMMA_SUMS_64(d)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(keep), "n"(b_transposed));
}

/// d (+)= A B with both operands in shared memory: A [64 rows, 16] and B [256 rows, 16], K-major (wgmma_operand()).
/// @param keep 0 starts from zero.
__device__ inline void wgmma(float (&d)[128], std::uint64_t a, std::uint64_t b, int keep) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %130, 0;\n"
               "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {" WGMMA_NAMES_128
               "}, %128, %129, p, 1, 1, 0, 0;\n}\n"
               : WGMMA_SUMS_128(d)
               : "l"(a), "l"(b), "r"(keep));
}

/// The same with A in registers: a[0], a[1] are columns 2 (t % 4) and one more of the two row halves, a[2], a[3] those
/// 8 further on. @param b_transposed whether B lies [16, 256] (MN-major) instead.
template <int b_transposed>
__device__ inline void wgmma(float (&d)[128], const std::uint32_t (&a)[4], std::uint64_t b, int keep) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %133, 0;\n"
               "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {" WGMMA_NAMES_128
               "}, {%128, %129, %130, %131}, %132, p, 1, 1, %134;\n}\n"
               : WGMMA_SUMS_128(d)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(keep), "n"(b_transposed));
}

/// d (+)= A B in e4m3 with both operands in shared memory: A [64 rows, 32] and B [128 rows, 32], K-major.
/// @param keep 0 starts from zero.
__device__ inline void wgmma_e4m3(float (&d)[64], std::uint64_t a, std::uint64_t b, int keep) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
               "wgmma.mma_async.sync.aligned.m64n128k32.f32.e4m3.e4m3 {" WGMMA_NAMES_64 "}, %64, %65, p, 1, 1;\n}\n"
               : WGMMA_SUMS_64(d)
               : "l"(a), "l"(b), "r"(keep));
}

/// The same with B [256 rows, 32].
__device__ inline void wgmma_e4m3(float (&d)[128], std::uint64_t a, std::uint64_t b, int keep) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %130, 0;\n"
               "wgmma.mma_async.sync.aligned.m64n256k32.f32.e4m3.e4m3 {" WGMMA_NAMES_128 "}, %128, %129, p, 1, 1;\n}\n"
               : WGMMA_SUMS_128(d)
               : "l"(a), "l"(b), "r"(keep));
}

/// The same with A in registers: a[0], a[1] are columns 4 (t % 4) to + 3 of the two row halves, a[2], a[3] those 16
/// further on.
__device__ inline void wgmma_e4m3(float (&d)[128], const std::uint32_t (&a)[4], std::uint64_t b, int keep) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %133, 0;\n"
               "wgmma.mma_async.sync.aligned.m64n256k32.f32.e4m3.e4m3 {" WGMMA_NAMES_128
               "}, {%128, %129, %130, %131}, %132, p, 1, 1;\n}\n"
               : WGMMA_SUMS_128(d)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(keep));
}

#undef WGMMA_NAMES_32
#undef WGMMA_NAMES_64
#undef WGMMA_NAMES_128
#undef WGMMA_SUMS_8
#undef WGMMA_SUMS_32
#undef WGMMA_SUMS_64
#undef WGMMA_SUMS_128

/// Before the first wgmma that reads registers or shared memory written by ordinary instructions.
__device__ inline void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory"); }
/// Ends a group of wgmmas.
__device__ inline void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory"); }
/// Until at most @p pending groups are unfinished.
template <int pending>
__device__ inline void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;\n" ::"n"(pending) : "memory");
}

/// Describes an operand in shared memory with rows of 64 bf16 (128 bytes) in the 128-byte swizzle: 16-byte piece c of
/// row r lies at place c ^ (r % 8). @param address of the tile, a multiple of 1024 bytes; 16 columns further on is 32
/// bytes, 2 in the description.
__device__ inline std::uint64_t wgmma_operand(std::uint32_t address) {
  constexpr std::uint64_t swizzle_128 = std::uint64_t{1} << 62;
  constexpr std::uint64_t eight_rows = std::uint64_t{1024 >> 4} << 32;
  constexpr std::uint64_t unused_leading = std::uint64_t{1} << 16;
  return swizzle_128 | eight_rows | unused_leading | ((address & 0x3FFFFu) >> 4);
}

/// The same with rows of 64 bytes (64 e4m3) in the 64-byte swizzle: 16-byte piece c of row r lies at place
/// c ^ (r / 2 % 4). @param address of the tile, a multiple of 512 bytes; 32 columns further on is 32 bytes, 2 in the
/// description.
__device__ inline std::uint64_t wgmma_narrow_operand(std::uint32_t address) {
  constexpr std::uint64_t swizzle_64 = std::uint64_t{2} << 62;
  constexpr std::uint64_t eight_rows = std::uint64_t{512 >> 4} << 32;
  constexpr std::uint64_t unused_leading = std::uint64_t{1} << 16;
  return swizzle_64 | eight_rows | unused_leading | ((address & 0x3FFFFu) >> 4);
}

} // namespace audiobookd::engine::cuda
