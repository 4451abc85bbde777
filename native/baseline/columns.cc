#include "columns.h"

#include <algorithm>
#include <string>

#include "bytes.h"
#include "frame.h"

namespace baseline {

namespace {

constexpr size_t kLengthPrefixBytes = 4;
constexpr size_t kRowBytes = 2 * 8 + 7 * 4 + 2;
constexpr uint64_t kMaxColumnRows = 65536;

void FillRow(const Columns& columns, size_t row, size_t frame_offset, size_t frame_length, const Frame& frame) {
  columns.origin[row] = frame.origin;
  columns.word[row] = frame.word;
  columns.frame_offset[row] = static_cast<uint32_t>(frame_offset);
  columns.frame_length[row] = static_cast<uint32_t>(frame_length);
  columns.base_length[row] = static_cast<uint32_t>(frame.base_length);
  columns.index[row] = frame.index;
  columns.total[row] = frame.total;
  const bool has_payload = frame.payload_offset > 0;
  columns.payload_offset[row] = has_payload ? static_cast<uint32_t>(frame_offset + frame.payload_offset) : 0;
  columns.payload_length[row] = static_cast<uint32_t>(frame.payload_length);
  columns.status[row] = 0;
  columns.type[row] = frame.type;
}

// Bytes of a message that is nothing but type, origin and word; 0 for the others.
size_t FixedLength(uint8_t type) {
  switch (type) {
    case kTakeSnapshot:
    case kRestoreComplete:
    case kCutoverNotify:
    case kActivateAck:
      return 17;
    case kCleanupComplete:
    case kActivateTarget:
      return 9;
    default:
      return 0;
  }
}

CodecError NotFixedSize(size_t row, uint8_t type) {
  return CodecError(Kind::kUnknownType,
                    "columns row " + std::to_string(row) + " has type " + std::to_string(type) +
                        ", which is no message of a fixed size: encode it on its own",
                    {{"row", static_cast<double>(row)}, {"type", static_cast<double>(type)}});
}

// Throws CodecError where a snapshot of that length has no such chunks. Returns how many it has.
uint32_t CheckChunkRange(uint64_t snapshot_length, uint64_t first, uint64_t count) {
  const uint64_t total = ChunkCount(snapshot_length);
  const double total_number = static_cast<double>(total);
  if (total > kMaxTotalChunks) {
    throw CodecError(Kind::kTotalChunksTooLarge,
                     "a snapshot of " + std::to_string(snapshot_length) + " bytes is " + std::to_string(total) +
                         " chunks, at most " + std::to_string(kMaxTotalChunks) + " are taken",
                     {{"size", static_cast<double>(snapshot_length)},
                      {"totalChunks", total_number},
                      {"max", static_cast<double>(kMaxTotalChunks)}});
  }
  if (first + count > total) {
    throw CodecError(Kind::kChunkIndexOutOfRange,
                     "chunks " + std::to_string(first) + " to " + std::to_string(first + count) +
                         " asked for, but a snapshot of " + std::to_string(snapshot_length) + " bytes has " +
                         std::to_string(total),
                     {{"firstIndex", static_cast<double>(first)},
                      {"count", static_cast<double>(count)},
                      {"totalChunks", total_number}});
  }
  return static_cast<uint32_t>(total);
}

}  // namespace

Columns RequireColumns(const Napi::Value& capacity_value, const Napi::Value& buffer_value) {
  const uint64_t capacity = RequireInteger(capacity_value, {"columns", "capacity"}, kMaxColumnRows);
  const Bytes buffer = RequireBytes(buffer_value, {"columns", "buffer"});
  const bool aligned = reinterpret_cast<uintptr_t>(buffer.data) % alignof(uint64_t) == 0;
  if (buffer.length != capacity * kRowBytes || !aligned) {
    throw WrongType(buffer_value.Env(), {"columns", "buffer"}, std::to_string(capacity * kRowBytes) + " bytes");
  }
  uint8_t* const at = buffer.data;
  const auto u64 = [&](size_t offset) { return reinterpret_cast<uint64_t*>(at + offset * capacity); };
  const auto u32 = [&](size_t offset) { return reinterpret_cast<uint32_t*>(at + offset * capacity); };
  const auto u8 = [&](size_t offset) { return at + offset * capacity; };
  return Columns{capacity, u64(0),  u64(8),  u32(16), u32(20), u32(24),
                 u32(28),  u32(32), u32(36), u32(40), u8(44),  u8(45)};
}

Napi::Value DecodeBatch(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return Guard(env, [&]() -> Napi::Value {
    const Bytes batch = RequireBytes(info[0], {"batch"});
    // Offsets in the columns are u32.
    if (batch.length > UINT32_MAX) throw WrongType(env, {"batch"}, "of less than 2^32 bytes");
    size_t at = RequireInteger(info[1], {"start"}, batch.length);
    const Columns columns = RequireColumns(info[2], info[3]);
    const uint8_t* const status_of_kind = env.GetInstanceData<AddonData>()->status_of_kind;
    size_t row = 0;
    while (row < columns.capacity && batch.length - at >= kLengthPrefixBytes) {
      const size_t length = ReadU32(batch.data + at);
      const size_t offset = at + kLengthPrefixBytes;
      if (length > batch.length - offset) break;
      Frame frame;
      Refusal refusal;
      const bool accepted = ReadFrame(batch.data + offset, length, &frame, &refusal);
      if (!accepted) frame = Frame();
      FillRow(columns, row, offset, length, frame);
      if (!accepted) {
        columns.status[row] = status_of_kind[static_cast<size_t>(refusal.kind)];
        columns.type[row] = length > 0 ? batch.data[offset] : 0;
      }
      at = offset + length;
      row++;
    }
    Napi::Uint32Array result = info[4].As<Napi::Uint32Array>();
    result[0] = static_cast<uint32_t>(row);
    result[1] = static_cast<uint32_t>(at);
    return env.Undefined();
  });
}

Napi::Value EncodeBatch(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return Guard(env, [&]() -> Napi::Value {
    const Columns columns = RequireColumns(info[0], info[1]);
    const size_t count = RequireInteger(info[2], {"columns", "count"}, columns.capacity);
    const Bytes target = RequireBytes(info[3], {"target"});
    size_t needed = 0;
    for (size_t row = 0; row < count; row++) {
      const size_t length = FixedLength(columns.type[row]);
      if (length == 0) throw NotFixedSize(row, columns.type[row]);
      needed += kLengthPrefixBytes + length;
    }
    if (needed > target.length) {
      throw WrongType(env, {"target"}, "at least " + std::to_string(needed) + " bytes long");
    }
    uint8_t* at = target.data;
    for (size_t row = 0; row < count; row++) {
      const size_t length = FixedLength(columns.type[row]);
      WriteU32(at, static_cast<uint32_t>(length));
      at += kLengthPrefixBytes;
      at[0] = columns.type[row];
      WriteU64(at + 1, columns.origin[row]);
      if (length == 17) WriteU64(at + 9, columns.word[row]);
      at += length;
    }
    return Napi::Number::New(env, static_cast<double>(needed));
  });
}

Napi::Value WriteChunkHeaders(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return Guard(env, [&]() -> Napi::Value {
    const Bytes headers = RequireBytes(info[0], {"headers"});
    const uint64_t origin = RequireU64(info[1], {"daemonOrigin"});
    const uint64_t seq_through = RequireU64(info[2], {"seqThrough"});
    const uint64_t snapshot_length = RequireInteger(info[3], {"snapshotLength"}, kMaxSafeInteger);
    const uint32_t first = RequireU32(info[4], {"firstIndex"});
    const uint32_t count = RequireU32(info[5], {"count"});
    const uint32_t total = CheckChunkRange(snapshot_length, first, count);
    if (headers.length < count * kSnapshotReadyHeaderBytes) {
      throw WrongType(env, {"headers"},
                      "at least " + std::to_string(count * kSnapshotReadyHeaderBytes) + " bytes long");
    }
    for (uint32_t i = 0; i < count; i++) {
      const uint64_t offset = static_cast<uint64_t>(first + i) * kMaxChunkBytes;
      const uint64_t length = std::min<uint64_t>(kMaxChunkBytes, snapshot_length - offset);
      WriteSnapshotReadyHeader(headers.data + i * kSnapshotReadyHeaderBytes, origin, seq_through, first + i, total,
                               static_cast<uint32_t>(length));
    }
    return env.Undefined();
  });
}

}  // namespace baseline
