//! The permissions of new files: for their owner alone, unless `D2R_UMASK` says otherwise.

use crate::error::{Error, Result};

/// The variable with an octal mask, for instance `027` for a group that shares a lake.
const VARIABLE: &str = "D2R_UMASK";
/// Files 0600, folders 0700.
const PRIVATE: u32 = 0o077;

/// Sets the mask of the process.
///
/// # Errors
/// [`Error::Usage`] when the variable is no octal mask.
pub fn keep_private() -> Result<()> {
    let mask = mask(std::env::var_os(VARIABLE).as_deref().and_then(|v| v.to_str()))?;
    #[cfg(unix)]
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask));
    Ok(())
}

fn mask(value: Option<&str>) -> Result<u32> {
    let Some(value) = value else { return Ok(PRIVATE) };
    match u32::from_str_radix(value, 8) {
        // The owner reads and writes what the program makes.
        Ok(mask) if mask <= 0o777 && mask & 0o700 == 0 => Ok(mask),
        _ => Err(Error::Usage(format!("{VARIABLE}={value}: expected an octal mask such as 027"))),
    }
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn the_mask_is_private_unless_it_is_said() {
        assert_eq!(mask(None).unwrap(), 0o077);
        assert_eq!(mask(Some("027")).unwrap(), 0o027);
        for wrong in ["", "8", "u=rwx", "777", "7777", "-1"] {
            assert!(mask(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
