//! Label files of datasets, in a folder of their layout.

use std::path::Path;

use d2r_batch::datasets::label_sets::LabelChoice;
use d2r_batch::datasets::layouts::{annotation_json, coco, mimic, vindr};
use d2r_batch::datasets::lesion_rows::{FusionRule, lesion_rows};
use d2r_batch::datasets::listing::{ListOptions, Listing};
use d2r_batch::error::Result;
use d2r_contracts::report_text::CleaningRules;

use crate::Target;

pub const ANNOTATION_JSON: Target =
    Target { name: "annotation_json", read: annotations, seeds: annotation_seeds, size_max: 2048 };
pub const COCO: Target = Target { name: "coco", read: coco_file, seeds: coco_seeds, size_max: 2048 };
pub const MIMIC: Target = Target { name: "mimic_csv", read: mimic_files, seeds: mimic_seeds, size_max: 2048 };
pub const VINDR: Target = Target { name: "vindr_csv", read: vindr_files, seeds: vindr_seeds, size_max: 2048 };

/// Between two files of one input; no good text has it.
const NEXT_FILE: u8 = 0xfd;

/// Labels alone: what the images are does not depend on the bytes.
fn options(labels: LabelChoice) -> ListOptions {
    ListOptions { seed: 1, val_share: 0.2, frontal_only: true, labels_only: true, labels }
}

/// Writes the files of an input, reads the folder, and makes the rows of its boxes.
fn listed(bytes: &[u8], names: &[&str], list: impl Fn(&Path) -> Result<Listing>) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // A set of its own categories has the folder's name.
    let root = folder.path().join("set");
    for (name, content) in names.iter().zip(bytes.split(|b| *b == NEXT_FILE)) {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().expect("below the folder")).expect("a folder of its own");
        std::fs::write(path, content).expect("a file of its own");
    }
    match list(&root) {
        // The folder's name is another one each time.
        Err(e) => e.to_string().replace(&folder.path().display().to_string(), ""),
        Ok(listing) => {
            let rule = FusionRule { iou_min: 0.4, min_annotators: 1 };
            let rows: Vec<_> =
                listing.images.iter().map(|image| lesion_rows(image, None, &rule, &listing.labels)).collect();
            format!("{:?} {:?} {:?} {rows:?}", listing.images, listing.studies, listing.failures)
        }
    }
}

fn annotations(bytes: &[u8]) -> String {
    let options = options(LabelChoice::Vindr);
    let list = |root: &Path| annotation_json::list(root, "mimic", CleaningRules::MimicCxr, &options);
    listed(bytes, &["annotation.json"], list)
}

fn coco_file(bytes: &[u8]) -> String {
    let labels = if bytes.len().is_multiple_of(2) { LabelChoice::Vindr } else { LabelChoice::OfDataset };
    listed(bytes, &["annotations/instances_train.json"], |root| coco::list(root, &options(labels.clone())))
}

fn mimic_files(bytes: &[u8]) -> String {
    let names = ["mimic-cxr-2.0.0-metadata.csv", "mimic-cxr-2.0.0-split.csv", "mimic-cxr-2.0.0-chexpert.csv"];
    listed(bytes, &names, |root| mimic::list(root, &options(LabelChoice::Vindr)))
}

fn vindr_files(bytes: &[u8]) -> String {
    let names = ["annotations/annotations_train.csv", "annotations/annotations_test.csv"];
    listed(bytes, &names, |root| vindr::list(root, &options(LabelChoice::Vindr)))
}

fn inputs(texts: &[&[&str]]) -> Vec<Vec<u8>> {
    texts.iter().map(|files| files.iter().map(|f| f.as_bytes()).collect::<Vec<_>>().join(&NEXT_FILE)).collect()
}

fn annotation_seeds() -> Vec<Vec<u8>> {
    inputs(&[
        &[
            r#"{"train":[{"id":"a","study_id":1,"subject_id":2,"report":"Clear lungs.","image_path":["p10/a.jpg"],"split":"train"}],"val":[],"test":[{"id":"b","report":"Effusion.","image_path":["b.png"],"split":"test"}]}"#,
        ],
        &[
            r#"{"train":[{"id":"a","report":"x","image_path":["a.jpg","c.jpg"],"boxes":[{"bbox":[1,2,30,40],"category":"Cardiomegaly","score":0.9}],"score_threshold":0.5}]}"#,
        ],
    ])
}

fn coco_seeds() -> Vec<Vec<u8>> {
    inputs(&[&[
        r#"{"images":[{"id":1,"file_name":"a.png","width":100,"height":80},{"id":"2","file_name":"b/c.png"}],"annotations":[{"id":1,"image_id":1,"category_id":3,"bbox":[10,10,20.5,30],"area":615,"iscrowd":0},{"id":2,"image_id":2,"category_id":3,"bbox":[1,1,2,2],"segmentation":[[1,1,3,1,3,3]]}],"categories":[{"id":3,"name":"Nodule"},{"id":4,"name":"Edema"}]}"#,
    ]])
}

fn mimic_seeds() -> Vec<Vec<u8>> {
    inputs(&[&[
        "dicom_id,subject_id,study_id,ViewPosition\naa,10000001,50000001,PA\nab,10000001,50000001.0,LATERAL\nba,10000001,50000002,AP\n",
        "dicom_id,study_id,subject_id,split\naa,50000001,10000001,train\nba,50000002,10000001,validate\n",
        "subject_id,study_id,Atelectasis,Cardiomegaly,No Finding\n10000001,50000001,1.0,-1.0,\n10000001,50000002,,0.0,1.0\n",
    ]])
}

fn vindr_seeds() -> Vec<Vec<u8>> {
    inputs(&[
        &[
            "image_id,rad_id,class_name,x_min,y_min,x_max,y_max\na,R1,Cardiomegaly,10,10,50,50\na,R2,Cardiomegaly,12,10,52,50\nb,R1,No finding,,,,\nc,R3,Nodule/Mass,1.5,2.5,30,40\n",
            "image_id,class_name,x_min,y_min,x_max,y_max\nt,Edema,5,6,30,40\n",
        ],
        &[
            "\u{feff}image_id;class_name;rad_id;x_min;y_min;x_max;y_max\r\na;ILD;R1;10;10;50;50\r\n",
            "image_id,class_name,x_min,y_min,x_max,y_max\n",
        ],
    ])
}
