// Taking tensors from a checkpoint file or from the synthetic-weight formula. One thread builds a model.
#include "engine/state_dict.h"

#include "engine/models/chatterbox/synthetic_weights.h"
#include "engine/safetensors.h"

#include <ATen/ATen.h>
#include <algorithm>
#include <cstring>
#include <optional>
#include <set>
#include <stdexcept>

namespace audiobookd::engine {
namespace {

// Messages are put together with append(): gcc 12 warns wrongly of overflow in chains of + here.
std::string shape_text(at::IntArrayRef shape) {
  std::string text = "[";
  for (const std::int64_t dim : shape) {
    text.append(text.size() > 1 ? "," : "").append(std::to_string(dim));
  }
  return text.append("]");
}

/// The dtypes that weights occur in; nothing else is taken.
std::optional<at::ScalarType> weight_scalar_type(Dtype dtype) {
  switch (dtype) {
  case Dtype::f64: return at::kDouble;
  case Dtype::f32: return at::kFloat;
  case Dtype::f16: return at::kHalf;
  case Dtype::bf16: return at::kBFloat16;
  case Dtype::i64: return at::kLong;
  default: return std::nullopt;
  }
}

/// A copy on the CPU: the mapping may be unaligned and goes away with the file.
at::Tensor copy_tensor(const TensorView& view, at::ScalarType type) {
  at::Tensor tensor = at::empty(view.shape, at::TensorOptions(type));
  if (!view.data.empty()) {
    std::memcpy(tensor.data_ptr(), view.data.data(), view.data.size());
  }
  return type == at::kLong ? tensor : tensor.to(at::kFloat);
}

at::Tensor synthetic_tensor(const std::string& key, at::IntArrayRef shape) {
  if (chatterbox::is_batch_counter(key)) {
    return at::zeros(shape, at::TensorOptions(at::kLong));
  }
  at::Tensor tensor = at::empty(shape, at::TensorOptions(at::kFloat));
  chatterbox::fill_synthetic(key, {shape.data(), shape.size()},
                             {tensor.data_ptr<float>(), static_cast<std::size_t>(tensor.numel())});
  return tensor;
}

void append_list(std::string& message, const char* title, const std::set<std::string>& lines) {
  if (!lines.empty()) {
    message.append("\n").append(std::to_string(lines.size())).append(" ").append(title).append(":");
    for (const std::string& line : lines) {
      message.append("\n  ").append(line);
    }
  }
}

} // namespace

struct StateDict::Account {
  Account(std::string name, at::Device where) : label(std::move(name)), device(where) {}

  const std::string label;
  const at::Device device;
  std::unique_ptr<const SafetensorsFile> file; // none: the formula
  std::set<std::string> asked;
  std::set<std::string> ignored_prefixes;
  std::set<std::string> missing;
  std::set<std::string> mismatched; // "name: expected …, found …"

  at::Tensor take(const std::string& key, at::IntArrayRef shape);
  std::set<std::string> unexpected() const;

private:
  std::optional<at::Tensor> read(const std::string& key, at::IntArrayRef shape);
};

at::Tensor StateDict::Account::take(const std::string& key, at::IntArrayRef shape) {
  asked.insert(key);
  const auto tensor = file ? read(key, shape) : synthetic_tensor(key, shape);
  return tensor ? tensor->to(device) : at::zeros(shape, at::TensorOptions(at::kFloat).device(device));
}

std::optional<at::Tensor> StateDict::Account::read(const std::string& key, at::IntArrayRef shape) {
  if (!file->contains(key)) {
    missing.insert(key + " " + shape_text(shape));
    return std::nullopt;
  }
  const TensorView& view = file->at(key);
  if (shape != at::IntArrayRef(view.shape)) {
    mismatched.insert(key + ": expected shape " + shape_text(shape) + ", found " + shape_text(view.shape));
    return std::nullopt;
  }
  const auto type = weight_scalar_type(view.dtype);
  if (!type) {
    mismatched.insert(key + ": expected dtype F32, F16, BF16, F64 or I64, found " +
                      std::string(dtype_name(view.dtype)));
    return std::nullopt;
  }
  return copy_tensor(view, *type);
}

std::set<std::string> StateDict::Account::unexpected() const {
  std::set<std::string> names;
  if (!file) {
    return names;
  }
  for (const auto& [key, view] : file->tensors()) {
    const auto starts_key = [&key = key](const std::string& prefix) { return key.starts_with(prefix); };
    if (!asked.contains(key) && std::ranges::none_of(ignored_prefixes, starts_key)) {
      names.insert(key + " " + shape_text(view.shape));
    }
  }
  return names;
}

StateDict::StateDict(std::shared_ptr<Account> account, std::string prefix)
    : account_(std::move(account)), prefix_(std::move(prefix)) {}

StateDict StateDict::from_safetensors(const std::filesystem::path& file, at::Device device) {
  auto account = std::make_shared<Account>(file.string(), device);
  account->file = std::make_unique<const SafetensorsFile>(file);
  return {std::move(account), ""};
}

StateDict StateDict::synthetic(std::string label, at::Device device) {
  return {std::make_shared<Account>(std::move(label), device), ""};
}

StateDict StateDict::select(std::string_view prefix) const { return {account_, std::string(prefix_).append(prefix)}; }

at::Tensor StateDict::get(std::string_view name, at::IntArrayRef shape) const {
  return account_->take(prefix_ + std::string(name), shape);
}

bool StateDict::contains(std::string_view name) const {
  const std::string key = std::string(prefix_).append(name);
  return account_->file ? account_->file->contains(key) : chatterbox::has_synthetic_weights(key);
}

void StateDict::ignore(std::string_view name_prefix) const {
  account_->ignored_prefixes.insert(std::string(prefix_).append(name_prefix));
}

void StateDict::verify() const {
  std::string problems;
  append_list(problems, "missing", account_->missing);
  append_list(problems, "not as expected", account_->mismatched);
  append_list(problems, "unexpected", account_->unexpected());
  if (!problems.empty()) {
    throw std::runtime_error(account_->label + ": the tensors are not those of the model" + problems);
  }
}

} // namespace audiobookd::engine
