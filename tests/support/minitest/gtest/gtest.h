// A stand-in for the part of GoogleTest that the engine's tests use, for machines without GoogleTest (the engine-only
// build). Same names, same semantics, same closing lines; no parameterised tests, matchers or death tests.
//
// Threads: assertions may be made on any thread; SCOPED_TRACE applies to the thread that made it. One test runs at a
// time, on the main thread.
#pragma once

#include <concepts>
#include <cstddef>
#include <exception>
#include <iterator>
#include <memory>
#include <optional>
#include <ostream>
#include <sstream>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace testing {

/// Text built with <<.
class Message {
public:
  template <typename T>
  Message& operator<<(const T& value) {
    text_ << value;
    return *this;
  }
  [[nodiscard]] std::string str() const { return text_.str(); }

private:
  std::ostringstream text_;
};
inline std::ostream& operator<<(std::ostream& out, const Message& message) { return out << message.str(); }

/// What a test derives from; a fixture overrides SetUp() and TearDown() and may hide the two static functions.
class Test {
public:
  virtual ~Test() = default;
  static void SetUpTestSuite() {}
  static void TearDownTestSuite() {}
  /// Whether the running test has failed, or failed in an ASSERT_.
  static bool HasFailure();
  static bool HasFatalFailure();

  virtual void SetUp() {}
  virtual void TearDown() {}
  virtual void TestBody() = 0;
};

/// Adds a line to every failure reported by this thread while it lives: see SCOPED_TRACE.
class ScopedTrace {
public:
  template <typename T>
  ScopedTrace(const char* file, int line, const T& message) : ScopedTrace(file, line, (Message() << message).str()) {}
  ScopedTrace(const char* file, int line, const std::string& message);
  ~ScopedTrace();
  ScopedTrace(const ScopedTrace&) = delete;
  ScopedTrace& operator=(const ScopedTrace&) = delete;
};

namespace internal {

enum class Outcome { Failure, FatalFailure, Skip };

/// Records what happened when a message is assigned to it; the assignment is void so that ASSERT_ can return it.
struct Report {
  Outcome outcome;
  const char* file;
  int line;
  std::string what;
  void operator=(const Message& message) const;
};

/// Empty when the assertion holds, else what is wrong with it.
using Verdict = std::optional<std::string>;

template <typename T>
std::string show(const T& value) {
  std::ostringstream out;
  if constexpr (std::is_same_v<T, bool>) {
    out << (value ? "true" : "false");
  } else if constexpr (std::is_null_pointer_v<T>) {
    out << "nullptr";
  } else if constexpr (std::is_convertible_v<T, std::string_view>) {
    out << '"' << std::string_view(value) << '"';
  } else if constexpr (requires { out << value; }) {
    out << value;
  } else if constexpr (std::is_enum_v<T>) {
    out << static_cast<long long>(value);
  } else if constexpr (requires { std::begin(value) != std::end(value); }) {
    constexpr std::size_t kMost = 32;
    std::size_t count = 0;
    out << "{ ";
    for (const auto& element : value) {
      if (++count > kMost) {
        break;
      }
      out << (count > 1 ? ", " : "") << show(element);
    }
    out << (count > kMost ? ", ... }" : " }");
  } else {
    out << sizeof(T) << "-byte object";
  }
  return out.str();
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsign-compare" // sizes are compared with literals, as GoogleTest allows
struct Equal {
  static constexpr const char* kSymbol = "==";
  template <typename A, typename B>
  static bool holds(const A& a, const B& b) {
    return a == b;
  }
};
struct NotEqual {
  static constexpr const char* kSymbol = "!=";
  template <typename A, typename B>
  static bool holds(const A& a, const B& b) {
    return a != b;
  }
};
struct Less {
  static constexpr const char* kSymbol = "<";
  template <typename A, typename B>
  static bool holds(const A& a, const B& b) {
    return a < b;
  }
};
struct LessEqual {
  static constexpr const char* kSymbol = "<=";
  template <typename A, typename B>
  static bool holds(const A& a, const B& b) {
    return a <= b;
  }
};
struct Greater {
  static constexpr const char* kSymbol = ">";
  template <typename A, typename B>
  static bool holds(const A& a, const B& b) {
    return a > b;
  }
};
struct GreaterEqual {
  static constexpr const char* kSymbol = ">=";
  template <typename A, typename B>
  static bool holds(const A& a, const B& b) {
    return a >= b;
  }
};
#pragma GCC diagnostic pop

template <typename Relation, typename A, typename B>
Verdict compare(const char* a_text, const char* b_text, const A& a, const B& b) {
  if (Relation::holds(a, b)) {
    return {};
  }
  return std::string("Expected: (") + a_text + ") " + Relation::kSymbol + " (" + b_text + "), actual: " + show(a) +
         " vs " + show(b);
}

template <typename T>
Verdict is(bool expected, const char* text, const T& value) {
  if (static_cast<bool>(value) == expected) {
    return {};
  }
  return std::string("Value of: ") + text + "\n  Actual: " + show(!expected) + "\nExpected: " + show(expected);
}

Verdict near(const char* a_text, const char* b_text, double a, double b, double tolerance);
Verdict same_text(const char* a_text, const char* b_text, const char* a, const char* b);
/// Within four units in the last place, as GoogleTest has it.
Verdict almost_equal(const char* a_text, const char* b_text, float a, float b);
Verdict almost_equal(const char* a_text, const char* b_text, double a, double b);

template <typename Expected, std::invocable Statement>
Verdict throws(const char* text, const char* type, Statement statement) {
  const std::string expected = std::string("Expected: ") + text + " throws an exception of type " + type;
  try {
    statement();
  } catch (const Expected&) {
    return {};
  } catch (const std::exception& error) {
    return expected + ".\n  Actual: it throws another: " + error.what();
  } catch (...) {
    return expected + ".\n  Actual: it throws another.";
  }
  return expected + ".\n  Actual: it throws nothing.";
}

template <std::invocable Statement>
Verdict throws_nothing(const char* text, Statement statement) {
  const std::string expected = std::string("Expected: ") + text + " throws nothing.\n  Actual: it throws ";
  try {
    statement();
  } catch (const std::exception& error) {
    return expected + error.what();
  } catch (...) {
    return expected + "something that is no std::exception.";
  }
  return {};
}

/// One registered test.
struct Case {
  std::string suite;
  std::string name;
  std::unique_ptr<Test> (*make)();
  void (*set_up_suite)();
  void (*tear_down_suite)();
};
bool add_case(Case test);

} // namespace internal
} // namespace testing

