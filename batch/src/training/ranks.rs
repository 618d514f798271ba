//! The processes of one training: a rank is the number of one. Rank 0 writes the files, validates and decides; the
//! others follow. Every operation is called by all ranks, in the same order.

use std::sync::Arc;
use std::time::Duration;

use d2r_collectives::{Group, Place};
use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::stop::StopFlag;

/// The longest time for which a rank waits for another one that works on the same: a step, or reading its images. A
/// rank that ended is noticed at once.
const WAIT: Duration = Duration::from_secs(30 * 60);
/// The same while rank 0 validates.
const WAIT_FOR_DECISION: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Codes of a decision: there is one, a signal came, rank 0 failed.
const DECIDED: f64 = 0.0;
const STOPPED: f64 = 1.0;
const FAILED: f64 = 2.0;

/// The ranks of a training; the default is a single process.
#[derive(Debug, Clone, Default)]
pub struct Ranks {
    group: Option<Arc<Group>>,
    /// Processes on this machine, 0 for a single one.
    on_this_machine: usize,
}

impl Ranks {
    /// A single process.
    pub fn alone() -> Self {
        Self::default()
    }

    /// Meets the other processes.
    ///
    /// # Errors
    /// [`Error::Temporary`] when they are not there within half an hour.
    pub fn meet(place: &Place) -> Result<Self> {
        let group = Some(Arc::new(Group::meet(place, WAIT)?));
        Ok(Self { group, on_this_machine: place.local_size })
    }

    /// The number of this process.
    pub fn rank(&self) -> usize {
        self.group.as_ref().map_or(0, |group| group.rank())
    }

    /// Processes.
    pub fn size(&self) -> usize {
        self.group.as_ref().map_or(1, |group| group.size())
    }

    /// Processes on this machine.
    pub fn on_this_machine(&self) -> usize {
        self.on_this_machine.max(1)
    }

    /// Whether this process writes, validates and decides.
    pub fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// The tensors of all ranks, on the device of `own`; of one shape and kind.
    ///
    /// # Errors
    /// [`Error::Temporary`] when a rank was lost.
    pub fn gather(&self, own: &Tensor) -> Result<Vec<Tensor>> {
        let Some(group) = &self.group else { return Ok(vec![own.shallow_clone()]) };
        let gathered = group.all_gather(&own.f_to_device(Device::Cpu)?.f_contiguous()?, WAIT)?;
        gathered.into_iter().map(|t| Ok(t.f_to_device(own.device())?)).collect()
    }

    /// Overwrites the tensors by those of rank 0.
    ///
    /// # Errors
    /// [`Error::Temporary`] when a rank was lost.
    pub fn share<'t>(&self, tensors: impl IntoIterator<Item = &'t Tensor>) -> Result<()> {
        let Some(group) = &self.group else { return Ok(()) };
        let _no_grad = tch::no_grad_guard();
        for tensor in tensors {
            let mut shared = tensor.detach().f_to_device(Device::Cpu)?.f_contiguous()?.copy();
            group.broadcast(&mut shared, 0, WAIT)?;
            tensor.detach().f_copy_(&shared)?;
        }
        Ok(())
    }

    /// Fails on all ranks after a signal to any of them.
    ///
    /// # Errors
    /// [`Error::Stopped`]; [`Error::Temporary`] when a rank was lost.
    pub fn check(&self, stop: &StopFlag) -> Result<()> {
        if self.size() == 1 {
            return stop.check();
        }
        let signals = self.gather(&Tensor::from_slice(&[stop.signal().unwrap_or(0)]))?;
        let signals: Vec<i32> = signals.iter().map(|t| Ok(i32::try_from(t)?)).collect::<Result<_>>()?;
        // A signal that came after the gather counts before the next step: the others do not know it yet.
        let Some(signal) = signals.into_iter().max().filter(|signal| *signal != 0) else { return Ok(()) };
        // The rank that got no signal ends in time as well.
        stop.request(signal);
        Err(Error::Stopped { signal })
    }

    /// What `work`, which only rank 0 does, returns: a number, or nothing. The others wait.
    ///
    /// # Errors
    /// Those of `work` on rank 0; on the others [`Error::Stopped`] where it was stopped, else [`Error::Temporary`].
    pub fn decide(&self, work: impl FnOnce() -> Result<Option<f64>>) -> Result<Option<f64>> {
        let Some(group) = &self.group else { return work() };
        if self.is_first() {
            let decided = work();
            let words = match &decided {
                Ok(Some(value)) => [DECIDED, 1.0, *value],
                Ok(None) => [DECIDED, 0.0, 0.0],
                Err(Error::Stopped { signal }) => [STOPPED, f64::from(*signal), 0.0],
                Err(_) => [FAILED, 0.0, 0.0],
            };
            // Its own error counts more than a rank that was lost meanwhile.
            let sent = group.broadcast(&mut Tensor::from_slice(&words), 0, WAIT);
            return decided.and_then(|value| Ok(sent.map(|()| value)?));
        }
        let mut words = Tensor::zeros([3], (Kind::Double, Device::Cpu));
        group.broadcast(&mut words, 0, WAIT_FOR_DECISION)?;
        let words = Vec::<f64>::try_from(&words)?;
        match words[..] {
            [DECIDED, present, value] => Ok((present != 0.0).then_some(value)),
            [STOPPED, signal, _] => Err(Error::Stopped { signal: signal as i32 }),
            _ => Err(Error::Temporary("process 0 of this training ended with an error".into())),
        }
    }

    /// Fails where a number differs between the ranks.
    ///
    /// # Errors
    /// [`Error::Temporary`] with `problem`.
    pub fn agree(&self, number: i64, problem: &str) -> Result<()> {
        let numbers: Vec<i64> = self
            .gather(&Tensor::from_slice(&[number]))?
            .iter()
            .map(|t| Ok(i64::try_from(t)?))
            .collect::<Result<_>>()?;
        if numbers.iter().all(|n| *n == number) { Ok(()) } else { Err(Error::Temporary(problem.into())) }
    }

    /// Returns once every rank has called it.
    ///
    /// # Errors
    /// [`Error::Temporary`] when a rank was lost.
    pub fn wait_for_all(&self) -> Result<()> {
        self.group.as_ref().map_or(Ok(()), |group| Ok(group.barrier(WAIT)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_process_decides_alone() {
        let ranks = Ranks::alone();
        assert!(ranks.is_first() && ranks.size() == 1);
        assert_eq!(ranks.decide(|| Ok(Some(0.5))).unwrap(), Some(0.5));
        assert!(ranks.decide(|| Err(Error::Stopped { signal: 2 })).is_err_and(|e| e.exit().code() == 130));
        let stop = StopFlag::default();
        ranks.check(&stop).unwrap();
        stop.request(15);
        assert_eq!(ranks.check(&stop).unwrap_err().exit().code(), 143);
        let own = Tensor::from_slice(&[1.0f32, 2.0]);
        assert_eq!(ranks.gather(&own).unwrap(), [own]);
        ranks.agree(3, "differs").unwrap();
        ranks.wait_for_all().unwrap();
    }
}
