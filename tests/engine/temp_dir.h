// A folder of its own for a test, removed with everything in it at the end.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>

namespace audiobookd::tests {

class TempDir {
public:
  TempDir() {
    std::string name = (std::filesystem::temp_directory_path() / "audiobookd-test-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) {
      throw std::runtime_error("cannot create " + name);
    }
    path_ = name;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

private:
  std::filesystem::path path_;
};

inline void write_file(const std::filesystem::path& file, const std::string& content) {
  std::ofstream(file, std::ios::binary) << content;
}

inline std::string read_file(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// The message of the exception that @p action throws; empty when it throws none.
template <class Action>
std::string message_of(Action&& action) {
  try {
    action();
  } catch (const std::exception& error) {
    return error.what();
  }
  return {};
}

} // namespace audiobookd::tests

/// Fails unless @p text contains @p part, and shows both.
#define EXPECT_CONTAINS(text, part)                                                                                    \
  [](const std::string& text_, const std::string& part_) {                                                             \
    EXPECT_NE(text_.find(part_), std::string::npos) << "expected \"" << part_ << "\" in: \"" << text_ << "\"";         \
  }((text), (part))
