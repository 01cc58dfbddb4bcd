// Texts of books, as the daemon would cut them, sound and with planted faults, through the engine.
#include "bench/gate_check/collect.h"

#include "bench/gate_check/samples.h"
#include "daemon/book.h"
#include "daemon/embedded_checkpoint.h"
#include "engine/models/chatterbox/config.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <map>
#include <mutex>
#include <random>
#include <regex>
#include <stdexcept>
#include <utility>

namespace audiobookd::bench {
namespace {

struct Planned {
  Sample sample;
  engine::Utterance utterance;
};

/// Every sample in order; whatever is finished goes to its files.
class Collection final : public engine::WorkSource, public engine::Sink {
public:
  Collection(std::vector<Planned> planned, std::filesystem::path folder, std::stop_source stop)
      : planned_(std::move(planned)), folder_(std::move(folder)), stop_(std::move(stop)) {}

  std::vector<engine::Utterance> next(std::size_t free_capacity) override {
    std::vector<engine::Utterance> answer;
    while (answer.size() < free_capacity && offered_ < planned_.size()) {
      answer.push_back(planned_[offered_].utterance);
      answer.back().id = offered_++;
    }
    return answer;
  }
  void aligned(engine::UtteranceId id, const engine::Alignment& alignment) override {
    planned_.at(id).sample.alignment = alignment;
  }
  void tokens(engine::UtteranceId id, std::span<const std::int32_t> speech_tokens) override {
    planned_.at(id).sample.tokens.assign(speech_tokens.begin(), speech_tokens.end());
  }
  void finished(engine::UtteranceId id, engine::Waveform waveform) override {
    Sample& sample = planned_.at(id).sample;
    sample.hit_token_limit = waveform.hit_token_limit;
    sample.sample_rate = waveform.sample_rate;
    sample.samples = std::move(waveform.samples);
    write_sample(folder_, sample);
    sample = {};
    count_done();
  }
  void failed(engine::UtteranceId id, std::string why) override {
    std::fprintf(stderr, "%s: %s\n", planned_.at(id).sample.name.c_str(), why.c_str());
    count_done();
  }

private:
  void count_done() {
    const std::lock_guard lock(mutex_);
    ++done_;
    std::fprintf(stderr, "\r%zu of %zu", done_, planned_.size());
    if (done_ == planned_.size()) {
      std::fprintf(stderr, "\n");
      stop_.request_stop();
    }
  }

  std::vector<Planned> planned_;
  const std::filesystem::path folder_;
  std::stop_source stop_;
  std::size_t offered_ = 0;
  std::mutex mutex_;
  std::size_t done_ = 0; // protected by mutex_
};

std::vector<engine::AttentionHead> all_heads(const std::filesystem::path& checkpoint) {
  const auto config = engine::chatterbox::Config::load(checkpoint);
  std::vector<engine::AttentionHead> heads;
  for (int layer = 0; layer < config.t3.num_layers; ++layer) {
    for (int head = 0; head < config.t3.num_heads; ++head) {
      heads.push_back({layer, head});
    }
  }
  return heads;
}

jobs::Document read_book(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  return jobs::parse_document(bytes, file, {});
}

std::vector<engine::Utterance> passages_of(const CollectOptions& options, const daemon::Renderer& renderer,
                                           std::uint64_t seed) {
  std::vector<engine::Utterance> passages;
  for (const auto& file : options.books) {
    daemon::BookOptions book_options;
    book_options.params.seed = seed;
    for (const daemon::Piece& piece : daemon::plan_book(read_book(file), book_options, renderer).pieces) {
      passages.push_back(piece.utterance);
    }
  }
  return passages;
}

/// Of five words and more, of plain letters and commas.
std::vector<std::string> sentences_of(const std::vector<engine::Utterance>& passages) {
  static const std::regex plain("[A-Z][a-z]*( [A-Za-z']+,?){4,24}[.!?]");
  std::vector<std::string> sentences;
  for (const engine::Utterance& passage : passages) {
    for (std::sregex_iterator found(passage.text.begin(), passage.text.end(), plain), end; found != end; ++found) {
      sentences.push_back(found->str());
    }
  }
  std::sort(sentences.begin(), sentences.end());
  sentences.erase(std::unique(sentences.begin(), sentences.end()), sentences.end());
  return sentences;
}

/// Where words begin, the first and the last one left out.
std::vector<int> inner_words(const std::string& sentence) {
  std::vector<int> begins;
  for (std::size_t space = sentence.find(' '); space != std::string::npos; space = sentence.find(' ', space + 1)) {
    begins.push_back(static_cast<int>(space) + 1);
  }
  return begins; // the last one is the end of the last inner word
}

Sample plant(const std::string& sentence, Planted planted, int words, std::mt19937_64& random) {
  const std::vector<int> begins = inner_words(sentence);
  words = std::min(words, static_cast<int>(begins.size()) - 1);
  const auto first = random() % (begins.size() - static_cast<std::size_t>(words));
  Sample sample;
  sample.planted = planted;
  sample.text = sentence;
  sample.words = words;
  sample.begin = begins[first];
  sample.length = begins[first + static_cast<std::size_t>(words)] - sample.begin;
  const auto begin = static_cast<std::size_t>(sample.begin);
  const auto length = static_cast<std::size_t>(sample.length);
  sample.rendered = sentence;
  if (planted == Planted::skipped_words) {
    sample.rendered.erase(begin, length);
  } else {
    sample.rendered.insert(begin, sentence.substr(begin, length));
  }
  return sample;
}

class Planner {
public:
  Planner(const CollectOptions& options, const daemon::Renderer& renderer) : options_(options), renderer_(renderer) {}

