// The job format: every field is read, and every mistake is answered by a message that names field and value.
#include "jobs/job.h"

#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace audiobookd::jobs {
namespace {

constexpr const char* minimal = R"({"input":"a.txt","output":"a.mp3"})";

Job parse(const std::string& json) { return parse_job(json, "1700000000000-0"); }

/// The message that @p json is refused with.
std::string complaint(const std::string& json) {
  try {
    (void)parse(json);
  } catch (const JobError& error) {
    return error.what();
  }
  return "accepted";
}

/// A minimal job with @p field added.
std::string to(const std::string& output, const std::string& field) {
  return R"({"input":"a.txt","output":")" + output + "\"," + field + "}";
}
std::string with(const std::string& field) { return R"({"input":"a.txt","output":"a.mp3",)" + field + "}"; }

TEST(Job, MinimalJobGetsDefaultsAndTheEntryIdAsName) {
  const Job job = parse(minimal);
  EXPECT_EQ(job.id, "1700000000000-0");
  EXPECT_EQ(job.v, 1);
  EXPECT_EQ(job.input, "a.txt");
  EXPECT_EQ(job.output, "a.mp3");
  EXPECT_FALSE(job.text);
  EXPECT_EQ(job.if_exists, IfExists::fail);
  EXPECT_EQ(job.job_class, JobClass::book);
  EXPECT_EQ(job.language, "en");
  EXPECT_EQ(job.voice, "");
  EXPECT_FALSE(job.normalize);
  EXPECT_TRUE(job.dictionary.empty());
  EXPECT_EQ(job.max_attempts, 3);
  EXPECT_FALSE(job.not_before_s);
  EXPECT_FALSE(job.params.temperature);
  EXPECT_FALSE(job.format.bitrate_kbps);
}

TEST(Job, EveryFieldIsRead) {
  const Job job = parse(R"({"v":1,"id":"war-and_peace.1","text":"Well, Prince.","output":"b/war.mp3",
    "if_exists":"replace","class":"interactive","title":"War and Peace","author":"Leo Tolstoy","language":"en-GB","voice":"narrator",
    "model":"chatterbox","params":{"exaggeration":0.25,"cfg_weight":0,"temperature":1,"repetition_penalty":1.5,
    "min_p":0.125,"top_k":40,"top_p":0.5,"cfm_steps":5,"seed":18446744073709551615},"format":{"codec":"mp3","sample_rate":44100,"bitrate_kbps":64},
    "split":"single","chapters":"1-3,7","pauses":{"sentence_ms":1,"paragraph_ms":2,"scene_ms":3,"chapter_ms":4},"max_attempts":7,
    "not_before":1700000000,"idempotency_key":"order-1","normalize":false,"dictionary":{"Nevada":"Nev AH da","sic":""}})");
  EXPECT_EQ(job.id, "war-and_peace.1");
  EXPECT_EQ(job.normalize, false);
  EXPECT_EQ(job.dictionary, (Words{{"Nevada", "Nev AH da"}, {"sic", ""}}));
  EXPECT_EQ(job.text, "Well, Prince.");
  EXPECT_EQ(job.input, "");
  EXPECT_EQ(job.output, "b/war.mp3");
  EXPECT_EQ(job.if_exists, IfExists::replace);
  EXPECT_EQ(job.job_class, JobClass::interactive);
  EXPECT_EQ(job.title, "War and Peace");
  EXPECT_EQ(job.author, "Leo Tolstoy");
  EXPECT_EQ(job.language, "en-GB");
  EXPECT_EQ(job.voice, "narrator");
  EXPECT_EQ(job.model, "chatterbox");
  EXPECT_EQ(job.params.exaggeration, 0.25f);
  EXPECT_EQ(job.params.cfg_weight, 0.0f);
  EXPECT_EQ(job.params.temperature, 1.0f);
  EXPECT_EQ(job.params.repetition_penalty, 1.5f);
  EXPECT_EQ(job.params.min_p, 0.125f);
  EXPECT_EQ(job.params.top_k, 40);
  EXPECT_EQ(job.params.top_p, 0.5f);
  EXPECT_EQ(job.params.cfm_steps, 5);
  EXPECT_EQ(job.params.seed, 18446744073709551615u);
  EXPECT_EQ(job.format.sample_rate, 44'100);
  EXPECT_EQ(job.format.bitrate_kbps, 64);
  EXPECT_EQ(job.chapters, (std::vector<ChapterRange>{{1, 3}, {7, 7}}));
  EXPECT_EQ(job.pauses.sentence_ms, 1);
  EXPECT_EQ(job.pauses.paragraph_ms, 2);
  EXPECT_EQ(job.pauses.scene_ms, 3);
  EXPECT_EQ(job.pauses.chapter_ms, 4);
  EXPECT_EQ(job.max_attempts, 7);
  EXPECT_EQ(job.not_before_s, 1700000000);
  EXPECT_EQ(job.idempotency_key, "order-1");
}

