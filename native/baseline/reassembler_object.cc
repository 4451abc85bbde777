#include "reassembler_object.h"

#include <memory>
#include <string>
#include <utility>

#include "columns.h"
#include "frame.h"
#include "values.h"

namespace baseline {

namespace {

// An ArrayBuffer over the vector itself; collecting or detaching it deletes the vector.
Napi::Value TakeBytes(Napi::Env env, ByteVector bytes) {
  auto owned = std::make_unique<ByteVector>(std::move(bytes));
  Napi::ArrayBuffer memory = Napi::ArrayBuffer::New(
      env, owned->data(), owned->size(), [](Napi::Env, void*, ByteVector* vector) { delete vector; }, owned.get());
  owned.release();
  return Napi::Uint8Array::New(env, memory.ByteLength(), memory, 0);
}

Napi::Value SnapshotOrUndefined(Napi::Env env, std::optional<ByteVector> whole) {
  if (!whole.has_value()) return env.Undefined();
  return TakeBytes(env, std::move(*whole));
}

}  // namespace

Napi::Function ReassemblerObject::Define(Napi::Env env) {
  return DefineClass(env, "Reassembler",
                     {
                         InstanceMethod<&ReassemblerObject::Feed>("feed"),
                         InstanceMethod<&ReassemblerObject::FeedBatch>("feedBatch"),
                         InstanceMethod<&ReassemblerObject::Progress>("progress"),
                         InstanceMethod<&ReassemblerObject::Missing>("missing"),
                         InstanceMethod<&ReassemblerObject::Cancel>("cancel"),
                         InstanceMethod<&ReassemblerObject::Forget>("forget"),
                         InstanceMethod<&ReassemblerObject::Sweep>("sweep"),
                         InstanceMethod<&ReassemblerObject::PendingCount>("pendingCount"),
                         InstanceMethod<&ReassemblerObject::PendingBytes>("pendingBytes"),
                         InstanceMethod<&ReassemblerObject::Dispose>("dispose"),
                     });
}

ReassemblerObject::ReassemblerObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<ReassemblerObject>(info) {
  Guard(info.Env(), [&]() {
    const uint64_t max_snapshot_bytes = RequireInteger(info[0], {"options", "maxSnapshotBytes"}, uint64_t{1} << 32);
    if (max_snapshot_bytes == 0) throw WrongType(info.Env(), {"options", "maxSnapshotBytes"}, "at least 1");
    const uint64_t max_pending_bytes = RequireInteger(info[1], {"options", "maxPendingBytes"}, kMaxSafeInteger);
    reassembler_.emplace(max_snapshot_bytes, max_pending_bytes);
  });
}

Reassembler& ReassemblerObject::Live() {
  if (!reassembler_.has_value()) {
    throw CodecError(Kind::kDisposed, "the reassembler was disposed: make a new one", {});
  }
  return *reassembler_;
}

// feed(daemonOrigin, seqThrough, chunkIndex, totalChunks, chunk, nowMs): the whole snapshot, or undefined
Napi::Value ReassemblerObject::Feed(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return Guard(env, [&]() -> Napi::Value {
    Reassembler& reassembler = Live();
    const uint64_t origin = RequireU64(info[0], {"daemonOrigin"});
    const uint64_t seq_through = RequireU64(info[1], {"seqThrough"});
    const uint32_t chunk_index = RequireU32(info[2], {"chunkIndex"});
    const uint32_t total_chunks = RequireU32(info[3], {"totalChunks"});
    const Bytes chunk = RequireBytes(info[4], {"chunk"});
    const double now_ms = RequireFinite(info[5], {"nowMs"});
    return SnapshotOrUndefined(
        env, reassembler.Feed(origin, seq_through, chunk_index, total_chunks, chunk.data, chunk.length, now_ms));
  });
}

// feedBatch(batch, capacity, columnsBuffer, count, from, to, nowMs): { next, daemonOrigin, seqThrough, bytes?, error? }
Napi::Value ReassemblerObject::FeedBatch(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return Guard(env, [&]() -> Napi::Value {
    Reassembler& reassembler = Live();
    const Bytes batch = RequireBytes(info[0], {"batch"});
    const Columns columns = RequireColumns(info[1], info[2]);
    const uint64_t count = RequireInteger(info[3], {"columns", "count"}, columns.capacity);
    const size_t to = RequireInteger(info[5], {"to"}, count);
    size_t row = RequireInteger(info[4], {"from"}, to);
    const double now_ms = RequireFinite(info[6], {"nowMs"});
    const Napi::Object result = Napi::Object::New(env);
    const uint64_t origin = row < to ? columns.origin[row] : 0;
    for (; row < to; row++) {
      const bool is_chunk = columns.type[row] == kSnapshotReady && columns.status[row] == 0;
      if (!is_chunk || columns.origin[row] != origin) break;
      const size_t offset = columns.payload_offset[row];
      const size_t length = columns.payload_length[row];
      if (offset > batch.length || length > batch.length - offset) {
        throw WrongType(env, {"batch"}, "the bytes that the columns were decoded from");
      }
      std::optional<ByteVector> whole;
      try {
        whole = reassembler.Feed(origin, columns.word[row], columns.index[row], columns.total[row], batch.data + offset,
                                 length, now_ms);
      } catch (const CodecError& error) {
        result.Set("error", MakeMigrationError(env, error));
        break;
      }
      if (whole.has_value()) {
        result.Set("daemonOrigin", Napi::BigInt::New(env, origin));
        result.Set("seqThrough", Napi::BigInt::New(env, columns.word[row]));
        result.Set("bytes", TakeBytes(env, std::move(*whole)));
        row++;
        break;
      }
    }
    result.Set("next", Napi::Number::New(env, static_cast<double>(row)));
    return result;
  });
}

// progress(daemonOrigin): ReassemblyProgress, or undefined
Napi::Value ReassemblerObject::Progress(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return Guard(env, [&]() -> Napi::Value {
    const std::optional<ReassemblyProgress> progress = Live().Progress(RequireU64(info[0], {"daemonOrigin"}));
    if (!progress.has_value()) return env.Undefined();
    const Napi::Object result = Napi::Object::New(env);
    result.Set("seqThrough", Napi::BigInt::New(env, progress->seq_through));
    result.Set("totalChunks", Napi::Number::New(env, progress->total_chunks));
    result.Set("receivedChunks", Napi::Number::New(env, progress->received_chunks));
    result.Set("receivedBytes", Napi::Number::New(env, static_cast<double>(progress->received_bytes)));
    return result;
  });
}

// missing(daemonOrigin, limit): Uint32Array of [first, end) pairs
Napi::Value ReassemblerObject::Missing(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return Guard(env, [&]() -> Napi::Value {
    const Reassembler& reassembler = Live();
    const uint64_t origin = RequireU64(info[0], {"daemonOrigin"});
    const std::vector<uint32_t> runs = reassembler.Missing(origin, RequireU32(info[1], {"limit"}));
    Napi::Uint32Array result = Napi::Uint32Array::New(env, runs.size());
    for (size_t i = 0; i < runs.size(); i++) result[i] = runs[i];
    return result;
  });
}

Napi::Value ReassemblerObject::Cancel(const Napi::CallbackInfo& info) {
  return Guard(info.Env(), [&]() -> Napi::Value {
    return Napi::Boolean::New(info.Env(), Live().Cancel(RequireU64(info[0], {"daemonOrigin"})));
  });
}

Napi::Value ReassemblerObject::Forget(const Napi::CallbackInfo& info) {
  return Guard(info.Env(), [&]() -> Napi::Value {
    return Napi::Boolean::New(info.Env(), Live().Forget(RequireU64(info[0], {"daemonOrigin"})));
  });
}

// sweep(nowMs, maxIdleMs): how many were dropped
Napi::Value ReassemblerObject::Sweep(const Napi::CallbackInfo& info) {
  return Guard(info.Env(), [&]() -> Napi::Value {
    Reassembler& reassembler = Live();
    const double now_ms = RequireFinite(info[0], {"nowMs"});
    const double max_idle_ms = RequireFinite(info[1], {"maxIdleMs"});
    return Napi::Number::New(info.Env(), reassembler.Sweep(now_ms, max_idle_ms));
  });
}

Napi::Value ReassemblerObject::PendingCount(const Napi::CallbackInfo& info) {
  return Guard(info.Env(), [&]() -> Napi::Value {
    return Napi::Number::New(info.Env(), static_cast<double>(reassembler_ ? reassembler_->pending_count() : 0));
  });
}

Napi::Value ReassemblerObject::PendingBytes(const Napi::CallbackInfo& info) {
  return Guard(info.Env(), [&]() -> Napi::Value {
    return Napi::Number::New(info.Env(), static_cast<double>(reassembler_ ? reassembler_->pending_bytes() : 0));
  });
}

Napi::Value ReassemblerObject::Dispose(const Napi::CallbackInfo& info) {
  reassembler_.reset();
  return info.Env().Undefined();
}

Napi::Value DetachMemory(const Napi::CallbackInfo& info) {
  return Guard(info.Env(), [&]() -> Napi::Value {
    if (!info[0].IsArrayBuffer()) throw WrongType(info.Env(), {"memory"}, "an ArrayBuffer");
    info[0].As<Napi::ArrayBuffer>().Detach();
    return info.Env().Undefined();
  });
}

}  // namespace baseline
