#pragma once
#include <chrono>

namespace gloo {
// Held by pointer only.
class Context {
 public:
  void setTimeout(std::chrono::milliseconds timeout);
};
} // namespace gloo
