// Messages as JavaScript objects (lib/wire/message.ts) to and from their bytes.
#pragma once

#include <napi.h>

namespace baseline {

// encode(message): Uint8Array
Napi::Value EncodeMessage(const Napi::CallbackInfo& info);
// decode(frame): message. Payloads are views of the frame.
Napi::Value DecodeMessage(const Napi::CallbackInfo& info);

}  // namespace baseline
