// The Reassembler as a JavaScript class. The wrapper in lib/wire/baseline gives it the shape of SnapshotReassembler.
#pragma once

#include <napi.h>

#include <optional>

#include "reassembler.h"

namespace baseline {

class ReassemblerObject : public Napi::ObjectWrap<ReassemblerObject> {
 public:
  static Napi::Function Define(Napi::Env env);

  // new Reassembler(maxSnapshotBytes, maxPendingBytes)
  explicit ReassemblerObject(const Napi::CallbackInfo& info);

 private:
  // After dispose all but the last three throw `disposed`.
  Napi::Value Feed(const Napi::CallbackInfo& info);
  Napi::Value FeedBatch(const Napi::CallbackInfo& info);
  Napi::Value Progress(const Napi::CallbackInfo& info);
  Napi::Value Missing(const Napi::CallbackInfo& info);
  Napi::Value Cancel(const Napi::CallbackInfo& info);
  Napi::Value Forget(const Napi::CallbackInfo& info);
  Napi::Value Sweep(const Napi::CallbackInfo& info);
  Napi::Value PendingCount(const Napi::CallbackInfo& info);
  Napi::Value PendingBytes(const Napi::CallbackInfo& info);
  Napi::Value Dispose(const Napi::CallbackInfo& info);

  Reassembler& Live();

  std::optional<Reassembler> reassembler_;
};

// detach(memory): takes an ArrayBuffer of an assembled snapshot away from its views, which frees it.
Napi::Value DetachMemory(const Napi::CallbackInfo& info);

}  // namespace baseline
