// Where a model takes its tensors from: safetensors files, or the synthetic-weight formula.
//
// A model is built by asking for every tensor it needs with the shape it needs; afterwards verify() reports all
// missing and unexpected tensors at once. Not thread-safe: one thread builds a model.
#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace audiobookd::engine {

/// Hands out the tensors of one checkpoint file by key and keeps account of what was asked for.
/// Copies made with select() share that account.
class StateDict {
public:
  /// Opens a safetensors file (memory-mapped; tensors are copied to @p device as fp32 when taken, int64 stays int64).
  /// @throws std::runtime_error naming the file when it is missing, truncated or malformed.
  static StateDict from_safetensors(const std::filesystem::path& file, at::Device device);

  /// Makes every tensor by the synthetic-weight formula (shared recipe of the reference goldens); no file is read.
  /// @param label used in messages in place of a file name.
  static StateDict synthetic(std::string label, at::Device device);

  /// The same dictionary seen through @p prefix: select("a.").get("b", …) is get("a.b", …).
  [[nodiscard]] StateDict select(std::string_view prefix) const;

  /// Takes the tensor `prefix + name` as a contiguous copy on the device: fp32, or int64 where it is stored as int64.
  /// A missing tensor, a wrong shape or a dtype that is neither floating-point nor int64 is noted, reported by
  /// verify(), and answered with zeros of @p shape.
  [[nodiscard]] at::Tensor get(std::string_view name, at::IntArrayRef shape) const;

  /// True when the file holds `prefix + name`. For synthetic() true for everything that the formula makes: not for the
  /// tables `tokenizer._mel_filters` and `tokenizer.window`.
  [[nodiscard]] bool contains(std::string_view name) const;

  /// Marks everything below `prefix + name_prefix` as known although this model does not use it.
  void ignore(std::string_view name_prefix) const;

  /// @throws std::runtime_error that names the file and lists every missing tensor, every tensor of a wrong shape
  /// or dtype (expected and found) and every unexpected one, each list sorted.
  void verify() const;

private:
  struct Account;
  StateDict(std::shared_ptr<Account> account, std::string prefix);
  std::shared_ptr<Account> account_;
  std::string prefix_;
};

} // namespace audiobookd::engine