// The switch keeps an `else` after an assertion from binding to the assertion's own `if`.
#define MINITEST_CHECK_(outcome, verdict, leave)                                                                       \
  switch (0)                                                                                                           \
  case 0:                                                                                                              \
  default:                                                                                                             \
    if (const ::testing::internal::Verdict minitest_verdict = (verdict); !minitest_verdict)                            \
      ;                                                                                                                \
    else                                                                                                               \
      leave ::testing::internal::Report{::testing::internal::Outcome::outcome, __FILE__, __LINE__,                     \
                                        *minitest_verdict} = ::testing::Message()
#define MINITEST_EXPECT_(verdict) MINITEST_CHECK_(Failure, verdict, )
#define MINITEST_ASSERT_(verdict) MINITEST_CHECK_(FatalFailure, verdict, return )

#define MINITEST_COMPARE_(relation, a, b) ::testing::internal::compare<::testing::internal::relation>(#a, #b, (a), (b))
#define EXPECT_EQ(a, b) MINITEST_EXPECT_(MINITEST_COMPARE_(Equal, a, b))
#define ASSERT_EQ(a, b) MINITEST_ASSERT_(MINITEST_COMPARE_(Equal, a, b))
#define EXPECT_NE(a, b) MINITEST_EXPECT_(MINITEST_COMPARE_(NotEqual, a, b))
#define ASSERT_NE(a, b) MINITEST_ASSERT_(MINITEST_COMPARE_(NotEqual, a, b))
#define EXPECT_LT(a, b) MINITEST_EXPECT_(MINITEST_COMPARE_(Less, a, b))
#define ASSERT_LT(a, b) MINITEST_ASSERT_(MINITEST_COMPARE_(Less, a, b))
#define EXPECT_LE(a, b) MINITEST_EXPECT_(MINITEST_COMPARE_(LessEqual, a, b))
#define ASSERT_LE(a, b) MINITEST_ASSERT_(MINITEST_COMPARE_(LessEqual, a, b))
#define EXPECT_GT(a, b) MINITEST_EXPECT_(MINITEST_COMPARE_(Greater, a, b))
#define ASSERT_GT(a, b) MINITEST_ASSERT_(MINITEST_COMPARE_(Greater, a, b))
#define EXPECT_GE(a, b) MINITEST_EXPECT_(MINITEST_COMPARE_(GreaterEqual, a, b))
#define ASSERT_GE(a, b) MINITEST_ASSERT_(MINITEST_COMPARE_(GreaterEqual, a, b))

