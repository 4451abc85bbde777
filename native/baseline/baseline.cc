// The baseline engine: frames, chunking and reassembly written plainly in C++, for differential tests and
// benchmarks. Never in the published package.
#include <napi.h>

#include "bytes.h"
#include "columns.h"
#include "message.h"
#include "reassembler_object.h"
#include "values.h"

namespace baseline {

namespace {

// empty(): what a call costs that does nothing.
Napi::Value Empty(const Napi::CallbackInfo& info) { return info.Env().Undefined(); }

// touch(bytes): what a call costs that looks at bytes; their length.
Napi::Value Touch(const Napi::CallbackInfo& info) {
  return Guard(info.Env(), [&]() -> Napi::Value {
    return Napi::Number::New(info.Env(), static_cast<double>(RequireBytes(info[0], {"bytes"}).length));
  });
}

// copy(target, source): one memcpy of what both can hold, the physical limit of moving bytes.
Napi::Value Copy(const Napi::CallbackInfo& info) {
  return Guard(info.Env(), [&]() -> Napi::Value {
    const Bytes target = RequireBytes(info[0], {"target"});
    const Bytes source = RequireBytes(info[1], {"source"});
    const size_t length = target.length < source.length ? target.length : source.length;
    CopyBytes(target.data, source.data, length);
    return Napi::Number::New(info.Env(), static_cast<double>(length));
  });
}

// setup(kinds, makeError): the kinds in the order of the status column, and what makes an error of one.
Napi::Value Setup(const Napi::CallbackInfo& info) {
  return Guard(info.Env(), [&]() -> Napi::Value {
    const Napi::Env env = info.Env();
    const Napi::Array kinds = RequireArray(info[0], {"kinds"});
    if (!info[1].IsFunction()) throw WrongType(env, {"makeError"}, "a function");
    AddonData* data = env.GetInstanceData<AddonData>();
    for (uint32_t i = 0; i < kinds.Length(); i++) {
      const std::string name = RequireString(kinds.Get(i), {"kinds", nullptr, i});
      for (size_t kind = 0; kind < kKindCount; kind++) {
        if (name == KindName(static_cast<Kind>(kind))) data->status_of_kind[kind] = static_cast<uint8_t>(i + 1);
      }
    }
    for (size_t kind = 0; kind < kKindCount; kind++) {
      if (data->status_of_kind[kind] == 0) throw WrongType(env, {"kinds"}, KindName(static_cast<Kind>(kind)));
    }
    data->make_error = Napi::Persistent(info[1].As<Napi::Function>());
    return env.Undefined();
  });
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new AddonData());
  exports.Set("setup", Napi::Function::New<Setup>(env, "setup"));
  exports.Set("empty", Napi::Function::New<Empty>(env, "empty"));
  exports.Set("touch", Napi::Function::New<Touch>(env, "touch"));
  exports.Set("copy", Napi::Function::New<Copy>(env, "copy"));
  exports.Set("encode", Napi::Function::New<EncodeMessage>(env, "encode"));
  exports.Set("decode", Napi::Function::New<DecodeMessage>(env, "decode"));
  exports.Set("decodeBatch", Napi::Function::New<DecodeBatch>(env, "decodeBatch"));
  exports.Set("encodeBatch", Napi::Function::New<EncodeBatch>(env, "encodeBatch"));
  exports.Set("writeChunkHeaders", Napi::Function::New<WriteChunkHeaders>(env, "writeChunkHeaders"));
  exports.Set("detach", Napi::Function::New<DetachMemory>(env, "detach"));
  exports.Set("Reassembler", ReassemblerObject::Define(env));
  return exports;
}

}  // namespace

}  // namespace baseline

static Napi::Object InitAddon(Napi::Env env, Napi::Object exports) { return baseline::Init(env, exports); }

NODE_API_MODULE(baseline, InitAddon)
