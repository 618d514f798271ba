// The C interface of PyTorch's process group on Gloo, for d2r-collectives. Tensors are contiguous and on the CPU.
//
// Each function returns a null pointer when it succeeded, and a message otherwise, which the caller frees with
// d2r_message_free. No exception leaves a function. A tensor is an `at::Tensor *`, as torch-sys passes it.
#pragma once
#include <cstddef>
#include <cstdint>

extern "C" {
struct d2r_group;

// Meets the other processes and connects to them. `address`, `port`: the store; `serves`: whether this process holds
// it; `prefix`: before the names of its keys; `interface`, `host`: the network interface or the own address of this
// process, null where the other one is given.
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
    d2r_group** group);
// Frees a group; null is allowed.
void d2r_group_close(d2r_group* group);

// Overwrites `tensor` by that of process `root`.
char* d2r_group_broadcast(d2r_group* group, void* tensor, int root, int64_t timeout_ms);
// Fills `outputs[i]` with the tensor of process `i`.
char* d2r_group_all_gather(d2r_group* group, void* tensor, void* const* outputs, size_t count, int64_t timeout_ms);
char* d2r_group_send(d2r_group* group, void* tensor, int to, int64_t timeout_ms);
char* d2r_group_recv(d2r_group* group, void* tensor, int from, int64_t timeout_ms);
// Returns once every process has called it.
char* d2r_group_barrier(d2r_group* group, int64_t timeout_ms);

void d2r_message_free(char* message);
}
