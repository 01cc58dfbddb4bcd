// Names in jobs come from strangers: they stay below the roots, and what is wrong with one is said.
#include "storage/local_storage.h"
#include "tests/storage/files.h"

#include <sys/stat.h>

namespace audiobookd::storage {
namespace {

namespace fs = std::filesystem;
using tests::throws_with;

class LocalStorageTest : public testing::Test {
protected:
  LocalStorageTest() : storage_(make_roots()) {}

  Roots make_roots() {
    fs::create_directories(scratch_ / "in/books");
    fs::create_directory(scratch_ / "out");
    tests::write_file(scratch_ / "in/books/a.txt", "Call me Ishmael.");
    tests::write_file(scratch_ / "secret", "outside");
    return {scratch_ / "in", scratch_ / "out"};
  }
  auto reading(const std::string& name) {
    return [this, name] { (void)storage_.read_input(name, 1000); };
  }
  auto opening(const std::string& name) {
    return [this, name] { (void)storage_.open_output(name, ""); };
  }
  void publish(const std::string& name, std::string_view content) {
    const auto publication = storage_.open_output(name, "");
    publication->append(std::as_bytes(std::span(content)));
    ASSERT_EQ(publication->commit(IfExists::fail, {}), PublishResult::published);
  }

  tests::ScratchFolder scratch_;
  LocalStorage storage_;
};

TEST_F(LocalStorageTest, ReadsAnInputWhole) { EXPECT_EQ(storage_.read_input("books/a.txt", 16), "Call me Ishmael."); }

TEST_F(LocalStorageTest, RefusesAnInputAboveTheLimit) {
  EXPECT_TRUE(
      throws_with<PermanentError>([&] { (void)storage_.read_input("books/a.txt", 15); }, "16 bytes, at most 15"));
}

TEST_F(LocalStorageTest, RefusesNamesThatAreNotBelowTheRoot) {
  const std::string absolute = (scratch_ / "in/books/a.txt").string();
  for (const auto& act : {reading(absolute), reading("/etc/passwd")}) {
    EXPECT_TRUE(throws_with<PermanentError>(act, "is absolute"));
  }
  for (const char* name : {"..", "../secret", "books/../../secret", "books/../books/a.txt"}) {
    EXPECT_TRUE(throws_with<PermanentError>(reading(name), "contains '..'")) << name;
    EXPECT_TRUE(throws_with<PermanentError>(opening(name), "contains '..'")) << name;
  }
  EXPECT_TRUE(throws_with<PermanentError>(opening("/x.mp3"), "is absolute"));
  EXPECT_TRUE(throws_with<PermanentError>(reading(""), "is empty"));
  EXPECT_TRUE(throws_with<PermanentError>(reading(std::string("a\0b", 3)), "NUL"));
}

TEST_F(LocalStorageTest, FollowsLinksInsideTheRootButNoneOutOfIt) {
  fs::create_symlink("books/a.txt", scratch_ / "in/inside");
  fs::create_symlink("../secret", scratch_ / "in/outside");
  fs::create_symlink(scratch_ / "secret", scratch_ / "in/absolute");
  fs::create_directory_symlink(scratch_.path(), scratch_ / "in/up");
  fs::create_symlink("/proc/self/root", scratch_ / "in/magic");
  EXPECT_EQ(storage_.read_input("inside", 100), "Call me Ishmael.");
  for (const char* name : {"outside", "absolute", "up/secret", "magic/etc/passwd"}) {
    EXPECT_TRUE(throws_with<PermanentError>(reading(name), "through a symbolic link")) << name;
  }
}

TEST_F(LocalStorageTest, SaysWhyAnInputCannotBeRead) {
  fs::create_symlink("loop", scratch_ / "in/loop");
  ASSERT_EQ(::mkfifo((scratch_ / "in/fifo").c_str(), 0600), 0);
  EXPECT_TRUE(throws_with<PermanentError>(reading("books/b.txt"), "books/b.txt': No such file or directory"));
  EXPECT_TRUE(throws_with<PermanentError>(reading("books"), "is a folder"));
  EXPECT_TRUE(throws_with<PermanentError>(reading("books/a.txt/x"), "ENOTDIR"));
  EXPECT_TRUE(throws_with<PermanentError>(reading("loop"), "ELOOP"));
  EXPECT_TRUE(throws_with<PermanentError>(reading("fifo"), "is not a regular file"));
}

TEST_F(LocalStorageTest, SaysThatPermissionIsMissing) {
  ASSERT_EQ(::chmod((scratch_ / "in/books/a.txt").c_str(), 0), 0);
  ASSERT_EQ(::chmod(scratch_.path().c_str(), 0755), 0);
  const int status = tests::wait_for(tests::start_process([&] {
    if (::geteuid() == 0 && ::setresuid(65534, 65534, 65534) != 0) {
      return 2;
    }
    return throws_with<PermanentError>(reading("books/a.txt"), "EACCES") ? 0 : 1;
  }));
  EXPECT_EQ(status, 0);
}

TEST_F(LocalStorageTest, RefusesAMissingRoot) {
  EXPECT_TRUE(throws_with<PermanentError>([&] { LocalStorage({scratch_ / "none", scratch_ / "out"}); }, "none"));
  EXPECT_TRUE(throws_with<PermanentError>([&] { LocalStorage({scratch_ / "in", scratch_ / "secret"}); }, "ENOTDIR"));
}

TEST_F(LocalStorageTest, CreatesTheFoldersOfAnOutput) {
  EXPECT_FALSE(storage_.output_exists("Melville/Moby Dick/book.mp3"));
  publish("Melville/Moby Dick/book.mp3", "audio");
  EXPECT_TRUE(storage_.output_exists("Melville/Moby Dick/book.mp3"));
  EXPECT_EQ(tests::read_file(scratch_ / "out/Melville/Moby Dick/book.mp3"), "audio");
}

TEST_F(LocalStorageTest, ReadsAnOutputPieceByPiece) {
  std::string content(3'000'000, '\0');
  for (std::size_t i = 0; i < content.size(); ++i) {
    content[i] = static_cast<char>(i * i >> 8);
  }
  publish("new/book.mp3", content);
  std::string found;
  std::size_t longest = 0;
  storage_.read_output("new/book.mp3", [&](std::span<const std::byte> piece) {
    longest = std::max(longest, piece.size());
    for (const std::byte byte : piece) {
      found += static_cast<char>(byte);
    }
  });
  EXPECT_TRUE(found == content);
  EXPECT_LT(longest, content.size() / 2);
}

TEST_F(LocalStorageTest, SaysWhyAnOutputCannotBeRead) {
  const auto looking_at = [this](const std::string& name) {
    return [this, name] { storage_.read_output(name, [](auto) {}); };
  };
  fs::create_directory(scratch_ / "out/folder");
  fs::create_symlink("../secret", scratch_ / "out/link");
  EXPECT_TRUE(throws_with<PermanentError>(looking_at("book.mp3"), "No such file"));
  EXPECT_TRUE(throws_with<PermanentError>(looking_at("folder"), "is a folder"));
  EXPECT_TRUE(throws_with<PermanentError>(looking_at("link"), "ELOOP"));
  EXPECT_TRUE(throws_with<PermanentError>(looking_at("../secret"), "contains '..'"));
}

TEST_F(LocalStorageTest, WritesNothingThroughALinkOutOfTheRoot) {
  fs::create_directory_symlink(scratch_.path(), scratch_ / "out/up");
  EXPECT_TRUE(throws_with<PermanentError>(opening("up/book.mp3"), "through a symbolic link"));
  EXPECT_TRUE(throws_with<PermanentError>(opening("up/new/book.mp3"), "through a symbolic link"));
  fs::create_symlink(scratch_ / "secret", scratch_ / "out/book.mp3");
  const auto publication = storage_.open_output("book.mp3", "");
  EXPECT_EQ(publication->commit(IfExists::replace, {}), PublishResult::published);
  EXPECT_EQ(tests::read_file(scratch_ / "secret"), "outside");
  EXPECT_FALSE(fs::exists(scratch_ / "new"));
}

TEST_F(LocalStorageTest, RefusesAFolderAsTarget) {
  fs::create_directory(scratch_ / "out/book.mp3");
  EXPECT_TRUE(throws_with<PermanentError>(opening("book.mp3"), "a folder of that name exists"));
  EXPECT_TRUE(throws_with<PermanentError>(opening("new/"), "names a folder"));
  EXPECT_TRUE(throws_with<PermanentError>(opening(std::string(201, 'x')), "1 to 200 bytes"));
}

} // namespace
} // namespace audiobookd::storage
