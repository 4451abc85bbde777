// Puts snapshots together from their chunks (PROTOCOL.md §4). Every chunk is kept as it came, in a map, and all are
// joined when the last one is here. Knows nothing of Node.
#pragma once

#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "codec_error.h"

namespace baseline {

using ByteVector = std::vector<uint8_t>;

struct ReassemblyProgress {
  uint64_t seq_through;
  uint32_t total_chunks;
  uint32_t received_chunks;
  uint64_t received_bytes;
};

class Reassembler {
 public:
  Reassembler(uint64_t max_snapshot_bytes, uint64_t max_pending_bytes)
      : max_snapshot_bytes_(max_snapshot_bytes), max_pending_bytes_(max_pending_bytes) {}

  size_t pending_count() const { return pending_.size(); }
  uint64_t pending_bytes() const { return pending_bytes_; }

  // The snapshot when this was its last missing chunk. Throws CodecError, and then nothing has changed.
  std::optional<ByteVector> Feed(uint64_t origin, uint64_t seq_through, uint32_t chunk_index, uint32_t total_chunks,
                                 const uint8_t* chunk, size_t length, double now_ms);

  std::optional<ReassemblyProgress> Progress(uint64_t origin) const;
  // Up to `limit` runs of missing chunks, each as its first index and the one after its last.
  std::vector<uint32_t> Missing(uint64_t origin, uint32_t limit) const;
  bool Cancel(uint64_t origin);
  bool Forget(uint64_t origin);
  uint32_t Sweep(double now_ms, double max_idle_ms);
  void Clear();

 private:
  struct Pending {
    uint64_t seq_through = 0;
    uint32_t total_chunks = 0;
    uint64_t bytes = 0;
    double last_progress_ms = 0;
    std::unordered_map<uint32_t, ByteVector> chunks;
  };

  const Pending* Find(uint64_t origin) const;
  void CheckChunk(uint64_t origin, uint64_t seq_through, uint32_t chunk_index, uint32_t total_chunks,
                  size_t length) const;
  void CheckLimits(const Pending* same, uint64_t evicted_bytes, uint32_t chunk_index, uint32_t total_chunks,
                   size_t length) const;
  std::optional<ByteVector> Begin(uint64_t origin, uint64_t seq_through, uint32_t chunk_index, uint32_t total_chunks,
                                  ByteVector bytes, double now_ms);
  void Join(const Pending& pending, ByteVector* whole) const;

  uint64_t max_snapshot_bytes_;
  uint64_t max_pending_bytes_;
  uint64_t pending_bytes_ = 0;
  std::unordered_map<uint64_t, Pending> pending_;
  // The highest seq_through taken per origin; what is older is stale, also after completion.
  std::unordered_map<uint64_t, uint64_t> latest_;
};

}  // namespace baseline
