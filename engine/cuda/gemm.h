// Matrix products in bf16 whose rows do not depend on how many rows are multiplied together, to the bit.
//
// cuBLASLt picks another algorithm for another number of rows, and another algorithm may add in another order. A Gemm
// fixes the order once: for every number of rows it takes the fastest algorithm among those that give the same bits as
// one canonical algorithm. Algorithms that split sums over blocks are left out.
#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

namespace audiobookd::engine::cuda {

/// y = x Wᵀ, or y += x Wᵀ, for one width of x and of y; sums in fp32. The weights are the caller's: layers of the same
/// shape share one Gemm. Not thread-safe; works on the current stream.
class Gemm {
public:
  struct Shape {
    std::int64_t out = 0;                  ///< columns of y, rows of W; a multiple of 8
    std::int64_t in = 0;                   ///< columns of x and W; a multiple of 8
    at::ScalarType result = at::kBFloat16; ///< of y: bf16 or fp32
    bool accumulate = false;               ///< y += instead of y =
    bool invariant = true;                 ///< false: the fastest algorithm, whatever bits it gives
  };

  Gemm(const Shape& shape, at::Device device);
  ~Gemm();
  Gemm(Gemm&&) noexcept;
  Gemm& operator=(Gemm&&) noexcept;

  /// Chooses the algorithm for each number of rows by running candidates on random numbers. Not while a graph is
  /// captured. @throws std::runtime_error when cuBLASLt offers none.
  void prepare(const std::vector<std::int64_t>& rows);

  /// @param x [rows, in] bf16. @param weight [out, in] bf16. @param y [rows, out]; all contiguous.
  /// A number of rows that is new is prepared first.
  void run(const at::Tensor& x, const at::Tensor& weight, at::Tensor& y);
  /// The same into a new tensor; not for accumulating shapes.
  [[nodiscard]] at::Tensor run(const at::Tensor& x, const at::Tensor& weight);

private:
  struct Plan;
  struct Trial;
  [[nodiscard]] Trial make_trial(std::int64_t most_rows) const;
  [[nodiscard]] std::unique_ptr<Plan> choose(std::int64_t rows, Trial& trial) const;

  Shape shape_;
  at::Device device_;
  std::map<std::int64_t, std::unique_ptr<Plan>> plans_; // by rows
};

} // namespace audiobookd::engine::cuda
