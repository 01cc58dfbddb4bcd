#include "storage/s3/sha256.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdexcept>

namespace audiobookd::storage::s3 {
namespace {

constexpr std::size_t digest_bytes = 32;

EVP_MD_CTX* as_context(void* context) { return static_cast<EVP_MD_CTX*>(context); }

void require(bool done) {
  if (!done) {
    throw std::runtime_error("OpenSSL cannot compute SHA-256");
  }
}

} // namespace

void Sha256::Free::operator()(void* context) const noexcept { EVP_MD_CTX_free(as_context(context)); }

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  require(context_ != nullptr && EVP_DigestInit_ex(as_context(context_.get()), EVP_sha256(), nullptr) == 1);
}

void Sha256::add(std::span<const std::byte> bytes) {
  require(EVP_DigestUpdate(as_context(context_.get()), bytes.data(), bytes.size()) == 1);
}

std::string Sha256::hex() {
  std::string digest(digest_bytes, '\0');
  require(EVP_DigestFinal_ex(as_context(context_.get()), reinterpret_cast<unsigned char*>(digest.data()), nullptr) ==
          1);
  return s3::hex(digest);
}

std::string sha256_hex(std::string_view text) {
  Sha256 hash;
  hash.add(std::as_bytes(std::span(text)));
  return hash.hex();
}

std::string hmac_sha256(std::string_view key, std::string_view text) {
  std::string digest(digest_bytes, '\0');
  require(HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
               reinterpret_cast<const unsigned char*>(text.data()), text.size(),
               reinterpret_cast<unsigned char*>(digest.data()), nullptr) != nullptr);
  return digest;
}

std::string hex(std::string_view bytes) {
  std::string text;
  text.reserve(2 * bytes.size());
  for (const char byte : bytes) {
    text += "0123456789abcdef"[static_cast<unsigned char>(byte) >> 4];
    text += "0123456789abcdef"[static_cast<unsigned char>(byte) & 15];
  }
  return text;
}

} // namespace audiobookd::storage::s3
