#include "reassembler.h"

#include <string>
#include <utility>

#include "frame.h"

namespace baseline {

namespace {

double Number(uint64_t value) { return static_cast<double>(value); }

CodecError OverLimit(Kind kind, const std::string& what, uint64_t buffered, uint64_t incoming, uint64_t max) {
  return CodecError(kind,
                    std::to_string(buffered) + " bytes " + what + ", " + std::to_string(incoming) +
                        " more are over the " + std::to_string(max) + " taken",
                    {{"buffered", Number(buffered)}, {"incoming", Number(incoming)}, {"max", Number(max)}});
}

}  // namespace

const Reassembler::Pending* Reassembler::Find(uint64_t origin) const {
  const auto found = pending_.find(origin);
  return found == pending_.end() ? nullptr : &found->second;
}

// In the order of the vectors' "validation precedence": numbers, size, staleness, agreement.
void Reassembler::CheckChunk(uint64_t origin, uint64_t seq_through, uint32_t chunk_index, uint32_t total_chunks,
                             size_t length) const {
  CheckChunkNumbers(chunk_index, total_chunks);
  if (length == 0) {
    throw CodecError(Kind::kEmptyChunk, "chunk is empty, at least one byte was expected", {{"length", 0.0}});
  }
  if (length > kMaxChunkBytes) {
    throw CodecError(
        Kind::kChunkTooLarge,
        "chunk has " + std::to_string(length) + " bytes, at most " + std::to_string(kMaxChunkBytes) + " are taken",
        {{"length", Number(length)}, {"max", Number(kMaxChunkBytes)}});
  }
  const auto latest = latest_.find(origin);
  if (latest != latest_.end() && seq_through < latest->second) {
    throw CodecError(Kind::kStaleSeqThrough,
                     "seqThrough is " + std::to_string(seq_through) + ", but a snapshot through " +
                         std::to_string(latest->second) + " has been seen: take a newer one",
                     {{"got", seq_through}, {"latest", latest->second}});
  }
  const Pending* pending = Find(origin);
  if (pending != nullptr && pending->seq_through == seq_through && pending->total_chunks != total_chunks) {
    throw CodecError(Kind::kTotalChunksMismatch,
                     "totalChunks is " + std::to_string(total_chunks) + ", but the first chunk of this snapshot said " +
                         std::to_string(pending->total_chunks),
                     {{"got", Number(total_chunks)}, {"expected", Number(pending->total_chunks)}});
  }
}

// `same`: what is pending of this very snapshot; `evicted_bytes`: what a newer snapshot drops.
void Reassembler::CheckLimits(const Pending* same, uint64_t evicted_bytes, uint32_t chunk_index, uint32_t total_chunks,
                              size_t length) const {
  uint64_t replaced = 0;
  if (same != nullptr) {
    const auto before = same->chunks.find(chunk_index);
    if (before != same->chunks.end()) replaced = before->second.size();
  }
  const uint64_t here = (same == nullptr ? 0 : same->bytes) - replaced;
  // Each chunk of a snapshot has a byte at least.
  const uint64_t at_least = same == nullptr && total_chunks > length ? total_chunks : length;
  if (here + at_least > max_snapshot_bytes_) {
    throw OverLimit(Kind::kSnapshotTooLarge, "of the snapshot are here", here, at_least, max_snapshot_bytes_);
  }
  const uint64_t buffered = pending_bytes_ - evicted_bytes - replaced;
  if (total_chunks > 1 && buffered + length > max_pending_bytes_) {
    throw OverLimit(Kind::kTooManyPendingBytes, "of all snapshots are pending", buffered, length, max_pending_bytes_);
  }
}

std::optional<ByteVector> Reassembler::Feed(uint64_t origin, uint64_t seq_through, uint32_t chunk_index,
                                            uint32_t total_chunks, const uint8_t* chunk, size_t length, double now_ms) {
  CheckChunk(origin, seq_through, chunk_index, total_chunks, length);
  const Pending* before = Find(origin);
  const bool newer = before != nullptr && before->seq_through != seq_through;
  CheckLimits(newer ? nullptr : before, newer ? before->bytes : 0, chunk_index, total_chunks, length);

  // What may run out of memory comes before what changes, so that a chunk without memory is a refused one.
  ByteVector bytes(chunk, chunk + length);
  if (before == nullptr || newer)
    return Begin(origin, seq_through, chunk_index, total_chunks, std::move(bytes), now_ms);

  Pending& pending = pending_.at(origin);
  const bool missing = pending.chunks.count(chunk_index) == 0;
  const bool last = missing && pending.chunks.size() + 1 == total_chunks;
  ByteVector whole;
  if (last) whole.reserve(pending.bytes + length);
  ByteVector& place = pending.chunks[chunk_index];
  pending.bytes += length - place.size();
  pending_bytes_ += length - place.size();
  if (missing) pending.last_progress_ms = now_ms;
  place = std::move(bytes);
  if (!last) return std::nullopt;
  Join(pending, &whole);
  Cancel(origin);
  return whole;
}

// The first chunk of a snapshot; an older one of the same origin gives way to it.
std::optional<ByteVector> Reassembler::Begin(uint64_t origin, uint64_t seq_through, uint32_t chunk_index,
                                             uint32_t total_chunks, ByteVector bytes, double now_ms) {
  if (total_chunks == 1) {
    latest_[origin] = seq_through;
    Cancel(origin);
    return bytes;
  }
  Pending first;
  first.seq_through = seq_through;
  first.total_chunks = total_chunks;
  first.bytes = bytes.size();
  first.last_progress_ms = now_ms;
  first.chunks.emplace(chunk_index, std::move(bytes));
  Pending& place = pending_[origin];
  latest_[origin] = seq_through;
  pending_bytes_ += first.bytes - place.bytes;
  place = std::move(first);
  return std::nullopt;
}

void Reassembler::Join(const Pending& pending, ByteVector* whole) const {
  for (uint32_t i = 0; i < pending.total_chunks; i++) {
    const ByteVector& chunk = pending.chunks.at(i);
    whole->insert(whole->end(), chunk.begin(), chunk.end());
  }
}

std::optional<ReassemblyProgress> Reassembler::Progress(uint64_t origin) const {
  const Pending* pending = Find(origin);
  if (pending == nullptr) return std::nullopt;
  return ReassemblyProgress{pending->seq_through, pending->total_chunks, static_cast<uint32_t>(pending->chunks.size()),
                            pending->bytes};
}

std::vector<uint32_t> Reassembler::Missing(uint64_t origin, uint32_t limit) const {
  std::vector<uint32_t> runs;
  const Pending* pending = Find(origin);
  if (pending == nullptr) return runs;
  bool in_run = false;
  for (uint32_t i = 0; i < pending->total_chunks; i++) {
    const bool missing = pending->chunks.count(i) == 0;
    if (missing && !in_run && runs.size() / 2 == limit) return runs;
    if (missing != in_run) runs.push_back(i);
    in_run = missing;
  }
  if (in_run) runs.push_back(pending->total_chunks);
  return runs;
}

bool Reassembler::Cancel(uint64_t origin) {
  const auto found = pending_.find(origin);
  if (found == pending_.end()) return false;
  pending_bytes_ -= found->second.bytes;
  pending_.erase(found);
  return true;
}

bool Reassembler::Forget(uint64_t origin) {
  const bool pending = Cancel(origin);
  return latest_.erase(origin) > 0 || pending;
}

uint32_t Reassembler::Sweep(double now_ms, double max_idle_ms) {
  uint32_t dropped = 0;
  for (auto at = pending_.begin(); at != pending_.end();) {
    if (now_ms - at->second.last_progress_ms < max_idle_ms) {
      ++at;
      continue;
    }
    pending_bytes_ -= at->second.bytes;
    at = pending_.erase(at);
    dropped++;
  }
  return dropped;
}

void Reassembler::Clear() {
  pending_.clear();
  latest_.clear();
  pending_bytes_ = 0;
}

}  // namespace baseline
