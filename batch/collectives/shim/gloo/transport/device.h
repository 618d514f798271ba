#pragma once

namespace gloo::transport {
// A network device, held by pointer only.
class Device;

// Complete, so that the unique pointers of send and receive can be declared.
class UnboundBuffer {
 public:
  virtual ~UnboundBuffer() = default;
};
} // namespace gloo::transport
