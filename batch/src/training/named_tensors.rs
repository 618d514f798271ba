//! Tensors by name: a variable store as a list, safetensors files, and strict loading: no missing and no surplus
//! name, same shapes, same kinds, which `tch`'s loader does not check.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use tch::{Kind, Tensor, nn};

use crate::error::{Error, Result};

/// Names and tensors in a fixed order.
pub type NamedTensors = Vec<(String, Tensor)>;

/// The variables of a store, trainable or not, sorted by name.
pub fn named_tensors(vs: &nn::VarStore) -> NamedTensors {
    let mut tensors: NamedTensors = vs.variables().into_iter().collect();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    tensors
}

/// A copy that training does not touch.
pub fn copied(tensors: &[(String, Tensor)]) -> NamedTensors {
    let _no_grad = tch::no_grad_guard();
    tensors.iter().map(|(n, t)| (n.clone(), t.detach().copy())).collect()
}

/// Writes tensors as safetensors; the caller makes the write atomic.
///
/// # Errors
/// [`Error::Torch`] when a file or a tensor cannot be read or written.
pub fn write_tensors(path: &Path, tensors: &[(String, Tensor)]) -> Result<()> {
    let _no_grad = tch::no_grad_guard();
    let plain: Vec<(&str, Tensor)> =
        tensors.iter().map(|(n, t)| (n.as_str(), t.detach().to_device(tch::Device::Cpu).contiguous())).collect();
    let written = Tensor::write_safetensors(&plain, path).map_err(|source| write_error(path, source));
    let synced = || fs::File::open(path).and_then(|f| f.sync_all()).map_err(|e| Error::io("write", path, e));
    written.and_then(|()| synced()).inspect_err(|_| {
        // A full disk must not stay full of what cannot be used.
        let _ = fs::remove_file(path);
    })
}

fn write_error(path: &Path, source: tch::TchError) -> Error {
    match source {
        tch::TchError::Io(e) => Error::io("write", path, e),
        other if os_error(&other.to_string()).is_some() => {
            let code = os_error(&other.to_string()).unwrap_or_default();
            Error::io("write", path, std::io::Error::from_raw_os_error(code))
        }
        other => Error::Torch { context: format!("write {}", path.display()), source: other },
    }
}

/// The number of an operating system's error that a message of safetensors repeats: `Os { code: 28, ..`.
fn os_error(message: &str) -> Option<i32> {
    let digits = message.split_once("Os { code: ")?.1;
    digits[..digits.find(|c: char| !c.is_ascii_digit())?].parse().ok()
}

/// Reads tensors from safetensors, in the order of their names: `tch` gives them in another order each time.
///
/// # Errors
/// [`Error::InputMissing`] or [`Error::BadData`] with the file's name.
pub fn read_tensors(path: &Path) -> Result<NamedTensors> {
    if !path.is_file() {
        return Err(Error::missing(path, "expected weights in safetensors form"));
    }
    let wrong = |e| Error::bad_data(path.display(), format!("not a safetensors file: {}", first_line(&e)));
    let mut tensors = Tensor::read_safetensors(path).map_err(wrong)?;
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(tensors)
}

fn first_line(e: &tch::TchError) -> String {
    e.to_string().lines().next().unwrap_or_default().to_owned()
}

/// Copies `tensors` into the store's variables: no missing and no surplus name, same shapes, same kinds; float16 widens
/// to float32.
///
/// `tch`'s own loader ignores surplus tensors and adopts the file's precision; here both are errors.
///
/// # Errors
/// [`Error::BadData`] that lists missing, surplus and misshapen names.
pub fn assign_strict(vs: &mut nn::VarStore, tensors: &[(String, Tensor)], place: &str) -> Result<()> {
    assign_to(vs.variables().into_iter().collect(), tensors, place)
}

