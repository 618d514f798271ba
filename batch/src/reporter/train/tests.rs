//! The loss of R2Gen, its gradients and three optimizer steps against `tests/python/golden/r2gen_decoding.py`:
//! PyTorch's own Adam (AMSGrad, coupled decay) in double precision.

use std::collections::BTreeMap;
use std::path::Path;

use tch::{Kind, Tensor};

use crate::reporter::model::encoder_decoder::tests::{KERNEL, assert_close, golden_model, report_ids, tokens};
use crate::training::named_tensors::named_tensors;
use crate::training::optimizer::{Optimizer, ParamGroup, Rule};

/// Relative, of gradients.
const GRADIENT: f64 = 1e-4;
const TRAINED: [(&str, &str); 3] = [
    ("lut", "encoder_decoder.model.tgt_embed.0.lut.weight"),
    ("memory_gate", "encoder_decoder.model.rm.W.weight"),
    ("mlp_gamma", "encoder_decoder.model.decoder.layers.0.sublayer.0.norm.mlp_gamma.0.weight"),
];

fn numbers(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.to_kind(Kind::Double).reshape([-1])).unwrap()
}

#[test]
fn gradients_and_three_steps_equal_pytorch() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/reporter/r2gen_decoding.safetensors");
    let golden: BTreeMap<String, Tensor> = Tensor::read_safetensors(path).unwrap().into_iter().collect();
    let (vs, model, _) = golden_model();
    let (tokens, present) = tokens();
    let (present, ids) = (present.ones_like(), report_ids());
    let weights = Tensor::ones([2, 11], (Kind::Float, tch::Device::Cpu));
    let _ = weights.get(1).narrow(0, 9, 2).fill_(0.0);
    let params = named_tensors(&vs);
    let names: Vec<String> = params.iter().map(|(name, _)| name.clone()).collect();
    let groups = vec![ParamGroup { name: "all".into(), params, lr: 1e-2, weight_decay: 5e-3 }];
    let mut optimizer = Optimizer::new(Rule::ADAM_AMSGRAD, groups).unwrap();
    for step in 0..3 {
        let encoded = model.encode(&tokens, &present, true);
        let out = model.forward_t(&encoded, &present, &ids.narrow(1, 0, 11), true);
        let nll = -out.log_probs.gather(2, &ids.narrow(1, 1, 11).unsqueeze(-1), false).squeeze_dim(2);
        let loss = (nll * &weights).sum(Kind::Float) / weights.sum(Kind::Float);
        assert_close("loss", &loss, &numbers(&golden[&format!("loss.{step}")]), 2.0 * KERNEL);
        let gradients = optimizer.gradients(&loss, model.take_passes()).unwrap();
        if step == 0 {
            for (short, name) in TRAINED {
                let ours = &gradients[names.iter().position(|n| n == name).unwrap()];
                let theirs = &golden[&format!("gradient.{short}")];
                let gap = f64::try_from((ours - theirs).abs().max()).unwrap();
                let size = f64::try_from(theirs.abs().max()).unwrap();
                assert!(size > 1e-3 && gap < GRADIENT * size, "{short}: {gap} of {size}");
            }
        }
        optimizer.set_gradients(gradients).unwrap();
        optimizer.clip_value(0.1);
        optimizer.step(1.0);
    }
    for (short, name) in TRAINED {
        // Adam divides by the gradient's size: where a gradient and its decay nearly cancel, rounding decides the
        // direction.
        let gaps = (&vs.variables()[name] - &golden[&format!("stepped.{short}")]).abs();
        let close = f64::try_from(gaps.lt(KERNEL).to_kind(Kind::Double).mean(Kind::Double)).unwrap();
        let mean = f64::try_from(gaps.mean(Kind::Double)).unwrap();
        assert!(close > 0.98 && mean < KERNEL, "{short}: {close} within {KERNEL}, {mean} on average");
    }
}
