//! Studies whose reports follow from the class of their first box, for the tests of report model and preview model.

use std::path::Path;
use std::sync::Arc;

use d2r_contracts::vocabulary::Vocabulary;
use tch::Device;

use crate::config::report::{AlignmentConfig, ReportModelConfig, ReportTrainConfig};
use crate::config::{Layers, resolve};
use crate::error::Result;
use crate::progress::Progress;
use crate::reporter::align::alignment::Alignment;
use crate::reporter::batches::study::{NamedRegions, Region, ReportExample, StudyVisual, VisualSpec, square};
use crate::reporter::batches::study_batch::StudyPlan;
use crate::reporter::batches::text_tokens::TextTokens;
use crate::reporter::decode::generation_options::GenerationOptions;
use crate::reporter::model::report_model::ReportModel;
use crate::reporter::train::trainer::{ReportTraining, train};
use crate::stop::StopFlag;
use crate::training::ranks::Ranks;
use crate::training::run_dir::RunDir;
use crate::training::training_loop::Outcome;
use crate::training::virtual_shards::VirtualShards;

const SPEC_SIZE: u32 = 32;

/// Studies and the configuration of their training.
pub struct Fixture {
    pub examples: Vec<ReportExample>,
    pub vocabulary: Vocabulary,
    pub spec: VisualSpec,
    pub model: ReportModelConfig,
    pub config: ReportTrainConfig,
    pub align: AlignmentConfig,
}

/// Studies whose first box is cardiomegaly or an effusion, and reports that name it.
pub fn fixture(count: usize) -> Fixture {
    let texts = ["the heart is enlarged . the lungs are clear .", "there is a left effusion . the heart is normal ."];
    let vocabulary = Vocabulary::build(texts.iter().copied(), 1);
    let tokens = TextTokens::from_vocabulary(&vocabulary);
    let examples = (0..count)
        .map(|i| {
            let kind = i % 2;
            let region = |class_id: i32, x: f32| Region {
                crop: vec![(40 * class_id) as u8; 256],
                statistics: [0.5, 0.2],
                class_id,
                scored_box: [0.9, x, 0.6, 0.3, 0.2],
            };
            let regions = if kind == 0 { vec![region(3, 0.5), region(2, 0.2)] } else { vec![region(16, 0.8)] };
            let pixels = (0..SPEC_SIZE * SPEC_SIZE).map(|p| (p as usize * 7 + i * 13 + kind * 60) as u8).collect();
            ReportExample {
                study_id: format!("s{i}"),
                visual: StudyVisual { pixels, letterboxes: vec![square(SPEC_SIZE)], regions }.into(),
                ids: vocabulary.encode(texts[kind], 40),
                named: vec![NamedRegions { first: 0, end: 5, regions: vec![0] }],
                reference: texts[kind].into(),
                labels: d2r_contracts::report_labeler::label(texts[kind]),
                texts: tokens.report(texts[kind], 40),
            }
        })
        .collect();
    let layers = Layers { preset: Some("tiny".into()), ..Layers::default() };
    let mut report = resolve(&layers).unwrap().config.report;
    report.model.input_size = SPEC_SIZE;
    report.model.region_size = 16;
    report.train.log_every = 1;
    let spec = VisualSpec::new(SPEC_SIZE, 4, 16, 0.0);
    Fixture { examples, vocabulary, spec, model: report.model, config: report.train, align: report.align }
}

impl Fixture {
    /// A fresh report model.
    pub fn new_model(&self) -> Result<ReportModel> {
        ReportModel::new(&self.model, self.vocabulary.len() as i64 + 1, (0.449, 0.226), Device::Cpu)
    }

    /// Trains on all studies but the last two, which are the validation split.
    pub fn run(&self, folder: &Path, stop: &StopFlag) -> Result<Outcome> {
        tch::manual_seed(1);
        let mut model = self.new_model()?;
        let (training, validation) = self.examples.split_at(self.examples.len() - 2);
        let job = ReportTraining {
            plan: StudyPlan { train: Arc::new(training.to_vec()), augment: None, seed: 7 },
            validation,
            vocabulary: &self.vocabulary,
            visual: self.spec,
            config: &self.config,
            decode: GenerationOptions::beam(1, 14),
            device: Device::Cpu,
            progress: Progress::Quiet,
            stop,
            shards: VirtualShards::new(self.config.accumulate, &Ranks::alone(), &[])?,
        };
        let text = TextTokens::from_vocabulary(&self.vocabulary);
        let mut alignment = match self.align.is_on() {
            true => Some(Alignment::new(&self.align, text.token_count(), model.d_visual(), Device::Cpu)?),
            false => None,
        };
        train(&mut model, alignment.as_mut(), &RunDir::at(folder, "run"), &job)
    }
}
