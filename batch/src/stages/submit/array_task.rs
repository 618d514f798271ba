//! Which part of the work one task of an array job does, from the variables that its scheduler sets.

use crate::error::{Error, Result};
use crate::lake::Shard;

/// The number of parts, which Kubernetes does not pass to a task; set by the texts of `d2r submit`.
pub const SHARDS: &str = "D2R_SHARDS";

/// The part of one task and the scheduler that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArrayTask {
    /// The part of the work.
    pub shard: Shard,
    /// The scheduler with the variables that were read.
    pub source: &'static str,
}

/// Environment variables by name; empty ones are absent.
type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The part of this task. `variable` returns an environment variable's value. Read are, in this order:
///
/// | scheduler | index | count |
/// |---|---|---|
/// | Slurm array with `D2R_SHARDS` | `SLURM_ARRAY_TASK_ID`, counted from 0 | `D2R_SHARDS` |
/// | Slurm array | (`SLURM_ARRAY_TASK_ID` - `SLURM_ARRAY_TASK_MIN`) / `SLURM_ARRAY_TASK_STEP` | `SLURM_ARRAY_TASK_COUNT` |
/// | Kubernetes Indexed Job | `JOB_COMPLETION_INDEX` | `D2R_SHARDS` |
/// | torchrun | `RANK` | `WORLD_SIZE` |
///
/// With `D2R_SHARDS` some tasks of a Slurm array can be submitted again by their numbers: the count stays.
///
/// # Errors
/// [`Error::Usage`] when no scheduler is there, a variable is missing or is no number, the index is not below the count,
/// or two schedulers give different parts.
pub fn detect(variable: impl Fn(&str) -> Option<String>) -> Result<ArrayTask> {
    let variable = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    let found = [slurm(&variable)?, kubernetes(&variable)?, torchrun(&variable)?];
    let mut found = found.into_iter().flatten();
    let first = found.next().ok_or_else(|| {
        usage(format!(
            "this is no task of an array job: neither SLURM_ARRAY_TASK_ID (Slurm), JOB_COMPLETION_INDEX with {SHARDS} \
             (Kubernetes Indexed Job) nor RANK with WORLD_SIZE (torchrun) is set; give --shard I/N"
        ))
    })?;
    match found.find(|other| other.shard != first.shard) {
        None => Ok(first),
        Some(other) => Err(usage(format!(
            "{} gives {}, {} gives {}; unset the variables of one, or give --shard I/N",
            first.source, first.shard, other.source, other.shard
        ))),
    }
}

fn slurm(variable: Variables) -> Result<Option<ArrayTask>> {
    let Some(id) = number(variable, "SLURM_ARRAY_TASK_ID")? else { return Ok(None) };
    if let Some(count) = number(variable, SHARDS)? {
        return task(id, count, "Slurm (SLURM_ARRAY_TASK_ID, D2R_SHARDS)").map(Some);
    }
    let needed = |name| required(variable, name, "SLURM_ARRAY_TASK_ID", SHARDS);
    let (min, count) = (needed("SLURM_ARRAY_TASK_MIN")?, needed("SLURM_ARRAY_TASK_COUNT")?);
    let step = number(variable, "SLURM_ARRAY_TASK_STEP")?.unwrap_or(1);
    let offset = id.checked_sub(min).filter(|offset| step > 0 && offset % step == 0);
    let index = offset.and_then(|offset| offset.checked_div(step)).ok_or_else(|| {
        usage(format!(
            "task {id} is in no array that begins with {min} and has the step {step} (SLURM_ARRAY_TASK_ID, \
             SLURM_ARRAY_TASK_MIN, SLURM_ARRAY_TASK_STEP); set {SHARDS} to the number of parts, or give --shard I/N"
        ))
    })?;
    let source = "Slurm (SLURM_ARRAY_TASK_ID, SLURM_ARRAY_TASK_MIN, SLURM_ARRAY_TASK_STEP, SLURM_ARRAY_TASK_COUNT)";
    task(index, count, source).map(Some)
}

fn kubernetes(variable: Variables) -> Result<Option<ArrayTask>> {
    let Some(index) = number(variable, "JOB_COMPLETION_INDEX")? else { return Ok(None) };
    let count = required(variable, SHARDS, "JOB_COMPLETION_INDEX", SHARDS)?;
    task(index, count, "Kubernetes (JOB_COMPLETION_INDEX, D2R_SHARDS)").map(Some)
}

fn torchrun(variable: Variables) -> Result<Option<ArrayTask>> {
    let Some(index) = number(variable, "RANK")? else { return Ok(None) };
    let count = required(variable, "WORLD_SIZE", "RANK", "WORLD_SIZE")?;
    task(index, count, "torchrun (RANK, WORLD_SIZE)").map(Some)
}

fn task(index: u32, count: u32, source: &'static str) -> Result<ArrayTask> {
    let shard = Shard::new(index, count).map_err(|e| {
        usage(format!("{source}: {e}; give the array one task per part, set {SHARDS}, or give --shard I/N"))
    })?;
    Ok(ArrayTask { shard, source })
}

