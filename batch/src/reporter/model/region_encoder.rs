//! Region tokens: crops of the radiograph at its own resolution through a small convolutional net (after D2R-Net's
//! SimpleConvNet), so that a lesion that vanishes when the film is shrunk is still seen.
//! Before it, on demand, the lesion region enhancement. Ours: padded convolutions, and an embedding of the detector's class, its score and the box's place, because a crop
//! says neither where it was taken nor what the detector took it for.

use d2r_contracts::labels::LESION_CLASSES;
use tch::{Kind, Tensor, nn};

use crate::config::report::ReportModelConfig;
use crate::nn::compute_kind::convolution;
use crate::nn::mlp::linear;
use crate::reporter::model::lera::LesionEnhancement;
use crate::reporter::model::report_model::RegionTensors;

/// Convolutions; the first keeps the size, each further one halves it and doubles the channels.
const STAGES: u32 = 5;
/// Spread of the class embedding's initial values, of the order of the other parts of a token.
const EMBEDDING_SPREAD: f64 = 0.5;
/// Cosines of each number that is told of a box.
const WAVES: i64 = 4;
/// What is told of a box: score, centre and size.
const PLACE_NUMBERS: i64 = 5;

/// The region network; parameters `conv1..5`, `bn1..5`, `fc`, `lera` when on, and `class`, `place` when embedded.
#[derive(Debug)]
pub struct RegionEncoder {
    lera: Option<LesionEnhancement>,
    stages: Vec<(nn::Conv2D, nn::BatchNorm)>,
    padding: i64,
    fc: nn::Linear,
    embedding: Option<(Tensor, nn::Linear)>,
    d_visual: i64,
}

impl RegionEncoder {
    /// `d_visual`: width of the tokens.
    pub fn new(path: &nn::Path, config: &ReportModelConfig, d_visual: i64) -> Self {
        let width = |stage: u32| config.region_width << stage;
        let channels = if config.rgb { 3 } else { 1 };
        let lera = LesionEnhancement::new(&(path / "lera"), channels, config.lera_filters, config.lera);
        let first = if lera.is_some() { config.lera_filters } else { channels };
        let padding = i64::from(config.region_padding);
        let stages = (0..STAGES)
            .map(|i| {
                let inputs = if i == 0 { first } else { width(i - 1) };
                let stride = if i == 0 { 1 } else { 2 };
                let conv = nn::ConvConfig { stride, padding, ..nn::ConvConfig::default() };
                let norm = nn::BatchNormConfig { ws_init: nn::Init::Const(1.0), ..nn::BatchNormConfig::default() };
                (
                    nn::conv2d(path / format!("conv{}", i + 1), inputs, width(i), 3, conv),
                    nn::batch_norm2d(path / format!("bn{}", i + 1), width(i), norm),
                )
            })
            .collect();
        let embedding = config.region_embedding.then(|| {
            let rows = LESION_CLASSES.len() as i64;
            let class = (path / "class").randn("weight", &[rows, d_visual], 0.0, EMBEDDING_SPREAD);
            (class, linear(&(path / "place"), PLACE_NUMBERS * WAVES, d_visual))
        });
        Self { lera, stages, padding, fc: linear(&(path / "fc"), width(STAGES - 1), d_visual), embedding, d_visual }
    }

    /// One token per crop, f32 `[M, d_visual]`. `crops`: f32 or bf16 `[M, 1 or 3, R, R]`, normalised.
    pub fn forward_t(&self, crops: &Tensor, regions: &RegionTensors, train: bool) -> Tensor {
        let count = crops.size()[0];
        if count == 0 {
            return Tensor::zeros([0, self.d_visual], (Kind::Float, crops.device()));
        }
        let mut xs = match &self.lera {
            Some(lera) => lera.forward_t(&crops.to_kind(Kind::Float), train).to_kind(crops.kind()),
            None => crops.shallow_clone(),
        };
        for (stage, (conv, norm)) in self.stages.iter().enumerate() {
            let stride = if stage == 0 { 1 } else { 2 };
            xs = convolution(&xs, conv, stride, [self.padding; 2]).apply_t(norm, train).relu();
        }
        let token = xs.mean_dim([2i64, 3].as_slice(), false, Kind::Float).apply(&self.fc);
        match &self.embedding {
            None => token,
            Some((class, place)) => {
                token + class.index_select(0, &regions.classes) + place_features(&regions.places).apply(place)
            }
        }
    }
}

/// Score and place of boxes in features of one scale, f32 `[M, 20]`: `cos(pi k v)` for each `v` of score, centre and size and `k` = 1 to 4. On a
/// mirrored film the odd cosines of the centre's x change sign and everything else stays, so that a side is one feature away.
/// `places`: f32 `[M, 5]`, as in [`RegionTensors`].
fn place_features(places: &Tensor) -> Tensor {
    let waves = Tensor::arange_start(1, WAVES + 1, (Kind::Float, places.device())) * std::f64::consts::PI;
    (places.unsqueeze(2) * waves).cos().flatten(1, 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirrored_box_changes_the_sign_of_odd_cosines_of_its_centre() {
        let features = |x: f32| {
            let row = place_features(&Tensor::from_slice(&[0.75, x, 0.5, 0.2, 0.1]).view([1, 5]));
            Vec::<f32>::try_from(row.flatten(0, 1)).unwrap()
        };
        let (left, right) = (features(0.2), features(0.8));
        assert_eq!(left.len() as i64, PLACE_NUMBERS * WAVES);
        assert!((left[4] - (0.2 * std::f32::consts::PI).cos()).abs() < 1e-6);
        for (k, (a, b)) in left[4..8].iter().zip(&right[4..8]).enumerate() {
            let sign = if k % 2 == 0 { -1.0 } else { 1.0 };
            assert!((a - sign * b).abs() < 1e-5, "cosine {}", k + 1);
        }
        assert_eq!((&left[..4], &left[8..]), (&right[..4], &right[8..]));
    }
}
