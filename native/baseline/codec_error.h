// What this engine refuses with: the kinds of CODEC_ERROR_KINDS in lib/errors.ts that frames and reassembly need.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace baseline {

enum class Kind : uint8_t {
  kEmptyFrame,
  kUnknownType,
  kUnknownFailureCode,
  kTruncated,
  kInvalidUtf8,
  kTextTooLong,
  kZeroTotalChunks,
  kTotalChunksTooLarge,
  kChunkIndexOutOfRange,
  kChunkTooLarge,
  kEventTooLarge,
  kEventCountTooLarge,
  kEmptyChunk,
  kStaleSeqThrough,
  kTotalChunksMismatch,
  kSnapshotTooLarge,
  kTooManyPendingBytes,
  kOutOfMemory,
  kDisposed,
};

constexpr size_t kKindCount = static_cast<size_t>(Kind::kDisposed) + 1;

// The kind as lib/errors.ts spells it.
const char* KindName(Kind kind);

// A number for lengths and indices, a uint64_t for what is a bigint in JavaScript, text for names.
using DetailValue = std::variant<double, uint64_t, std::string>;
using Details = std::vector<std::pair<std::string, DetailValue>>;

// Becomes a MigrationError at the N-API surface.
class CodecError : public std::runtime_error {
 public:
  CodecError(Kind kind, const std::string& message, Details details)
      : std::runtime_error(message), kind_(kind), details_(std::move(details)) {}

  Kind kind() const { return kind_; }
  const Details& details() const { return details_; }

 private:
  Kind kind_;
  Details details_;
};

}  // namespace baseline