/// The variable `name`, which belongs to `beside`; `count` is the variable that would complete the pair.
fn required(variable: Variables, name: &str, beside: &str, count: &str) -> Result<u32> {
    number(variable, name)?.ok_or_else(|| {
        usage(format!("{beside} is set, {name} is not; set {count} to the number of parts, or give --shard I/N"))
    })
}

fn number(variable: Variables, name: &str) -> Result<Option<u32>> {
    let parse = |text: String| {
        text.trim().parse().map_err(|_| {
            usage(format!("{name}={text:?} is no number from 0 to {}; correct it or give --shard I/N", u32::MAX))
        })
    };
    variable(name).map(parse).transpose()
}

fn usage(problem: impl std::fmt::Display) -> Error {
    Error::Usage(format!("--shard auto: {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detect_in(variables: &[(&str, &str)]) -> Result<ArrayTask> {
        detect(|name| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned()))
    }

    /// ID, MIN, STEP and COUNT of a Slurm array.
    fn slurm_array(values: [&'static str; 4]) -> Vec<(&'static str, &'static str)> {
        let names = ["SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_STEP", "SLURM_ARRAY_TASK_COUNT"];
        names.into_iter().zip(values).collect()
    }

    fn problem(variables: &[(&str, &str)]) -> String {
        match detect_in(variables) {
            Err(Error::Usage(text)) => text,
            other => panic!("{variables:?}: {other:?}"),
        }
    }

    #[test]
    fn each_scheduler_gives_index_and_count() {
        let cases = [
            (slurm_array(["3", "0", "1", "8"]), "3/8", "Slurm"),
            (slurm_array(["1", "1", "1", "8"]), "0/8", "Slurm"),
            (slurm_array(["14", "2", "4", "5"]), "3/5", "Slurm"),
            (vec![("JOB_COMPLETION_INDEX", "0"), ("D2R_SHARDS", "4")], "0/4", "Kubernetes"),
            (vec![("RANK", "1"), ("WORLD_SIZE", "2")], "1/2", "torchrun"),
            // A variable that is empty is absent.
            (vec![("SLURM_ARRAY_TASK_ID", ""), ("RANK", "1"), ("WORLD_SIZE", "2")], "1/2", "torchrun"),
        ];
        for (variables, shard, source) in cases {
            let task = detect_in(&variables).unwrap();
            assert_eq!(task.shard.to_string(), shard, "{variables:?}");
            assert!(task.source.starts_with(source), "{variables:?}: {}", task.source);
        }
    }

    #[test]
    fn tasks_that_are_submitted_again_keep_the_number_of_parts() {
        let again = [&slurm_array(["5", "3", "2", "2"])[..], &[("D2R_SHARDS", "8")]].concat();
        assert_eq!(detect_in(&again).unwrap().shard, Shard { index: 5, count: 8 });
    }

    #[test]
    fn two_schedulers_must_agree() {
        let same = [&slurm_array(["1", "0", "1", "2"])[..], &[("RANK", "1"), ("WORLD_SIZE", "2")]].concat();
        let task = detect_in(&same).unwrap();
        assert!(task.source.starts_with("Slurm") && task.shard.to_string() == "1/2", "{task:?}");
        let other = [&slurm_array(["1", "0", "1", "2"])[..], &[("RANK", "0"), ("WORLD_SIZE", "2")]].concat();
        let text = problem(&other);
        assert!(text.contains("gives 1/2") && text.contains("torchrun (RANK, WORLD_SIZE) gives 0/2"), "{text}");
    }

    #[test]
    fn what_cannot_be_read_is_a_usage_error_that_names_it() {
        let irregular = slurm_array(["9", "1", "1", "3"]);
        let between = slurm_array(["4", "1", "2", "3"]);
        let below = slurm_array(["0", "1", "1", "3"]);
        let still = slurm_array(["1", "1", "0", "3"]);
        let cases: [(&[(&str, &str)], &str); 11] = [
            (&[], "no task of an array job"),
            (&[("WORLD_SIZE", "2"), ("D2R_SHARDS", "2")], "no task of an array job"),
            (&[("SLURM_ARRAY_TASK_ID", "1")], "SLURM_ARRAY_TASK_MIN is not"),
            (&irregular, "index stays below the count"),
            (&between, "in no array that begins with 1 and has the step 2"),
            (&below, "in no array"),
            (&still, "in no array"),
            (&[("JOB_COMPLETION_INDEX", "1")], "D2R_SHARDS is not"),
            (&[("RANK", "x"), ("WORLD_SIZE", "2")], "RANK=\"x\" is no number"),
            (&[("RANK", "-1"), ("WORLD_SIZE", "2")], "RANK=\"-1\" is no number"),
            (&[("RANK", "2"), ("WORLD_SIZE", "2")], "2/2"),
        ];
        for (variables, expected) in cases {
            let text = problem(variables);
            assert!(text.starts_with("--shard auto: ") && text.contains(expected), "{variables:?}: {text}");
        }
    }
}
