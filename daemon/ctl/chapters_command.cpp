// See chapters_command.h.
#include "daemon/ctl/chapters_command.h"

#include "daemon/ctl/printable.h"
#include "daemon/progress_bar.h"
#include "jobs/chunker.h"
#include "jobs/document/chapter_selection.h"

#include <algorithm>
#include <cerrno>
#include <fmt/format.h>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <ostream>
#include <system_error>
#include <unistd.h>

namespace audiobookd::daemon {
namespace {

constexpr const char* default_config = "/etc/audiobookd/audiobookd.toml";
constexpr std::size_t usual_title_columns = 60;

// What the engine predicts and what the daemon puts between; a test holds both to it.
constexpr double tokens_per_character = 1.55;
constexpr double tokens_per_second = 25;

/// What the chapters add up to.
struct BookEstimate {
  std::vector<ChapterEstimate> chapters;
  std::size_t words = 0;
  double seconds = 0;
  double times_real_time = 0;
  std::optional<double> price; ///< of all GPU seconds

  [[nodiscard]] double gpu_seconds() const { return seconds / times_real_time; }
};

std::string read_file(const std::filesystem::path& file, std::size_t max_bytes) {
  if (std::filesystem::is_directory(file)) {
    throw std::runtime_error("'" + file.string() + "' is a folder; expected a document");
  }
  errno = 0;
  std::ifstream stream(file, std::ios::binary);
  if (!stream) {
    throw std::system_error(errno, std::generic_category(), "'" + file.string() + "'");
  }
  std::string bytes;
  std::vector<char> block(std::size_t{1} << 20);
  while (bytes.size() <= max_bytes &&
         (stream.read(block.data(), static_cast<std::streamsize>(block.size())) || stream.gcount() > 0)) {
    bytes.append(block.data(), static_cast<std::size_t>(stream.gcount()));
  }
  return bytes; // one that is too long is refused by its parser
}

std::size_t count_words(std::string_view text) {
  return text.empty() ? 0 : static_cast<std::size_t>(std::ranges::count(text, ' ')) + 1;
}

std::size_t count_characters(std::string_view text) {
  return static_cast<std::size_t>(
      std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

ChapterEstimate estimate(const jobs::Chapter& chapter) {
  const jobs::Pauses pauses;
  const double most_tokens = jobs::ChunkerOptions().max_tokens;
  ChapterEstimate result;
  double tokens = 0;
  for (const jobs::Paragraph& paragraph : chapter.paragraphs) {
    if (paragraph.kind == jobs::ParagraphKind::scene_break) {
      result.seconds += pauses.scene_s - pauses.paragraph_s;
      continue;
    }
    const std::size_t characters = count_characters(paragraph.text);
    const double own = tokens_per_character * static_cast<double>(characters);
    tokens += own;
    result.seconds += pauses.paragraph_s + pauses.sentence_s * static_cast<double>(static_cast<int>(own / most_tokens));
    result.characters += characters;
    result.words += count_words(paragraph.text);
  }
  result.seconds += tokens / tokens_per_second + pauses.chapter_s - pauses.paragraph_s;
  return result;
}

BookEstimate estimate_book(const jobs::Document& document, const EstimateConfig& config) {
  BookEstimate book{.chapters = estimate_chapters(document), .times_real_time = config.times_real_time, .price = {}};
  for (const ChapterEstimate& chapter : book.chapters) {
    book.words += chapter.words;
    book.seconds += chapter.seconds;
  }
  if (config.price_per_gpu_hour > 0) {
    book.price = book.gpu_seconds() / 3600 * config.price_per_gpu_hour;
  }
  return book;
}

nlohmann::json to_json(const jobs::Document& document, const BookEstimate& book) {
  nlohmann::json json = {{"title", document.title},
                         {"author", document.author},
                         {"language", document.language},
                         {"series", document.series},
                         {"series_index", document.series_index},
                         {"publisher", document.publisher},
                         {"year", document.year},
                         {"description", document.description},
                         {"identifier", document.identifier},
                         {"cover", nullptr},
                         {"words", book.words},
                         {"seconds", book.seconds},
                         {"times_real_time", book.times_real_time},
                         {"gpu_seconds", book.gpu_seconds()},
                         {"warnings", document.warnings},
                         {"chapters", nlohmann::json::array()}};
  if (const auto& cover = document.cover) {
    json["cover"] = {{"media_type", cover->media_type},
                     {"width", cover->width},
                     {"height", cover->height},
                     {"bytes", cover->bytes.size()}};
  }
  if (book.price) {
    json["price"] = *book.price;
  }
  for (const ChapterEstimate& chapter : book.chapters) {
    json["chapters"].push_back({{"number", chapter.number},
                                {"title", chapter.title},
                                {"words", chapter.words},
                                {"characters", chapter.characters},
                                {"seconds", chapter.seconds}});
  }
  return json;
}

std::string describe_book(const jobs::Document& document) {
  std::string text;
  const auto add = [&](const char* label, const std::string& value) {
    text += value.empty() ? "" : fmt::format("{:<10}{}\n", label, printable(value));
  };
  add("title", document.title);
  add("author", document.author);
  add("series", document.series + (document.series_index.empty() ? "" : ", " + document.series_index));
  add("language", document.language);
  add("publisher", document.publisher);
  add("year", document.year);
  const auto& cover = document.cover;
  add("cover",
      cover ? fmt::format("{}, {} × {}, {} bytes", cover->media_type, cover->width, cover->height, cover->bytes.size())
            : "none");
  return text;
}

void print(std::ostream& out, std::size_t columns, const jobs::Document& document, const BookEstimate& book) {
  constexpr std::size_t columns_before_title = 27;
  const std::size_t title_columns = columns > columns_before_title + 10
                                        ? columns - columns_before_title
                                        : (columns == 0 ? SIZE_MAX : usual_title_columns);
  out << describe_book(document) << fmt::format("\n{:>5} {:>8} {:>9}  {}\n", "#", "WORDS", "DURATION", "CHAPTER");
  for (const ChapterEstimate& chapter : book.chapters) {
    out << fmt::format("{:>5} {:>8} {:>9}  {}\n", chapter.number, chapter.words, format_duration(chapter.seconds),
                       shortened(printable(chapter.title), title_columns));
  }
  out << fmt::format("\n{} {}, {} words, about {} of audio: about {:.1f} s of a GPU at {:g} × real time\n",
                     book.chapters.size(), book.chapters.size() == 1 ? "chapter" : "chapters", book.words,
                     format_duration(book.seconds), book.gpu_seconds(), book.times_real_time);
  if (book.price) {
    out << fmt::format("about {:.4f} by price_per_gpu_hour\n", *book.price);
  }
  for (const std::string& warning : document.warnings) {
    out << "warning: " << printable(warning) << '\n';
  }
}

} // namespace

std::vector<ChapterEstimate> estimate_chapters(const jobs::Document& document) {
  std::vector<ChapterEstimate> result;
  for (std::size_t index = 0; index < document.chapters.size(); ++index) {
    result.push_back(estimate(document.chapters[index]));
    result.back().number = index + 1;
    result.back().title = jobs::chapter_title(document, index);
  }
  return result;
}

void ChaptersCommand::describe(CLI::App& app) {
  command_ = app.add_subcommand("chapters", "List what would be read of a document, and what it would take");
  command_->add_option("book", book_, "A .txt, .md, .html, .epub or .docx file")->type_name("FILE")->required();
  command_->add_option("--only", only_, "Only these chapters, like 1-3,7");
  command_->add_option("--config", config_, "Configuration of audiobookd, for its section [estimate]")
      ->type_name("FILE");
  command_->add_option("--times-real-time", times_real_time_, "Seconds of audio that a GPU renders in a second")
      ->check(CLI::Range(0.001, 1e6));
  command_->add_option("--price-per-gpu-hour", price_per_gpu_hour_, "Says what the GPU time costs")
      ->check(CLI::Range(0.0, 1e6));
  command_->add_flag("--json", as_json_, "Print JSON");
  command_->footer("Durations are estimates for English. [estimate] is read from --config, else from\n" +
                   std::string(default_config) + " if it can be read; options go before it.");
}

EstimateConfig ChaptersCommand::read_estimate_config() const {
  EstimateConfig config;
  if (!config_.empty()) {
    config = load_estimate_config(config_);
  } else if (::access(default_config, R_OK) == 0) {
    config = load_estimate_config(default_config);
  }
  config.times_real_time = times_real_time_.value_or(config.times_real_time);
  config.price_per_gpu_hour = price_per_gpu_hour_.value_or(config.price_per_gpu_hour);
  return config;
}

std::optional<ExitStatus> ChaptersCommand::run() const {
  if (command_ == nullptr || !command_->parsed()) {
    return std::nullopt;
  }
  const auto ranges = only_.empty() ? std::vector<jobs::ChapterRange>() : jobs::parse_chapter_ranges(only_);
  const EstimateConfig config = read_estimate_config();
  jobs::Document document = jobs::parse_document(read_file(book_, jobs::max_file_bytes(book_)), book_);
  BookEstimate book = estimate_book(document, config);
  if (!ranges.empty()) { // the numbers stay those of the whole book
    const std::vector<ChapterEstimate> all = std::move(book.chapters);
    jobs::select_chapters(document, ranges);
    book = estimate_book(document, config);
    std::size_t kept = 0;
    for (const ChapterEstimate& chapter : all) {
      const bool is_wanted = std::ranges::any_of(
          ranges, [&](const jobs::ChapterRange& r) { return r.first <= chapter.number && chapter.number <= r.last; });
      if (is_wanted) {
        book.chapters.at(kept++).number = chapter.number;
      }
    }
  }
  if (as_json_) {
    out_ << to_json(document, book).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
  } else {
    print(out_, columns_, document, book);
  }
  return ExitStatus::done;
}

} // namespace audiobookd::daemon
