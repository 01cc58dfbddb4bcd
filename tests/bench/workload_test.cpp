#include "bench/workload.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>

namespace audiobookd::bench {
namespace {

TEST(BenchWorkload, HasTheLengthsThatClaimsAreMadeWith) {
  constexpr int longest = 700;
  const auto workload = make_workload(2320, longest);
  double sum = 0;
  double squares = 0;
  for (const BenchUtterance& u : workload) {
    EXPECT_TRUE(u.num_tokens >= 100 && u.num_tokens <= longest);
    EXPECT_EQ(static_cast<int>(u.speech_tokens.size()), u.num_tokens);
    sum += u.num_tokens;
    squares += static_cast<double>(u.num_tokens) * u.num_tokens;
  }
  const double mean = sum / 2320;
  EXPECT_NEAR(mean, 388, 3 * 90 / std::sqrt(2320.0));
  EXPECT_NEAR(std::sqrt(squares / 2320 - mean * mean), 90, 5);
  EXPECT_DOUBLE_EQ(audio_seconds(workload), sum / 25);
}

TEST(BenchWorkload, ABookIsOneParagraphForEveryUtteranceAndNoneIsTooLong) {
  const std::string text = book_text(50);
  int paragraphs = 0;
  for (std::size_t begin = 0; begin < text.size(); ++paragraphs) {
    const std::size_t end = text.find("\n\n", begin);
    const std::string sentence = text.substr(begin, end - begin);
    EXPECT_TRUE(std::ceil(1.55 * static_cast<double>(sentence.size())) <= 390);
    EXPECT_EQ(sentence.find('.'), sentence.size() - 1);
    begin = end + 2;
  }
  EXPECT_EQ(paragraphs, 50);
}

TEST(BenchWorkload, DependsOnTheSeedAlone) {
  EXPECT_EQ(book_text(5, 3), book_text(5, 3));
  EXPECT_EQ(request_text(3), request_text(3));
  EXPECT_NE(request_text(3), request_text(4));
  EXPECT_EQ(request_text(3).size(), 60u + 1 + 120 + 1 + 180);
  EXPECT_NE(book_text(5, 3), book_text(5, 4));
}

} // namespace
} // namespace audiobookd::bench
