// Numbers in words. The words are those of ICU's rule-based number formats.
//
// A Speller is used by one thread at a time; making one takes about half a millisecond.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace audiobookd::jobs {

/// Written numbers are ASCII digits, where it is said with commas between thousands.
class Speller {
public:
  /// @param language BCP 47. English that is not of the United States says "one hundred and five".
  /// @throws std::runtime_error when ICU has no words for it.
  explicit Speller(const std::string& language);
  ~Speller();
  Speller(const Speller&) = delete;
  Speller& operator=(const Speller&) = delete;

  /// English as in Britain: day before month, "per cent", "kilometre".
  [[nodiscard]] bool is_british() const noexcept { return british_; }

  [[nodiscard]] std::string cardinal(std::int64_t value) const;
  [[nodiscard]] std::string ordinal(std::int64_t value) const;
  /// "nineteen oh-five", where the language has such a form; else the cardinal.
  [[nodiscard]] std::string year(std::int64_t value) const;
  /// "12,345" as a cardinal; digit by digit if it begins with a zero or has more digits than a cardinal is good for.
  [[nodiscard]] std::string integer(std::string_view written) const;
  /// "1,234.56", ".5"; English.
  [[nodiscard]] std::string decimal(std::string_view written) const;
  /// Every digit by its name, with a comma where something else stands between them: "555-12" is five five five, one
  /// two.
  [[nodiscard]] std::string digits(std::string_view written) const;
  /// "three quarters", "two thirds", "seven over two hundred"; English.
  [[nodiscard]] std::string fraction(std::string_view numerator, std::string_view denominator) const;

private:
  struct Icu;
  [[nodiscard]] std::string spell(std::int64_t value, const std::string& rule_set) const;

  std::unique_ptr<Icu> icu_;
  bool british_;
};

/// The value of ASCII digits, commas skipped; @p otherwise if there are none or more than 15.
[[nodiscard]] std::int64_t value_of(std::string_view written, std::int64_t otherwise = -1) noexcept;

/// "sixty" → "sixties", "hundred" → "hundreds".
[[nodiscard]] std::string plural(std::string words);

} // namespace audiobookd::jobs
