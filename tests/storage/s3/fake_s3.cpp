#include "tests/storage/s3/fake_s3.h"

#include <csignal>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <stdexcept>
#include <sys/wait.h>
#include <unistd.h>

namespace audiobookd::tests {
namespace {

constexpr const char* program = AUDIOBOOKD_SOURCE_DIR "/tests/storage/s3/fake_s3.py";

} // namespace

FakeS3::FakeS3(const std::filesystem::path& tls_folder)
    : scheme_(tls_folder.empty() ? "http" : "https"),
      client_({.ca_file = tls_folder.empty() ? tls_folder : tls_folder / "cert.pem", .proxy = {}}) {
  int to_child[2];
  int from_child[2];
  if (::pipe2(to_child, O_CLOEXEC) != 0 || ::pipe2(from_child, O_CLOEXEC) != 0) {
    throw std::runtime_error("no pipe for the S3 server");
  }
  pid_ = ::fork();
  if (pid_ == 0) {
    ::dup2(to_child[0], STDIN_FILENO);
    ::dup2(from_child[1], STDOUT_FILENO);
    ::execl("/usr/bin/python3", "python3", program, tls_folder.empty() ? nullptr : tls_folder.c_str(), nullptr);
    ::_exit(127);
  }
  ::close(to_child[0]);
  ::close(from_child[1]);
  lifeline_ = to_child[1];
  std::FILE* output = ::fdopen(from_child[0], "r");
  const int found = std::fscanf(output, "%d", &port_);
  std::fclose(output);
  if (found != 1) {
    throw std::runtime_error(std::string(program) + " does not start: is python3-botocore installed?");
  }
}

FakeS3::~FakeS3() {
  ::close(lifeline_);
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

nlohmann::json FakeS3::order(const nlohmann::json& order) {
  const std::string text = order.dump();
  storage::s3::HttpRequest request;
  request.method = "POST";
  request.url = endpoint() + "/-/control";
  request.body = {text.size(), [&text](std::uint64_t offset, std::span<std::byte> part) {
                    std::memcpy(part.data(), text.data() + offset, part.size());
                  }};
  const auto answer = client_.perform(request, {});
  if (answer.status != 200) {
    throw std::runtime_error("the S3 server does not understand " + text);
  }
  return nlohmann::json::parse(answer.body);
}

void FakeS3::fault(nlohmann::json fault) {
  fault["op"] = "fault";
  order(fault);
}

void FakeS3::put(const std::string& bucket, const std::string& key, const std::string& data) {
  order({{"op", "put"}, {"bucket", bucket}, {"key", key}, {"data", data}});
}

nlohmann::json FakeS3::object(const std::string& path) {
  const nlohmann::json objects = state().at("objects");
  return objects.contains(path) ? objects.at(path) : nlohmann::json();
}

std::string FakeS3::content(const std::string& path) const {
  std::string content;
  storage::s3::HttpRequest request;
  request.method = "GET";
  request.url = endpoint() + "/-/object/" + path;
  request.on_data = [&content](const storage::s3::HttpAnswer&, std::span<const std::byte> part) {
    content.append(reinterpret_cast<const char*>(part.data()), part.size());
  };
  (void)client_.perform(request, {});
  return content;
}

int FakeS3::count(const std::string& method, const std::string& query) {
  int requests = 0;
  const nlohmann::json now = state();
  for (const nlohmann::json& request : now.at("requests")) {
    requests +=
        request.at("method") == method && request.at("query").get<std::string>().find(query) != std::string::npos ? 1
                                                                                                                  : 0;
  }
  return requests;
}

} // namespace audiobookd::tests
