// Loudness as EBU R 128 and ITU-R BS.1770-4 define it, through libebur128.
//
// Pure functions: any thread. A stream can be measured in stretches, whose blocks are put behind one another.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace audiobookd::storage {

/// Samples from one block to the next: 100 ms.
[[nodiscard]] constexpr std::size_t loudness_hop(int sample_rate) { return static_cast<std::size_t>(sample_rate) / 10; }

/// The loudness of every block of 400 ms of a mono signal, each 100 ms after the one before.
/// @param samples begin @p lead samples before the stretch that is measured, so that the filter and the first blocks
/// know what was before; a block belongs to the stretch in which it ends. @param sample_rate in Hz.
/// @return LUFS, one for each whole hop behind @p lead, without those that would begin before @p samples;
/// -infinity for silence @throws TransientError when there is no memory
[[nodiscard]] std::vector<float> block_loudness(std::span<const float> samples, std::size_t lead, int sample_rate);

/// Integrated loudness of a programme with these @p blocks: the mean energy of those above -70 LUFS that are no more
/// than 10 LU below the mean of all above -70 LUFS. @return LUFS; -infinity when no block is above -70 LUFS
[[nodiscard]] double integrated_loudness(std::span<const float> blocks);

} // namespace audiobookd::storage
