// A voice as values, and its two files: ours (safetensors with metadata) and the reference's (conds.pt). std types
// only. Any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace audiobookd::engine {

/// What T3 and S3Gen are conditioned on, as the reference's Conditionals hold it.
struct VoiceConditionals {
  std::vector<float> speaker_embedding;       ///< [256] of the voice encoder, a unit vector; for T3
  std::vector<std::int32_t> t3_prompt_tokens; ///< at most 150 speech tokens: the clip's first 6 s
  float exaggeration = 0.5f;                  ///< emotion that the voice is read with unless a job says otherwise
  std::vector<std::int32_t> prompt_tokens;    ///< at most 250 speech tokens: the first 10 s; for S3Gen
  std::vector<float> prompt_mel;              ///< [frames, 80], natural log, 50 frames a second; 2 a token, or one more
  std::vector<float> xvector;                 ///< [192] of CAM++, not normalised

  bool operator==(const VoiceConditionals&) const = default;
};

/// Where a voice comes from. Texts are free but for what is said.
struct VoiceMetadata {
  std::string name;
  std::string source_hash; ///< of the clip's file; empty where there was none
  std::string model;       ///< that it was prepared with
  std::string created;     ///< UTC, "2026-01-31T12:00:00Z"
  std::string consent;     ///< who stated that the speaker agreed, and how

  bool operator==(const VoiceMetadata&) const = default;
};

struct VoiceFile {
  VoiceMetadata metadata;
  VoiceConditionals conditionals;
};

/// Writes a voice as safetensors: the tensors of conds.pt under "t3." and "gen." with their names, shapes and dtypes,
/// the metadata as `__metadata__` (temp file, fsync, rename). The same voice gives the same bytes.
/// @throws std::runtime_error naming the file on any I/O error; std::invalid_argument for conditionals that do not
/// belong together.
void write_voice_file(const std::filesystem::path& file, const VoiceFile& voice);

/// @throws std::runtime_error naming file and field: not a voice, a version that is newer than this program, tensors
/// missing or unexpected, shapes or values that cannot be.
[[nodiscard]] VoiceFile read_voice_file(const std::filesystem::path& file);

/// Writes what the reference's Conditionals.save() does (temp file, fsync, rename). Throws as write_voice_file().
void write_conds(const std::filesystem::path& file, const VoiceConditionals& conditionals);

/// Reads a conds.pt: a zip archive with a pickled dictionary of tensors; no code is executed.
/// @throws std::runtime_error naming file and field when something is missing or cannot be.
[[nodiscard]] VoiceConditionals read_conds(const std::filesystem::path& file);

} // namespace audiobookd::engine