TEST(Job, FilesCoverAndMetadataAreRead) {
  const Job job = parse(R"({"input":"a.epub","output":"{author}/{series}/{title}/","split":"chapters",
    "layout":"audiobookshelf","subtitles":"vtt","cover":"covers/a.png","metadata":{"subtitle":"A tale",
    "narrator":"Anna","series":"Coast","series_index":1.5,"publisher":"Shore Press","year":1912,"description":"About.",
    "genre":"Fiction","identifier":"x","isbn":"978-0-00-000000-2","asin":"B00ABCDEFG"}})");
  EXPECT_EQ(job.output, "{author}/{series}/{title}");
  EXPECT_EQ(job.files.split_chapters, true);
  EXPECT_EQ(job.files.audiobookshelf, true);
  EXPECT_EQ(job.files.subtitles, true);
  EXPECT_EQ(job.cover, "covers/a.png");
  EXPECT_EQ(job.metadata, (BookMetadata{.subtitle = "A tale",
                                        .narrator = "Anna",
                                        .series = "Coast",
                                        .series_index = "1.5",
                                        .publisher = "Shore Press",
                                        .year = "1912",
                                        .description = "About.",
                                        .genre = "Fiction",
                                        .identifier = "x",
                                        .isbn = "978-0-00-000000-2",
                                        .asin = "B00ABCDEFG"}));
  const Job plain = parse(with(R"("split":"single","layout":"file","subtitles":"none")"));
  EXPECT_EQ(plain.files.split_chapters, false);
  EXPECT_EQ(plain.files.audiobookshelf, false);
  EXPECT_EQ(plain.files.subtitles, false);
  EXPECT_EQ(plain.output, "a.mp3");
  EXPECT_EQ(parse(minimal).files.split_chapters, std::nullopt) << "the worker's default";
}

TEST(Job, AVoiceIsANameOrAClip) {
  const Job job = parse(with(R"("voice":{"clip":"clips/anna.wav"})"));
  EXPECT_EQ(job.voice_clip, "clips/anna.wav");
  EXPECT_EQ(job.voice, "");
  EXPECT_EQ(parse(with(R"("voice":"anna")")).voice_clip, "");
}

TEST(Job, ARedoNamesUtterancesAndWhatBecomesOfThem) {
  const Job job = parse(with(R"("listing":true,"redo":{"gain_db":-1.2345678901234567,"utterances":[
    {"number":12,"key":"0123456789abcdef","take":2,"takes":4},
    {"number":3,"key":"fedcba9876543210","seed":18446744073709551615,"text":"Other."}]})"));
  EXPECT_EQ(job.files.listing, true);
  EXPECT_EQ(job.redo.gain_db, -1.2345678901234567) << "to the last bit";
  ASSERT_EQ(job.redo.utterances.size(), 2U);
  EXPECT_EQ(job.redo.utterances[0].number, 12U);
  EXPECT_EQ(job.redo.utterances[0].key, "0123456789abcdef");
  EXPECT_EQ(job.redo.utterances[0].take, 2);
  EXPECT_EQ(job.redo.utterances[0].takes, 4);
  EXPECT_EQ(job.redo.utterances[0].text, std::nullopt);
  EXPECT_EQ(job.redo.utterances[1].seed, 18446744073709551615U);
  EXPECT_EQ(job.redo.utterances[1].text, "Other.");
  EXPECT_EQ(parse(minimal).files.listing, std::nullopt);
  EXPECT_TRUE(parse(minimal).redo.utterances.empty());
}

