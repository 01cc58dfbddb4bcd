// The connection to Redis: addresses, passwords, and what a broken or refusing server looks like from here.
#include "jobs/redis_connection.h"
#include "tests/jobs/redis_fixture.h"

#include <csignal>
#include <gtest/gtest.h>

namespace audiobookd::jobs {
namespace {

using std::chrono::milliseconds;

/// The message of the QueueError that @p action throws.
template <class Action>
std::string refusal(Action action) {
  try {
    action();
  } catch (const QueueError& error) {
    return error.what();
  }
  return "nothing thrown";
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(EndpointUrl, TcpHasHostPortCredentialsAndDatabase) {
  const RedisEndpoint endpoint = parse_redis_url("redis://tts:p%40ss%3aword@queue.example:6380/3");
  EXPECT_EQ(endpoint.host, "queue.example");
  EXPECT_EQ(endpoint.port, 6380);
  EXPECT_EQ(endpoint.user, "tts");
  EXPECT_EQ(endpoint.password, "p@ss:word");
  EXPECT_EQ(endpoint.database, 3);
  EXPECT_EQ(endpoint.display(), "queue.example:6380 (database 3)");
}

TEST(EndpointUrl, DefaultsAreRedisOwn) {
  const RedisEndpoint endpoint = parse_redis_url("redis://:secret@localhost");
  EXPECT_EQ(endpoint.port, 6379);
  EXPECT_EQ(endpoint.user, "");
  EXPECT_EQ(endpoint.password, "secret");
  EXPECT_EQ(endpoint.database, 0);
  EXPECT_EQ(parse_redis_url("redis://[::1]:7000").host, "::1");
  EXPECT_EQ(parse_redis_url("redis://[::1]:7000").port, 7000);
}

TEST(EndpointUrl, UnixSocketHasPathAndDatabase) {
  const RedisEndpoint endpoint = parse_redis_url("unix://:secret@/run/redis/redis.sock?db=2");
  EXPECT_EQ(endpoint.unix_path, "/run/redis/redis.sock");
  EXPECT_EQ(endpoint.host, "");
  EXPECT_EQ(endpoint.password, "secret");
  EXPECT_EQ(endpoint.database, 2);
}

TEST(EndpointUrl, MistakesAreNamedAndPasswordsAreNot) {
  const auto message = [](const char* url) { return refusal([&] { (void)parse_redis_url(url); }); };
  EXPECT_TRUE(contains(message("rediss://host"), "stunnel"));
  EXPECT_TRUE(contains(message("http://host"), "http"));
  EXPECT_TRUE(contains(message("localhost:6379"), "scheme"));
  EXPECT_TRUE(contains(message("redis://host:port"), "port \"port\""));
  EXPECT_TRUE(contains(message("redis://host:70000"), "70000"));
  EXPECT_TRUE(contains(message("redis://host/first"), "database \"first\""));
  EXPECT_TRUE(contains(message("redis://"), "no host"));
  EXPECT_TRUE(contains(message("unix://redis.sock"), "absolute"));
  EXPECT_TRUE(contains(message("unix:///redis.sock?timeout=3"), "db"));
  EXPECT_FALSE(contains(message("redis://u:hunter%2@host"), "hunter"));
}

TEST(RedisConnection, NobodyThereIsTransientAndNamesTheAddress) {
  RedisConnection connection(parse_redis_url("unix:///nonexistent/redis.sock"), {}, "test");
  try {
    connection.command({"PING"});
    FAIL() << "answered";
  } catch (const QueueUnavailable& error) {
    EXPECT_TRUE(contains(error.what(), "/nonexistent/redis.sock")) << error.what();
  }
}

TEST(RedisConnection, MissingAndWrongPasswordsArePermanent) {
  const RedisServer server({"--requirepass", "right"});
  const auto message = [&](const std::string& credentials) {
    RedisConnection connection(parse_redis_url("unix://" + credentials + server.socket()), {}, "test");
    return refusal([&] { connection.command({"PING"}); });
  };
  EXPECT_TRUE(contains(message(""), "NOAUTH"));
  EXPECT_TRUE(contains(message(":wrong@"), "WRONGPASS"));
  RedisConnection connection(parse_redis_url("unix://:right@" + server.socket()), {}, "test");
  EXPECT_EQ(connection.command({"PING"}).text, "PONG");
}

TEST(RedisConnection, UserNameAndDatabaseAreUsed) {
  const RedisServer server;
  RedisConnection admin(parse_redis_url(server.url()), {}, "test");
  admin.command({"ACL", "SETUSER", "worker", "on", ">pw", "~*", "+@all"});
  RedisConnection connection(parse_redis_url("unix://worker:pw@" + server.socket() + "?db=2"), {}, "named");
  EXPECT_EQ(connection.command({"ACL", "WHOAMI"}).text, "worker");
  EXPECT_EQ(connection.command({"CLIENT", "GETNAME"}).text, "named");
  connection.command({"SET", "a", "b"});
  admin.command({"SELECT", "2"});
  EXPECT_EQ(admin.command({"GET", "a"}).text, "b");
}

TEST(RedisConnection, LateReplyIsNeverTakenForTheNextOne) {
  const RedisServer server;
  RedisConnection connection(parse_redis_url(server.url()), {milliseconds(5000), milliseconds(50)}, "test");
  connection.command({"SET", "a", "late"});
  server.send_signal(SIGSTOP);
  EXPECT_THROW(connection.command({"GET", "a"}), QueueUnavailable);
  EXPECT_FALSE(connection.is_connected());
  server.send_signal(SIGCONT);
  std::string echo;
  EXPECT_TRUE(eventually([&] {
    try {
      echo = connection.command({"ECHO", "mine"}).text;
      return true;
    } catch (const QueueUnavailable&) {
      return false;
    }
  }));
  EXPECT_EQ(echo, "mine");
}

TEST(RedisConnection, BlockingCommandMayTakeLongerThanTheTimeout) {
  const RedisServer server;
  RedisConnection connection(parse_redis_url(server.url()), {milliseconds(5000), milliseconds(100)}, "test");
  const auto start = std::chrono::steady_clock::now();
  EXPECT_TRUE(connection.command({"XREAD", "BLOCK", "300", "STREAMS", "nothing", "$"}, milliseconds(300)).is_nil());
  EXPECT_GE(std::chrono::steady_clock::now() - start, milliseconds(290));
}

TEST(RedisConnection, ServerThatWentAwayIsAnErrorAndNoSignal) {
  RedisServer server;
  RedisConnection connection(parse_redis_url(server.url()), {}, "test");
  connection.command({"PING"});
  server.kill();
  const std::string large(1 << 20, 'x');
  for (int i = 0; i < 3; ++i)
    EXPECT_THROW(connection.command({"SET", "a", large}), QueueUnavailable);
  server.start();
  EXPECT_EQ(connection.command({"PING"}).text, "PONG");
}

TEST(RedisConnection, ReplicaRefusesWritesForNow) {
  const RedisServer server({"--replicaof", "127.0.0.1 1"});
  RedisConnection connection(parse_redis_url(server.url()), {}, "test");
  try {
    connection.command({"SET", "a", "b"});
    FAIL() << "written";
  } catch (const QueueUnavailable& error) {
    EXPECT_TRUE(contains(error.what(), "READONLY")) << error.what();
  }
}

TEST(RedisConnection, DangerousConfigurationIsReported) {
  const RedisServer server;
  RedisConnection connection(parse_redis_url(server.url()), {}, "test");
  connection.command({"CONFIG", "SET", "maxmemory-policy", "allkeys-lru"});
  const auto warnings = redis_warnings(connection);
  ASSERT_EQ(warnings.size(), 2u);
  EXPECT_TRUE(contains(warnings[0], "appendonly"));
  EXPECT_TRUE(contains(warnings[1], "allkeys-lru"));
  connection.command({"CONFIG", "SET", "maxmemory-policy", "noeviction", "appendonly", "yes"});
  EXPECT_TRUE(redis_warnings(connection).empty());
}

TEST(RedisConnection, PipelinedCommandsAnswerInTheirOrderAndARefusalIsSaidAfterAll) {
  const RedisServer server;
  RedisConnection connection(parse_redis_url(server.url()), {}, "test");
  const auto replies = connection.pipeline({{"SET", "a", "1"}, {"INCR", "a"}, {"GET", "a"}, {"GET", "none"}});
  ASSERT_EQ(replies.size(), 4u);
  EXPECT_EQ(replies[1].integer, 2);
  EXPECT_EQ(replies[2].text, "2");
  EXPECT_TRUE(replies[3].is_nil());
  EXPECT_TRUE(connection.pipeline({}).empty());
  EXPECT_THROW(connection.pipeline({{"LPUSH", "a", "x"}, {"INCR", "a"}, {"INCR", "a"}}), RedisCommandError);
  EXPECT_EQ(connection.command({"GET", "a"}).text, "4") << "no reply is left over";
}

TEST(RedisConnection, PublishedMessagesAreReceivedOrMissedInTime) {
  RedisServer server;
  RedisConnection listener(parse_redis_url(server.url()), {}, "listener");
  RedisConnection speaker(parse_redis_url(server.url()), {}, "speaker");
  listener.command({"SUBSCRIBE", "a", "b"});
  EXPECT_EQ(listener.receive(milliseconds(5000)).value().at(1).text, "b") << "the other channel's confirmation";
  EXPECT_FALSE(listener.receive(milliseconds(1)));
  speaker.pipeline({{"PUBLISH", "a", "one"}, {"PUBLISH", "b", "two"}}); // may come in one packet
  EXPECT_EQ(listener.receive(milliseconds(5000)).value().at(2).text, "one");
  EXPECT_EQ(listener.receive(milliseconds(5000)).value().at(2).text, "two");
  server.kill();
  EXPECT_THROW((void)listener.receive(milliseconds(5000)), QueueUnavailable);
  EXPECT_THROW((void)listener.receive(milliseconds(1)), QueueUnavailable) << "it does not connect again by itself";
}

} // namespace
} // namespace audiobookd::jobs
