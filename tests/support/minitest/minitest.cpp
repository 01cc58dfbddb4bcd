// Runs the tests that gtest.h of this folder registers: filters, reports and exit codes as GoogleTest has them.
//
// Threads: the mutex guards what assertions of several threads write; all else belongs to the main thread.
#include "gtest/gtest.h"

#include <bit>
#include <chrono>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <iomanip>
#include <iostream>
#include <limits>
#include <mutex>
#include <span>
#include <vector>

namespace testing {
namespace {

std::mutex g_mutex;
bool g_failed = false;         // Protected by #g_mutex; about the running test
bool g_fatally_failed = false; // Protected by #g_mutex
bool g_skipped = false;        // Protected by #g_mutex
thread_local std::vector<std::string> t_traces;

std::vector<internal::Case>& cases() {
  static std::vector<internal::Case> all;
  return all;
}

std::string place(const char* file, int line) { return std::string(file) + ":" + std::to_string(line); }

} // namespace

bool Test::HasFailure() {
  const std::lock_guard lock(g_mutex);
  return g_failed;
}

bool Test::HasFatalFailure() {
  const std::lock_guard lock(g_mutex);
  return g_fatally_failed;
}

ScopedTrace::ScopedTrace(const char* file, int line, const std::string& message) {
  t_traces.push_back(place(file, line) + ": " + message);
}
ScopedTrace::~ScopedTrace() { t_traces.pop_back(); }

namespace internal {

bool add_case(Case test) {
  cases().push_back(std::move(test));
  return true;
}

void Report::operator=(const Message& message) const {
  const std::lock_guard lock(g_mutex);
  const bool skip = outcome == Outcome::Skip;
  g_skipped = g_skipped || skip;
  g_failed = g_failed || !skip;
  g_fatally_failed = g_fatally_failed || outcome == Outcome::FatalFailure;
  std::cout << place(file, line) << ": " << (skip ? "" : "Failure\n") << what << '\n';
  if (const std::string text = message.str(); !text.empty()) {
    std::cout << text << '\n';
  }
  for (auto trace = t_traces.rbegin(); !skip && trace != t_traces.rend(); ++trace) {
    std::cout << (trace == t_traces.rbegin() ? "Google Test trace:\n" : "") << *trace << '\n';
  }
  std::cout << std::flush;
}

Verdict near(const char* a_text, const char* b_text, double a, double b, double tolerance) {
  const double difference = std::abs(a - b);
  if (difference <= tolerance) {
    return {};
  }
  std::ostringstream out;
  out << std::setprecision(std::numeric_limits<double>::max_digits10) << "The difference between " << a_text << " ("
      << a << ") and " << b_text << " (" << b << ") is " << difference << ", which exceeds " << tolerance;
  return out.str();
}

Verdict same_text(const char* a_text, const char* b_text, const char* a, const char* b) {
  if (a == b || (a != nullptr && b != nullptr && std::strcmp(a, b) == 0)) {
    return {};
  }
  const auto shown = [](const char* text) { return text == nullptr ? std::string("NULL") : show(text); };
  return std::string("Expected equality of these values:\n  ") + a_text + "\n    Which is: " + shown(a) + "\n  " +
         b_text + "\n    Which is: " + shown(b);
}

namespace {

/// Maps a floating-point number to an integer such that neighbours differ by one.
template <std::unsigned_integral Bits, std::floating_point Real>
Bits ordered(Real value) {
  constexpr Bits kSign = Bits{1} << (std::numeric_limits<Bits>::digits - 1);
  const auto bits = std::bit_cast<Bits>(value);
  return (bits & kSign) != 0 ? ~bits + 1 : bits | kSign;
}

template <std::unsigned_integral Bits, std::floating_point Real>
Verdict within_four_ulps(const char* a_text, const char* b_text, Real a, Real b) {
  const Bits x = ordered<Bits>(a);
  const Bits y = ordered<Bits>(b);
  if (!std::isnan(a) && !std::isnan(b) && (x > y ? x - y : y - x) <= 4) {
    return {};
  }
  std::ostringstream out;
  out << std::setprecision(std::numeric_limits<Real>::max_digits10) << "Expected equality of these values:\n  "
      << a_text << "\n    Which is: " << a << "\n  " << b_text << "\n    Which is: " << b;
  return out.str();
}

} // namespace

Verdict almost_equal(const char* a_text, const char* b_text, float a, float b) {
  return within_four_ulps<std::uint32_t>(a_text, b_text, a, b);
}
Verdict almost_equal(const char* a_text, const char* b_text, double a, double b) {
  return within_four_ulps<std::uint64_t>(a_text, b_text, a, b);
}

} // namespace internal

namespace {

using internal::Case;

/// Whether @p name matches @p pattern, in which `*` stands for any text and `?` for one character.
bool matches(std::string_view pattern, std::string_view name) {
  if (pattern.empty()) {
    return name.empty();
  }
  if (pattern.front() == '*') {
    return matches(pattern.substr(1), name) || (!name.empty() && matches(pattern, name.substr(1)));
  }
  return !name.empty() && (pattern.front() == '?' || pattern.front() == name.front()) &&
         matches(pattern.substr(1), name.substr(1));
}

bool matches_any(std::string_view patterns, std::string_view name) {
  while (true) {
    const std::size_t colon = patterns.find(':');
    if (matches(patterns.substr(0, colon), name)) {
      return true;
    }
    if (colon == std::string_view::npos) {
      return false;
    }
    patterns.remove_prefix(colon + 1);
  }
}

/// @param filter wanted patterns separated by `:`, then after a `-` the unwanted ones.
bool selected(std::string_view filter, const std::string& name) {
  const std::size_t dash = filter.find('-');
  const std::string_view wanted = filter.substr(0, dash);
  return matches_any(wanted.empty() ? "*" : wanted, name) &&
         (dash == std::string_view::npos || !matches_any(filter.substr(dash + 1), name));
}

/// The selected tests, those of one suite together, suites in the order of registration.
std::vector<std::vector<Case>> selected_suites(std::string_view filter) {
  std::vector<std::vector<Case>> suites;
  for (const Case& test : cases()) {
    if (!selected(filter, test.suite + "." + test.name)) {
      continue;
    }
    auto suite = suites.begin();
    while (suite != suites.end() && suite->front().suite != test.suite) {
      ++suite;
    }
    if (suite == suites.end()) {
      suite = suites.emplace(suites.end());
    }
    suite->push_back(test);
  }
  return suites;
}

using Clock = std::chrono::steady_clock;
long long ms_since(Clock::time_point began) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - began).count();
}
std::string counted(std::size_t count, const std::string& noun) {
  return std::to_string(count) + " " + noun + (count == 1 ? "" : "s");
}

