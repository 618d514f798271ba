//! Wall time of a stage's steps, as a row of the table `timings`.

use std::time::Instant;

use d2r_contracts::tables::TimingRow;
use serde::{Deserialize, Serialize};

use crate::datasets::source::FileTimes;
use crate::lake::{Provenance, Shard};

/// Wall time by step, milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct StageTimes {
    pub read_ms: f64,
    pub decode_ms: f64,
    pub model_ms: f64,
    pub write_ms: f64,
    /// The model's wait for opened images.
    pub waiting_ms: f64,
}

impl StageTimes {
    /// Adds `wall_ms` of opening files. Threads read and decode side by side: the wall time is divided by the shares
    /// that both have in the threads' time.
    pub fn add_opening(&mut self, wall_ms: f64, threads: FileTimes) {
        let total = threads.read_ms + threads.decode_ms;
        let read = if total > 0.0 { wall_ms * threads.read_ms / total } else { 0.0 };
        self.read_ms += read;
        self.decode_ms += wall_ms - read;
    }

    /// Adds the time of writing rows since `start`.
    pub fn add_writing(&mut self, start: Instant) {
        self.write_ms += start.elapsed().as_secs_f64() * 1e3;
    }

    /// The row of a stage that took `inputs` images.
    pub fn row(&self, stage: &str, provenance: &Provenance, shard: Shard, inputs: usize) -> TimingRow {
        TimingRow {
            run_id: provenance.run_id.clone(),
            stage: stage.into(),
            shard: shard.to_string(),
            n: inputs as i64,
            read_ms: self.read_ms,
            decode_ms: self.decode_ms,
            model_ms: self.model_ms,
            write_ms: self.write_ms,
            waiting_ms: Some(self.waiting_ms),
        }
    }
}

/// Runs `work` and adds its wall time to `total_ms`.
pub fn timed<T>(total_ms: &mut f64, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    *total_ms += start.elapsed().as_secs_f64() * 1e3;
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_time_of_opening_is_divided_by_the_threads_shares() {
        let mut times = StageTimes::default();
        times.add_opening(100.0, FileTimes { read_ms: 50.0, decode_ms: 150.0 });
        times.add_opening(8.0, FileTimes::default());
        assert_eq!(times, StageTimes { read_ms: 25.0, decode_ms: 83.0, ..StageTimes::default() });
    }

    #[test]
    fn a_row_has_what_was_measured() {
        let mut times = StageTimes { read_ms: 1.0, decode_ms: 2.0, ..StageTimes::default() };
        timed(&mut times.model_ms, || std::thread::sleep(std::time::Duration::from_millis(2)));
        let provenance = Provenance { run_id: "report-0".into(), ..Provenance::default() };
        let row = times.row("report", &provenance, Shard::default(), 7);
        assert_eq!((row.n, row.read_ms, row.decode_ms, row.write_ms), (7, 1.0, 2.0, 0.0));
        assert!(row.model_ms >= 2.0, "{}", row.model_ms);
        assert_eq!((row.run_id.as_str(), row.shard.as_str()), ("report-0", "0/1"));
    }
}
