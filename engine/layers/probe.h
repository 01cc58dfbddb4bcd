// A way to look at a model's intermediate tensors, for tests and debugging.
#pragma once

#include <ATen/core/Tensor.h>
#include <functional>
#include <string_view>

namespace audiobookd::engine {

/// Called with the name and value of intermediate tensors, on the calling thread; the tensor may be changed in place
/// afterwards, so keep a clone. An empty one costs nothing.
using Probe = std::function<void(std::string_view name, const at::Tensor& value)>;

/// Shows @p value to @p probe when there is one.
inline void show(const Probe& probe, std::string_view name, const at::Tensor& value) {
  if (probe) {
    probe(name, value);
  }
}

} // namespace audiobookd::engine