/// Calls @p step; an exception that escapes fails the running test.
template <std::invocable Step>
void guarded(const char* where, Step step) {
  std::string what;
  try {
    step();
    return;
  } catch (const std::exception& error) {
    what = std::string("C++ exception with description \"") + error.what() + "\" thrown in " + where + ".";
  } catch (...) {
    what = std::string("Unknown C++ exception thrown in ") + where + ".";
  }
  internal::Report{internal::Outcome::FatalFailure, "unknown file", 0, what} = Message();
}

bool skipped() {
  const std::lock_guard lock(g_mutex);
  return g_skipped;
}

void forget_last_outcome() {
  const std::lock_guard lock(g_mutex);
  g_failed = g_fatally_failed = g_skipped = false;
}

/// Makes, sets up, runs and tears down one test.
void run_stages(const Case& test) {
  std::unique_ptr<Test> instance;
  guarded("the test fixture's constructor", [&] { instance = test.make(); });
  if (!instance) {
    return;
  }
  guarded("SetUp()", [&] { instance->SetUp(); });
  if (!Test::HasFatalFailure() && !skipped()) {
    guarded("the test body", [&] { instance->TestBody(); });
  }
  guarded("TearDown()", [&] { instance->TearDown(); });
}

/// What happened to the tests that ran, by name.
struct Tally {
  std::size_t passed = 0;
  std::vector<std::string> skipped;
  std::vector<std::string> failed;
};