struct Mistake {
  std::string json;
  std::vector<std::string> named; ///< what the message must contain
};

TEST(Job, TheCodecIsWhatTheJobSaysElseWhatItsOutputEndsIn) {
  EXPECT_EQ(codec_of(parse(minimal)), "mp3");
  EXPECT_EQ(codec_of(parse(to("a.flac", R"("title":"A")"))), "flac");
  EXPECT_EQ(codec_of(parse(to("a", R"("title":"A")"))), "");
  EXPECT_EQ(codec_of(parse(to("a.audio", R"("format":{"codec":"opus","bitrate_kbps":24})"))), "opus");
  EXPECT_EQ(parse(to("a", R"("format":{"id3v2_version":3})")).format.id3v2_version, 3);
}

TEST(Job, EveryMistakeIsNamed) {
  const std::vector<Mistake> mistakes = {
      {"", {"not valid JSON"}},
      {"{\"input\":", {"not valid JSON", "line 1"}},
      {"{\"title\":\"\xff\"}", {"not valid JSON", "UTF-8"}},
      {"[1]", {"JSON object", "[1]"}},
      {R"({"input":"a","input":"b","output":"c"})", {"input", "twice"}},
      {R"({"output":"a.mp3"})", {"input, text", "neither"}},
      {R"({"input":"a","text":"b","output":"a.mp3"})", {"input, text", "both"}},
      {R"({"input":"a"})", {"output", "missing"}},
      {R"({"text":" \n\t","output":"a.mp3"})", {"text", "white space"}},
      {R"({"text":"","output":"a.mp3"})", {"text", "empty"}},
      {R"({"input":"a","outptu":"b"})", {"outptu", "unknown", "did you mean \"output\"?"}},
      {with(R"("params":{"temprature":1})"), {"params.temprature", "did you mean \"temperature\"?"}},
      {with(R"("zzzzzzzz":1,"qqqqqqqq":2)"), {"zzzzzzzz", "qqqqqqqq"}},
      {with(R"("normalize":"yes")"), {"normalize", "true or false", "yes"}},
      {with(R"("dictionary":["gif"])"), {"dictionary", "an object", "gif"}},
      {with(R"("dictionary":{"gif":5})"), {"dictionary", "gif", "a string", "5"}},
      {with(R"("dictionary":{" ":"x"})"), {"dictionary", "\" \"", "the written word is empty"}},
      {with(R"("dictionary":{"gif":"a\nb"})"), {"dictionary", "gif", "line break"}},
      {with(R"("v":0)"), {"v:", "0"}},
      {with(R"("v":"1")"), {"v:", "\"1\""}},
      {with(R"("id":"a b")"), {"id:", "a b"}},
      {with(R"("id":7)"), {"id:", "string", "7"}},
      {with(R"("id":")" + std::string(129, 'x') + "\""), {"id:", "129"}},
      {R"({"input":"/etc/passwd","output":"a"})", {"input", "/etc/passwd", "absolute"}},
      {R"({"input":"a/../../b","output":"a"})", {"input", "a/../../b", ".."}},
      {R"({"input":"a\u0000b","output":"a"})", {"input", "NUL"}},
      {R"({"input":"http://x/y","output":"a"})", {"input", "http://x/y", "URL"}},
      {R"({"input":"a","output":"s3://bucket"})", {"output", "s3://bucket", "names no object", "s3://BUCKET/KEY"}},
      {R"({"input":"a","output":"s3://bucket/"})", {"output", "s3://bucket/", "names a folder"}},
      {R"({"input":"s3:///a","output":"a"})", {"input", "s3:///a", "names no object"}},
      {R"({"input":"s3://bucket/in/../a","output":"a"})", {"input", "s3://bucket/in/../a", ".."}},
      {R"({"input":"a","output":"folder/"})", {"output", "folder/"}},
      {with(R"("if_exists":"overwrite")"), {"if_exists", "overwrite", "replace"}},
      {with(R"("class":"urgent")"), {"class", "urgent", "interactive"}},
      {with(R"("language":"e n")"), {"language", "e n"}},
      {with(R"("voice":"../x")"), {"voice", "../x"}},
      {with(R"("voice":["x"])"), {"voice", "string", "[\"x\"]"}},
      {with(R"("voice":{})"), {"voice.clip", "missing"}},
      {with(R"("voice":{"clip":7})"), {"voice.clip", "string", "7"}},
      {with(R"("voice":{"clip":"../a.wav"})"), {"voice.clip", "../a.wav"}},
      {with(R"("voice":{"clip":"a.wav","name":"anna"})"), {"voice.name", "unknown"}},
      {with(R"("params":3)"), {"params", "object", "3"}},
      {with(R"("params":{"exaggeration":2.5})"), {"params.exaggeration", "2.5", "[0, 2]"}},
      {with(R"("params":{"temperature":0})"), {"params.temperature", "(0, 5]"}},
      {with(R"("params":{"temperature":null})"), {"params.temperature", "null"}},
      {with(R"("params":{"repetition_penalty":0.5})"), {"params.repetition_penalty", "0.5"}},
      {with(R"("params":{"min_p":1e300})"), {"params.min_p", "1e+300"}},
      {with(R"("params":{"cfm_steps":1.5})"), {"params.cfm_steps", "1.5", "integer"}},
      {with(R"("params":{"seed":-1})"), {"params.seed", "-1"}},
      {with(R"("params":{"top_k":-1})"), {"params.top_k", "-1", "[0, 10000]"}},
      {with(R"("params":{"top_k":2.5})"), {"params.top_k", "2.5", "integer"}},
      {with(R"("format":{"codec":"ogg"})"), {"format.codec", "ogg", "mp3"}},
      {with(R"("format":{"codec":"opus"})"), {"output", "opus", ".opus"}},
      {to("x.flac", R"("format":{"bitrate_kbps":64})"), {"format.bitrate_kbps", "flac"}},
      {to("x.opus", R"("format":{"bitrate_kbps":320})"), {"format.bitrate_kbps", "320", "6 to 256"}},
      {to("x.opus", R"("format":{"sample_rate":48000})"), {"format.sample_rate", "opus"}},
      {to("x", R"("format":{"codec":"flac","vbr_quality":2})"), {"format.vbr_quality", "flac"}},
      {to("x.flac", R"("format":{"id3v2_version":3})"), {"format.id3v2_version", "flac"}},
      {with(R"("format":{"id3v2_version":2})"), {"format.id3v2_version", "2", "3"}},
      {with(R"("format":{"bitrate_kbps":100})"), {"format.bitrate_kbps", "100", "96, 112"}},
      {with(R"("format":{"bitrate_kbps":64,"vbr_quality":2})"), {"bitrate_kbps", "vbr_quality", "both"}},
      {with(R"("format":{"vbr_quality":10})"), {"format.vbr_quality", "10", "[0, 9]"}},
      {with(R"("format":{"preset":"acx"})"), {"output", "a.mp3", "preset", "without extension"}},
      {with(R"("format":{"preset":"audible"})"), {"format.preset", "audible", "\"acx\", \"none\""}},
      {to("x", R"("format":{"preset":"acx","codec":"flac"})"), {"format.codec", "flac", "acx", "\"mp3\""}},
      {to("x.flac", R"("format":{"preset":"acx"})"), {"output", "x.flac", "without extension"}},
      {to("x", R"("format":{"preset":"acx","sample_rate":48000})"), {"format.sample_rate", "48000", "44100"}},
      {to("x", R"("format":{"preset":"acx","bitrate_kbps":128})"), {"format.bitrate_kbps", "128", "192, 224"}},
      {to("x", R"("format":{"preset":"acx","bitrate_kbps":200})"), {"format.bitrate_kbps", "200", "192, 224"}},
      {to("x", R"("format":{"preset":"acx","vbr_quality":0})"), {"format.vbr_quality", "acx", "constant"}},
      {to("x", R"("format":{"preset":"acx"},"split":"single")"), {"split", "single", "acx", "chapters"}},
      {to("x", R"("format":{"preset":"acx"},"pauses":{"chapter_ms":900})"), {"pauses.chapter_ms", "900", "1000 to"}},
      {to("x", R"("format":{"preset":"acx"},"credits":{"opening":" "})"), {"credits.opening", "nothing to say"}},
      {to("x", R"("format":{"preset":"acx"},"credits":{"ending":"x"})"), {"credits.ending", "unknown"}},
      {to("x", R"("credits":{"closing":"By {writer}."})"), {"credits.closing", "{writer}", "{author}"}},
      {to("x", R"("credits":{"closing":"Bye."},"format":{"preset":"none"})"), {"credits", "acx", "none"}},
      {with(R"("format":{"sample_rate":44000})"), {"format.sample_rate", "44000", "24000, 44100, 48000"}},
      {with(R"("format":{"sample_rate":44100,"bitrate_kbps":144})"),
       {"format.bitrate_kbps", "144", "44100 Hz", "128, 160"}},
      {with(R"("format":{"sample_rate":24000,"bitrate_kbps":192})"), {"format.bitrate_kbps", "192", "24000 Hz"}},
      {with(R"("listing":"yes")"), {"listing", "true or false"}},
      {with(R"("redo":[1])"), {"redo", "JSON object", "[1]"}},
      {with(R"("redo":{"gain_db":61})"), {"redo.gain_db", "61", "[-60, 60]"}},
      {with(R"("redo":{"utterances":{}})"), {"redo.utterances", "a list of objects"}},
      {with(R"("redo":{"utterances":[{"key":"k"}]})"), {"redo.utterances[0].number", "missing"}},
      {with(R"("redo":{"utterances":[{"number":1}]})"), {"redo.utterances[0].key", "missing"}},
      {with(R"("redo":{"utterances":[{"number":1,"key":"k"},{"number":0,"key":"k"}]})"),
       {"redo.utterances[1].number", "0", "[1, "}},
      {with(R"("redo":{"utterances":[{"number":1,"key":"k"},{"number":1,"key":"k"}]})"),
       {"redo.utterances[1].number", "1 is there twice"}},
      {with(R"("redo":{"utterances":[{"number":1,"key":"k","take":100}]})"), {"redo.utterances[0].take", "[0, 99]"}},
      {with(R"("redo":{"utterances":[{"number":1,"key":"k","sead":1}]})"),
       {"redo.utterances[0].sead", "did you mean \"seed\"?"}},
      {with(R"("split":"pages")"), {"split", "pages", "\"single\", \"chapters\""}},
      {with(R"("layout":"plex")"), {"layout", "plex", "audiobookshelf"}},
      {with(R"("subtitles":"srt")"), {"subtitles", "srt", "vtt"}},
      {with(R"("split":"chapters")"), {"output", "a.mp3", "`split`", "without extension"}},
      {with(R"("layout":"audiobookshelf")"), {"output", "a.mp3", "the name of a file"}},
      {with(R"("subtitles":"vtt")"), {"output", "a.mp3", "the name of a file"}},
      {R"({"input":"a","output":"{auhtor}/b"})", {"output", "{auhtor}", "{author}"}},
      {R"({"input":"a","output":"s3://{title}/b"})", {"output", "s3://{title}/b", "bucket"}},
      {with(R"("chapters":[])"), {"chapters", "expected a string"}},
      {with(R"("chapters":"3-1")"), {"chapters", "3-1", "ends before it begins"}},
      {with(R"("chapters":"all")"), {"chapters", "all", "1-3,7"}},
      {with(R"("cover":"../c.jpg")"), {"cover", "../c.jpg", ".."}},
      {with(R"("cover":5)"), {"cover", "string", "5"}},
      {with(R"("metadata":"x")"), {"metadata", "object", "x"}},
      {with(R"("metadata":{"narator":"x"})"), {"metadata.narator", "unknown", "did you mean \"narrator\"?"}},
      {with(R"("metadata":{"publisher":[]})"), {"metadata.publisher", "string", "[]"}},
      {with(R"("metadata":{"year":"MCMX"})"), {"metadata.year", "MCMX", "four digits"}},
      {with(R"("metadata":{"year":-5})"), {"metadata.year", "-5", "four digits"}},
      {with(R"("metadata":{"series_index":"two"})"), {"metadata.series_index", "two", "a number"}},
      {with(R"("metadata":{"isbn":"97800"})"), {"metadata.isbn", "97800", "13 digits"}},
      {with(R"("metadata":{"asin":"b0"})"), {"metadata.asin", "b0", "ten capital"}},
      {with(R"("pauses":{"scene_ms":-1})"), {"pauses.scene_ms", "-1"}},
      {with(R"("max_attempts":0)"), {"max_attempts", "0", "[1, 100]"}},
      {with(R"("not_before":"tomorrow")"), {"not_before", "tomorrow", "Unix time"}},
      {with(R"("idempotency_key":"a b")"), {"idempotency_key", "a b"}},
  };
  for (const Mistake& mistake : mistakes)
    for (const std::string& part : mistake.named)
      EXPECT_NE(complaint(mistake.json).find(part), std::string::npos)
          << mistake.json << " was answered with: " << complaint(mistake.json) << "\nwhich lacks: " << part;
}

TEST(Job, APresetMakesAFileForEachChapterAndLeavesTheRestOpen) {
  const Job job = parse(R"({"input":"a.epub","output":"books/a/","format":{"preset":"acx","bitrate_kbps":256},
    "pauses":{"chapter_ms":1000},"credits":{"opening":"{title}, read by {narrator}.","closing":"The end."}})");
  EXPECT_EQ(job.format.preset, "acx");
  EXPECT_EQ(job.output, "books/a");
  EXPECT_EQ(job.files.split_chapters, true);
  EXPECT_EQ(job.format.sample_rate, 44'100);
  EXPECT_EQ(job.format.bitrate_kbps, 256);
  EXPECT_EQ(job.credits.opening, "{title}, read by {narrator}.");
  EXPECT_EQ(job.credits.closing, "The end.");
  const Job none = parse(R"({"input":"a.epub","output":"a.flac","format":{"preset":"none","codec":"flac"}})");
  EXPECT_EQ(none.format.preset, "none");
  EXPECT_FALSE(none.files.split_chapters.has_value());
}

TEST(Job, LengthIsLimitedAndTheLimitItselfIsAllowed) {
  const std::string head = R"({"output":"a.mp3","text":")";
  const std::string longest = head + std::string(max_job_bytes - head.size() - 2, 'x') + "\"}";
  ASSERT_EQ(longest.size(), max_job_bytes);
  EXPECT_EQ(parse(longest).text->size(), max_job_bytes - head.size() - 2);
  EXPECT_NE(complaint(longest + " ").find("4194305 bytes"), std::string::npos);
}

TEST(Job, DepthIsLimitedWhileParsing) {
  const std::string abyss(1'000'000, '[');
  EXPECT_NE(complaint(abyss).find("deeper than 8"), std::string::npos);
  std::string objects;
  for (int i = 0; i < 100'000; ++i)
    objects += R"({"a":)";
  EXPECT_NE(complaint(objects).find("deeper than 8"), std::string::npos);
}

TEST(Job, NewerVersionIsNotAMistakeOfTheJob) {
  try {
    (void)parse(R"({"v":2,"id":"later","anything":[1,2]})");
    FAIL() << "accepted";
  } catch (const JobVersionError& error) {
    EXPECT_EQ(error.version(), 2);
    EXPECT_EQ(error.id(), "later");
  }
}

TEST(Job, MistakenJobKeepsItsNameIfThatCanBeRead) {
  const auto id_of = [](const std::string& json) {
    try {
      (void)parse(json);
    } catch (const JobError& error) {
      return error.id();
    }
    return std::string("accepted");
  };
  EXPECT_EQ(id_of(R"({"id":"mine","outptu":"x"})"), "mine");
  EXPECT_EQ(id_of(R"({"id":"not mine"})"), "");
  EXPECT_EQ(id_of("{"), "");
}

} // namespace
} // namespace audiobookd::jobs
