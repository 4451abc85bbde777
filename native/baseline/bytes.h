// Little-endian integers in bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace baseline {

inline uint16_t ReadU16(const uint8_t* at) { return static_cast<uint16_t>(at[0] | (at[1] << 8)); }

inline uint32_t ReadU32(const uint8_t* at) {
  return static_cast<uint32_t>(at[0]) | (static_cast<uint32_t>(at[1]) << 8) | (static_cast<uint32_t>(at[2]) << 16) |
         (static_cast<uint32_t>(at[3]) << 24);
}

inline uint64_t ReadU64(const uint8_t* at) {
  return static_cast<uint64_t>(ReadU32(at)) | (static_cast<uint64_t>(ReadU32(at + 4)) << 32);
}

inline void WriteU16(uint8_t* at, uint16_t value) {
  at[0] = static_cast<uint8_t>(value);
  at[1] = static_cast<uint8_t>(value >> 8);
}

inline void WriteU32(uint8_t* at, uint32_t value) {
  WriteU16(at, static_cast<uint16_t>(value));
  WriteU16(at + 2, static_cast<uint16_t>(value >> 16));
}

inline void WriteU64(uint8_t* at, uint64_t value) {
  WriteU32(at, static_cast<uint32_t>(value));
  WriteU32(at + 4, static_cast<uint32_t>(value >> 32));
}

// memcpy must not be given a null pointer, even for no bytes, and an empty Uint8Array may have one.
inline void CopyBytes(uint8_t* to, const uint8_t* from, size_t length) {
  if (length > 0) std::memcpy(to, from, length);
}

}  // namespace baseline
