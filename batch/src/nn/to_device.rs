//! The way of a batch's tensors from the host to the device of a model.

use tch::{Device, Tensor};

use crate::error::Result;

/// `tensor`, made on the host, on `device`. To a CUDA device it is copied from pinned memory, and the host does not wait for
/// the copy: what is computed with it afterwards on the device does. On the CPU it is the tensor itself.
///
/// # Errors
/// [`crate::Error::Torch`] when memory cannot be had.
pub fn to_device(tensor: &Tensor, device: Device) -> Result<Tensor> {
    if !device.is_cuda() || tensor.numel() == 0 {
        return Ok(tensor.f_to_device(device)?);
    }
    // libtorch keeps the pinned memory until the copy is done.
    let pinned = tensor.f_pin_memory(device)?;
    Ok(pinned.f_to_device_(device, tensor.f_kind()?, true, false)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_the_cpu_a_tensor_stays_what_it_is() {
        for tensor in [Tensor::from_slice(&[1u8, 2, 3]), Tensor::from_slice(&[true]), Tensor::from_slice::<i64>(&[])] {
            let same = to_device(&tensor, Device::Cpu).unwrap();
            assert_eq!((same.kind(), same.data_ptr()), (tensor.kind(), tensor.data_ptr()));
        }
    }
}
