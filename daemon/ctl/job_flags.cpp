// See job_flags.h.
#include "daemon/ctl/job_flags.h"

#include "daemon/dictionary_file.h"

#include <algorithm>
#include <charconv>
#include <istream>
#include <iterator>
#include <stdexcept>
#include <vector>

namespace audiobookd::daemon {
namespace {

struct JobFlag {
  const char* option;
  const char* field; ///< path in the job
  bool is_number;    ///< what looks like a number becomes one, "true" and "false" become what they say
  const char* help;
};

const std::vector<JobFlag>& all_flags() {
  static const std::vector<JobFlag> flags = {
      {"--id", "id", false, "Name of the job (default: given by the queue)"},
      {"-i,--input", "input", false, "Document, relative to the worker's input root"},
      {"--text", "text", false, "The text itself instead of a document; -: from standard input"},
      {"-o,--output", "output", false,
       "MP3 or folder to write, relative to the worker's output root; may have "
       "{author}, {series}, {title}"},
      {"--if-exists", "if_exists", false, "When the output exists: fail, replace or skip"},
      {"--title", "title", false, "Title in the MP3's tags"},
      {"--author", "author", false, "Author in the MP3's tags"},
      {"--cover", "cover", false, "JPEG or PNG, relative to the worker's input root"},
      {"--metadata", "metadata", false,
       "KEY=VALUE, before what the document says: narrator, series, year …; repeatable"},
      {"--language", "language", false, "Language tag, like en"},
      {"--normalize", "normalize", true, "Whether numbers and the like are read as words: true or false"},
      {"--dictionary", "dictionary", false, "How words are said: a TOML file on this machine"},
      {"--voice", "voice", false, "Name of a voice that the worker has"},
      {"--voice-clip", "voice.clip", false, "Instead: clip of a speaker, relative to the worker's input root"},
      {"--model", "model", false, "Model that the worker must have loaded"},
      {"--exaggeration", "params.exaggeration", true, "Emotion, 0 to 2"},
      {"--cfg-weight", "params.cfg_weight", true, "Classifier-free guidance, 0 to 5"},
      {"--temperature", "params.temperature", true, "Above 0, to 5"},
      {"--repetition-penalty", "params.repetition_penalty", true, "1 to 10"},
      {"--min-p", "params.min_p", true, "0 to 1"},
      {"--top-k", "params.top_k", true, "0 (off) to 10000"},
      {"--top-p", "params.top_p", true, "Above 0, to 1"},
      {"--cfm-steps", "params.cfm_steps", true, "Euler steps that make sound, 1 to 100"},
      {"--seed", "params.seed", true, "The same job and seed give the same audio"},
      {"--preset", "format.preset", false,
       "acx: the files that ACX asks for, with credits and a report; none: not even if the worker's is"},
      {"--opening-credits", "credits.opening", false, "Of preset acx: text before the book, with {title}, {author} …"},
      {"--closing-credits", "credits.closing", false, "Of preset acx: text after the book"},
      {"--codec", "format.codec", false, "mp3, flac or opus"},
      {"--bitrate-kbps", "format.bitrate_kbps", true,
       "MP3: constant, 8 to 160, or to 320 at 44100 and 48000 Hz; Opus: 6 to 256"},
      {"--sample-rate", "format.sample_rate", true, "24000, 44100 or 48000 Hz"},
      {"--id3v2-version", "format.id3v2_version", true, "Of an MP3's tags: 4, or 3 for old players"},
      {"--vbr-quality", "format.vbr_quality", true, "Variable bit rate instead, 0 (best) to 9"},
      {"--split", "split", false, "single, or chapters: a folder with a file for each"},
      {"--layout", "layout", false, "file, or audiobookshelf: a folder with cover and metadata.json"},
      {"--subtitles", "subtitles", false, "none, or vtt: a folder with WebVTT beside the audio"},
      {"--listing", "listing", true, "true or false: a list of the utterances with the book, for utterances and redo"},
      {"--chapters", "chapters", false, "Only these, like 1-3,7; as audiobookctl chapters counts them"},
      {"--sentence-ms", "pauses.sentence_ms", true, "Silence after a sentence, 0 to 10000"},
      {"--paragraph-ms", "pauses.paragraph_ms", true, "Silence after a paragraph"},
      {"--scene-ms", "pauses.scene_ms", true, "Silence after a scene"},
      {"--chapter-ms", "pauses.chapter_ms", true, "Silence after a chapter"},
      {"--class", "class", false, "book, or interactive: somebody waits for its beginning"},
      {"--max-attempts", "max_attempts", true, "1 to 100"},
      {"--not-before", "not_before", false, "Unix seconds, or from now on: +90s, +30m, +2h, +1d"},
      {"--idempotency-key", "idempotency_key", false, "A second job with this key is dropped"},
  };
  return flags;
}

/// @p text as a number or truth value if it is one: what it should have been is said by the job's own check.
nlohmann::json number_or_text(const std::string& text) {
  auto value = nlohmann::json::parse(text, nullptr, false);
  return value.is_number() || value.is_boolean() ? value : nlohmann::json(text);
}

/// The place of a dotted path in @p job; makes the object that it lies in.
nlohmann::json& place_of(nlohmann::json& job, const std::string& path) {
  const std::size_t dot = path.find('.');
  if (dot == std::string::npos) {
    return job[path];
  }
  nlohmann::json& parent = job[path.substr(0, dot)];
  if (!parent.is_null() && !parent.is_object()) {
    throw std::invalid_argument(path.substr(0, dot) + ": not an object, so that " + path + " cannot be set in it");
  }
  return parent[path.substr(dot + 1)];
}

/// The words of a file, as a job has them.
nlohmann::json dictionary_of(const std::string& file) {
  try {
    return load_dictionary(file);
  } catch (const ConfigError& error) { // a mistake in a job, like others
    throw std::invalid_argument("--dictionary: " + std::string(error.what()));
  }
}

void require_utf8(const char* option, const std::string& text) {
  try {
    (void)nlohmann::json(text).dump();
  } catch (const nlohmann::json::type_error&) {
    throw std::invalid_argument(std::string(option) + ": not UTF-8");
  }
}

/// Adds "KEY=VALUE" pairs to the job's metadata.
void put_metadata(nlohmann::json& job, const std::vector<std::string>& pairs) {
  for (const std::string& pair : pairs) {
    require_utf8("--metadata", pair);
    const std::size_t equals = pair.find('=');
    if (equals == 0 || equals == std::string::npos) {
      throw std::invalid_argument("--metadata: \"" + pair + "\" is not KEY=VALUE, like narrator=Anna");
    }
    place_of(job, "metadata." + pair.substr(0, equals)) = pair.substr(equals + 1);
  }
}

} // namespace

std::int64_t parse_not_before(const std::string& text, std::int64_t now_s) {
  const bool is_relative = text.starts_with('+');
  std::int64_t value = -1;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data() + (is_relative ? 1 : 0), end, value);
  const std::string unit(rest, end);
  const std::map<std::string, std::int64_t> seconds = {{"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}};
  constexpr std::int64_t longest = 100'000'000'000; // for a sum that does not overflow
  if (error != std::errc() || value < 0 || value > longest || (is_relative ? !seconds.contains(unit) : !unit.empty())) {
    throw std::invalid_argument("--not-before: \"" + text +
                                "\" is not a time; expected Unix seconds, or from now on +90s, +30m, +2h, +1d");
  }
  return is_relative ? now_s + value * seconds.at(unit) : value;
}

void JobFlags::describe(CLI::App& command) {
  for (const JobFlag& flag : all_flags()) {
    const bool is_list = std::string_view(flag.field) == "metadata";
    CLI::Option* option = is_list ? command.add_option(flag.option, metadata_, flag.help)->expected(1)
                                  : command.add_option(flag.option, values_[flag.field], flag.help);
    if (is_list) {
      option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    }
    options_[flag.field] = option->group("The job");
  }
}

bool JobFlags::any() const {
  return std::ranges::any_of(options_, [](const auto& option) { return option.second->count() > 0; });
}

void JobFlags::put_into(nlohmann::json& job, std::int64_t now_s, std::istream& in) const {
  for (const JobFlag& flag : all_flags()) {
    if (options_.at(flag.field)->count() == 0) {
      continue;
    }
    if (std::string_view(flag.field) == "metadata") {
      put_metadata(job, metadata_);
      continue;
    }
    std::string text = values_.at(flag.field);
    if (std::string_view(flag.field) == "text" && text == "-") {
      text.assign(std::istreambuf_iterator<char>(in), {});
    }
    require_utf8(flag.option, text);
    nlohmann::json& place = place_of(job, flag.field);
    if (std::string_view(flag.field) == "not_before") {
      place = parse_not_before(text, now_s);
    } else if (std::string_view(flag.field) == "dictionary") {
      place = dictionary_of(text);
    } else {
      place = flag.is_number ? number_or_text(text) : nlohmann::json(text);
    }
  }
}

} // namespace audiobookd::daemon
