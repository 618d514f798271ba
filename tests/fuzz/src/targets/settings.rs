//! Configuration layers, and headers of weight files.

use d2r_batch::config::resolve::{Layers, resolve};
use d2r_batch::training::named_tensors::read_tensors;
use safetensors::tensor::{Dtype, TensorView, serialize};

use crate::Target;

pub const CONFIGURATION: Target = Target { name: "configuration", read: layers, seeds: layer_seeds, size_max: 1024 };
pub const SAFETENSORS: Target = Target { name: "safetensors", read: tensors, seeds: tensor_seeds, size_max: 8192 };

/// The first line is a `--set`, the second the value of an environment variable, the others are a file.
fn layers(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.splitn(3, '\n');
    let set = lines.next().filter(|line| !line.is_empty()).map(str::to_owned);
    let environment = lines.next().filter(|line| !line.is_empty());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = lines.next().map(|text| {
        let path = folder.path().join("d2r.toml");
        std::fs::write(&path, text).expect("a file of its own");
        path
    });
    let layers = Layers {
        preset: None,
        file,
        environment: environment.map(|v| ("D2R_DETECTOR__TRAIN__LR".to_owned(), v.to_owned())).into_iter().collect(),
        set: set.into_iter().collect(),
    };
    match resolve(&layers) {
        Ok(resolved) => resolved.to_toml(),
        Err(e) => e.to_string().replace(&folder.path().display().to_string(), ""),
    }
}

fn layer_seeds() -> Vec<Vec<u8>> {
    [
        "detector.train.lr=0.01\n0.5\n[detector.train]\nbatch_size = 4\n",
        "ingest.section=both\n\n[ingest]\nval_share = 0.2\n[report.train]\nsteps = 10\n",
        "run.seed=7\n1e-3\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

fn tensors(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("weights.safetensors");
    std::fs::write(&path, bytes).expect("a file of its own");
    match read_tensors(&path) {
        Err(e) => e.to_string().replace(&folder.path().display().to_string(), ""),
        Ok(tensors) => {
            let one = |(name, tensor): &(String, _)| format!("{name} {tensor:?}");
            tensors.iter().map(one).collect()
        }
    }
}

fn tensor_seeds() -> Vec<Vec<u8>> {
    let values: Vec<u8> = [0.5f32, -1.0, 3.0, 0.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let view = |shape: Vec<usize>, dtype| TensorView::new(dtype, shape, &values).expect("the sizes fit");
    let file = |list: Vec<(&str, TensorView)>| serialize(list, None).expect("memory takes it");
    vec![
        file(vec![("a.weight", view(vec![2, 2], Dtype::F32)), ("b", view(vec![4], Dtype::F32))]),
        file(vec![("n", view(vec![2], Dtype::I64)), ("h", view(vec![8], Dtype::BF16))]),
        file(vec![]),
    ]
}
