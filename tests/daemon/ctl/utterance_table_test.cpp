// Which utterances are shown, in which order, and how; and the job that redoes some.
#include "daemon/ctl/redo_job.h"
#include "daemon/ctl/utterance_table.h"

#include <gtest/gtest.h>
#include <sstream>

namespace audiobookd::daemon {
namespace {

std::vector<std::size_t> numbers_of(const std::vector<const ListedUtterance*>& utterances) {
  std::vector<std::size_t> numbers;
  for (const ListedUtterance* utterance : utterances) {
    numbers.push_back(utterance->number);
  }
  return numbers;
}

/// Six utterances of 10 s, three a chapter; gates found fault with 2 and, worse, with 5; 4 took two takes.
BookListing sample_listing() {
  BookListing listing;
  listing.job = "tale";
  listing.payload = R"({"id":"tale","input":"tale.txt","output":"tale.mp3","idempotency_key":"k"})";
  listing.output = "tale.mp3";
  listing.gain_db = -1.2345678901234567;
  for (std::size_t i = 0; i < 6; ++i) {
    ListedUtterance one;
    one.number = i + 1;
    one.file = "tale.mp3";
    one.start_s = 10.0 * static_cast<double>(i);
    one.end_s = one.start_s + 9;
    one.chapter = 1 + i / 3;
    one.chapter_title = "Chapter";
    one.written = "Text " + std::to_string(i + 1);
    one.spoken = one.written;
    one.key = "000000000000000" + std::to_string(i + 1);
    one.takes = {{0, 0, {}}};
    one.num_takes = 1;
    listing.utterances.push_back(one);
  }
  listing.utterances[1].findings = {{"cut_off", -10, -30}};
  listing.utterances[1].takes = {{0, 2, listing.utterances[1].findings}};
  listing.utterances[3].take = 1;
  listing.utterances[3].takes = {{0, 1.5, {{"duration", 3, 2}}}, {1, 0, {}}};
  listing.utterances[3].num_takes = 2;
  listing.utterances[4].findings = {{"duration", 9, 2}, {"noise", 1, 0.5}};
  listing.utterances[4].takes = {{0, 5, listing.utterances[4].findings}};
  return listing;
}

TEST(UtteranceTable, SuspiciousOnesComeFirstTheWorstBefore) {
  const BookListing listing = sample_listing();
  EXPECT_EQ(numbers_of(select_utterances(listing, {.suspicious_first = true})),
            (std::vector<std::size_t>{5, 2, 4, 1, 3, 6}));
  EXPECT_EQ(numbers_of(select_utterances(listing, {.suspicious_first = true, .limit = 2})),
            (std::vector<std::size_t>{5, 2}));
  EXPECT_EQ(numbers_of(select_utterances(listing, {})), (std::vector<std::size_t>{1, 2, 3, 4, 5, 6}));
}

TEST(UtteranceTable, ChapterAndTimeSelect) {
  BookListing listing = sample_listing();
  EXPECT_EQ(numbers_of(select_utterances(listing, {.chapter = 2})), (std::vector<std::size_t>{4, 5, 6}));
  EXPECT_EQ(numbers_of(select_utterances(listing, {.around_s = 0})), (std::vector<std::size_t>{1, 2}));
  EXPECT_EQ(numbers_of(select_utterances(listing, {.chapter = 2, .around_s = 45})),
            (std::vector<std::size_t>{4, 5, 6}));
  EXPECT_EQ(numbers_of(select_utterances(listing, {.around_s = 1000})), (std::vector<std::size_t>{}));
  listing.utterances[5].file = "other.mp3";
  try {
    (void)select_utterances(listing, {.around_s = 45});
    FAIL();
  } catch (const std::invalid_argument& error) {
    EXPECT_STREQ(error.what(), "--around: the book has 2 files; --chapter N says in which the time is");
  }
  try {
    (void)select_utterances(listing, {.chapter = 3});
    FAIL();
  } catch (const std::invalid_argument& error) {
    EXPECT_STREQ(error.what(), "--chapter: 3 does not exist, the book has 2 chapters");
  }
}

TEST(UtteranceTable, TimesAreReadAsPeopleWriteThem) {
  EXPECT_EQ(parse_time("90"), 90);
  EXPECT_EQ(parse_time("1:30"), 90);
  EXPECT_EQ(parse_time("01:01:30.5"), 3690.5);
  for (const char* wrong : {"", "x", "-1", "1:2:3:4", "1h", "1:"}) {
    EXPECT_THROW((void)parse_time(wrong), std::invalid_argument) << wrong;
  }
}

TEST(UtteranceTable, ShowsTimeTakesFindingsAndText) {
  BookListing listing = sample_listing();
  listing.utterances[4].written = "A text\x1b[31m that is rather long, and longer than the line";
  listing.utterances[4].start_s = 3661.26;
  std::ostringstream out;
  print_utterances(out, 80, listing, select_utterances(listing, {.chapter = 2}));
  EXPECT_EQ(out.str(), "    #        TIME   CH  TAKES  FINDINGS        TEXT\n"
                       "    4   0:00:30.0    2  0 [1]  -               Text 4\n"
                       "    5   1:01:01.2    2  [0]    duration,noise  A text\\x1b[31m that is rather lo…\n"
                       "    6   0:00:50.0    2  [0]    -               Text 6\n"
                       "\n6 utterances: 2 with findings, 1 of several takes, 0 redone\n");
}

// --- The job of a redo --------------------------------------------------------------------------------------------

using Json = nlohmann::ordered_json;

Json redo_of(const BookListing& listing, const std::string& payload, const RedoWish& wish) {
  return Json::parse(redo_job(listing, payload, wish, "tale.redo-1"));
}

TEST(RedoJob, IsTheBooksJobWithWhatIsToBeDoneAnew) {
  const BookListing listing = sample_listing();
  const Json job = redo_of(listing, listing.payload, {.numbers = {4, 2}});
  EXPECT_EQ(job.at("id"), "tale.redo-1");
  EXPECT_EQ(job.at("input"), "tale.txt");
  EXPECT_EQ(job.at("if_exists"), "replace");
  EXPECT_EQ(job.at("listing"), true);
  EXPECT_FALSE(job.contains("idempotency_key"));
  EXPECT_EQ(job.at("redo").at("gain_db").get<double>(), listing.gain_db) << "to the last bit";
  EXPECT_EQ(job.at("redo").at("utterances"), Json::parse(R"([{"number":2,"key":"0000000000000002","take":1,"takes":1},
                            {"number":4,"key":"0000000000000004","take":2,"takes":2}])"));
}

TEST(RedoJob, KeepsWhatWasRedoneBefore) {
  const BookListing listing = sample_listing();
  Json job = redo_of(listing, listing.payload, {.numbers = {2}, .text = "Other."});
  job = redo_of(listing, job.dump(), {.numbers = {4}, .seed = 7});
  const Json both = Json::parse(R"([{"number":2,"key":"0000000000000002","text":"Other."},
                                    {"number":4,"key":"0000000000000004","seed":7}])");
  EXPECT_EQ(job.at("redo").at("utterances"), both);
  job = redo_of(listing, job.dump(), {.numbers = {2, 4}, .take = 0});
  EXPECT_EQ(job.at("redo").at("utterances"),
            Json::parse(R"([{"number":2,"key":"0000000000000002","text":"Other.","take":0,"takes":1},
                            {"number":4,"key":"0000000000000004","seed":7,"take":0,"takes":2}])"))
      << "another take of the same text and seed";
  job = redo_of(listing, job.dump(), {.numbers = {4}, .seed = 8});
  EXPECT_EQ(job.at("redo").at("utterances")[1], Json::parse(R"({"number":4,"key":"0000000000000004","seed":8})"));
  job = redo_of(listing, job.dump(), {.numbers = {2}, .original = true});
  EXPECT_EQ(job.at("redo").at("utterances").size(), 1U);
}

TEST(RedoJob, WhatCannotBeDoneIsSaid) {
  const BookListing listing = sample_listing();
  const auto refuses = [&](const RedoWish& wish, const std::string& part, const std::string& payload) {
    try {
      (void)redo_job(listing, payload, wish, "tale.redo-1");
      FAIL() << part;
    } catch (const std::invalid_argument& error) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  };
  refuses({.numbers = {7}}, "utterance 7 does not exist, the book has 6", listing.payload);
  refuses({.numbers = {0}}, "utterance 0 does not exist", listing.payload);
  refuses({.numbers = {1, 2}, .text = "A"}, "--text: is of one utterance, and 2 are named", listing.payload);
  refuses({.numbers = {1}, .text = ""}, "redo.utterances[0].text: must not be empty", listing.payload);
  refuses({.numbers = {1}, .seed = 1, .original = true}, "--original", listing.payload);
  refuses({.numbers = {1}, .original = true}, "utterance 1 was not redone", listing.payload);
  refuses({.numbers = {1}}, "--job FILE says it", "");
  refuses({.numbers = {1}}, "input, text: neither", R"({"output":"a.mp3"})");
  BookListing worn = listing;
  worn.utterances[0].num_takes = 100;
  EXPECT_THROW((void)redo_job(worn, worn.payload, {.numbers = {1}}, "tale.redo-1"), std::invalid_argument);
}

} // namespace
} // namespace audiobookd::daemon
