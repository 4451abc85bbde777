// Frames of PROTOCOL.md §3: what stands where, and what is refused. Knows nothing of Node.
#pragma once

#include <cstddef>
#include <cstdint>

#include "codec_error.h"

namespace baseline {

enum MessageType : uint8_t {
  kTakeSnapshot = 0,
  kSnapshotReady = 1,
  kRestoreComplete = 2,
  kReplayComplete = 3,
  kCutoverNotify = 4,
  kCleanupComplete = 5,
  kMigrationFailed = 6,
  kBufferedEvents = 7,
  kActivateTarget = 8,
  kActivateAck = 9,
};

constexpr uint32_t kMaxChunkBytes = 7000;
constexpr uint32_t kMaxTotalChunks = 700000;
constexpr uint32_t kMaxBufferedEvents = 1000000;
constexpr size_t kSnapshotReadyHeaderBytes = 29;
constexpr size_t kFailureHeaderBytes = 11;
constexpr size_t kEventsHeaderBytes = 13;
constexpr size_t kLinkBytes = 32;
constexpr size_t kEventHeaderBytes = kLinkBytes + 4;
constexpr size_t kMinEventBytes = kEventHeaderBytes + 8;
constexpr size_t kMaxTextBytes = 65535;

// A frame's fields; what they mean per message is said by FrameColumns in lib/wire/columns.ts. Offsets are counted from
// the first byte of the frame.
struct Frame {
  uint8_t type = 0;
  uint64_t origin = 0;
  uint64_t word = 0;
  size_t base_length = 0;
  uint32_t index = 0;
  uint32_t total = 0;
  size_t payload_offset = 0;
  size_t payload_length = 0;
};

// Where a frame went wrong, the value met there and the one that would have been taken.
struct Refusal {
  Kind kind = Kind::kEmptyFrame;
  uint8_t type = 0;
  size_t at = 0;
  uint64_t value = 0;
  uint64_t limit = 0;
};

// Checks and reads one frame. False: refused, and `refusal` says why. Bytes after the last field are not looked at.
bool ReadFrame(const uint8_t* bytes, size_t length, Frame* frame, Refusal* refusal);

// The error for a refused frame, in words.
CodecError ExplainRefusal(const Refusal& refusal);

// The three checks of a chunk's number and total, which reassembly makes too. Throws CodecError.
void CheckChunkNumbers(uint32_t chunk_index, uint32_t total_chunks);

// How many chunks a snapshot is cut into: an empty one is one empty chunk.
uint64_t ChunkCount(uint64_t snapshot_length);

// Writes the 29 bytes of a SnapshotReady before its chunk.
void WriteSnapshotReadyHeader(uint8_t* at, uint64_t origin, uint64_t seq_through, uint32_t chunk_index,
                              uint32_t total_chunks, uint32_t length);

}  // namespace baseline