void run_test(const Case& test, Tally& tally) {
  const std::string name = test.suite + "." + test.name;
  std::cout << "[ RUN      ] " << name << std::endl;
  const auto began = Clock::now();
  forget_last_outcome();
  run_stages(test);
  if (Test::HasFailure()) {
    tally.failed.push_back(name);
    std::cout << "[  FAILED  ] ";
  } else if (skipped()) {
    tally.skipped.push_back(name);
    std::cout << "[  SKIPPED ] ";
  } else {
    ++tally.passed;
    std::cout << "[       OK ] ";
  }
  std::cout << name << " (" << ms_since(began) << " ms)" << std::endl;
}

void run_suite(const std::vector<Case>& suite, Tally& tally) {
  const std::string title = counted(suite.size(), "test") + " from " + suite.front().suite;
  std::cout << "[----------] " << title << std::endl;
  const auto began = Clock::now();
  forget_last_outcome();
  guarded("SetUpTestSuite()", suite.front().set_up_suite);
  if (Test::HasFailure()) {
    tally.failed.push_back(suite.front().suite + ".SetUpTestSuite()");
  } else if (!skipped()) {
    for (const Case& test : suite) {
      run_test(test, tally);
    }
  }
  forget_last_outcome();
  guarded("TearDownTestSuite()", suite.front().tear_down_suite);
  if (Test::HasFailure()) {
    tally.failed.push_back(suite.front().suite + ".TearDownTestSuite()");
  }
  std::cout << "[----------] " << title << " (" << ms_since(began) << " ms total)\n" << std::endl;
}

void print_names(const char* mark, const std::vector<std::string>& names) {
  if (names.empty()) {
    return;
  }
  std::cout << mark << counted(names.size(), "test") << ", listed below:\n";
  for (const std::string& name : names) {
    std::cout << mark << name << '\n';
  }
}

int run_all(const std::vector<std::vector<Case>>& suites) {
  std::size_t count = 0;
  for (const auto& suite : suites) {
    count += suite.size();
  }
  const std::string title = counted(count, "test") + " from " + counted(suites.size(), "test suite");
  std::cout << "[==========] Running " << title << "." << std::endl;
  const auto began = Clock::now();
  Tally tally;
  for (const auto& suite : suites) {
    run_suite(suite, tally);
  }
  std::cout << "[==========] " << title << " ran. (" << ms_since(began) << " ms total)\n";
  std::cout << "[  PASSED  ] " << counted(tally.passed, "test") << ".\n";
  print_names("[  SKIPPED ] ", tally.skipped);
  print_names("[  FAILED  ] ", tally.failed);
  if (!tally.failed.empty()) {
    std::cout << "\n " << tally.failed.size() << " FAILED TEST" << (tally.failed.size() == 1 ? "" : "S") << '\n';
  }
  std::cout << std::flush;
  return tally.failed.empty() ? 0 : 1;
}

int list_all(const std::vector<std::vector<Case>>& suites) {
  for (const auto& suite : suites) {
    std::cout << suite.front().suite << ".\n";
    for (const Case& test : suite) {
      std::cout << "  " << test.name << '\n';
    }
  }
  return 0;
}

int run_main(std::span<char*> arguments) {
  constexpr std::string_view kFilter = "--gtest_filter=";
  std::string_view filter = "*";
  bool list = false;
  for (const std::string_view argument : arguments) {
    if (argument.starts_with(kFilter)) {
      filter = argument.substr(kFilter.size());
    } else if (argument == "--gtest_list_tests") {
      list = true;
    } else {
      std::cerr << "unknown argument '" << argument << "'; expected --gtest_filter=PATTERNS or --gtest_list_tests\n";
      return 2;
    }
  }
  if (filter != "*") {
    std::cout << "Note: Google Test filter = " << filter << '\n';
  }
  const auto suites = selected_suites(filter);
  return list ? list_all(suites) : run_all(suites);
}

} // namespace
} // namespace testing

int main(int count, char** values) { return testing::run_main(std::span(values, count).subspan(1)); }
