// The safetensors reader takes good files as they are and refuses bad ones with the file, the tensor and the reason.
#include "engine/safetensors.h"
#include "tests/engine/temp_dir.h"

#include <cstring>
#include <gtest/gtest.h>

namespace audiobookd::engine {
namespace {

using tests::message_of;
using tests::TempDir;

std::string with_length(const std::string& header, const std::string& data) {
  const std::uint64_t length = header.size();
  std::string file(sizeof length, '\0');
  std::memcpy(file.data(), &length, sizeof length);
  return file + header + data;
}

class Safetensors : public testing::Test {
protected:
  /// Opens a file of these bytes and returns the message of the error.
  std::string error_of(const std::string& content) {
    tests::write_file(file_, content);
    return message_of([&] { SafetensorsFile opened(file_); });
  }
  std::string error_of(const std::string& header, std::size_t data_bytes) {
    return error_of(with_length(header, std::string(data_bytes, '\0')));
  }

  TempDir dir_;
  std::filesystem::path file_ = dir_.path() / "weights.safetensors";
};

TEST_F(Safetensors, ReadsDtypesShapesDataAndMetadata) {
  const std::string header = R"({"__metadata__":{"format":"pt"},"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                             R"("a":{"dtype":"F32","shape":[2,1],"data_offsets":[1,9]},)"
                             R"("s":{"dtype":"I64","shape":[],"data_offsets":[9,17]},)"
                             R"("none":{"dtype":"F16","shape":[0,3],"data_offsets":[1,1]}}  )";
  tests::write_file(file_, with_length(header, "\x07" + std::string(16, '\1')));
  const SafetensorsFile opened(file_);
  EXPECT_EQ(opened.tensors().size(), 4U);
  EXPECT_EQ(opened.metadata().at("format"), "pt");
  EXPECT_EQ(opened.at("b").data[0], std::byte{7});
  EXPECT_EQ(opened.at("a").shape, (std::vector<std::int64_t>{2, 1}));
  EXPECT_EQ(opened.at("a").data.size(), 8U); // unaligned
  EXPECT_TRUE(opened.at("s").shape.empty());
  EXPECT_EQ(opened.at("none").data.size(), 0U);
  EXPECT_EQ(opened.bytes().size(), 8 + header.size() + 17);
}

TEST_F(Safetensors, WritesWhatItReads) {
  const auto fill = [](std::byte value) {
    return [value](std::span<std::byte> out) { std::ranges::fill(out, value); };
  };
  write_safetensors(file_,
                    {{"z", Dtype::f32, {2, 3}, fill(std::byte{1})},
                     {"empty", Dtype::bf16, {0}, fill(std::byte{9})},
                     {"a", Dtype::i64, {}, fill(std::byte{2})}},
                    {{"k", "v"}});
  const SafetensorsFile opened(file_);
  EXPECT_EQ(opened.tensors().size(), 3U);
  EXPECT_EQ(opened.metadata().at("k"), "v");
  EXPECT_EQ(opened.at("z").dtype, Dtype::f32);
  EXPECT_EQ(opened.at("z").data.size(), 24U);
  EXPECT_EQ(opened.at("a").data[7], std::byte{2});
  EXPECT_LT(opened.at("z").data.data(), opened.at("a").data.data()) << "written in the given order";
}

TEST_F(Safetensors, AFailingWriterLeavesTheOldFileAndNoLitter) {
  tests::write_file(file_, "old");
  const TensorSource bad{"a", Dtype::u8, {1}, [](std::span<std::byte>) { throw std::runtime_error("no more data"); }};
  EXPECT_CONTAINS(message_of([&] { write_safetensors(file_, {bad}); }), "no more data");
  EXPECT_EQ(tests::read_file(file_), "old");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir_.path()), {}), 1);
}

TEST_F(Safetensors, WriterNamesTheFileItCannotCreateAndTheNameGivenTwice) {
  const TensorSource source{"twin", Dtype::u8, {0}, [](std::span<std::byte>) {}};
  EXPECT_CONTAINS(message_of([&] { write_safetensors(dir_.path() / "no" / "x", {source}); }), "no/x: cannot create");
  EXPECT_CONTAINS(message_of([&] { write_safetensors(file_, {source, source}); }), "\"twin\"");
}

TEST_F(Safetensors, AskingForAnAbsentTensorNamesFileAndTensor) {
  tests::write_file(file_, with_length("{}", ""));
  const SafetensorsFile opened(file_);
  EXPECT_THROW((void)opened.at("gone.weight"), std::out_of_range);
  const std::string message = message_of([&] { (void)opened.at("gone.weight"); });
  EXPECT_CONTAINS(message, file_.string());
  EXPECT_CONTAINS(message, "gone.weight");
}

