#include "batch/pinning.h"

#include <dlfcn.h>
#include <sys/mman.h>

#include <atomic>
#include <cstdio>

namespace flightbridge::batch {
namespace {

// The few entry points of the CUDA driver API that pinning needs, with their documented types.
struct Cuda {
  using Device = int;
  using Context = void*;

  int (*device_count)(int*) = nullptr;
  int (*device_get)(Device*, int) = nullptr;
  int (*primary_state)(Device, unsigned*, int*) = nullptr;
  int (*primary_retain)(Context*, Device) = nullptr;
  int (*primary_release)(Device) = nullptr;
  int (*push)(Context) = nullptr;
  int (*pop)(Context*) = nullptr;
  int (*host_register)(void*, size_t, unsigned) = nullptr;
  int (*host_unregister)(void*) = nullptr;

  bool complete() const {
    return device_count && device_get && primary_state && primary_retain && primary_release &&
           push && pop && host_register && host_unregister;
  }
};

template <typename F>
void Load(void* library, const char* name, F* out) {
  *out = reinterpret_cast<F>(dlsym(library, name));
}

// nullptr unless somebody in this process (TensorFlow, PyTorch) has loaded the driver: FlightBridge
// never starts CUDA itself, which would take memory on every GPU.
const Cuda* LoadedCuda() {
  static std::atomic<const Cuda*> loaded{nullptr};
  if (const Cuda* cuda = loaded.load(std::memory_order_acquire)) return cuda;
  void* library = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
  if (library == nullptr) return nullptr;
  Cuda found;
  Load(library, "cuDeviceGetCount", &found.device_count);
  Load(library, "cuDeviceGet", &found.device_get);
  Load(library, "cuDevicePrimaryCtxGetState", &found.primary_state);
  Load(library, "cuDevicePrimaryCtxRetain", &found.primary_retain);
  Load(library, "cuDevicePrimaryCtxRelease_v2", &found.primary_release);
  Load(library, "cuCtxPushCurrent_v2", &found.push);
  Load(library, "cuCtxPopCurrent_v2", &found.pop);
  Load(library, "cuMemHostRegister_v2", &found.host_register);
  Load(library, "cuMemHostUnregister", &found.host_unregister);
  if (!found.complete()) {
    dlclose(library);
    return nullptr;
  }
  // Kept for the life of the process, as the driver itself is.
  static const Cuda cuda = found;
  loaded.store(&cuda, std::memory_order_release);
  return &cuda;
}

// Runs `call` with the primary context of the first GPU in use here; false when there is none.
template <typename Call>
bool WithActiveContext(const Cuda& cuda, Call&& call) {
  int devices = 0;
  if (cuda.device_count(&devices) != 0) return false;
  for (int i = 0; i < devices; ++i) {
    Cuda::Device device = 0;
    unsigned flags = 0;
    int active = 0;
    if (cuda.device_get(&device, i) != 0) continue;
    if (cuda.primary_state(device, &flags, &active) != 0 || active == 0) continue;
    Cuda::Context context = nullptr;
    if (cuda.primary_retain(&context, device) != 0) continue;
    bool done = false;
    if (cuda.push(context) == 0) {
      done = call();
      cuda.pop(&context);
    }
    cuda.primary_release(device);
    return done;
  }
  return false;
}

bool RegisterWithCuda(const Cuda& cuda, void* data, size_t bytes) {
  constexpr unsigned kPortable = 1;  // CU_MEMHOSTREGISTER_PORTABLE: for every context
  return WithActiveContext(cuda, [&] { return cuda.host_register(data, bytes, kPortable) == 0; });
}

void WarnUnpinned(size_t bytes) {
  static std::atomic_flag warned = ATOMIC_FLAG_INIT;
  if (warned.test_and_set()) return;
  std::fprintf(stderr,
               "flightbridge: %zu bytes could not be page-locked, so copies to the GPU are slower; "
               "raise the limit (ulimit -l unlimited, or LimitMEMLOCK= of the service)\n",
               bytes);
}

}  // namespace

Pinning Pin(void* data, size_t bytes) {
  const Cuda* cuda = LoadedCuda();
  if (cuda != nullptr && RegisterWithCuda(*cuda, data, bytes)) return Pinning::kCuda;
  if (mlock(data, bytes) == 0) return Pinning::kMlock;
  // Without a GPU nothing is lost: the counter in SlabStats is enough.
  if (cuda != nullptr) WarnUnpinned(bytes);
  return Pinning::kNone;
}

void Unpin(void* data, size_t bytes, Pinning pinning) {
  if (pinning == Pinning::kMlock) munlock(data, bytes);
  if (pinning != Pinning::kCuda) return;
  if (const Cuda* cuda = LoadedCuda()) {
    WithActiveContext(*cuda, [&] { return cuda->host_unregister(data) == 0; });
  }
}

}  // namespace flightbridge::batch
