#include "engine/cuda/gemm.h"

#include <ATen/ATen.h>
#include <ATen/cuda/CUDAContext.h>
#include <ATen/cuda/CUDAEvent.h>
#include <algorithm>
#include <array>
#include <cublasLt.h>
#include <iterator>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

namespace audiobookd::engine::cuda {
namespace {

constexpr std::int64_t reference_rows = 2048; // of the product whose bits every algorithm must give
constexpr int most_candidates = 40;           // asked of the library
constexpr int most_timed = 12;                // among those with the right bits, best guess first
constexpr int repetitions = 10;

void check(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS) {
    throw std::runtime_error(std::string(what) + ": " + cublasLtGetStatusString(status));
  }
}

/// A cuBLASLt object and the function that destroys it.
template <typename T, cublasStatus_t (*destroy)(T)>
class Handle {
public:
  Handle() = default;
  ~Handle() {
    if (value_ != nullptr) {
      destroy(value_);
    }
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  T* out() { return &value_; }
  [[nodiscard]] T get() const { return value_; }

private:
  T value_ = nullptr;
};

using Operation = Handle<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using MatrixLayout = Handle<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using Preference = Handle<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

cudaDataType_t data_type(at::ScalarType type) { return type == at::kFloat ? CUDA_R_32F : CUDA_R_16BF; }

/// Numbers in [-0.5, 0.5) that depend on nothing but their place.
at::Tensor scattered(at::IntArrayRef shape, double seed, const at::TensorOptions& options) {
  const at::Tensor x = at::arange(c10::multiply_integers(shape), options.dtype(at::kDouble));
  return x.mul_(12.9898).add_(seed).sin_().mul_(43758.5453).frac_().abs_().sub_(0.5).to(options).view(shape);
}

} // namespace

/// What a call for one number of rows needs.
struct Gemm::Plan {
  Operation operation;
  MatrixLayout weight, x, y; // as cuBLASLt sees them, columns first: [in, out], [in, rows], [out, rows]
  cublasLtMatmulAlgo_t algorithm{};

