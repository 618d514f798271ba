//! Which of the processes of a training this one is, from the variables that torchrun, Slurm or `d2r` itself set.

/// PyTorch's own default for `MASTER_PORT`.
const PORT: u16 = 29500;

/// The place of this process among those of its training.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The number of this process, below `size`.
    pub rank: usize,
    /// Processes, at least 2.
    pub size: usize,
    /// Its number among those of this machine.
    pub local_rank: usize,
    /// Processes on this machine.
    pub local_size: usize,
    /// The machine of rank 0.
    pub address: String,
    /// The port of the store there.
    pub port: u16,
    /// Whether torchrun holds the store; otherwise rank 0 does.
    pub store_is_served: bool,
    /// How often torchrun has started the processes again; what earlier ones left in its store does not count.
    pub attempt: String,
}

/// Variables that do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {problem}")]
pub struct PlaceError {
    /// The variable that is missing or wrong.
    pub variable: &'static str,
    /// What is wrong and what to do.
    pub problem: String,
}

/// Environment variables by name; empty ones are absent.
type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Place {
    /// The place of this process; `None` where it is the only one. `variable` returns an environment variable's value.
    ///
    /// | who starts the processes | rank | size | local rank |
    /// |---|---|---|---|
    /// | torchrun, `d2r --devices` | `RANK` | `WORLD_SIZE` | `LOCAL_RANK` |
    /// | srun, where `MASTER_ADDR` is set | `SLURM_PROCID` | `SLURM_NTASKS` | `SLURM_LOCALID` |
    ///
    /// `MASTER_ADDR` and `MASTER_PORT` (29500 where it is not set) are the store's. The variables of torchrun come
    /// first.
    ///
    /// # Errors
    /// [`PlaceError`] when one of the variables is missing, is no number, or the rank is not below the size.
    pub fn detect(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, PlaceError> {
        let variable = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let variables: Variables = &variable;
        let names = if variable("RANK").is_some() || variable("WORLD_SIZE").is_some() {
            ["RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"]
        } else if variable("MASTER_ADDR").is_some() && variable("SLURM_PROCID").is_some() {
            ["SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_NTASKS_PER_NODE"]
        } else {
            return Ok(None);
        };
        let [rank, size, local_rank, local_size] = names;
        let (rank, size) = (required(variables, rank)?, required(variables, size)?);
        if rank >= size {
            return Err(wrong(names[0], format!("{rank} is not below {} = {size}", names[1])));
        }
        if size == 1 {
            return Ok(None);
        }
        let local_rank = number(variables, local_rank)?.unwrap_or(0);
        let local_size = number(variables, local_size)?.unwrap_or(1).max(1);
        let missing = || wrong("MASTER_ADDR", format!("is not set; it names the machine of process 0 of {size}"));
        let port = number(variables, "MASTER_PORT")?.unwrap_or(usize::from(PORT));
        let port = u16::try_from(port).map_err(|_| wrong("MASTER_PORT", format!("{port} is no port")))?;
        Ok(Some(Self {
            rank,
            size,
            local_rank,
            local_size,
            address: variable("MASTER_ADDR").ok_or_else(missing)?,
            port,
            store_is_served: variable("TORCHELASTIC_USE_AGENT_STORE").is_some_and(|v| v == "True"),
            attempt: variable("TORCHELASTIC_RESTART_COUNT").unwrap_or_else(|| "0".to_owned()),
        }))
    }
}

fn required(variable: Variables, name: &'static str) -> Result<usize, PlaceError> {
    number(variable, name)?.ok_or_else(|| wrong(name, "is not set; torchrun, srun or --devices sets it".to_owned()))
}

fn number(variable: Variables, name: &'static str) -> Result<Option<usize>, PlaceError> {
    let parse = |text: String| text.trim().parse().map_err(|_| wrong(name, format!("{text:?} is no number from 0 on")));
    variable(name).map(parse).transpose()
}

fn wrong(variable: &'static str, problem: String) -> PlaceError {
    PlaceError { variable, problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detect(variables: &[(&str, &str)]) -> Result<Option<Place>, PlaceError> {
        Place::detect(|name| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn torchrun_and_slurm_give_the_place() {
        assert_eq!(detect(&[]).unwrap(), None);
        assert_eq!(detect(&[("RANK", "0"), ("WORLD_SIZE", "1")]).unwrap(), None, "a single process");
        // An array job has no MASTER_ADDR.
        assert_eq!(detect(&[("SLURM_PROCID", "1"), ("SLURM_NTASKS", "2")]).unwrap(), None);
        let torchrun = [
            ("RANK", "3"),
            ("WORLD_SIZE", "4"),
            ("LOCAL_RANK", "1"),
            ("LOCAL_WORLD_SIZE", "2"),
            ("MASTER_ADDR", "node7"),
            ("MASTER_PORT", "1234"),
            ("TORCHELASTIC_USE_AGENT_STORE", "True"),
            ("TORCHELASTIC_RESTART_COUNT", "2"),
        ];
        let place = detect(&torchrun).unwrap().unwrap();
        let expected = Place {
            rank: 3,
            size: 4,
            local_rank: 1,
            local_size: 2,
            address: "node7".into(),
            port: 1234,
            store_is_served: true,
            attempt: "2".into(),
        };
        assert_eq!(place, expected);
        let slurm = [("SLURM_PROCID", "1"), ("SLURM_NTASKS", "2"), ("SLURM_LOCALID", "1"), ("MASTER_ADDR", "10.0.0.1")];
        let place = detect(&slurm).unwrap().unwrap();
        assert_eq!((place.rank, place.size, place.local_rank, place.port), (1, 2, 1, 29500));
        assert!(!place.store_is_served);
        // Processes that torchrun starts inside an allocation of Slurm.
        let both = [&torchrun[..], &slurm].concat();
        assert_eq!(detect(&both).unwrap().unwrap().rank, 3);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let cases: [(&[(&str, &str)], &str); 6] = [
            (&[("RANK", "1")], "WORLD_SIZE"),
            (&[("WORLD_SIZE", "2")], "RANK"),
            (&[("RANK", "2"), ("WORLD_SIZE", "2")], "RANK"),
            (&[("RANK", "x"), ("WORLD_SIZE", "2")], "RANK"),
            (&[("RANK", "1"), ("WORLD_SIZE", "2")], "MASTER_ADDR"),
            (&[("RANK", "1"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "a"), ("MASTER_PORT", "70000")], "MASTER_PORT"),
        ];
        for (variables, named) in cases {
            assert_eq!(detect(variables).unwrap_err().variable, named, "{variables:?}");
        }
    }
}
