// The layout has the published names, dtypes, shapes and order, and the formula fills it with the recorded values.
#include "engine/models/chatterbox/checkpoint_layout.h"
#include "engine/models/chatterbox/synthetic_weights.h"
#include "tests/engine/golden.h"
#include "tests/engine/sha256.h"

#include <algorithm>
#include <fstream>
#include <map>
#include <sstream>

namespace audiobookd::engine::chatterbox {
namespace {

std::vector<std::vector<std::string>> read_tsv(const std::filesystem::path& file) {
  std::vector<std::vector<std::string>> rows;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    std::istringstream fields(line);
    rows.emplace_back();
    for (std::string field; std::getline(fields, field, '\t');) {
      rows.back().push_back(field);
    }
  }
  return rows;
}

/// "name TAB dtype TAB [2,3]", as in the lists.
std::string describe(const TensorSpec& tensor) {
  std::string shape;
  for (const std::int64_t dim : tensor.shape) {
    shape.append(shape.empty() ? "" : ",").append(std::to_string(dim));
  }
  return tensor.name + "\t" + std::string(dtype_name(tensor.dtype)) + "\t[" + shape + "]";
}

void expect_published(const std::vector<TensorSpec>& layout, const std::string& list) {
  std::vector<std::string> expected;
  for (const auto& row : read_tsv(tests::data_dir() / "spec" / list)) {
    if (has_synthetic_weights(row.at(0))) { // the tables that are optional in the file
      expected.push_back(row.at(0) + "\t" + row.at(1) + "\t" + row.at(2));
    }
  }
  for (std::size_t i = 0; i < std::min(layout.size(), expected.size()); ++i) {
    ASSERT_EQ(describe(layout[i]), expected[i]) << list << ", tensor " << i;
  }
  EXPECT_EQ(layout.size(), expected.size());
}

TEST(CheckpointLayout, FullSizeIsThePublishedListInOrder) {
  const Config config;
  expect_published(t3_layout(config.t3), "tensors-t3_cfg.tsv");
  expect_published(s3gen_layout(config), "tensors-s3gen.tsv");
  expect_published(voice_encoder_layout(config.voice), "tensors-ve.tsv");
}

/// The little-endian bytes of a tensor made by the formula.
std::vector<std::byte> generate(const TensorSpec& tensor) {
  std::size_t count = 1;
  for (const std::int64_t dim : tensor.shape) {
    count *= static_cast<std::size_t>(dim);
  }
  if (tensor.dtype == Dtype::i64) {
    return std::vector<std::byte>(count * sizeof(std::int64_t));
  }
  std::vector<float> values(count);
  fill_synthetic(tensor.name, tensor.shape, values);
  const auto bytes = std::as_bytes(std::span(values));
  return {bytes.begin(), bytes.end()};
}

TEST(CheckpointLayout, TheTinyCheckpointHasTheRecordedTensorsAndValues) {
  std::map<std::string, std::map<std::string, std::string>> recorded; // file, description, digest
  for (const auto& row : read_tsv(tests::data_dir() / "checkpoints/tensors.sha256.tsv")) {
    if (row.at(0) != "file") {
      recorded[row[0]][row.at(1) + "\t" + row.at(2) + "\t" + row.at(3)] = row.at(4);
    }
  }
  const Config config = Config::load(tests::data_dir() / "checkpoints/tiny-english");
  std::map<std::string, std::map<std::string, std::string>> generated;
  for (const auto& [file, layout] :
       {std::pair(t3_file_name, t3_layout(config.t3)), std::pair(s3gen_file_name, s3gen_layout(config)),
        std::pair(voice_encoder_file_name, voice_encoder_layout(config.voice))}) {
    for (const TensorSpec& tensor : layout) {
      generated[std::string("tiny-english/") + file][describe(tensor)] = tests::sha256_hex(generate(tensor));
    }
  }
  EXPECT_EQ(recorded.size(), 3U);
  for (const auto& [file, tensors] : generated) {
    EXPECT_EQ(tensors.size(), recorded[file].size()) << file;
    for (const auto& [description, digest] : tensors) {
      EXPECT_EQ(digest, recorded[file][description]) << file << " " << description;
    }
  }
}

TEST(Sha256, GivesThePublishedDigests) {
  const auto digest = [](std::string_view text) { return tests::sha256_hex(std::as_bytes(std::span(text))); };
  EXPECT_EQ(digest(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(digest("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(digest("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

} // namespace
} // namespace audiobookd::engine::chatterbox
