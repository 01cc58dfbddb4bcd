// See text_command.h.
#include "daemon/ctl/text_command.h"

#include "daemon/ctl/printable.h"
#include "daemon/dictionary_file.h"
#include "jobs/document/document.h"
#include "jobs/spoken_text/spoken_text.h"

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <ostream>
#include <regex>
#include <system_error>
#include <vector>

namespace audiobookd::daemon {
namespace {

/// A paragraph in both forms.
struct SpokenParagraph {
  std::size_t chapter = 0; ///< from 1
  bool is_heading = false;
  std::string written;
  std::string spoken; ///< empty: it is left out

  [[nodiscard]] bool is_changed() const { return written != spoken; }
};

std::string read_book(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream || std::filesystem::is_directory(file)) {
    const int reason = std::filesystem::is_directory(file) ? EISDIR : errno;
    throw std::system_error(reason, std::generic_category(), "'" + file.string() + "' cannot be read");
  }
  return {std::istreambuf_iterator<char>(stream), {}};
}

jobs::Words read_dictionary(const std::filesystem::path& file) {
  try {
    return file.empty() ? jobs::Words() : load_dictionary(file);
  } catch (const ConfigError& error) {
    throw std::invalid_argument(error.what());
  }
}

void check_language(const std::string& language) {
  if (!std::regex_match(language, std::regex("[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*"))) {
    throw std::invalid_argument("--language: \"" + language + "\" is not a language tag like \"en\" or \"en-GB\"");
  }
}

std::vector<SpokenParagraph> speak_all(const jobs::Document& document, const jobs::SpeechOptions& options) {
  const jobs::SpokenText spoken(options);
  std::vector<SpokenParagraph> paragraphs;
  for (std::size_t chapter = 0; chapter < document.chapters.size(); ++chapter) {
    for (const jobs::Paragraph& paragraph : document.chapters[chapter].paragraphs) {
      if (paragraph.kind != jobs::ParagraphKind::scene_break) {
        const bool is_heading = paragraph.kind == jobs::ParagraphKind::heading;
        paragraphs.push_back({chapter + 1, is_heading, paragraph.text, spoken.speak(paragraph.text, is_heading)});
      }
    }
  }
  return paragraphs;
}

nlohmann::json to_json(const std::vector<SpokenParagraph>& paragraphs) {
  nlohmann::json list = nlohmann::json::array();
  for (const SpokenParagraph& paragraph : paragraphs) {
    list.push_back({{"chapter", paragraph.chapter},
                    {"heading", paragraph.is_heading},
                    {"written", paragraph.written},
                    {"spoken", paragraph.spoken},
                    {"changed", paragraph.is_changed()}});
  }
  return list;
}

/// Unchanged text once; changed text twice, "- " as written and "+ " as spoken.
void print(std::ostream& out, const std::vector<SpokenParagraph>& paragraphs) {
  for (const SpokenParagraph& paragraph : paragraphs) {
    if (!paragraph.is_changed()) {
      out << "  " << printable(paragraph.written) << '\n';
      continue;
    }
    out << "- " << printable(paragraph.written) << '\n';
    if (!paragraph.spoken.empty()) {
      out << "+ " << printable(paragraph.spoken) << '\n';
    }
  }
}

} // namespace

void TextCommand::describe(CLI::App& app) {
  command_ = app.add_subcommand("text", "What will be said of a book: numbers, abbreviations and the like in words");
  command_->add_option("book", book_, "The document, on this machine")->required();
  command_->add_option("--dictionary", dictionary_, "How words are said: TOML, a table [words], written = \"spoken\"");
  command_->add_option("--language", language_, "Language tag like en-GB (default: the document's, or en)");
  command_->add_flag("--changed", only_changed_, "Only paragraphs that are said otherwise than written");
  command_->add_flag("--json", as_json_, "Print JSON");
}

std::optional<ExitStatus> TextCommand::run(std::ostream& out, std::ostream& err) {
  if (!command_->parsed()) {
    return std::nullopt;
  }
  jobs::SpeechOptions options;
  options.dictionaries = {read_dictionary(dictionary_)};
  const jobs::Document document = jobs::parse_document(read_book(book_), book_);
  options.language = !language_.empty() ? language_ : document.language.empty() ? options.language : document.language;
  check_language(options.language);
  std::vector<SpokenParagraph> paragraphs = speak_all(document, options);
  const auto all = paragraphs.size();
  const auto changed = std::ranges::count_if(paragraphs, &SpokenParagraph::is_changed);
  if (only_changed_) {
    std::erase_if(paragraphs, [](const SpokenParagraph& paragraph) { return !paragraph.is_changed(); });
  }
  if (as_json_) {
    out << to_json(paragraphs).dump(2) << '\n';
  } else {
    print(out, paragraphs);
    err << changed << " of " << all << " paragraphs are said otherwise than written\n";
  }
  return ExitStatus::done;
}

} // namespace audiobookd::daemon