  Plan(const Shape& shape, std::int64_t rows) {
    check(cublasLtMatmulDescCreate(operation.out(), CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate");
    const cublasOperation_t transpose = CUBLAS_OP_T;
    check(cublasLtMatmulDescSetAttribute(operation.get(), CUBLASLT_MATMUL_DESC_TRANSA, &transpose, sizeof(transpose)),
          "cublasLtMatmulDescSetAttribute");
    const auto out = static_cast<std::uint64_t>(shape.out);
    const auto in = static_cast<std::uint64_t>(shape.in);
    const auto count = static_cast<std::uint64_t>(rows);
    check(cublasLtMatrixLayoutCreate(weight.out(), CUDA_R_16BF, in, out, shape.in), "cublasLtMatrixLayoutCreate");
    check(cublasLtMatrixLayoutCreate(x.out(), CUDA_R_16BF, in, count, shape.in), "cublasLtMatrixLayoutCreate");
    check(cublasLtMatrixLayoutCreate(y.out(), data_type(shape.result), out, count, shape.out),
          "cublasLtMatrixLayoutCreate");
  }

  /// The library's proposals, best guess first.
  [[nodiscard]] std::vector<cublasLtMatmulAlgo_t> candidates(bool invariant) const {
    Preference preference;
    check(cublasLtMatmulPreferenceCreate(preference.out()), "cublasLtMatmulPreferenceCreate");
    if (invariant) {
      const std::uint32_t no_split = CUBLASLT_REDUCTION_SCHEME_NONE;
      check(cublasLtMatmulPreferenceSetAttribute(preference.get(), CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                                 &no_split, sizeof(no_split)),
            "cublasLtMatmulPreferenceSetAttribute");
    }
    const std::size_t workspace = invariant ? 0 : at::cuda::getCUDABlasLtWorkspaceSize();
    check(cublasLtMatmulPreferenceSetAttribute(preference.get(), CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace,
                                               sizeof(workspace)),
          "cublasLtMatmulPreferenceSetAttribute");
    std::array<cublasLtMatmulHeuristicResult_t, most_candidates> results{};
    int count = 0;
    check(cublasLtMatmulAlgoGetHeuristic(at::cuda::getCurrentCUDABlasLtHandle(), operation.get(), weight.get(), x.get(),
                                         y.get(), y.get(), preference.get(), most_candidates, results.data(), &count),
          "cublasLtMatmulAlgoGetHeuristic");
    std::vector<cublasLtMatmulAlgo_t> algorithms;
    for (int i = 0; i < count; ++i) {
      if (results[static_cast<std::size_t>(i)].state == CUBLAS_STATUS_SUCCESS) {
        algorithms.push_back(results[static_cast<std::size_t>(i)].algo);
      }
    }
    return algorithms;
  }

  [[nodiscard]] cublasStatus_t multiply(const Shape& shape, const cublasLtMatmulAlgo_t& with, const at::Tensor& x_rows,
                                        const at::Tensor& weights, at::Tensor& y_rows) const {
    const float one = 1;
    const float kept = shape.accumulate ? 1.0f : 0.0f;
    return cublasLtMatmul(
        at::cuda::getCurrentCUDABlasLtHandle(), operation.get(), &one, weights.const_data_ptr(), weight.get(),
        x_rows.const_data_ptr(), x.get(), &kept, y_rows.const_data_ptr(), y.get(), y_rows.data_ptr(), y.get(), &with,
        shape.invariant ? nullptr : at::cuda::getCUDABlasLtWorkspace(),
        shape.invariant ? 0 : at::cuda::getCUDABlasLtWorkspaceSize(), at::cuda::getCurrentCUDAStream());
  }
};

/// Numbers to try algorithms on; a product of fewer rows takes the first of them.
struct Gemm::Trial {
  at::Tensor x, weight;
  at::Tensor before;   // y to begin with
  at::Tensor expected; // y of an invariant product
};

Gemm::Gemm(const Shape& shape, at::Device device) : shape_(shape), device_(device) {}
Gemm::~Gemm() = default;
Gemm::Gemm(Gemm&&) noexcept = default;
Gemm& Gemm::operator=(Gemm&&) noexcept = default;

Gemm::Trial Gemm::make_trial(std::int64_t most_rows) const {
  const auto half = at::TensorOptions(at::kBFloat16).device(device_);
  const std::int64_t repeats = (most_rows + reference_rows - 1) / reference_rows;
  Trial trial;
  trial.weight = scattered({shape_.out, shape_.in}, 1, half);
  const at::Tensor x = scattered({reference_rows, shape_.in}, 2, half);
  const at::Tensor before = scattered({reference_rows, shape_.out}, 3, half.dtype(shape_.result));
  trial.x = x.repeat({repeats, 1});
  trial.before = before.repeat({repeats, 1});
  if (shape_.invariant) { // the canonical algorithm: the library's best guess for the reference product
    const Plan canonical(shape_, reference_rows);
    const auto candidates = canonical.candidates(true);
    if (candidates.empty()) {
      throw std::runtime_error("cuBLASLt has no algorithm for a product of this shape");
    }
    at::Tensor y = before.clone();
    check(canonical.multiply(shape_, candidates.front(), x, trial.weight, y), "cublasLtMatmul");
    trial.expected = y.repeat({repeats, 1});
  }
  return trial;
}

std::unique_ptr<Gemm::Plan> Gemm::choose(std::int64_t rows, Trial& trial) const {
  auto plan = std::make_unique<Plan>(shape_, rows);
  const at::Tensor x = trial.x.narrow(0, 0, rows);
  const at::Tensor before = trial.before.narrow(0, 0, rows);
  at::Tensor y = at::empty_like(before);
  const auto is_right = [&] { return !shape_.invariant || at::equal(y, trial.expected.narrow(0, 0, rows)); };
  float best = std::numeric_limits<float>::infinity();
  int timed = 0;
  for (const cublasLtMatmulAlgo_t& algorithm : plan->candidates(shape_.invariant)) {
    const auto multiply = [&] { return plan->multiply(shape_, algorithm, x, trial.weight, y); };
    y.copy_(before);
    if (multiply() != CUBLAS_STATUS_SUCCESS || !is_right()) {
      continue;
    }
    at::cuda::CUDAEvent begin(cudaEventDefault);
    at::cuda::CUDAEvent end(cudaEventDefault);
    begin.record();
    for (int i = 0; i < repetitions; ++i) {
      check(multiply(), "cublasLtMatmul");
    }
    end.record();
    end.synchronize();
    if (const float milliseconds = begin.elapsed_time(end); milliseconds < best) {
      best = milliseconds;
      plan->algorithm = algorithm;
    }
    if (++timed == most_timed) {
      break;
    }
  }
  if (timed == 0) {
    throw std::runtime_error("cuBLASLt has no algorithm for " + std::to_string(rows) + " rows of " +
                             std::to_string(shape_.in) + " times " + std::to_string(shape_.out) +
                             " that gives the bits of its algorithm for " + std::to_string(reference_rows) + " rows");
  }
  return plan;
}

void Gemm::prepare(const std::vector<std::int64_t>& rows) {
  std::vector<std::int64_t> unknown;
  std::copy_if(rows.begin(), rows.end(), std::back_inserter(unknown),
               [this](std::int64_t count) { return !plans_.contains(count); });
  if (unknown.empty()) {
    return;
  }
  Trial trial = make_trial(*std::max_element(unknown.begin(), unknown.end()));
  for (const std::int64_t count : unknown) {
    plans_.emplace(count, choose(count, trial));
  }
}

void Gemm::run(const at::Tensor& x, const at::Tensor& weight, at::Tensor& y) {
  TORCH_CHECK(x.is_contiguous() && weight.is_contiguous() && y.is_contiguous() && x.size(1) == shape_.in &&
                  weight.size(0) == shape_.out && weight.size(1) == shape_.in && y.size(0) == x.size(0) &&
                  y.size(1) == shape_.out && y.scalar_type() == shape_.result,
              "Gemm ", shape_.in, " -> ", shape_.out, ": x ", x.sizes(), ", weight ", weight.sizes(), ", y ",
              y.sizes());
  prepare({x.size(0)});
  const Plan& plan = *plans_.at(x.size(0));
  check(plan.multiply(shape_, plan.algorithm, x, weight, y), "cublasLtMatmul");
}

at::Tensor Gemm::run(const at::Tensor& x, const at::Tensor& weight) {
  TORCH_CHECK(!shape_.accumulate, "Gemm: an accumulating product needs a result to add to");
  at::Tensor y = at::empty({x.size(0), shape_.out}, x.options().dtype(shape_.result));
  run(x, weight, y);
  return y;
}

} // namespace audiobookd::engine::cuda