TEST_F(Safetensors, RefusesAMissingFileAndAFolder) {
  EXPECT_CONTAINS(message_of([&] { SafetensorsFile opened(file_); }), file_.string());
  EXPECT_CONTAINS(message_of([&] { SafetensorsFile opened(dir_.path()); }), "not a regular file");
}

TEST_F(Safetensors, RefusesEveryTruncation) {
  const std::string good =
      with_length(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", std::string(8, '\0'));
  ASSERT_EQ(error_of(good), "");
  for (std::size_t length = 0; length < good.size(); ++length) {
    EXPECT_CONTAINS(error_of(good.substr(0, length)), file_.string());
  }
}

TEST_F(Safetensors, RefusesAnOversizedHeader) {
  EXPECT_CONTAINS(error_of(std::string(8, '\xff')), "header length 18446744073709551615 is above the limit");
  std::string longer_than_file = with_length("{}", "");
  longer_than_file[0] = 3;
  EXPECT_CONTAINS(error_of(longer_than_file), "header length 3, but only 2 bytes follow");
}

TEST_F(Safetensors, RefusesAHeaderThatIsNotTheExpectedJson) {
  EXPECT_CONTAINS(error_of("{\"a\":", 0), "not valid JSON");
  EXPECT_CONTAINS(error_of("[]", 0), "expected a JSON object");
  EXPECT_CONTAINS(error_of("{\"a\":[[[[[[[[", 0), "nested deeper than 3");
  EXPECT_CONTAINS(error_of(R"({"a":{"dtype":"U8","shape":[[1]],"data_offsets":[0,1]}})", 1), "nested deeper than 3");
  EXPECT_CONTAINS(error_of(R"({"__metadata__":{"a":1}})", 0), "__metadata__");
}

TEST_F(Safetensors, RefusesDuplicateKeys) {
  const std::string entry = R"("twice.weight":{"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  const std::string message = error_of("{" + entry + "," + entry + "}", 1);
  EXPECT_CONTAINS(message, file_.string());
  EXPECT_CONTAINS(message, "twice.weight");
  EXPECT_CONTAINS(error_of(R"({"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1), "\"dtype\"");
}

TEST_F(Safetensors, RefusesWrongFieldsOfATensorByName) {
  const auto error = [&](const std::string& fields) { return error_of("{\"the.tensor\":{" + fields + "}}", 4); };
  const std::string offsets = R"(,"data_offsets":[0,4])";
  for (const std::string& fields :
       {std::string(R"("dtype":"F32","shape":[1])"), R"("dtype":"F32","shape":[1],"extra":0)" + offsets,
        R"("dtype":"C64","shape":[1])" + offsets, R"("dtype":5,"shape":[1])" + offsets,
        R"("dtype":"F32","shape":[-1])" + offsets, R"("dtype":"F32","shape":[1.5])" + offsets,
        R"("dtype":"F32","shape":1)" + offsets, R"("dtype":"F32","shape":[18446744073709551615])" + offsets,
        std::string(R"("dtype":"F32","shape":[1],"data_offsets":[0])"),
        std::string(R"("dtype":"F32","shape":[1],"data_offsets":[-1,3])"),
        std::string(R"("dtype":"F32","shape":[1],"data_offsets":[4,0])"),
        std::string(R"("dtype":"F32","shape":[1],"data_offsets":[1,5])")}) {
    EXPECT_CONTAINS(error(fields), file_.string() + ": tensor \"the.tensor\"");
  }
}

TEST_F(Safetensors, RefusesAShapeThatDoesNotMatchTheBytes) {
  const std::string message = error_of(R"({"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,20]}})", 20);
  EXPECT_CONTAINS(message, "tensor \"w\": shape [2,3] of F32: expected 24 bytes, found 20");
}

TEST_F(Safetensors, AShapeWhoseProductOverflowsIsNotTakenForASmallOne) {
  EXPECT_CONTAINS(error_of(R"({"w":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}})", 0),
                  "is too large");
}

TEST_F(Safetensors, RefusesOverlapHoleAndBytesThatBelongToNoTensor) {
  const auto two = [](int begin, int end) {
    return R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[)" +
           std::to_string(end - begin) + R"(],"data_offsets":[)" + std::to_string(begin) + "," + std::to_string(end) +
           "]}}";
  };
  EXPECT_EQ(error_of(two(4, 8), 8), "");
  EXPECT_CONTAINS(error_of(two(3, 8), 8), "tensor \"b\": data begins at 3, expected 4 (tensors overlap)");
  EXPECT_CONTAINS(error_of(two(5, 8), 8), "tensor \"b\": data begins at 5, expected 4 (a hole between tensors)");
  EXPECT_CONTAINS(error_of(two(4, 8), 9), "the tensors end at byte 8 of 9");
}

} // namespace
} // namespace audiobookd::engine
