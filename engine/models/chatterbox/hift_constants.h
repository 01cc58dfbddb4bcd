// Numbers of the HiFT vocoder that no checkpoint holds, for every implementation of it.
#pragma once

namespace audiobookd::engine::chatterbox::hift {

/// Leaky rectifiers before every upsampling layer, and before the last convolution.
inline constexpr double stage_leaky_slope = 0.1;
inline constexpr double last_leaky_slope = 0.01;

/// Of the inverse Fourier transform's input, and of samples.
inline constexpr double largest_magnitude = 100;
inline constexpr double audio_limit = 0.99;

/// The harmonic source: sines of this amplitude with a little noise where F0 is above the threshold, noise elsewhere.
inline constexpr double sample_rate = 24000;
inline constexpr double sine_amplitude = 0.1;
inline constexpr double voiced_noise = 0.003;
inline constexpr double unvoiced_noise = sine_amplitude / 3;
inline constexpr double voiced_threshold_hz = 10;

} // namespace audiobookd::engine::chatterbox::hift