  std::vector<Planned> plan() {
    add_passages();
    std::vector<std::string> sentences = sentences_of(passages_of(options_, renderer_, 0));
    std::shuffle(sentences.begin(), sentences.end(), random_);
    if (sentences.empty()) {
      throw std::runtime_error("the books have no plain sentence of five words");
    }
    for (int i = 0; i < options_.sentences; ++i) {
      add(sound(sentences[static_cast<std::size_t>(i) % sentences.size()]), 1000 + static_cast<std::uint64_t>(i));
    }
    for (const Planted planted : {Planted::skipped_words, Planted::doubled_words}) {
      for (int i = 0; i < options_.faults; ++i) {
        const std::string& sentence = sentences[static_cast<std::size_t>(i) % sentences.size()];
        add(plant(sentence, planted, 1 + i % 4, random_), 5000 + static_cast<std::uint64_t>(i));
      }
    }
    return std::move(planned_);
  }

private:
  static Sample sound(const std::string& text) {
    Sample sample;
    sample.text = sample.rendered = text;
    return sample;
  }

  void add_passages() {
    int count = 0;
    for (std::uint64_t seed = 1; count < options_.passages; ++seed) {
      std::vector<engine::Utterance> passages = passages_of(options_, renderer_, seed);
      std::shuffle(passages.begin(), passages.end(), random_);
      for (std::size_t i = 0; i < passages.size() && count < options_.passages; ++i, ++count) {
        add(sound(passages[i].text), seed);
      }
    }
  }

  void add(Sample sample, std::uint64_t seed) {
    static const std::map<Planted, const char*> names = {
        {Planted::nothing, "sound"}, {Planted::skipped_words, "skipped"}, {Planted::doubled_words, "doubled"}};
    char number[16];
    std::snprintf(number, sizeof number, "-%04zu", planned_.size());
    sample.name = names.at(sample.planted) + std::string(number);
    sample.predicted_tokens = renderer_.predict_tokens(sample.text);
    engine::Utterance utterance;
    utterance.text = sample.rendered;
    utterance.seed = seed;
    utterance.key = renderer_.utterance_key(utterance.text, "en", utterance.voice, 0);
    planned_.push_back({std::move(sample), std::move(utterance)});
  }

  const CollectOptions& options_;
  const daemon::Renderer& renderer_;
  std::mt19937_64 random_{1};
  std::vector<Planned> planned_;
};

} // namespace

void collect(const CollectOptions& options) {
  std::filesystem::create_directories(options.folder);
  engine::EngineOptions engine_options;
  engine_options.checkpoint = options.checkpoint.empty() ? daemon::embedded_checkpoint() : options.checkpoint;
  engine_options.cpu_threads = options.threads;
  engine_options.alignment_heads = all_heads(engine_options.checkpoint);
  daemon::EngineRenderer renderer(engine_options);
  std::vector<Planned> planned = Planner(options, renderer).plan();
  std::erase_if(planned, [&](const Planned& one) {
    return std::filesystem::exists(options.folder / (one.sample.name + ".json"));
  });
  std::mt19937_64 random(2); // so that a part of them is a fair sample
  std::shuffle(planned.begin(), planned.end(), random);
  std::stop_source stop;
  if (planned.empty()) {
    return;
  }
  Collection collection(std::move(planned), options.folder, stop);
  const std::stop_callback wake(stop.get_token(), [&renderer] { renderer.notify(); });
  renderer.run(collection, collection, stop.get_token());
}

} // namespace audiobookd::bench
