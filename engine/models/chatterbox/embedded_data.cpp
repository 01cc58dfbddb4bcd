// The assembler copies the files of data/ into the read-only section; the build passes it the repository root as an
// include path. Any thread.
#include "engine/models/chatterbox/embedded_data.h"

#define EMBED_FILE(symbol, file)                                                                                       \
  asm(".pushsection .rodata\n"                                                                                         \
      ".global " #symbol "_begin\n" #symbol "_begin:\n"                                                                \
      ".incbin \"engine/models/chatterbox/data/" file "\"\n"                                                           \
      ".global " #symbol "_end\n" #symbol "_end:\n"                                                                    \
      ".popsection\n");                                                                                                \
  extern "C" {                                                                                                         \
  extern const char symbol##_begin[];                                                                                  \
  extern const char symbol##_end[];                                                                                    \
  }

EMBED_FILE(audiobookd_tokenizer, "tokenizer.json")
EMBED_FILE(audiobookd_tiny_conds, "tiny_conds.pt")

namespace audiobookd::engine::chatterbox {

std::string_view embedded_tokenizer() noexcept { return {audiobookd_tokenizer_begin, audiobookd_tokenizer_end}; }

std::string_view embedded_tiny_voice() noexcept { return {audiobookd_tiny_conds_begin, audiobookd_tiny_conds_end}; }

} // namespace audiobookd::engine::chatterbox
