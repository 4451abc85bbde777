#include "codec_error.h"

namespace baseline {

const char* KindName(Kind kind) {
  switch (kind) {
    case Kind::kEmptyFrame:
      return "empty-frame";
    case Kind::kUnknownType:
      return "unknown-type";
    case Kind::kUnknownFailureCode:
      return "unknown-failure-code";
    case Kind::kTruncated:
      return "truncated";
    case Kind::kInvalidUtf8:
      return "invalid-utf8";
    case Kind::kTextTooLong:
      return "text-too-long";
    case Kind::kZeroTotalChunks:
      return "zero-total-chunks";
    case Kind::kTotalChunksTooLarge:
      return "total-chunks-too-large";
    case Kind::kChunkIndexOutOfRange:
      return "chunk-index-out-of-range";
    case Kind::kChunkTooLarge:
      return "chunk-too-large";
    case Kind::kEventTooLarge:
      return "event-too-large";
    case Kind::kEventCountTooLarge:
      return "event-count-too-large";
    case Kind::kEmptyChunk:
      return "empty-chunk";
    case Kind::kStaleSeqThrough:
      return "stale-seq-through";
    case Kind::kTotalChunksMismatch:
      return "total-chunks-mismatch";
    case Kind::kSnapshotTooLarge:
      return "snapshot-too-large";
    case Kind::kTooManyPendingBytes:
      return "too-many-pending-bytes";
    case Kind::kOutOfMemory:
      return "out-of-memory";
    case Kind::kDisposed:
      return "disposed";
  }
  return "unknown";
}

}  // namespace baseline
