// Collects the tensors of common layers under their checkpoint names. One thread uses a builder.
#pragma once

#include "engine/models/chatterbox/checkpoint_layout.h"

#include <string>
#include <utility>
#include <vector>

namespace audiobookd::engine::chatterbox {

/// Each function adds the tensors of one layer called @p name, in the order in which PyTorch stores them.
class LayoutBuilder {
public:
  void tensor(std::string name, std::vector<std::int64_t> shape, Dtype dtype = Dtype::f32) {
    tensors_.push_back({std::move(name), dtype, std::move(shape)});
  }
  /// A linear layer, or a convolution when @p kernel holds its width (and height).
  void weight(const std::string& name, std::int64_t out, std::int64_t in,
              const std::vector<std::int64_t>& kernel = {}) {
    std::vector<std::int64_t> shape{out, in};
    shape.insert(shape.end(), kernel.begin(), kernel.end());
    tensor(name + ".weight", std::move(shape));
  }
  void weight_and_bias(const std::string& name, std::int64_t out, std::int64_t in,
                       const std::vector<std::int64_t>& kernel = {}) {
    weight(name, out, in, kernel);
    tensor(name + ".bias", {out});
  }
  /// A convolution under weight normalisation; @p normalised is the size of the dimension that it keeps.
  void weight_norm(const std::string& name, std::int64_t bias, std::int64_t normalised, std::int64_t other,
                   std::int64_t kernel) {
    tensor(name + ".bias", {bias});
    tensor(name + ".parametrizations.weight.original0", {normalised, 1, 1});
    tensor(name + ".parametrizations.weight.original1", {normalised, other, kernel});
  }
  void layer_norm(const std::string& name, std::int64_t size) {
    tensor(name + ".weight", {size});
    tensor(name + ".bias", {size});
  }
  void batch_norm_statistics(const std::string& name, std::int64_t size) {
    tensor(name + ".running_mean", {size});
    tensor(name + ".running_var", {size});
    tensor(name + ".num_batches_tracked", {}, Dtype::i64);
  }
  void batch_norm(const std::string& name, std::int64_t size) {
    layer_norm(name, size);
    batch_norm_statistics(name, size);
  }

  [[nodiscard]] std::vector<TensorSpec> take() && { return std::move(tensors_); }

private:
  std::vector<TensorSpec> tensors_;
};

/// "prefix" and 3 make "prefix.3".
[[nodiscard]] inline std::string item(const std::string& prefix, std::size_t index) {
  return prefix + "." + std::to_string(index);
}

} // namespace audiobookd::engine::chatterbox
