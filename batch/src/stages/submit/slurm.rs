//! The batch script of an array job for Slurm.

use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::stages::submit::{ArrayJob, GRACE_S, RETRIES, array_task, permanent_codes};

/// A script for `sbatch`: an array with one task and at most one GPU per element.
///
/// Slurm sends TERM to the step 60 s before the time limit and leaves the script alone. The script ends with 0 where the
/// command is done or has nothing to do, with the command's code where the same command would fail again, and else puts
/// its element back into the queue, [`RETRIES`] times. TERM reaches the script itself only when the job is cancelled or
/// Slurm ends it; it is not put back then.
///
/// # Errors
/// [`Error::Usage`] for an argument that a shell cannot be given.
pub fn script(job: &ArrayJob, partition: Option<&str>) -> Result<String> {
    let last = job.shards.saturating_sub(1);
    let mut text = format!(
        "#!/bin/bash\n\
         # {} parts of `d2r {}`, one task each; made by `d2r submit slurm`. Submit it with: sbatch FILE\n\
         # Some parts again, for instance 3 and 5: sbatch --array=3,5 FILE\n\
         #SBATCH --job-name={}\n\
         #SBATCH --array=0-{last}\n\
         #SBATCH --nodes=1\n\
         #SBATCH --ntasks=1\n\
         #SBATCH --cpus-per-task={}\n\
         #SBATCH --mem={}\n",
        job.shards, job.verb, job.name, job.cpus, job.memory,
    );
    let mut option = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            text.push_str(&format!("#SBATCH --{name}={value}\n"));
        }
    };
    option("time", job.time.map(|t| t.to_string()));
    option("partition", partition.map(str::to_owned));
    option("gres", job.gpu.then(|| "gpu:1".to_owned()));
    option("signal", Some(format!("TERM@{GRACE_S}")));
    option("open-mode", Some("append".to_owned()));
    let codes: Vec<String> = permanent_codes().iter().map(u8::to_string).collect();
    text.push_str(&format!(
        "#SBATCH --requeue\n\
         \n\
         export {shards}={count}\n\
         # TERM reaches this script when the job is cancelled or ended, not at the signal above.\n\
         ended=\n\
         trap 'ended=yes' TERM\n\
         srun --ntasks=1 --cpus-per-task={cpus} -- \"${{D2R_BIN:-d2r}}\" {command}\n\
         code=$?\n\
         case $code in\n\
         \x20 {done} | {nothing}) exit 0 ;; # done, nothing to do\n\
         \x20 {permanent}) exit \"$code\" ;; # the same command would fail again\n\
         esac\n\
         # Temporary, stopped at the time limit, or killed.\n\
         tries=${{SLURM_RESTART_COUNT:-0}}\n\
         if [ -z \"$ended\" ] && [ \"$tries\" -lt {RETRIES} ]; then\n\
         \x20 echo \"d2r ended with exit code $code; retry $((tries + 1)) of {RETRIES}\" >&2\n\
         \x20 # Both numbers: the last element of an array has the array's own job number.\n\
         \x20 scontrol requeue \"${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}\"\n\
         fi\n\
         exit \"$code\"\n",
        shards = array_task::SHARDS,
        count = job.shards,
        cpus = job.cpus,
        command = quoted(&job.arguments)?,
        done = Exit::Done.code(),
        nothing = Exit::NothingToDo.code(),
        permanent = codes.join(" | "),
    ));
    Ok(text)
}

/// Arguments as words of a shell.
fn quoted(arguments: &[String]) -> Result<String> {
    shlex::try_join(arguments.iter().map(String::as_str))
        .map_err(|_| Error::Usage("an argument holds a NUL character, which no program can be given; remove it".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::submit::fixtures::job;

    #[test]
    fn the_script_asks_for_one_task_per_part() {
        let text = script(&job(&[]), Some("gpu")).unwrap();
        for line in [
            "#!/bin/bash",
            "#SBATCH --job-name=d2r-report",
            "#SBATCH --array=0-7",
            "#SBATCH --ntasks=1",
            "#SBATCH --cpus-per-task=4",
            "#SBATCH --mem=16G",
            "#SBATCH --time=1-00:00:00",
            "#SBATCH --partition=gpu",
            "#SBATCH --gres=gpu:1",
            "#SBATCH --signal=TERM@60",
            "#SBATCH --requeue",
            "export D2R_SHARDS=8",
            "srun --ntasks=1 --cpus-per-task=4 -- \"${D2R_BIN:-d2r}\" report --dataset mimic --shard auto",
            "  0 | 99) exit 0 ;; # done, nothing to do",
            "  2 | 65 | 66 | 70 | 78) exit \"$code\" ;; # the same command would fail again",
            "if [ -z \"$ended\" ] && [ \"$tries\" -lt 3 ]; then",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        let (_, after) = text.split_once("\nexport ").unwrap();
        assert!(!after.contains("#SBATCH"), "sbatch reads no option after the first command:\n{text}");
    }

    #[test]
    fn what_is_not_asked_for_is_not_in_the_script() {
        let plain = ArrayJob { gpu: false, time: None, ..job(&[]) };
        let text = script(&plain, None).unwrap();
        for absent in ["--time", "--partition", "--gres"] {
            assert!(!text.contains(absent), "{text}");
        }
    }

    #[test]
    fn arguments_reach_the_command_as_they_are() {
        let odd = ["a b", "it's", "\"q\"", "$HOME `id` $(id)", "", "*", "line\nline", "-- ;|&#!", "\\", "é"];
        let text = script(&job(&odd), None).unwrap();
        let start = text.find("\"${D2R_BIN:-d2r}\" ").unwrap() + "\"${D2R_BIN:-d2r}\" ".len();
        let end = text.find("\ncode=$?").unwrap();
        let shell = format!("printf '%s\\0' {}", &text[start..end]);
        let output = std::process::Command::new("sh").args(["-c", &shell]).output().unwrap();
        let words: Vec<String> =
            String::from_utf8(output.stdout).unwrap().split_terminator('\0').map(str::to_owned).collect();
        assert_eq!(words, job(&odd).arguments);
        assert!(matches!(script(&job(&["a\0b"]), None), Err(Error::Usage(_))));
    }
}
