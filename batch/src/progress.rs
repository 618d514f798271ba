//! Progress for people: a bar with rate, message and ETA on a terminal, one plain line now and then elsewhere.
//! All of it goes to stderr.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Not at all.
    Quiet,
    /// Bars on a terminal, lines elsewhere.
    Shown,
}

/// Time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(10);

impl Progress {
    /// A line of its own.
    pub fn line(self, text: &str) {
        if self == Self::Shown {
            // A closed stderr is no reason to stop working.
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }

    /// Starts a task of `total` steps. `unit` names a step, for instance `images`.
    pub fn task(self, name: &str, total: u64, unit: &'static str) -> Task {
        let bar = match self {
            Self::Shown if std::io::stderr().is_terminal() => {
                let bar = ProgressBar::new(total);
                let template = format!(
                    "{{prefix:>16.bold}} {{wide_bar:.cyan/dim}} {{pos}}/{{len}} {unit} {{per_sec}} ETA {{eta}}  {{msg}}"
                );
                bar.set_style(ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar()));
                bar.set_prefix(name.to_owned());
                bar
            }
            _ => ProgressBar::hidden(),
        };
        let lines = self == Self::Shown && bar.is_hidden();
        let start = Instant::now();
        Task {
            name: name.to_owned(),
            unit,
            total,
            bar,
            lines,
            start,
            state: Mutex::new(State { done: 0, earlier: 0, last: start, message: String::new() }),
        }
    }
}

#[derive(Debug)]
struct State {
    done: u64,
    /// Of these, those of an earlier run.
    earlier: u64,
    last: Instant,
    message: String,
}

/// One running task; safe to advance from several threads.
#[derive(Debug)]
pub struct Task {
    name: String,
    unit: &'static str,
    total: u64,
    bar: ProgressBar,
    lines: bool,
    start: Instant,
    state: Mutex<State>,
}

impl Task {
    /// `n` more steps are done.
    pub fn advance(&self, n: u64) {
        self.bar.inc(n);
        let Ok(mut state) = self.state.lock() else { return };
        state.done += n;
        if self.lines && state.last.elapsed() >= LINE_EVERY {
            state.last = Instant::now();
            self.line(&state);
        }
    }

    /// `n` steps were done by an earlier run: a line says so, and the rate leaves them out.
    pub fn continue_after(&self, n: u64) {
        if n == 0 {
            return;
        }
        let line =
            format!("{}: continues after {} of {} {}", self.name, HumanCount(n), HumanCount(self.total), self.unit);
        if self.lines || !self.bar.is_hidden() {
            self.bar.suspend(|| Progress::Shown.line(&line));
        }
        self.bar.inc(n);
        self.bar.reset_eta();
        if let Ok(mut state) = self.state.lock() {
            state.done += n;
            state.earlier = n;
        }
    }

    /// What to show beside the bar, for instance the loss.
    pub fn message(&self, text: impl Into<String>) {
        let text = text.into();
        self.bar.set_message(text.clone());
        if let Ok(mut state) = self.state.lock() {
            state.message = text;
        }
    }

    /// Ends the task with a last line.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
        if let Ok(state) = self.state.lock()
            && self.lines
        {
            self.line(&state);
        }
    }

    fn line(&self, state: &State) {
        let seconds = self.start.elapsed().as_secs_f64();
        let rate = state.done.saturating_sub(state.earlier) as f64 / seconds.max(1e-9);
        let eta = if rate > 0.0 { (self.total.saturating_sub(state.done)) as f64 / rate } else { 0.0 };
        let Self { name, unit, total, .. } = self;
        let done = state.done;
        // A closed stderr is no reason to stop working.
        let _ = writeln!(
            std::io::stderr(),
            "{name}: {done}/{total} {unit}, {rate:.1}/s, {seconds:.0} s gone, {eta:.0} s left  {}",
            state.message
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_an_earlier_run_count_as_done() {
        let task = Progress::Quiet.task("annotate", 10, "images");
        task.continue_after(4);
        task.advance(1);
        let state = task.state.lock().unwrap();
        assert_eq!((state.done, state.earlier), (5, 4));
    }
}
