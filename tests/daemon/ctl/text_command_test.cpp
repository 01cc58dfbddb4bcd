// `audiobookctl text`: what will be said beside what is written, by the real program.
#include "tests/daemon/ctl/ctl_fixture.h"

#include <gtest/gtest.h>

namespace audiobookd::daemon {
namespace {

using testing::Ran;

class CtlText : public ::testing::Test {
protected:
  Ran text(std::vector<std::string> words) {
    words.insert(words.begin(), "text");
    return testing::CtlProcess(std::move(words)).wait();
  }
  testing::TemporaryFolder folder_;
  std::string book_ =
      folder_.write("book.txt", "CHAPTER IX\n\nDr. Lee paid $5.\n\nIt was late.\n\n* * *\n\n🙂\n").string();
};

TEST_F(CtlText, PrintsWhatIsWrittenAndWhatIsSaid) {
  const Ran ran = text({book_});
  EXPECT_EQ(ran.status, 0);
  EXPECT_EQ(ran.out, "- CHAPTER IX\n+ Chapter nine\n"
                     "- Dr. Lee paid $5.\n+ Doctor Lee paid five dollars.\n"
                     "  It was late.\n- 🙂\n");
  EXPECT_EQ(ran.err, "3 of 4 paragraphs are said otherwise than written\n");
}

TEST_F(CtlText, LeavesOutWhatDoesNotChangeIfAsked) {
  const Ran ran = text({book_, "--changed"});
  EXPECT_EQ(ran.status, 0);
  EXPECT_EQ(ran.out.find("It was late"), std::string::npos) << ran.out;
}

TEST_F(CtlText, PrintsJson) {
  const nlohmann::json paragraphs = text({book_, "--json"}).json();
  ASSERT_EQ(paragraphs.size(), 4U);
  EXPECT_EQ(paragraphs[1], (nlohmann::json{{"chapter", 1},
                                           {"heading", false},
                                           {"written", "Dr. Lee paid $5."},
                                           {"spoken", "Doctor Lee paid five dollars."},
                                           {"changed", true}}));
  EXPECT_EQ(paragraphs[0]["heading"], true);
  EXPECT_EQ(paragraphs[2]["changed"], false);
  EXPECT_EQ(paragraphs[3]["spoken"], "");
}

TEST_F(CtlText, TakesADictionaryAndALanguage) {
  const std::string words = folder_.write("words.toml", "[words]\nlee = 'Leigh'\n").string();
  const Ran ran = text({book_, "--changed", "--dictionary", words});
  EXPECT_NE(ran.out.find("+ Doctor Leigh paid"), std::string::npos) << ran.out;
  const std::string date = folder_.write("date.txt", "It was 12/5/2020.\n").string();
  EXPECT_EQ(text({date, "--language", "en-GB"}).out,
            "- It was 12/5/2020.\n+ It was the twelfth of May twenty twenty.\n");
}

TEST_F(CtlText, SaysWhatIsWrongAndEndsAsTheOtherCommandsDo) {
  const Ran missing = text({"/nonexistent.txt"});
  EXPECT_EQ(missing.status, 1);
  EXPECT_NE(missing.err.find("/nonexistent.txt"), std::string::npos) << missing.err;
  const Ran folder = text({folder_.path().string()});
  EXPECT_EQ(folder.status, 1);
  EXPECT_NE(folder.err.find("directory"), std::string::npos) << folder.err;
  const Ran language = text({book_, "--language", "E N"});
  EXPECT_EQ(language.status, 2);
  EXPECT_NE(language.err.find("--language: \"E N\""), std::string::npos) << language.err;
  const std::string words = folder_.write("words.toml", "[words]\ngif = 5\n").string();
  const Ran dictionary = text({book_, "--dictionary", words});
  EXPECT_EQ(dictionary.status, 2);
  EXPECT_NE(dictionary.err.find("words.toml:2: words.\"gif\""), std::string::npos) << dictionary.err;
  EXPECT_EQ(text({}).status, 2);
}

} // namespace
} // namespace audiobookd::daemon
