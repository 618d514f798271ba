#include "d2r_collectives.h"

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <c10/util/Flags.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

C10_DECLARE_int(caffe2_log_level);

namespace {

// What fails is returned as a message; libtorch's own log would repeat it with C++ backtraces. The variable by which a
// user asks for this log stays in force.
void quieten_log() {
  constexpr int fatal = 3;
  if (!std::getenv("TORCH_CPP_LOG_LEVEL")) {
    FLAGS_caffe2_log_level = fatal;
  }
}

using Milliseconds = std::chrono::milliseconds;

// Runs `work`; what it throws becomes a message.
template <typename Work>
char* caught(Work work) {
  std::string message;
  try {
    work();
    return nullptr;
  } catch (const c10::Error& e) {
    message = e.what_without_backtrace();
  } catch (const std::exception& e) {
    message = e.what();
  } catch (...) {
    message = "an exception without a message";
  }
  char* copy = strdup(message.c_str());
  // Without memory for a message an error must not look like a success.
  if (!copy) {
    std::abort();
  }
  return copy;
}

at::Tensor& tensor_of(void* handle) {
  return *static_cast<at::Tensor*>(handle);
}

c10::intrusive_ptr<c10d::Backend> gloo_backend(
    const c10::intrusive_ptr<c10d::Store>& store,
    int rank,
    int size,
    Milliseconds timeout,
    const char* interface,
    const char* host) {
  auto options = c10d::ProcessGroupGloo::Options::create(timeout);
  // Never the default device: it resolves the host's name.
  options->devices.push_back(
      interface ? c10d::ProcessGroupGloo::createDeviceForInterface(interface)
                : c10d::ProcessGroupGloo::createDeviceForHostname(host));
  return c10::make_intrusive<c10d::ProcessGroupGloo>(store, rank, size, options);
}

} // namespace

struct d2r_group {
  // Outlives the backend, which reads it.
  c10::intrusive_ptr<c10d::Store> store;
  c10::intrusive_ptr<c10d::Backend> backend;
};

extern "C" {

char* d2r_group_open(
    const char* address,
    uint16_t port,
    bool serves,
    const char* prefix,
    int rank,
    int size,
    int64_t timeout_ms,
    const char* interface,
    const char* host,
    d2r_group** group) {
  return caught([&] {
    quieten_log();
    const Milliseconds timeout(timeout_ms);
    c10d::TCPStoreOptions options;
    options.port = port;
    options.isServer = serves;
    options.waitWorkers = false;
    options.timeout = timeout;
    auto tcp = c10::make_intrusive<c10d::TCPStore>(address, options);
    c10::intrusive_ptr<c10d::Store> store = c10::make_intrusive<c10d::PrefixStore>(prefix, tcp);
    auto backend = gloo_backend(store, rank, size, timeout, interface, host);
    *group = new d2r_group{store, backend};
  });
}

void d2r_group_close(d2r_group* group) {
  if (group) {
    // Nothing can be done about what a destructor throws.
    d2r_message_free(caught([&] {
      group->backend.reset();
      group->store.reset();
    }));
    delete group;
  }
}

char* d2r_group_broadcast(d2r_group* group, void* tensor, int root, int64_t timeout_ms) {
  return caught([&] {
    std::vector<at::Tensor> tensors{tensor_of(tensor)};
    c10d::BroadcastOptions options;
    options.rootRank = root;
    options.timeout = Milliseconds(timeout_ms);
    group->backend->broadcast(tensors, options)->wait();
  });
}

char* d2r_group_all_gather(d2r_group* group, void* tensor, void* const* outputs, size_t count, int64_t timeout_ms) {
  return caught([&] {
    std::vector<at::Tensor> inputs{tensor_of(tensor)};
    std::vector<std::vector<at::Tensor>> gathered(1);
    for (size_t i = 0; i < count; ++i) {
      gathered[0].push_back(tensor_of(outputs[i]));
    }
    c10d::AllgatherOptions options;
    options.timeout = Milliseconds(timeout_ms);
    group->backend->allgather(gathered, inputs, options)->wait();
  });
}

char* d2r_group_send(d2r_group* group, void* tensor, int to, int64_t timeout_ms) {
  return caught([&] {
    std::vector<at::Tensor> tensors{tensor_of(tensor)};
    const bool sent = group->backend->send(tensors, to, 0)->wait(Milliseconds(timeout_ms));
    TORCH_CHECK(sent, "the tensor was not sent");
  });
}

char* d2r_group_recv(d2r_group* group, void* tensor, int from, int64_t timeout_ms) {
  return caught([&] {
    std::vector<at::Tensor> tensors{tensor_of(tensor)};
    const bool received = group->backend->recv(tensors, from, 0)->wait(Milliseconds(timeout_ms));
    TORCH_CHECK(received, "no tensor was received");
  });
}

char* d2r_group_barrier(d2r_group* group, int64_t timeout_ms) {
  return caught([&] {
    c10d::BarrierOptions options;
    options.timeout = Milliseconds(timeout_ms);
    group->backend->barrier(options)->wait();
  });
}

void d2r_message_free(char* message) {
  free(message);
}
}