#define EXPECT_TRUE(condition) MINITEST_EXPECT_(::testing::internal::is(true, #condition, (condition)))
#define ASSERT_TRUE(condition) MINITEST_ASSERT_(::testing::internal::is(true, #condition, (condition)))
#define EXPECT_FALSE(condition) MINITEST_EXPECT_(::testing::internal::is(false, #condition, (condition)))
#define ASSERT_FALSE(condition) MINITEST_ASSERT_(::testing::internal::is(false, #condition, (condition)))

#define EXPECT_STREQ(a, b) MINITEST_EXPECT_(::testing::internal::same_text(#a, #b, (a), (b)))
#define ASSERT_STREQ(a, b) MINITEST_ASSERT_(::testing::internal::same_text(#a, #b, (a), (b)))
#define EXPECT_NEAR(a, b, tolerance) MINITEST_EXPECT_(::testing::internal::near(#a, #b, (a), (b), (tolerance)))
#define ASSERT_NEAR(a, b, tolerance) MINITEST_ASSERT_(::testing::internal::near(#a, #b, (a), (b), (tolerance)))

#define MINITEST_ALMOST_(type, a, b)                                                                                   \
  ::testing::internal::almost_equal(#a, #b, static_cast<type>(a), static_cast<type>(b))
#define EXPECT_FLOAT_EQ(a, b) MINITEST_EXPECT_(MINITEST_ALMOST_(float, a, b))
#define ASSERT_FLOAT_EQ(a, b) MINITEST_ASSERT_(MINITEST_ALMOST_(float, a, b))
#define EXPECT_DOUBLE_EQ(a, b) MINITEST_EXPECT_(MINITEST_ALMOST_(double, a, b))
#define ASSERT_DOUBLE_EQ(a, b) MINITEST_ASSERT_(MINITEST_ALMOST_(double, a, b))

#define MINITEST_THROWS_(statement, type) ::testing::internal::throws<type>(#statement, #type, [&] { statement; })
#define EXPECT_THROW(statement, type) MINITEST_EXPECT_(MINITEST_THROWS_(statement, type))
#define ASSERT_THROW(statement, type) MINITEST_ASSERT_(MINITEST_THROWS_(statement, type))
#define EXPECT_NO_THROW(statement) MINITEST_EXPECT_(::testing::internal::throws_nothing(#statement, [&] { statement; }))
#define ASSERT_NO_THROW(statement) MINITEST_ASSERT_(::testing::internal::throws_nothing(#statement, [&] { statement; }))

#define MINITEST_REPORT_(outcome, what)                                                                                \
  ::testing::internal::Report{::testing::internal::Outcome::outcome, __FILE__, __LINE__, what} = ::testing::Message()
#define ADD_FAILURE() MINITEST_REPORT_(Failure, "Failed")
#define FAIL() return MINITEST_REPORT_(FatalFailure, "Failed")
#define GTEST_SKIP() return MINITEST_REPORT_(Skip, "Skipped")

#define MINITEST_CONCAT_(a, b) a##b
#define MINITEST_NAME_(prefix, line) MINITEST_CONCAT_(prefix, line)
#define SCOPED_TRACE(message)                                                                                          \
  const ::testing::ScopedTrace MINITEST_NAME_(minitest_trace_, __LINE__)(__FILE__, __LINE__, (message))

#define MINITEST_TEST_(suite, name, fixture)                                                                           \
  class suite##_##name##_Test : public fixture {                                                                       \
    void TestBody() override;                                                                                          \
    static const bool registered_;                                                                                     \
  };                                                                                                                   \
  [[maybe_unused]] const bool suite##_##name##_Test::registered_ = ::testing::internal::add_case(                      \
      {#suite, #name, []() -> std::unique_ptr<::testing::Test> { return std::make_unique<suite##_##name##_Test>(); },  \
       &fixture::SetUpTestSuite, &fixture::TearDownTestSuite});                                                        \
  void suite##_##name##_Test::TestBody()
#define TEST(suite, name) MINITEST_TEST_(suite, name, ::testing::Test)
#define TEST_F(fixture, name) MINITEST_TEST_(fixture, name, fixture)
