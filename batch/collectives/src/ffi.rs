//! The functions of `shim/d2r_collectives.h`, declared and made safe. The one file with `unsafe`.

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr::NonNull;

use tch::Tensor;
use torch_sys::C_tensor;

/// The group of `shim/d2r_collectives.cpp`; only pointers to it exist here.
#[repr(C)]
struct Opaque {
    _private: [u8; 0],
}

// SAFETY: the declarations repeat those of `shim/d2r_collectives.h`.
unsafe extern "C" {
    fn d2r_group_open(
        address: *const c_char,
        port: u16,
        serves: bool,
        prefix: *const c_char,
        rank: c_int,
        size: c_int,
        timeout_ms: i64,
        interface: *const c_char,
        host: *const c_char,
        group: *mut *mut Opaque,
    ) -> *mut c_char;
    fn d2r_group_close(group: *mut Opaque);
    fn d2r_group_broadcast(group: *mut Opaque, tensor: *mut C_tensor, root: c_int, timeout_ms: i64) -> *mut c_char;
    fn d2r_group_all_gather(
        group: *mut Opaque,
        tensor: *mut C_tensor,
        outputs: *const *mut C_tensor,
        count: usize,
        timeout_ms: i64,
    ) -> *mut c_char;
    fn d2r_group_send(group: *mut Opaque, tensor: *mut C_tensor, to: c_int, timeout_ms: i64) -> *mut c_char;
    fn d2r_group_recv(group: *mut Opaque, tensor: *mut C_tensor, from: c_int, timeout_ms: i64) -> *mut c_char;
    fn d2r_group_barrier(group: *mut Opaque, timeout_ms: i64) -> *mut c_char;
    fn d2r_message_free(message: *mut c_char);
}

/// What a group is opened with.
pub struct Opening {
    pub address: CString,
    pub port: u16,
    pub serves: bool,
    pub prefix: CString,
    pub rank: c_int,
    pub size: c_int,
    pub timeout_ms: i64,
    /// A network interface, or the own address of this process.
    pub interface: Option<CString>,
    pub host: CString,
}

/// An open group, closed when it is dropped.
#[derive(Debug)]
pub struct RawGroup(NonNull<Opaque>);

// SAFETY: the group has no state of one thread: libtorch's backends are used from any thread, one call at a time.
// `Group` passes calls on behind a mutex, so that no two run at once.
unsafe impl Send for RawGroup {}

/// Takes over a message of the shim: `Ok` for a null pointer.
fn result(message: *mut c_char) -> Result<(), String> {
    if message.is_null() {
        return Ok(());
    }
    // SAFETY: not null, so it is a string of `strdup`, which ends with a zero and which nothing else holds.
    let text = unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned();
    // SAFETY: the same string, freed once and not read again.
    unsafe { d2r_message_free(message) };
    Err(text)
}

impl RawGroup {
    pub fn open(opening: &Opening) -> Result<Self, String> {
        let mut group = std::ptr::null_mut();
        let interface = opening.interface.as_ref().map_or(std::ptr::null(), |name| name.as_ptr());
        // SAFETY: all strings end with a zero and live until the call returns; a null interface is allowed; `group` is
        // a place for one pointer.
        let message = unsafe {
            d2r_group_open(
                opening.address.as_ptr(),
                opening.port,
                opening.serves,
                opening.prefix.as_ptr(),
                opening.rank,
                opening.size,
                opening.timeout_ms,
                interface,
                opening.host.as_ptr(),
                &mut group,
            )
        };
        result(message)?;
        NonNull::new(group).map(Self).ok_or_else(|| "no group was opened".to_owned())
    }

    pub fn broadcast(&mut self, tensor: &mut Tensor, root: c_int, timeout_ms: i64) -> Result<(), String> {
        // SAFETY: the group is open until `self` is dropped, and `tensor` lives until the call, which waits for the end
        // of the operation, returns.
        result(unsafe { d2r_group_broadcast(self.0.as_ptr(), tensor.as_mut_ptr(), root, timeout_ms) })
    }

    /// `outputs`: one per process, of the shape and kind of `tensor`.
    pub fn all_gather(&mut self, tensor: &Tensor, outputs: &mut [Tensor], timeout_ms: i64) -> Result<(), String> {
        let outputs: Vec<*mut C_tensor> = outputs.iter_mut().map(Tensor::as_mut_ptr).collect();
        let (input, count) = (tensor.as_ptr().cast_mut(), outputs.len());
        // SAFETY: the group is open; all tensors live until the call returns; the input is read only, although the
        // interface takes it as the others; `outputs` holds `count` handles.
        result(unsafe { d2r_group_all_gather(self.0.as_ptr(), input, outputs.as_ptr(), count, timeout_ms) })
    }

    pub fn send(&mut self, tensor: &Tensor, to: c_int, timeout_ms: i64) -> Result<(), String> {
        // SAFETY: the group is open; the tensor lives until the call returns and is read only.
        result(unsafe { d2r_group_send(self.0.as_ptr(), tensor.as_ptr().cast_mut(), to, timeout_ms) })
    }

    pub fn receive(&mut self, tensor: &mut Tensor, from: c_int, timeout_ms: i64) -> Result<(), String> {
        // SAFETY: the group is open; the tensor lives until the call returns.
        result(unsafe { d2r_group_recv(self.0.as_ptr(), tensor.as_mut_ptr(), from, timeout_ms) })
    }

    pub fn barrier(&mut self, timeout_ms: i64) -> Result<(), String> {
        // SAFETY: the group is open.
        result(unsafe { d2r_group_barrier(self.0.as_ptr(), timeout_ms) })
    }
}

impl Drop for RawGroup {
    fn drop(&mut self) {
        // SAFETY: the group was opened by the shim and is closed once.
        unsafe { d2r_group_close(self.0.as_ptr()) };
    }
}
