// What kind of work a GPU kernel does, told by its name.
// Pure functions.
#pragma once

#include <string_view>

namespace audiobookd::bench {

/// The class of the kernel @p name (demangled): "gemm", "decode_attention", …; "other" when nothing fits.
[[nodiscard]] std::string_view kernel_class(std::string_view name);

} // namespace audiobookd::bench
