// Addresses of the web and of mail.
#include "jobs/spoken_text/word_rules.h"

#include <algorithm>
#include <string>
#include <unordered_map>

namespace audiobookd::jobs {
namespace {

/// What is longer than this behind the host is not read: nobody could follow it.
constexpr std::size_t longest_path = 40;

std::string_view symbol_name(char c) {
  switch (c) {
  case '.': return "dot";
  case '/': return "slash";
  case '-': return "dash";
  case '_': return "underscore";
  case '@': return "at";
  case '?': return "question mark";
  case '=': return "equals";
  case '&': return "and";
  case '%': return "percent";
  case '#': return "hash";
  case '+': return "plus";
  case '~': return "tilde";
  case ':': return "colon";
  default: return "";
  }
}

/// Letters as they are, symbols and digits by name.
std::string address_words(std::string_view address, const Speller& speller) {
  std::string words;
  bool in_word = false;
  for (const char c : address) {
    const std::string name = is_digit(c) ? speller.digits({&c, 1}) : std::string(symbol_name(c));
    const bool is_letter = name.empty() && is_word_byte(c);
    if (name.empty() && !is_letter) {
      in_word = false;
      continue;
    }
    words += !words.empty() && !(is_letter && in_word) ? " " : "";
    words += is_letter ? std::string(1, c) : name;
    in_word = is_letter;
  }
  return words;
}

bool is_ascii(std::string_view text) {
  for (const char c : text) {
    if (static_cast<unsigned char>(c) >= 0x80) {
      return false;
    }
  }
  return true;
}

/// How much of @p text up to white space belongs to an address, without the punctuation behind it.
std::size_t address_length(std::string_view text) {
  std::size_t length = 0;
  while (length < text.size() && static_cast<unsigned char>(text[length]) < 0x80 &&
         std::string_view(" <>\"{}|\\^`[]").find(text[length]) == std::string_view::npos) {
    ++length;
  }
  while (length > 0 && std::string_view(".,;:!?)'(*").find(text[length - 1]) != std::string_view::npos) {
    --length;
  }
  return length;
}

/// Groups: scheme.
std::optional<Reading> read_url(const Match& match, const Spot& spot) {
  const std::size_t scheme = match[1].size();
  const std::string_view whole = spot.text.substr(spot.at, spot.limit - spot.at);
  const std::size_t length = address_length(whole);
  if (length <= scheme) {
    return std::nullopt;
  }
  std::string_view address = whole.substr(scheme, length - scheme);
  if (address.starts_with("www.") && address.size() > 4) {
    address.remove_prefix(4);
  }
  while (address.ends_with('/')) {
    address.remove_suffix(1);
  }
  const std::size_t path = std::min(address.find('/'), address.size());
  if (address.size() - path > longest_path) {
    address = address.substr(0, path);
  }
  return address.empty() ? std::nullopt : std::optional(Reading{length, address_words(address, spot.speller)});
}

std::optional<Reading> read_mail(const Match& match, const Spot& spot) {
  const std::string_view after = spot.after(match.length());
  const bool goes_on = !after.empty() && is_word_byte(after.front()) && is_ascii(after.substr(0, 1));
  return goes_on ? std::nullopt : std::optional(Reading{match.length(), address_words(match[0], spot.speller)});
}

const RuleTable& address_rules() {
  static const RuleTable table({
      {R"(((?i:https?|ftp)://)[A-Za-z0-9])", read_url},
      {R"([A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,4}[A-Za-z]{2,}\b)", read_mail},
      {R"(()(?i:www)\.[A-Za-z0-9])", read_url},
      {R"(()(?:[A-Za-z0-9-]{1,63}\.){1,4}(?:com|org|net|edu|gov|mil|int|info|io|uk|de|fr|eu|ch|nl|au|ca|ai|dev|app|tv)\b)"
       R"((?:[^.A-Za-z0-9@]|\.[^A-Za-z]|\.?$))",
       read_url},
  });
  return table;
}

} // namespace

std::optional<Reading> read_address(std::string_view word, const Spot& spot) {
  const std::string_view behind = spot.after(word.size());
  if (behind.size() < 2) {
    return std::nullopt;
  }
  const char mark = behind.front();
  const bool likely = mark == '@' || (mark == '.' && is_word_byte(behind[1])) || behind.starts_with("://") ||
                      (std::string_view("-_+0123456789").find(mark) != std::string_view::npos);
  return likely ? address_rules().read(spot) : std::nullopt;
}

} // namespace audiobookd::jobs
