//! Region tokens: crops of the radiograph at its own resolution through five convolutions (after D2R-Net's SimpleConvNet),
//! so that small lesions keep their detail; optionally LERA before them.
//! Beyond D2R-Net: zero padding, a linear layer, and an embedding of the detection's class, score and bounding box, which a crop does not show.

use tch::{Kind, Tensor, nn};

use crate::config::report::ReportModelConfig;
use crate::nn::batch_norm::batch_norm;
use crate::nn::compute_kind::convolution;
use crate::nn::mlp::linear;
use crate::reporter::model::lera::LesionEnhancement;
use crate::reporter::model::visual::RegionInput;

/// Convolutions: the first has stride 1, each further one stride 2 and twice the channels.
const STAGES: u32 = 5;
/// Standard deviation of the class embedding's initial values, similar to that of the other parts of a token.
const CLASS_EMBEDDING_STD: f64 = 0.5;
/// Cosine features per number of a scored box.
const FREQUENCIES: i64 = 4;
/// Numbers of a scored box: score, centre, width and height.
const BOX_NUMBERS: i64 = 5;

/// The region encoder; parameters `conv1..5`, `bn1..5`, `fc` when projected, `lera` when on, and `class`, `place` when embedded.
#[derive(Debug)]
pub struct RegionEncoder {
    lera: Option<LesionEnhancement>,
    stages: Vec<(nn::Conv2D, nn::BatchNorm)>,
    padding: i64,
    fc: Option<nn::Linear>,
    embedding: Option<(Tensor, nn::Linear)>,
    d_visual: i64,
}

impl RegionEncoder {
    /// `d_visual`: width of the tokens; `classes`: number of the boxes' classes.
    pub fn new(path: &nn::Path, config: &ReportModelConfig, d_visual: i64, classes: i64) -> Self {
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
            let class = (path / "class").randn("weight", &[classes, d_visual], 0.0, CLASS_EMBEDDING_STD);
            (class, linear(&(path / "place"), BOX_NUMBERS * FREQUENCIES, d_visual))
        });
        let last = width(STAGES - 1);
        let is_projected = config.region_projection || last != d_visual;
        let fc = is_projected.then(|| linear(&(path / "fc"), last, d_visual));
        Self { lera, stages, padding, fc, embedding, d_visual }
    }

    /// One token per crop, f32 `[M, d_visual]`. `crops`: f32 or bf16 `[M, 1 or 3, R, R]`, normalised.
    pub fn forward_t(&self, crops: &Tensor, regions: &RegionInput, train: bool) -> Tensor {
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
            xs = batch_norm(&convolution(&xs, conv, stride, [self.padding; 2]), norm, train).relu();
        }
        let mean = xs.mean_dim([2i64, 3].as_slice(), false, Kind::Float);
        let token = self.fc.as_ref().map_or_else(|| mean.shallow_clone(), |fc| mean.apply(fc));
        match &self.embedding {
            None => token,
            Some((class, place)) => {
                token + class.index_select(0, &regions.classes) + box_features(&regions.scored_boxes).apply(place)
            }
        }
    }
}

/// Cosine features of scored boxes: `cos(pi k v)` for each number `v` and `k` = 1 to 4. A horizontal flip changes only the sign
/// of odd `k` of the centre's x. `scored_boxes`: f32 `[M, 5]`, as in [`RegionInput`]. Returns f32 `[M, 20]`.
fn box_features(scored_boxes: &Tensor) -> Tensor {
    let frequencies =
        Tensor::arange_start(1, FREQUENCIES + 1, (Kind::Float, scored_boxes.device())) * std::f64::consts::PI;
    (scored_boxes.unsqueeze(2) * frequencies).cos().flatten(1, 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_box_changes_the_sign_of_odd_cosines_of_its_centre_x() {
        let features = |x: f32| {
            let row = box_features(&Tensor::from_slice(&[0.75, x, 0.5, 0.2, 0.1]).view([1, 5]));
            Vec::<f32>::try_from(row.flatten(0, 1)).unwrap()
        };
        let (left, right) = (features(0.2), features(0.8));
        assert_eq!(left.len() as i64, BOX_NUMBERS * FREQUENCIES);
        assert!((left[4] - (0.2 * std::f32::consts::PI).cos()).abs() < 1e-6);
        for (k, (a, b)) in left[4..8].iter().zip(&right[4..8]).enumerate() {
            let sign = if k % 2 == 0 { -1.0 } else { 1.0 };
            assert!((a - sign * b).abs() < 1e-5, "cosine {}", k + 1);
        }
        assert_eq!((&left[..4], &left[8..]), (&right[..4], &right[8..]));
    }
}
