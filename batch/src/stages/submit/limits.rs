//! Memory and time of a task, as both schedulers are given them.

use std::fmt;
use std::str::FromStr;

/// Main memory of a task, in binary units: `16G` is 16 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    amount: u32,
    unit: char,
}

impl Memory {
    /// As a quantity of Kubernetes, for instance `16Gi`.
    pub fn kubernetes(self) -> String {
        format!("{}{}i", self.amount, self.unit)
    }
}

/// As Slurm reads it, for instance `16G`.
impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.amount, self.unit)
    }
}

impl FromStr for Memory {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no memory: expected a number above 0 with M, G or T, for instance 16G");
        let unit = text.chars().next_back().filter(|c| "MGT".contains(*c)).ok_or_else(wrong)?;
        let digits = text.trim_end_matches(unit);
        if digits.len() + 1 != text.len() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong());
        }
        match digits.parse() {
            Ok(amount) if amount > 0 => Ok(Self { amount, unit }),
            _ => Err(wrong()),
        }
    }
}

/// Longest time of a task, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeLimit {
    /// At least 60: Slurm counts in minutes.
    pub seconds: u64,
}

/// As Slurm reads it: `D-HH:MM:SS`.
impl fmt::Display for TimeLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, rest) = (self.seconds / 86_400, self.seconds % 86_400);
        write!(f, "{days}-{:02}:{:02}:{:02}", rest / 3_600, rest / 60 % 60, rest % 60)
    }
}

impl FromStr for TimeLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("`{text}` is no time: expected HH:MM:SS or D-HH:MM:SS of a minute or more, for instance 24:00:00")
        };
        let number = |part: &str| match part.parse::<u64>() {
            Ok(n) if part.len() <= 4 && part.bytes().all(|b| b.is_ascii_digit()) => Ok(n),
            _ => Err(wrong()),
        };
        let (days, clock) = match text.split_once('-') {
            Some((days, clock)) => (number(days)?, clock),
            None => (0, text),
        };
        let parts = clock.split(':').map(number).collect::<Result<Vec<u64>, String>>()?;
        match parts[..] {
            [hours, minutes, seconds] if minutes < 60 && seconds < 60 && (days == 0 || hours < 24) => {
                let seconds = days * 86_400 + hours * 3_600 + minutes * 60 + seconds;
                if seconds < 60 { Err(wrong()) } else { Ok(Self { seconds }) }
            }
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_has_binary_units_for_both_schedulers() {
        let memory: Memory = "16G".parse().unwrap();
        assert_eq!((memory.to_string(), memory.kubernetes()), ("16G".into(), "16Gi".into()));
        for wrong in ["", "G", "16", "16g", "16Gi", "0G", "-1G", "+1G", "1.5G", "16GG", "99999999999G", "16 G"] {
            assert!(wrong.parse::<Memory>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn time_is_read_as_slurm_writes_it() {
        for (text, seconds, written) in [
            ("24:00:00", 86_400, "1-00:00:00"),
            ("00:01:00", 60, "0-00:01:00"),
            ("36:30:05", 131_405, "1-12:30:05"),
            ("2-03:04:05", 183_845, "2-03:04:05"),
        ] {
            let time: TimeLimit = text.parse().unwrap();
            assert_eq!((time.seconds, time.to_string()), (seconds, written.to_owned()), "{text}");
        }
        for wrong in
            ["", "60", "10:00", "00:00:59", "1:60:00", "1:00:60", "1-24:00:00", "1-10", "-1:00:00", "a:b:c", "1:2:3:4"]
        {
            assert!(wrong.parse::<TimeLimit>().is_err(), "{wrong}");
        }
    }
}
