//! Parity of D2R-Net's visual modules with `tests/python/golden/d2rnet.py`: PyTorch, double precision, patch by patch.

use serde_json::{Value, json};
use tch::{Device, Kind, Tensor, nn};

use crate::config::report::{Lera, ReportModelConfig};
use crate::config::{Layers, resolve};
use crate::nn::parity_golden::{assert_close, assert_sampled, fill, image, numbers, signed, values};
use crate::reporter::model::cpca::Cpca;
use crate::reporter::model::lera::LesionEnhancement;
use crate::reporter::model::region_encoder::RegionEncoder;
use crate::reporter::model::visual::RegionInput;

const TOLERANCE: f64 = 1e-4;

fn golden() -> Value {
    serde_json::from_str(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/golden/reporter/d2rnet.json"))).unwrap()
}

fn tiny() -> ReportModelConfig {
    let layers = Layers { preset: Some("tiny".into()), ..Layers::default() };
    resolve(&layers).unwrap().config.report.model
}

#[test]
fn channel_prior_attention() {
    let vs = nn::VarStore::new(Device::Cpu);
    let module = Cpca::new(&(vs.root() / "cpca"), 8);
    fill(&vs, "", &json!({}));
    assert_sampled(&module.forward(&signed(7, &[2, 8, 12, 12])), &golden()["cpca"], TOLERANCE, "CPCA");
}

#[test]
fn lesion_enhancement_in_both_forms() {
    for (key, filters, kind) in
        [("literal_8", 8, Lera::Literal), ("literal_3", 3, Lera::Literal), ("corrected_3", 3, Lera::Corrected)]
    {
        let vs = nn::VarStore::new(Device::Cpu);
        let module = LesionEnhancement::new(&vs.root(), 3, filters, kind).unwrap();
        fill(&vs, "", &json!({}));
        let ours = module.forward_t(&image(12, &[2, 3, 16, 16]), false);
        assert_sampled(&ours, &golden()[key], TOLERANCE, key);
    }
}

#[test]
fn the_literal_form_passes_no_gradient_to_its_patches_and_the_corrected_one_does() {
    // Three channels leave one hidden unit; a layer norm over one value returns its bias.
    let gradient = |kind: Lera| {
        let mut vs = nn::VarStore::new(Device::Cpu);
        let module = LesionEnhancement::new(&vs.root(), 3, 3, kind).unwrap();
        fill(&vs, "", &json!({}));
        // Double precision: in single precision a layer norm's rounding error, times 1/sqrt(epsilon), is not small.
        vs.double();
        module.forward_t(&image(12, &[2, 3, 16, 16]).to_kind(Kind::Double), false).sum(Kind::Float).backward();
        f64::try_from(vs.variables()["lga2.mlp1.weight"].grad().abs().max()).unwrap()
    };
    assert!(gradient(Lera::Literal) < 1e-10, "{}", gradient(Lera::Literal));
    assert!(gradient(Lera::Corrected) > 1e-6, "{}", gradient(Lera::Corrected));
}

#[test]
fn region_encoder_without_padding() {
    let config = ReportModelConfig {
        rgb: true,
        region_padding: false,
        region_size: 96,
        region_width: 4,
        region_embedding: false,
        lera: Lera::Off,
        ..tiny()
    };
    let vs = nn::VarStore::new(Device::Cpu);
    let encoder = RegionEncoder::new(&vs.root(), &config, 8, 22);
    fill(&vs, "", &json!({}));
    let none = |size: &[i64], kind| Tensor::zeros(size, (kind, Device::Cpu));
    let regions = RegionInput {
        crops: none(&[2, 1, 96, 96], Kind::Uint8),
        statistics: none(&[2, 2], Kind::Float),
        slots: none(&[2], Kind::Int64),
        present: none(&[1, 2], Kind::Bool),
        classes: none(&[2], Kind::Int64),
        scored_boxes: none(&[2, 5], Kind::Float),
    };
    let ours = encoder.forward_t(&image(11, &[2, 3, 96, 96]), &regions, false);
    assert_close(&values(&ours), &numbers(&golden()["region_network"]), TOLERANCE, "region encoder");
}
