// What the settings of all codecs are checked with.
#pragma once

#include "storage/errors.h"

#include <initializer_list>
#include <string>

namespace audiobookd::storage {

/// @param field for messages, for example "mp3 quality". @throws PermanentError
inline void check_range(const std::string& field, int value, int low, int high) {
  if (value < low || value > high) {
    throw PermanentError(field + " " + std::to_string(value) + " is not in " + std::to_string(low) + " … " +
                         std::to_string(high));
  }
}

/// @throws PermanentError
inline void check_choice(const std::string& field, int value, std::initializer_list<int> choices) {
  std::string valid;
  for (const int choice : choices) {
    if (value == choice) {
      return;
    }
    valid += " " + std::to_string(choice);
  }
  throw PermanentError(field + " " + std::to_string(value) + " is not supported; valid:" + valid);
}

} // namespace audiobookd::storage
