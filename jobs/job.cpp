// See job.h. The schema, field by field, in the order of jobs/PROTOCOL.md.
#include "jobs/job.h"

#include "jobs/credits.h"
#include "jobs/json_fields.h"
#include "jobs/output_name.h"

#include <array>
#include <set>
#include <sstream>

namespace audiobookd::jobs {
namespace {

constexpr std::size_t max_id_bytes = 128;
constexpr std::size_t max_name_bytes = 1024;
constexpr std::size_t max_path_bytes = 4096;
constexpr std::size_t max_language_bytes = 35; // RFC 5646, 4.4.1
constexpr std::size_t max_redone_text_bytes = 8192;
constexpr Range pause_range_ms = {0, 10000};

const std::vector<std::string_view> format_fields = {"codec",       "bitrate_kbps",  "vbr_quality",
                                                     "sample_rate", "id3v2_version", "preset"};
constexpr int acx_sample_rate = 44'100;
constexpr int acx_least_kbps = 192;
constexpr Range acx_tail_ms = {1000, 5000};

bool is_id_character(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-';
}

/// A name in the alphabet of ids.
std::optional<std::string> name_field(const JsonFields& fields, std::string_view name) {
  auto value = fields.text(name, max_id_bytes);
  if (value && !is_valid_job_id(*value))
    fields.fail(name, "\"" + *value + "\" is not allowed: letters, digits, '.', '_' and '-' only");
  return value;
}

/// A relative path that does not climb, or the URL of an object on S3 whose key does not.
/// @param may_be_folder a '/' at its end is taken off then.
std::optional<std::string> path_field(const JsonFields& fields, std::string_view name, bool may_be_folder = false) {
  auto value = fields.text(name, max_path_bytes);
  if (!value)
    return value;
  if (may_be_folder && value->size() > 1 && value->back() == '/')
    value->pop_back();
  constexpr std::string_view s3 = "s3://";
  const bool is_on_s3 = value->starts_with(s3);
  if (!is_on_s3 && value->find("://") != std::string::npos)
    fields.fail(name, "\"" + *value + "\" is a URL; expected a path below the configured roots, or s3://BUCKET/KEY");
  if (is_on_s3 && value->find('/', s3.size() + 1) == std::string::npos)
    fields.fail(name, "\"" + *value + "\" names no object; expected s3://BUCKET/KEY");
  if (value->front() == '/')
    fields.fail(name, "\"" + *value + "\" is absolute; expected a path relative to the configured roots");
  if (value->back() == '/')
    fields.fail(name, "\"" + *value + "\" names a folder; expected a file");
  std::istringstream parts(*value);
  for (std::string part; std::getline(parts, part, '/');)
    if (part == "..")
      fields.fail(name, "\"" + *value + "\" contains \"..\"; expected a path that stays below its root");
  return value;
}

std::optional<std::string> language_field(const JsonFields& fields) {
  auto value = fields.text("language", max_language_bytes);
  const auto is_part_of_tag = [](char c) { return is_id_character(c) && c != '_' && c != '.'; };
  if (value && (value->size() < 2 || !std::all_of(value->begin(), value->end(), is_part_of_tag)))
    fields.fail("language", "\"" + *value + "\" is not a language tag like \"en\" or \"en-GB\"");
  return value;
}

void read_source(const JsonFields& fields, Job& job) {
  job.text = fields.text("text", max_job_bytes);
  const auto input = path_field(fields, "input");
  if (job.text.has_value() == input.has_value())
    throw JobError(input ? "input, text: both are given; expected exactly one of them"
                         : "input, text: neither is given; expected exactly one of them");
  if (job.text && job.text->find_first_not_of(" \t\r\n\f\v") == std::string::npos)
    fields.fail("text", "contains nothing but white space");
  job.input = input.value_or("");
}

void read_files(const JsonFields& fields, JobFiles& files) {
  const auto is_second = [&](std::string_view name, const std::vector<std::string_view>& choices) {
    const auto index = fields.choice(name, choices);
    return index ? std::optional(*index == 1) : std::nullopt;
  };
  files.split_chapters = is_second("split", {"single", "chapters"});
  files.audiobookshelf = is_second("layout", {"file", "audiobookshelf"});
  files.subtitles = is_second("subtitles", {"none", "vtt"});
  files.listing = fields.boolean("listing");
}

/// @param is_folder the job makes it one.
void check_output(const JsonFields& fields, const std::string& output, bool is_folder) {
  check_placeholders(output);
  if (is_folder && names_audio(output))
    fields.fail("output",
                "\"" + output +
                    "\" is the name of a file, but `split`, `layout`, `subtitles` or a preset make the output a folder "
                    "of several; expected a name without extension");
}

/// "acx", "none" or empty.
std::string preset_of(const JsonFields& fields) {
  constexpr std::array<const char*, 2> presets = {"acx", "none"};
  const auto inner = fields.object("format", format_fields);
  const auto index = inner ? inner->choice("preset", {"acx", "none"}) : std::nullopt;
  return index ? presets.at(*index) : "";
}

/// A preset that makes a file for each chapter.
void apply_preset(const JsonFields& fields, Job& job) {
  job.format.preset = preset_of(fields);
  if (job.format.preset != "acx")
    return;
  if (!job.files.split_chapters.value_or(true))
    fields.fail("split", "\"single\" contradicts format.preset \"acx\", which makes a file for each chapter; "
                         "expected \"chapters\", or no `split`");
  job.files.split_chapters = true;
}

void read_target(const JsonFields& fields, Job& job) {
  read_files(fields, job.files);
  apply_preset(fields, job);
  const bool is_folder = job.files.make_folder();
  const auto output = path_field(fields, "output", is_folder);
  if (!output)
    fields.fail("output", "missing; expected the path of the file to write");
  check_output(fields, *output, is_folder);
  job.output = *output;
  constexpr std::array values = {IfExists::fail, IfExists::replace, IfExists::skip};
  if (const auto index = fields.choice("if_exists", {"fail", "replace", "skip"}))
    job.if_exists = values.at(*index);
}

std::string clip_field(const JsonFields& voice) {
  const auto clip = path_field(voice, "clip");
  if (!clip)
    voice.fail("clip", "missing; expected the path of an audio file");
  return *clip;
}

void read_voice(const JsonFields& fields, Job& job) {
  job.title = fields.text("title", max_name_bytes).value_or(job.title);
  job.author = fields.text("author", max_name_bytes).value_or(job.author);
  job.language = language_field(fields).value_or(job.language);
  if (fields.is_object("voice"))
    job.voice_clip = clip_field(*fields.object("voice", {"clip"}));
  else
    job.voice = name_field(fields, "voice").value_or(job.voice);
  job.model = name_field(fields, "model").value_or(job.model);
}

void read_metadata(const JsonFields& fields, Job& job) {
  job.cover = path_field(fields, "cover").value_or("");
  std::vector<std::string_view> names;
  for (const MetadataField& field : metadata_fields())
    names.push_back(field.name);
  const auto inner = fields.object("metadata", names);
  if (!inner)
    return;
  for (const MetadataField& field : metadata_fields()) {
    const auto value = inner->text_or_number(field.name, field.max_bytes);
    if (!value)
      continue;
    if (const auto complaint = complaint_about(field, *value))
      inner->fail(field.name, "\"" + *value + "\": " + *complaint);
    job.metadata.*field.value = *value;
  }
}

void read_text_rules(const JsonFields& fields, Job& job) {
  job.normalize = fields.boolean("normalize");
  job.dictionary = fields.texts("dictionary").value_or(Words());
  if (job.dictionary.size() > max_dictionary_words)
    fields.fail("dictionary", std::to_string(job.dictionary.size()) + " words, at most " +
                                  std::to_string(max_dictionary_words) + " are allowed");
  for (const auto& [written, spoken] : job.dictionary)
    if (const auto complaint = complaint_about(written, spoken))
      fields.fail("dictionary", "\"" + written.substr(0, max_written_bytes) + "\": " + *complaint);
}

void read_params(const JsonFields& fields, JobParams& params) {
  const auto inner = fields.object("params", {"exaggeration", "cfg_weight", "temperature", "repetition_penalty",
                                              "min_p", "top_k", "top_p", "cfm_steps", "seed"});
  if (!inner)
    return;
  params.exaggeration = inner->number("exaggeration", {0, 2});
  params.cfg_weight = inner->number("cfg_weight", {0, 5});
  params.temperature = inner->number("temperature", {0, 5, true});
  params.repetition_penalty = inner->number("repetition_penalty", {1, 10});
  params.min_p = inner->number("min_p", {0, 1});
  params.top_k = inner->integer("top_k", {0, 10000});
  params.top_p = inner->number("top_p", {0, 1, true});
  params.cfm_steps = inner->integer("cfm_steps", {1, 100});
  params.seed = inner->unsigned_integer("seed").value_or(params.seed);
}

/// By its extension: "mp3", "flac", "opus", or empty.
std::string codec_of_name(std::string_view file) {
  for (const std::string_view codec : {"mp3", "flac", "opus"})
    if (file.size() > codec.size() && file.ends_with(codec) && file[file.size() - codec.size() - 1] == '.')
      return std::string(codec);
  return "";
}

/// Of MP3 with a constant bit rate, kbit/s: at 24 kHz, and at 44.1 and 48 kHz.
const std::set<int> rates_at_24_khz = {8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160};
const std::set<int> rates_at_48_khz = {32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320};

/// @param sample_rate nothing: the worker's, which is not known here.
void check_mp3_bitrate(const JsonFields& fields, int bitrate_kbps, std::optional<int> sample_rate) {
  std::set<int> rates = sample_rate && *sample_rate != 24'000 ? rates_at_48_khz : rates_at_24_khz;
  if (!sample_rate)
    rates.insert(rates_at_48_khz.begin(), rates_at_48_khz.end());
  if (rates.contains(bitrate_kbps))
    return;
  std::string valid;
  for (const int rate : rates)
    valid += (valid.empty() ? "" : ", ") + std::to_string(rate);
  fields.fail("bitrate_kbps", std::to_string(bitrate_kbps) + " is not a bit rate of MP3" +
                                  (sample_rate ? " at " + std::to_string(*sample_rate) + " Hz" : "") +
                                  "; expected one of " + valid);
}

/// @param codec that is sure; empty: the worker's, which is not known here.
void check_format(const JsonFields& fields, const JobFormat& format, const std::string& codec) {
  const auto reject = [&](const char* name, bool is_given) {
    if (is_given)
      fields.fail(name, "codec " + codec + " has no such setting");
  };
  if (codec == "flac" || codec == "opus") {
    reject("bitrate_kbps", format.bitrate_kbps && codec == "flac");
    reject("sample_rate", format.sample_rate && codec == "opus");
    reject("vbr_quality", format.vbr_quality.has_value());
    reject("id3v2_version", format.id3v2_version.has_value());
  }
  if (format.bitrate_kbps && codec == "mp3")
    check_mp3_bitrate(fields, *format.bitrate_kbps, format.sample_rate);
  if (format.bitrate_kbps && codec == "opus" && *format.bitrate_kbps > 256)
    fields.fail("bitrate_kbps", std::to_string(*format.bitrate_kbps) + "; expected 6 to 256 for opus");
}

/// What ACX asks for is not what the other fields ask for.
void check_acx(const JsonFields& fields, const JobFormat& format) {
  const auto contradicts = [&](const char* name, const std::string& found, const std::string& expected) {
    fields.fail(name, found + " contradicts preset \"acx\"; expected " + expected + ", or no `" + name + "`");
  };
  if (!format.codec.empty() && format.codec != "mp3")
    contradicts("codec", "\"" + format.codec + "\"", "\"mp3\"");
  if (format.sample_rate.value_or(acx_sample_rate) != acx_sample_rate)
    contradicts("sample_rate", std::to_string(*format.sample_rate), std::to_string(acx_sample_rate));
  if (format.vbr_quality)
    fields.fail("vbr_quality", "a variable bit rate contradicts preset \"acx\", whose bit rate is constant; expected "
                               "`bitrate_kbps` of 192, 224, 256 or 320, or neither");
  if (format.bitrate_kbps && *format.bitrate_kbps < acx_least_kbps)
    contradicts("bitrate_kbps", std::to_string(*format.bitrate_kbps), "192, 224, 256 or 320");
}

void read_format(const JsonFields& fields, Job& job) {
  const auto inner = fields.object("format", format_fields);
  if (!inner)
    return;
  JobFormat& format = job.format;
  constexpr std::array<const char*, 3> codecs = {"mp3", "flac", "opus"};
  if (const auto index = inner->choice("codec", {"mp3", "flac", "opus"}))
    format.codec = codecs.at(*index);
  format.sample_rate = inner->integer("sample_rate", {24'000, 48'000});
  if (format.sample_rate && *format.sample_rate != 24'000 && *format.sample_rate != 44'100 &&
      *format.sample_rate != 48'000)
    inner->fail("sample_rate", std::to_string(*format.sample_rate) + "; expected one of 24000, 44100, 48000");
  format.bitrate_kbps = inner->integer("bitrate_kbps", {6, 320});
  format.vbr_quality = inner->integer("vbr_quality", {0, 9});
  format.id3v2_version = inner->integer("id3v2_version", {3, 4});
  if (format.bitrate_kbps && format.vbr_quality)
    inner->fail("bitrate_kbps, vbr_quality", "both are given; expected at most one of them");
  if (format.preset == "acx") {
    check_acx(*inner, format);
    format.sample_rate = acx_sample_rate;
  }
  check_format(*inner, format, format.preset == "acx" ? "mp3" : codec_of(job));
}

/// A file whose name says another codec than its content would mislead whoever opens it.
void check_output_name(const JsonFields& fields, const Job& job) {
  const std::string named = codec_of_name(job.output);
  if (!job.format.codec.empty() && !named.empty() && named != job.format.codec)
    fields.fail("output", "'" + job.output + "' would hold " + job.format.codec +
                              ", as 'format.codec' says; expected a " + "name that ends in ." + job.format.codec);
}

void read_pauses(const JsonFields& fields, JobPauses& pauses) {
  const auto inner = fields.object("pauses", {"sentence_ms", "paragraph_ms", "scene_ms", "chapter_ms"});
  if (!inner)
    return;
  pauses.sentence_ms = inner->integer("sentence_ms", pause_range_ms);
  pauses.paragraph_ms = inner->integer("paragraph_ms", pause_range_ms);
  pauses.scene_ms = inner->integer("scene_ms", pause_range_ms);
  pauses.chapter_ms = inner->integer("chapter_ms", pause_range_ms);
}

/// With preset acx the pause after a chapter is the end of its file.
void check_acx_tail(const JsonFields& fields, const Job& job) {
  const auto inner = fields.object("pauses", {"sentence_ms", "paragraph_ms", "scene_ms", "chapter_ms"});
  if (job.format.preset == "acx" && job.pauses.chapter_ms && !acx_tail_ms.contains(*job.pauses.chapter_ms))
    inner->fail("chapter_ms",
                std::to_string(*job.pauses.chapter_ms) +
                    " contradicts format.preset \"acx\": a file ends with 1 to 5 s of room tone; expected "
                    "1000 to 5000");
}

void read_credits(const JsonFields& fields, Job& job) {
  const auto inner = fields.object("credits", {"opening", "closing"});
  if (!inner)
    return;
  if (job.format.preset == "none")
    fields.fail("credits", "are made with format.preset \"acx\" only, found \"none\"");
  const auto read = [&](const char* name) {
    std::string text = inner->text(name, max_credits_bytes).value_or("");
    if (const std::string complaint = text.empty() ? "" : complaint_about_credits(text); !complaint.empty())
      inner->fail(name, complaint);
    return text;
  };
  job.credits = {.opening = read("opening"), .closing = read("closing")};
}

void read_chapters(const JsonFields& fields, Job& job) {
  const auto chapters = fields.text("chapters", max_name_bytes);
  if (!chapters)
    return;
  try {
    job.chapters = parse_chapter_ranges(*chapters);
  } catch (const std::invalid_argument& error) {
    fields.fail("chapters", error.what());
  }
}

RedoneUtterance read_redone(const JsonFields& fields) {
  RedoneUtterance redone;
  const auto number = fields.integer("number", {1, 10'000'000});
  const auto key = name_field(fields, "key");
  if (!number)
    fields.fail("number", "missing; expected the utterance's number in the listing of the book");
  if (!key)
    fields.fail("key", "missing; expected the utterance's key in the listing of the book");
  redone.number = static_cast<std::size_t>(*number);
  redone.key = *key;
  redone.seed = fields.unsigned_integer("seed");
  redone.text = fields.text("text", max_redone_text_bytes);
  redone.take = fields.integer("take", {0, most_takes - 1});
  redone.takes = fields.integer("takes", {0, most_takes}).value_or(0);
  return redone;
}

void read_redo(const JsonFields& fields, Redo& redo) {
  const auto inner = fields.object("redo", {"gain_db", "utterances"});
  if (!inner)
    return;
  redo.gain_db = inner->real("gain_db", {-60, 60});
  std::set<std::size_t> numbers;
  for (const JsonFields& one : inner->objects("utterances", {"number", "key", "seed", "text", "take", "takes"})) {
    redo.utterances.push_back(read_redone(one));
    if (!numbers.insert(redo.utterances.back().number).second)
      one.fail("number", std::to_string(redo.utterances.back().number) + " is there twice; expected each once");
  }
}

void read_scheduling(const JsonFields& fields, Job& job) {
  constexpr std::array classes = {JobClass::book, JobClass::interactive};
  if (const auto index = fields.choice("class", {"book", "interactive"}))
    job.job_class = classes.at(*index);
  job.max_attempts = fields.integer("max_attempts", {1, 100}).value_or(job.max_attempts);
  job.not_before_s = fields.unix_time("not_before");
  job.idempotency_key = name_field(fields, "idempotency_key").value_or("");
}

/// The job's own id wherever the text allows to tell it, so that even a bad job is buried under its name.
std::string readable_id(const nlohmann::json& object) {
  if (!object.is_object() || !object.contains("id") || !object["id"].is_string())
    return "";
  const auto& id = object["id"].get_ref<const std::string&>();
  return is_valid_job_id(id) ? id : "";
}

void check_version(const nlohmann::json& object, const std::string& id) {
  if (!object.is_object() || !object.contains("v"))
    return;
  const nlohmann::json& v = object["v"];
  constexpr std::uint64_t newest_imaginable = 1000000;
  if (v.is_number_unsigned() && v.get<std::uint64_t>() > job_version && v.get<std::uint64_t>() <= newest_imaginable)
    throw JobVersionError(v.get<int>(), id);
}

Job read_job(const nlohmann::json& object, std::string_view entry_id) {
  const JsonFields fields(
      object, "", {"v",        "id",        "input",      "text",   "output",       "if_exists",  "title",
                   "author",   "cover",     "language",   "voice",  "model",        "params",     "format",
                   "split",    "chapters",  "pauses",     "class",  "max_attempts", "not_before", "idempotency_key",
                   "metadata", "normalize", "dictionary", "layout", "subtitles",    "credits",    "listing",
                   "redo"});
  Job job;
  job.v = fields.integer("v", {1, job_version}).value_or(job.v);
  job.id = name_field(fields, "id").value_or(std::string(entry_id));
  read_source(fields, job);
  read_target(fields, job);
  read_voice(fields, job);
  read_text_rules(fields, job);
  read_metadata(fields, job);
  read_params(fields, job.params);
  read_format(fields, job);
  check_output_name(fields, job);
  read_chapters(fields, job);
  read_pauses(fields, job.pauses);
  check_acx_tail(fields, job);
  read_credits(fields, job);
  read_redo(fields, job.redo);
  read_scheduling(fields, job);
  return job;
}

} // namespace

JobError::JobError(const std::string& message, std::string id) : std::runtime_error(message), id_(std::move(id)) {}

JobVersionError::JobVersionError(int version, std::string id)
    : std::runtime_error("v: " + std::to_string(version) + " is newer than " + std::to_string(job_version) +
                         ", the newest job format that this version knows"),
      version_(version), id_(std::move(id)) {}

std::string codec_of(const Job& job) { return job.format.codec.empty() ? codec_of_name(job.output) : job.format.codec; }

bool is_valid_job_id(std::string_view id) noexcept {
  return !id.empty() && id.size() <= max_id_bytes && std::all_of(id.begin(), id.end(), is_id_character);
}

Job parse_job(std::string_view json, std::string_view entry_id) {
  if (json.size() > max_job_bytes)
    throw JobError("the job is " + std::to_string(json.size()) + " bytes long, at most " +
                   std::to_string(max_job_bytes) + " are allowed");
  const nlohmann::json object = parse_json(json, max_job_depth);
  const std::string id = readable_id(object);
  check_version(object, id);
  try {
    return read_job(object, entry_id);
  } catch (const JobError& error) {
    throw JobError(error.what(), id);
  }
}

} // namespace audiobookd::jobs
