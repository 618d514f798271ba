//! The layout of Open-i's Indiana University collection: a report a file in `ecgen-radiology/`, films in `NLMCXR_png/`, a
//! frontal one and a lateral one. Words that were taken out of the real reports are `XXXX` there.

use d2r_contracts::labels::lesion_class_name;
use rayon::prelude::*;

use crate::catalogue::Visit;
use crate::error::Result;
use crate::layouts::output_folder::OutputFolder;

/// Writes the layout below `root` (a path inside `folder`).
///
/// # Errors
/// Those of [`OutputFolder::put`].
pub fn write(folder: &OutputFolder, root: &str, visits: &[Visit]) -> Result<()> {
    visits.par_iter().try_for_each(|visit| -> Result<()> {
        for film in &visit.films {
            folder.put(&format!("{root}/NLMCXR_png/{}.png", film.image_id), &film.png()?)?;
            folder.observer().written(1);
        }
        folder.put(&format!("{root}/ecgen-radiology/{}.xml", visit.index + 1), report(visit).as_bytes())
    })
}

fn report(visit: &Visit) -> String {
    let sections = [
        ("COMPARISON", "None.".to_owned()),
        ("INDICATION", "XXXX-year-old with chest pain.".to_owned()),
        ("FINDINGS", deidentified(&visit.report.findings_text())),
        ("IMPRESSION", deidentified(&visit.report.impression_text())),
    ];
    let sections: String = sections
        .iter()
        .map(|(label, text)| format!("        <AbstractText Label=\"{label}\">{}</AbstractText>\n", escaped(text)))
        .collect();
    let terms: Vec<&str> = visit.facts.iter().filter_map(|fact| mesh_term(fact.class_id)).collect();
    let terms = if visit.facts.is_empty() { vec!["normal"] } else { terms };
    let mesh: String = terms.iter().map(|term| format!("    <major>{}</major>\n", escaped(term))).collect();
    let images: String = visit
        .films
        .iter()
        .zip(1..)
        .map(|(film, n)| {
            format!(
                "  <parentImage id=\"{}\">\n    <figureId>F{n}</figureId>\n    <caption>Chest, 2 views, drawn</caption>\n  \
                 </parentImage>\n",
                film.image_id
            )
        })
        .collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<eCitation>\n  <meta type=\"rr\"/>\n  <uId id=\"{}\"/>\n  \
         <MedlineCitation Owner=\"D2R phantom\">\n    <Article>\n      <Abstract>\n{sections}      </Abstract>\n    \
         </Article>\n  </MedlineCitation>\n  <MeSH>\n{mesh}  </MeSH>\n{images}</eCitation>\n",
        visit.study_id
    )
}

/// Words that were taken out, as the collection marks them.
fn deidentified(text: &str) -> String {
    text.replace("___", "XXXX")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A term of the collection's for a lesion class; `None` where it has none of its own.
fn mesh_term(class_id: i32) -> Option<&'static str> {
    Some(match lesion_class_name(class_id)? {
        "Atelectasis" => "Pulmonary Atelectasis/base",
        "Calcification" => "Calcified Granuloma/lung",
        "Cardiomegaly" => "Cardiomegaly/mild",
        "Consolidation" => "Consolidation/lung",
        "Edema" => "Pulmonary Edema",
        "Emphysema" => "Pulmonary Emphysema",
        "Infiltration" => "Infiltrate/lung",
        "Lung Opacity" => "Opacity/lung",
        "Lung cyst" => "Cysts/lung",
        "Nodule/Mass" => "Nodule/lung",
        "Pleural effusion" => "Pleural Effusion/small",
        "Pleural thickening" => "Thickening/pleura",
        "Pneumothorax" => "Pneumothorax/apex",
        "Pulmonary fibrosis" => "Cicatrix/lung",
        "Clavicle fracture" | "Rib fracture" => "Fractures, Bone/ribs",
        _ => return None,
    })
}
