// Recognises lines of plain text by their shape: headings and scene breaks.
//
// Pure functions: any thread. Lines are UTF-8 without white space at the edges.
#pragma once

#include <string_view>

namespace audiobookd::jobs {

enum class HeadingShape {
  none,
  bare_number, ///< "Chapter IX", "PART TWO", "XII.": its title may follow on a line of its own
  numbered,    ///< with its title, "CHAPTER 1: The Door", or one that needs none, "Prologue"
  capitals,    ///< "THE LAMP ROOM"
};

/// The kind of heading that @p line is, if any:
/// - a division (Chapter, Part, Book, Volume, Act, Scene, Canto, Section; capitalised or in capitals) and its number
///   (digits, a Roman numeral, a number word up to fifty-nine, "the First"), perhaps a title: behind one of . : — – -
///   any, behind a space one that is_title_line(); or Roman numerals alone; at most 100 characters;
/// - Prologue, Epilogue, Preface, Foreword, Introduction, Interlude, Afterword, Appendix, alone or with such a title;
/// - capitals: at least two letters, none lower-case, at most 60 characters, not ending like a sentence or a quotation.
HeadingShape heading_shape(std::string_view line);

/// Whether @p line can be the title of a numbered heading without a separator in between: at most 60 characters,
/// beginning with a capital or a digit, not ending like a sentence.
bool is_title_line(std::string_view line);

/// Whether @p line stands for a change of scene: only * # _ ~ • · ⁂ — – - = and spaces; a dash or an equals sign alone
/// is not enough.
bool is_scene_break(std::string_view line);

} // namespace audiobookd::jobs
