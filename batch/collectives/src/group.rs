//! The processes of one training and the operations between them.

use std::ffi::{CString, c_int};
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tch::{Device, Tensor};

use crate::error::{Error, first_line, milliseconds};
use crate::ffi::{Opening, RawGroup};
use crate::place::Place;

/// Gloo's variable for the network interface.
const INTERFACE: &str = "GLOO_SOCKET_IFNAME";

/// The connected processes of a training.
#[derive(Debug)]
pub struct Group {
    raw: Mutex<RawGroup>,
    rank: usize,
    size: usize,
}

impl Group {
    /// Meets the other processes at the store of `place` and connects to each. Rank 0 holds the store, unless torchrun
    /// does.
    ///
    /// Each process listens at the address from which it reaches the store, or on the interface that
    /// `GLOO_SOCKET_IFNAME` names; the host's own name is not resolved.
    ///
    /// # Errors
    /// [`Error::Meeting`] when the others are not there within `timeout`; [`Error::Argument`] for a zero byte in an
    /// address.
    pub fn meet(place: &Place, timeout: Duration) -> Result<Self, Error> {
        let Place { rank, size, ref address, port, .. } = *place;
        let failed = |message: String| Error::Meeting { rank, size, address: address.clone(), port, message };
        let interface = std::env::var(INTERFACE).ok().filter(|name| !name.is_empty());
        let host = match &interface {
            Some(_) => String::new(),
            None => own_address(address, port).map_err(|e| failed(e.to_string()))?,
        };
        let opening = Opening {
            address: text(address)?,
            port,
            serves: rank == 0 && !place.store_is_served,
            prefix: text(&format!("d2r/{}", place.attempt))?,
            rank: index(rank)?,
            size: index(size)?,
            timeout_ms: milliseconds(timeout),
            interface: interface.as_deref().map(text).transpose()?,
            host: text(&host)?,
        };
        let raw = RawGroup::open(&opening).map_err(|message| failed(first_line(&message)))?;
        Ok(Self { raw: Mutex::new(raw), rank, size })
    }

    /// The number of this process.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Processes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Overwrites `tensor` by that of process `root`; of one shape and kind everywhere.
    ///
    /// # Errors
    /// [`Error::Lost`] when a process has ended or does not answer within `wait`; [`Error::Tensor`] for a tensor that
    /// cannot be sent.
    pub fn broadcast(&self, tensor: &mut Tensor, root: usize, wait: Duration) -> Result<(), Error> {
        const NAME: &str = "broadcast";
        sendable(NAME, tensor)?;
        let root = index(root)?;
        self.raw().broadcast(tensor, root, milliseconds(wait)).map_err(|message| lost(NAME, &message))
    }

    /// The tensors of all processes, by rank; of one shape and kind.
    ///
    /// # Errors
    /// Those of [`Self::broadcast`].
    pub fn all_gather(&self, tensor: &Tensor, wait: Duration) -> Result<Vec<Tensor>, Error> {
        const NAME: &str = "all-gather";
        sendable(NAME, tensor)?;
        let mut outputs: Vec<Tensor> = (0..self.size).map(|_| tensor.detach().empty_like()).collect();
        let gathered = self.raw().all_gather(tensor, &mut outputs, milliseconds(wait));
        gathered.map(|()| outputs).map_err(|message| lost(NAME, &message))
    }

    /// Sends a tensor to process `to`, which receives one of the same shape and kind.
    ///
    /// # Errors
    /// Those of [`Self::broadcast`].
    pub fn send(&self, tensor: &Tensor, to: usize, wait: Duration) -> Result<(), Error> {
        const NAME: &str = "send";
        sendable(NAME, tensor)?;
        self.raw().send(tensor, index(to)?, milliseconds(wait)).map_err(|message| lost(NAME, &message))
    }

    /// Overwrites `tensor` by what process `from` sends.
    ///
    /// # Errors
    /// Those of [`Self::broadcast`].
    pub fn receive(&self, tensor: &mut Tensor, from: usize, wait: Duration) -> Result<(), Error> {
        const NAME: &str = "receive";
        sendable(NAME, tensor)?;
        let from = index(from)?;
        self.raw().receive(tensor, from, milliseconds(wait)).map_err(|message| lost(NAME, &message))
    }

    /// Returns once every process has called it.
    ///
    /// # Errors
    /// [`Error::Lost`] when a process has ended or does not come within `wait`.
    pub fn barrier(&self, wait: Duration) -> Result<(), Error> {
        self.raw().barrier(milliseconds(wait)).map_err(|message| lost("barrier", &message))
    }

    fn raw(&self) -> MutexGuard<'_, RawGroup> {
        // A thread that panicked left nothing half done: libtorch holds the state.
        self.raw.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The address of this machine from which packets to the store leave; nothing is sent.
fn own_address(address: &str, port: u16) -> std::io::Result<String> {
    let mut found: Vec<SocketAddr> = (address, port).to_socket_addrs()?.collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    let mut last = std::io::Error::other("the name has no address");
    for target in found {
        let any = if target.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
        match UdpSocket::bind(any).and_then(|socket| socket.connect(target).and_then(|()| socket.local_addr())) {
            Ok(own) => return Ok(own.ip().to_string()),
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// Gloo reads the memory of a tensor as it lies.
fn sendable(operation: &'static str, tensor: &Tensor) -> Result<(), Error> {
    let problem = match tensor.device() {
        Device::Cpu if tensor.is_contiguous() => return Ok(()),
        Device::Cpu => "the tensor is not contiguous".to_owned(),
        other => format!("the tensor is on {other:?}; copy it to the CPU first"),
    };
    Err(Error::Tensor { operation, problem })
}

fn lost(operation: &'static str, message: &str) -> Error {
    Error::Lost { operation, message: first_line(message) }
}

fn text(text: &str) -> Result<CString, Error> {
    CString::new(text).map_err(|_| Error::Argument(format!("a zero byte in {text:?}")))
}

fn index(number: usize) -> Result<c_int, Error> {
    c_int::try_from(number).map_err(|_| Error::Argument(format!("{number} is too large")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_address_is_that_of_the_way_to_the_store() {
        assert_eq!(own_address("127.0.0.1", 29500).unwrap(), "127.0.0.1");
        assert!(own_address("no.such.host.invalid", 29500).is_err());
    }

    #[test]
    fn a_tensor_that_gloo_cannot_read_is_an_error() {
        let matrix = Tensor::zeros([3, 2], (tch::Kind::Float, Device::Cpu));
        assert!(sendable("x", &matrix).is_ok());
        assert!(sendable("x", &matrix.transpose(0, 1)).is_err());
    }
}
