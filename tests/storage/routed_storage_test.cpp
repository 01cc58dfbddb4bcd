// Which name leads where.
#include "storage/routed_storage.h"
#include "tests/storage/files.h"

namespace audiobookd::storage {
namespace {

using tests::throws_with;

/// A place that says who it is.
class Named final : public Storage {
public:
  explicit Named(std::string name) : name_(std::move(name)) {}
  [[nodiscard]] std::string read_input(std::string_view, std::uint64_t, const std::stop_token&) const override {
    return name_;
  }
  [[nodiscard]] bool output_exists(std::string_view, const std::stop_token&) const override { throw name_; }
  [[nodiscard]] std::optional<std::string> output_fingerprint(std::string_view, const std::stop_token&) const override {
    return name_;
  }
  void read_output(std::string_view, const std::function<void(std::span<const std::byte>)>&,
                   const std::stop_token&) const override {
    throw name_;
  }
  [[nodiscard]] std::unique_ptr<Publication> open_output(std::string_view, std::string_view,
                                                         const std::stop_token&) const override {
    throw name_;
  }
  [[nodiscard]] std::unique_ptr<FolderPublication> open_folder(std::string_view, std::string_view,
                                                               const std::stop_token&) const override {
    throw name_;
  }

private:
  const std::string name_;
};

std::string place(const std::function<void()>& act) {
  try {
    act();
  } catch (const std::string& name) {
    return name;
  }
  return "none";
}

TEST(RoutedStorage, UrlsLeadToS3AndOtherNamesToTheRoots) {
  const RoutedStorage routed(std::make_shared<Named>("inputs"), std::make_shared<Named>("outputs"),
                             std::make_shared<Named>("s3"));
  EXPECT_EQ(routed.read_input("a.txt", 1), "inputs");
  EXPECT_EQ(routed.read_input("s3://b/a.txt", 1), "s3");
  EXPECT_EQ(routed.output_fingerprint("a.mp3"), "outputs");
  EXPECT_EQ(routed.output_fingerprint("s3://b/a.mp3"), "s3");
  for (const auto& [name, wanted] : {std::pair("a.mp3", "outputs"), std::pair("s3://b/a.mp3", "s3")}) {
    EXPECT_EQ(place([&, &name = name] { (void)routed.output_exists(name); }), wanted);
    EXPECT_EQ(place([&, &name = name] { routed.read_output(name, {}); }), wanted);
    EXPECT_EQ(place([&, &name = name] { (void)routed.open_output(name, ""); }), wanted);
    EXPECT_EQ(place([&, &name = name] { (void)routed.open_folder(name, ""); }), wanted);
  }
}

TEST(RoutedStorage, WithoutARootOnS3UrlsAreAnErrorThatSaysWhatToDo) {
  const RoutedStorage routed(std::make_shared<Named>("inputs"), std::make_shared<Named>("outputs"), nullptr);
  EXPECT_EQ(routed.read_input("a.txt", 1), "inputs");
  EXPECT_TRUE(throws_with<PermanentError>([&] { (void)routed.read_input("s3://b/a.txt", 1); },
                                          "'s3://b/a.txt' is on S3, but this worker has no root there: [paths]"));
}

} // namespace
} // namespace audiobookd::storage
