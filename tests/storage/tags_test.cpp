// Tags that other programs read, of a length that is known before the chapter times are.
#include "storage/audiobook_writer.h"
#include "storage/errors.h"
#include "storage/tags.h"
#include "tests/storage/ffmpeg.h"
#include "tests/storage/files.h"
#include "tests/storage/memory_sink.h"

#include <algorithm>

namespace audiobookd::storage {
namespace {

using tests::throws_with;

std::string text_of(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// The content of the first frame @p id: what follows its header, without the encoding byte.
std::string frame(const std::string& block, const std::string& id) {
  const std::size_t start = block.find(id);
  if (start == std::string::npos) {
    return "(absent)";
  }
  const auto* size = reinterpret_cast<const unsigned char*>(block.data() + start + 4);
  return block.substr(start + 11, (size[2] << 7 | size[3]) - 1U);
}

Tags full_tags() {
  Tags tags;
  tags.title = "Moby-Dick; или Белый кит";
  tags.author = "Herman Melville";
  tags.album = "Moby-Dick";
  tags.narrator = "narrator";
  tags.language = "en-GB";
  tags.comment = "synthetic weights: noise";
  tags.disclosure = synthetic_narration("chatterbox-english", "default");
  tags.extra = {{"job", "moby-dick"}};
  return tags;
}

TEST(TagsTest, WritesTheFramesOfAnAudiobook) {
  const std::string block = text_of(render_id3v2(full_tags(), {}));
  EXPECT_EQ(block.substr(0, 5), std::string("ID3\4\0", 5));
  EXPECT_EQ(frame(block, "TIT2"), "Moby-Dick; или Белый кит");
  EXPECT_EQ(frame(block, "TPE1"), "Herman Melville");
  EXPECT_EQ(frame(block, "TALB"), "Moby-Dick");
  EXPECT_EQ(frame(block, "TCOM"), "narrator");
  EXPECT_EQ(frame(block, "TCON"), "Audiobook");
  EXPECT_EQ(frame(block, "TLAN"), "eng");
  EXPECT_EQ(frame(block, "COMM"), std::string("eng\0", 4) + "synthetic weights: noise / " + full_tags().disclosure);
  EXPECT_EQ(frame(block, "TXXX"), std::string("DISCLOSURE\0", 11) +
                                      "The narration is synthetic speech: model chatterbox-english, voice default.");
  EXPECT_NE(block.find(std::string("job\0moby-dick", 13)), std::string::npos);
}

TEST(TagsTest, ShowCoverSeriesAndPublicationToOtherPrograms) {
  const tests::ScratchFolder folder;
  tests::output_of("ffmpeg -v error -f lavfi -i color=c=teal:s=64x96 -frames:v 1 '" + (folder / "cover.png").string() +
                   "'");
  Tags tags = full_tags();
  tags.series = "Sea Stories";
  tags.series_index = "1.5";
  tags.publisher = "Harper & Brothers";
  tags.year = "1851";
  tags.description = "A whale, and a captain.";
  tags.cover = CoverPicture{tests::read_file(folder / "cover.png"), "image/png"};
  tests::MemorySink sink;
  WorkerPool pool(1);
  AudiobookWriter writer(sink, pool, {.format = {}, .levels = {}, .tags = tags, .chapter_titles = {}});
  writer.write(std::vector<float>(24'000));
  (void)writer.finish(tags);
  tests::write_file(folder / "x.mp3", sink.text());
  const std::string seen = tests::ffprobe(folder / "x.mp3");
  for (const std::string part :
       {R"("SERIES": "Sea Stories")", R"("SERIES-PART": "1.5")", R"("publisher": "Harper & Brothers")",
        R"("date": "1851")", R"("DESCRIPTION": "A whale, and a captain.")", R"("codec_name": "png")", R"("width": 64)",
        R"("attached_pic": 1)", R"-("comment": "Cover (front)")-"}) {
    EXPECT_NE(seen.find(part), std::string::npos) << part << " is missing in " << seen;
  }
  tests::output_of("ffmpeg -v error -i '" + (folder / "x.mp3").string() + "' -map 0:v -c copy '" +
                   (folder / "back.png").string() + "'");
  EXPECT_TRUE(tests::read_file(folder / "back.png") == tags.cover->bytes);
}

TEST(TagsTest, OldPlayersGetVersion3InUtf16) {
  Tags tags = full_tags();
  tags.year = "1851";
  tags.extra = {{"long", std::string(300, 'x')}}; // its size differs between 7 and 8 bits a byte
  const std::vector<Chapter> chapters = {{"Глава 1", 0, 1000}, {"Chapter 2", 1000, 2000}};
  const std::vector<std::byte> block = render_id3v2(tags, chapters, 0, 3);
  EXPECT_EQ(text_of(block).substr(0, 5), std::string("ID3\3\0", 5));
  EXPECT_EQ(render_id3v2(tags, {{"Глава 1", 0, 7}, {"Chapter 2", 7, 9}}, 0, 3).size(), block.size());
  EXPECT_NE(text_of(block).find("TYER"), std::string::npos);
  EXPECT_EQ(text_of(block).find("TDRC"), std::string::npos);
  EXPECT_EQ(text_of(block).find("Herman"), std::string::npos) << "not in UTF-16";

  const tests::ScratchFolder folder;
  tests::MemorySink sink;
  WorkerPool pool(1);
  AudiobookWriter writer(
      sink, pool,
      {.format = Mp3Settings{.id3v2_version = 3}, .levels = {}, .tags = tags, .chapter_titles = {"Глава 1", "Two"}});
  for (int i = 0; i < 2; ++i) {
    writer.begin_chapter();
    writer.write(std::vector<float>(24'000));
  }
  (void)writer.finish(tags);
  tests::write_file(folder / "x.mp3", sink.text());
  const std::string seen = tests::ffprobe(folder / "x.mp3");
  for (const std::string part : {R"("title": "Moby-Dick; или Белый кит")", R"("artist": "Herman Melville")",
                                 R"("date": "1851")", R"("title": "Глава 1")", R"("start_time": "1.000000")"}) {
    EXPECT_NE(seen.find(part), std::string::npos) << part << " is missing in " << seen;
  }
}

TEST(TagsTest, LeavesEmptyFieldsAndUnknownLanguagesOut) {
  Tags tags;
  tags.language = "tlh-Latn-x";
  EXPECT_EQ(frame(text_of(render_id3v2(tags, {})), "TLAN"), "tlh");
  tags.language = "klingon";
  const std::string block = text_of(render_id3v2(tags, {}));
  for (const char* id : {"TIT2", "TPE1", "TLAN", "COMM", "TXXX", "CHAP", "CTOC"}) {
    EXPECT_EQ(frame(block, id), "(absent)") << id;
  }
}

TEST(TagsTest, RemovesControlCharactersAndRepairsUtf8) {
  Tags tags;
  tags.title = std::string("a\0b\x1b[31m\nc\td\x7f\xc2\x85", 15) + "e\xff\xc3(\xed\xa0\x80\xf0\x9f\x90\x8b";
  EXPECT_EQ(frame(text_of(render_id3v2(tags, {})), "TIT2"), "ab[31m c de\uFFFD\uFFFD(\uFFFD\uFFFD\uFFFD\U0001F40B");
}

TEST(TagsTest, HasALengthThatDoesNotDependOnChapterTimes) {
  const std::vector<Chapter> before = {{"One", 0, 0}, {"Two", 0, 0}};
  const std::vector<Chapter> after = {{"One", 0, 3'600'000}, {"Two", 3'600'000, 0xFFFFFFF0}};
  EXPECT_EQ(render_id3v2(full_tags(), before).size(), render_id3v2(full_tags(), after).size());
}

TEST(TagsTest, PadsToTheBlockOrSaysThatItDoesNotFit) {
  const std::size_t needed = render_id3v2(full_tags(), {}).size();
  const std::vector<std::byte> padded = render_id3v2(full_tags(), {}, needed + 1000);
  ASSERT_EQ(padded.size(), needed + 1000);
  EXPECT_TRUE(std::all_of(padded.end() - 1000, padded.end(), [](std::byte b) { return b == std::byte{0}; }));
  const std::size_t stored = std::to_integer<std::size_t>(padded[8]) << 7 | std::to_integer<std::size_t>(padded[9]);
  EXPECT_EQ(stored + 10, needed + 1000);
  EXPECT_TRUE(throws_with<PermanentError>([&] { (void)render_id3v2(full_tags(), {}, needed - 1); },
                                          "need " + std::to_string(needed) + " bytes"));
}

} // namespace
} // namespace audiobookd::storage
