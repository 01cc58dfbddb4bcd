// Files of samples.
#include "bench/gate_check/samples.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace audiobookd::bench {
namespace fs = std::filesystem;

namespace {

std::ofstream open_to_write(const fs::path& file) {
  std::ofstream stream(file, std::ios::binary);
  stream.exceptions(std::ios::failbit | std::ios::badbit);
  if (!stream.is_open()) {
    throw std::runtime_error("cannot write " + file.string());
  }
  return stream;
}

std::vector<float> read_floats(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  std::vector<float> values(fs::file_size(file) / sizeof(float));
  stream.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(float)));
  if (!stream) {
    throw std::runtime_error("cannot read " + file.string());
  }
  return values;
}

} // namespace

void write_sample(const fs::path& folder, const Sample& sample) {
  open_to_write(folder / (sample.name + ".f32"))
      .write(reinterpret_cast<const char*>(sample.samples.data()),
             static_cast<std::streamsize>(sample.samples.size() * sizeof(float)));
  const nlohmann::ordered_json json = {{"planted", static_cast<int>(sample.planted)},
                                       {"text", sample.text},
                                       {"rendered", sample.rendered},
                                       {"words", sample.words},
                                       {"begin", sample.begin},
                                       {"length", sample.length},
                                       {"predicted_tokens", sample.predicted_tokens},
                                       {"hit_token_limit", sample.hit_token_limit},
                                       {"sample_rate", sample.sample_rate},
                                       {"tokens", sample.tokens},
                                       {"num_heads", sample.alignment.num_heads},
                                       {"text_length", sample.alignment.text_length},
                                       {"positions", sample.alignment.positions}};
  open_to_write(folder / (sample.name + ".json")) << json.dump() << '\n'; // last: a sample without it is none
}

Sample read_sample(const fs::path& folder, const std::string& name) {
  const fs::path file = folder / (name + ".json");
  try {
    const auto json = nlohmann::json::parse(std::ifstream(file));
    Sample sample;
    sample.name = name;
    sample.planted = static_cast<Planted>(json.at("planted").get<int>());
    sample.text = json.at("text");
    sample.rendered = json.at("rendered");
    sample.words = json.at("words");
    sample.begin = json.at("begin");
    sample.length = json.at("length");
    sample.predicted_tokens = json.at("predicted_tokens");
    sample.hit_token_limit = json.at("hit_token_limit");
    sample.sample_rate = json.at("sample_rate");
    sample.tokens = json.at("tokens").get<std::vector<std::int32_t>>();
    sample.alignment.num_heads = json.at("num_heads");
    sample.alignment.text_length = json.at("text_length");
    sample.alignment.positions = json.at("positions").get<std::vector<std::int32_t>>();
    sample.samples = read_floats(folder / (name + ".f32"));
    return sample;
  } catch (const nlohmann::json::exception& error) {
    throw std::runtime_error(file.string() + ": " + error.what());
  }
}

std::vector<std::string> sample_names(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".json") {
      names.push_back(entry.path().stem().string());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

engine::Alignment alignment_with_text(const Sample& sample) {
  engine::Alignment alignment = sample.alignment;
  if (sample.planted == Planted::nothing) {
    return alignment;
  }
  const bool skipped = sample.planted == Planted::skipped_words;
  const int shift = skipped ? sample.length : -sample.length;
  const int from = 1 + sample.begin + (skipped ? 0 : sample.length); // 1: the start token
  for (std::int32_t& position : alignment.positions) {
    position += position >= from ? shift : 0;
  }
  alignment.text_length += shift;
  return alignment;
}

} // namespace audiobookd::bench