/// The same for some variables of a store.
///
/// # Errors
/// Those of [`assign_strict`].
pub fn assign_to(mut wanted: BTreeMap<String, Tensor>, tensors: &[(String, Tensor)], place: &str) -> Result<()> {
    let _no_grad = tch::no_grad_guard();
    let mut problems = Vec::new();
    for (name, tensor) in tensors {
        match wanted.remove(name) {
            None => problems.push(format!("surplus `{name}`")),
            Some(v) if v.size() != tensor.size() => {
                problems.push(format!("`{name}` is {:?}, the model wants {:?}", tensor.size(), v.size()));
            }
            // Float16 widens to float32 without loss: a model that was exported small.
            Some(v) if v.kind() != tensor.kind() && (v.kind(), tensor.kind()) != (Kind::Float, Kind::Half) => {
                problems.push(format!("`{name}` is {:?}, the model wants {:?}", tensor.kind(), v.kind()));
            }
            Some(mut v) => v.copy_(tensor),
        }
    }
    problems.extend(wanted.keys().map(|name| format!("missing `{name}`")));
    if problems.is_empty() {
        return Ok(());
    }
    let count = problems.len();
    problems.truncate(8);
    Err(Error::bad_data(place, format!("{count} tensors do not fit the model: {}", problems.join(", "))))
}

/// Reads weights into a store, strictly.
///
/// # Errors
/// Those of [`read_tensors`] and [`assign_strict`].
pub fn load_strict(vs: &mut nn::VarStore, path: &Path) -> Result<()> {
    assign_strict(vs, &read_tensors(path)?, &path.display().to_string())
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    /// A store with one linear layer `fc`, 3 inputs, 2 outputs.
    fn store() -> nn::VarStore {
        let vs = nn::VarStore::new(Device::Cpu);
        let _ = nn::linear(vs.root() / "fc", 3, 2, nn::LinearConfig::default());
        vs
    }

    #[test]
    fn a_full_disk_is_temporary_and_leaves_no_file() {
        let message = "IoError(Os { code: 28, kind: StorageFull, message: \"No space left on device\" })";
        assert_eq!(os_error(message), Some(28));
        assert_eq!(os_error("TensorInvalidInfo"), None);
        // Every write to this device fails for lack of space.
        let full = Path::new("/dev/full");
        if full.exists() {
            let tensors = copied(&named_tensors(&store()));
            let folder = tempfile::tempdir().unwrap();
            let link = folder.path().join("weights.safetensors");
            std::os::unix::fs::symlink(full, &link).unwrap();
            let error = write_tensors(&link, &tensors).unwrap_err();
            assert_eq!(error.exit().code(), 75, "{error}");
            assert!(!link.exists());
        }
    }

    #[test]
    fn strict_loading_names_what_does_not_fit() {
        let mut vs = store();
        let mut tensors = copied(&named_tensors(&vs));
        assign_strict(&mut vs, &tensors, "x").unwrap();
        tensors.push(("extra".into(), Tensor::from_slice(&[1.0f32])));
        tensors[0].1 = Tensor::from_slice(&[1.0f32, 2.0, 3.0]);
        let message = assign_strict(&mut vs, &tensors, "x").unwrap_err().to_string();
        assert!(message.contains("surplus `extra`") && message.contains("`fc.bias` is [3]"), "{message}");
        let kinds = vec![("fc.bias".to_owned(), Tensor::from_slice(&[1.0f64, 2.0]))];
        let message = assign_strict(&mut vs, &kinds, "x").unwrap_err().to_string();
        let halves =
            copied(&named_tensors(&vs)).into_iter().map(|(n, t)| (n, t.to_kind(Kind::Half))).collect::<Vec<_>>();
        assign_strict(&mut vs, &halves, "x").unwrap();
        assert!(vs.variables().values().all(|v| v.kind() == Kind::Float));
        assert!(message.contains("Double") && message.contains("missing `fc.weight`"), "{message}");
    }
}
