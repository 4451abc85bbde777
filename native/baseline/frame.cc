#include "frame.h"

#include <algorithm>
#include <string>

#include "bytes.h"

namespace baseline {

namespace {

constexpr uint8_t kMessageTypes = 10;
constexpr uint16_t kLastFailureCode = 6;

// Bytes of the fields up to the first one of variable length.
constexpr size_t kHeaderBytes[kMessageTypes] = {
    17, kSnapshotReadyHeaderBytes, 17, 49, 17, 9, kFailureHeaderBytes, kEventsHeaderBytes, 9, 17,
};

const char* const kNames[kMessageTypes] = {
    "TakeSnapshot",    "SnapshotReady",   "RestoreComplete", "ReplayComplete", "CutoverNotify",
    "CleanupComplete", "MigrationFailed", "BufferedEvents",  "ActivateTarget", "ActivateAck",
};

bool Refuse(Refusal* refusal, Kind kind, uint8_t type, size_t at, uint64_t value, uint64_t limit) {
  *refusal = Refusal{kind, type, at, value, limit};
  return false;
}

// Whether the byte sequence that begins at `at` is one well-formed character; its length goes into `used`.
bool IsCharacter(const uint8_t* at, size_t left, size_t* used) {
  const uint8_t first = at[0];
  *used = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  if (*used == 1) return true;
  if (first < 0xc2 || first > 0xf4 || left < *used) return false;
  for (size_t i = 1; i < *used; i++) {
    if ((at[i] & 0xc0) != 0x80) return false;
  }
  if (first == 0xe0) return at[1] >= 0xa0;
  if (first == 0xed) return at[1] < 0xa0;
  if (first == 0xf0) return at[1] >= 0x90;
  if (first == 0xf4) return at[1] < 0x90;
  return true;
}

bool IsUtf8(const uint8_t* text, size_t length) {
  size_t used = 0;
  for (size_t at = 0; at < length; at += used) {
    if (!IsCharacter(text + at, length - at, &used)) return false;
  }
  return true;
}

bool ReadSnapshotReady(const uint8_t* bytes, size_t length, Frame* frame, Refusal* refusal) {
  frame->word = ReadU64(bytes + 9);
  frame->index = ReadU32(bytes + 17);
  frame->total = ReadU32(bytes + 21);
  const uint32_t chunk = ReadU32(bytes + 25);
  if (frame->total == 0) return Refuse(refusal, Kind::kZeroTotalChunks, kSnapshotReady, 21, 0, 1);
  if (frame->total > kMaxTotalChunks) {
    return Refuse(refusal, Kind::kTotalChunksTooLarge, kSnapshotReady, 21, frame->total, kMaxTotalChunks);
  }
  if (frame->index >= frame->total) {
    return Refuse(refusal, Kind::kChunkIndexOutOfRange, kSnapshotReady, 17, frame->index, frame->total);
  }
  if (chunk > kMaxChunkBytes) {
    return Refuse(refusal, Kind::kChunkTooLarge, kSnapshotReady, 25, chunk, kMaxChunkBytes);
  }
  frame->base_length = kSnapshotReadyHeaderBytes + chunk;
  if (length < frame->base_length) {
    return Refuse(refusal, Kind::kTruncated, kSnapshotReady, length, length, frame->base_length);
  }
  frame->payload_offset = kSnapshotReadyHeaderBytes;
  frame->payload_length = chunk;
  return true;
}

bool ReadFailureText(const uint8_t* bytes, size_t length, Frame* frame, Refusal* refusal) {
  constexpr size_t text_offset = kFailureHeaderBytes + 2;
  if (length < text_offset) return Refuse(refusal, Kind::kTruncated, kMigrationFailed, length, length, text_offset);
  const size_t text_length = ReadU16(bytes + kFailureHeaderBytes);
  frame->base_length = text_offset + text_length;
  if (length < frame->base_length) {
    return Refuse(refusal, Kind::kTruncated, kMigrationFailed, length, length, frame->base_length);
  }
  if (!IsUtf8(bytes + text_offset, text_length)) {
    return Refuse(refusal, Kind::kInvalidUtf8, kMigrationFailed, text_offset, text_length, 0);
  }
  frame->payload_offset = text_offset;
  frame->payload_length = text_length;
  return true;
}

bool ReadMigrationFailed(const uint8_t* bytes, size_t length, Frame* frame, Refusal* refusal) {
  const uint16_t code = ReadU16(bytes + 9);
  if (code > kLastFailureCode) {
    return Refuse(refusal, Kind::kUnknownFailureCode, kMigrationFailed, 9, code, kLastFailureCode);
  }
  frame->index = code;
  if (code == 3 || code == 5) return ReadFailureText(bytes, length, frame, refusal);
  if (code == kLastFailureCode) {
    if (length < kFailureHeaderBytes + 1) {
      return Refuse(refusal, Kind::kTruncated, kMigrationFailed, length, length, kFailureHeaderBytes + 1);
    }
    frame->total = bytes[kFailureHeaderBytes];
    frame->base_length = kFailureHeaderBytes + 1;
  }
  return true;
}

bool ReadBufferedEvents(const uint8_t* bytes, size_t length, Frame* frame, Refusal* refusal) {
  const uint32_t count = ReadU32(bytes + 9);
  const size_t room = std::min<size_t>(kMaxBufferedEvents, (length - kEventsHeaderBytes) / kMinEventBytes);
  if (count > room) return Refuse(refusal, Kind::kEventCountTooLarge, kBufferedEvents, 9, count, room);
  size_t at = kEventsHeaderBytes;
  for (uint32_t i = 0; i < count; i++) {
    if (length - at < kMinEventBytes) {
      return Refuse(refusal, Kind::kTruncated, kBufferedEvents, length, length, at + kMinEventBytes);
    }
    const uint32_t payload = ReadU32(bytes + at + kLinkBytes);
    if (payload > kMaxChunkBytes) {
      return Refuse(refusal, Kind::kEventTooLarge, kBufferedEvents, at + kLinkBytes, payload, kMaxChunkBytes);
    }
    const size_t event_bytes = kMinEventBytes + payload;
    if (length - at < event_bytes) {
      return Refuse(refusal, Kind::kTruncated, kBufferedEvents, length, length, at + event_bytes);
    }
    at += event_bytes;
  }
  frame->index = count;
  frame->base_length = at;
  frame->payload_offset = kEventsHeaderBytes;
  frame->payload_length = at - kEventsHeaderBytes;
  return true;
}

CodecError Explain(const Refusal& refusal, const std::string& what, const char* value_name, const char* limit_name) {
  Details details = {{"offset", static_cast<double>(refusal.at)}};
  if (value_name != nullptr) details.emplace_back(value_name, static_cast<double>(refusal.value));
  if (limit_name != nullptr) details.emplace_back(limit_name, static_cast<double>(refusal.limit));
  const std::string name = refusal.type < kMessageTypes ? kNames[refusal.type] : "frame";
  return CodecError(refusal.kind, name + " refused at byte " + std::to_string(refusal.at) + ": " + what,
                    std::move(details));
}

}  // namespace

bool ReadFrame(const uint8_t* bytes, size_t length, Frame* frame, Refusal* refusal) {
  *frame = Frame();
  if (length == 0) return Refuse(refusal, Kind::kEmptyFrame, kMessageTypes, 0, 0, 1);
  const uint8_t type = bytes[0];
  if (type >= kMessageTypes) return Refuse(refusal, Kind::kUnknownType, type, 0, type, kMessageTypes - 1);
  const size_t header = kHeaderBytes[type];
  if (length < header) return Refuse(refusal, Kind::kTruncated, type, length, length, header);
  frame->type = type;
  frame->origin = ReadU64(bytes + 1);
  frame->base_length = header;
  switch (type) {
    case kSnapshotReady:
      return ReadSnapshotReady(bytes, length, frame, refusal);
    case kMigrationFailed:
      return ReadMigrationFailed(bytes, length, frame, refusal);
    case kBufferedEvents:
      return ReadBufferedEvents(bytes, length, frame, refusal);
    case kCleanupComplete:
    case kActivateTarget:
      return true;
    case kReplayComplete:
      frame->payload_offset = 17;
      frame->payload_length = kLinkBytes;
      frame->word = ReadU64(bytes + 9);
      return true;
    default:
      frame->word = ReadU64(bytes + 9);
      return true;
  }
}

CodecError ExplainRefusal(const Refusal& refusal) {
  const std::string value = std::to_string(refusal.value);
  const std::string limit = std::to_string(refusal.limit);
  switch (refusal.kind) {
    case Kind::kEmptyFrame:
      return Explain(refusal, "it is empty, a message type was expected", "length", nullptr);
    case Kind::kUnknownType:
      return Explain(refusal, "message type " + value + " is unknown, known are 0 to " + limit, "type", nullptr);
    case Kind::kUnknownFailureCode:
      return Explain(refusal, "failure code " + value + " is unknown, known are 0 to " + limit, "code", nullptr);
    case Kind::kTruncated:
      return Explain(refusal, "it is truncated, its fields need " + limit + " bytes", "length", "needed");
    case Kind::kInvalidUtf8:
      return Explain(refusal, "its " + value + " bytes of text are not UTF-8", "length", nullptr);
    case Kind::kZeroTotalChunks:
      return Explain(refusal, "total_chunks is 0, at least 1 was expected", "totalChunks", nullptr);
    case Kind::kTotalChunksTooLarge:
      return Explain(refusal, "total_chunks is " + value + ", at most " + limit + " are taken", "totalChunks", "max");
    case Kind::kChunkIndexOutOfRange:
      return Explain(refusal, "chunk_index is " + value + ", but total_chunks is " + limit, "chunkIndex",
                     "totalChunks");
    case Kind::kChunkTooLarge:
      return Explain(refusal, "the chunk has " + value + " bytes, at most " + limit + " are taken", "length", "max");
    case Kind::kEventTooLarge:
      return Explain(refusal, "an event's payload has " + value + " bytes, at most " + limit + " are taken", "length",
                     "max");
    default:
      return Explain(refusal, value + " events are announced, at most " + limit + " can be there", "count", "max");
  }
}

void CheckChunkNumbers(uint32_t chunk_index, uint32_t total_chunks) {
  const double total = total_chunks;
  if (total_chunks == 0) {
    throw CodecError(Kind::kZeroTotalChunks, "totalChunks is 0, a snapshot has at least one chunk",
                     {{"field", "totalChunks"}, {"totalChunks", total}});
  }
  if (total_chunks > kMaxTotalChunks) {
    throw CodecError(Kind::kTotalChunksTooLarge,
                     "totalChunks is " + std::to_string(total_chunks) + ", at most " + std::to_string(kMaxTotalChunks) +
                         " are taken",
                     {{"field", "totalChunks"}, {"totalChunks", total}, {"max", static_cast<double>(kMaxTotalChunks)}});
  }
  if (chunk_index >= total_chunks) {
    throw CodecError(
        Kind::kChunkIndexOutOfRange,
        "chunkIndex is " + std::to_string(chunk_index) + ", but totalChunks is " + std::to_string(total_chunks),
        {{"field", "chunkIndex"}, {"chunkIndex", static_cast<double>(chunk_index)}, {"totalChunks", total}});
  }
}

uint64_t ChunkCount(uint64_t snapshot_length) {
  if (snapshot_length == 0) return 1;
  return (snapshot_length + kMaxChunkBytes - 1) / kMaxChunkBytes;
}

void WriteSnapshotReadyHeader(uint8_t* at, uint64_t origin, uint64_t seq_through, uint32_t chunk_index,
                              uint32_t total_chunks, uint32_t length) {
  at[0] = kSnapshotReady;
  WriteU64(at + 1, origin);
  WriteU64(at + 9, seq_through);
  WriteU32(at + 17, chunk_index);
  WriteU32(at + 21, total_chunks);
  WriteU32(at + 25, length);
}

}  // namespace baseline
