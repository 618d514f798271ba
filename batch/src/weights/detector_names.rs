//! Names of other projects' detector weights, as ours (which are torchvision's).

/// Where a file of weights comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// `fasterrcnn_resnet50_fpn`, its second version, or `fcos_resnet50_fpn`.
    Torchvision,
    /// A classifier `resnet{18,34,50,101}`: the backbone alone.
    ImageNet,
    /// detectron2 or Unbiased Teacher v2.
    Detectron2,
}

/// What becomes of a tensor of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is this variable.
    Taken(String),
    /// It is known to be of no use: a counter, a classifier, the other model of a checkpoint.
    Unused,
}

/// Our name for a tensor. `teacher`: of a checkpoint with teacher and student, the teacher is meant.
pub fn fate(origin: Origin, name: &str, teacher: bool) -> Fate {
    if name.ends_with("num_batches_tracked") {
        return Fate::Unused;
    }
    match origin {
        Origin::Torchvision => Fate::Taken(torchvision(name)),
        Origin::ImageNet if name.starts_with("fc.") => Fate::Unused,
        Origin::ImageNet => Fate::Taken(format!("backbone.body.{name}")),
        Origin::Detectron2 => detectron2(name, teacher),
    }
}

/// Files older than torchvision 0.13 have one level of names less.
fn torchvision(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    match parts[..] {
        ["rpn", "head", "conv", kind @ ("weight" | "bias")] => format!("rpn.head.conv.0.0.{kind}"),
        ["backbone", "fpn", blocks @ ("inner_blocks" | "layer_blocks"), level, kind @ ("weight" | "bias")] => {
            format!("backbone.fpn.{blocks}.{level}.0.{kind}")
        }
        _ => name.to_owned(),
    }
}

fn detectron2(name: &str, teacher: bool) -> Fate {
    let (wanted, other) = if teacher { ("modelTeacher.", "modelStudent.") } else { ("modelStudent.", "modelTeacher.") };
    if name.starts_with(other) || name.contains("anchor_generator") || ["pixel_mean", "pixel_std"].contains(&name) {
        return Fate::Unused;
    }
    let name = name.strip_prefix(wanted).unwrap_or(name);
    let parts: Vec<&str> = name.split('.').collect();
    let taken = match parts[..] {
        ["pixel_mean" | "pixel_std"] => return Fate::Unused,
        ["backbone", "bottom_up", "stem", "conv1", "weight"] => "backbone.body.conv1.weight".to_owned(),
        ["backbone", "bottom_up", "stem", "conv1", "norm", kind] => format!("backbone.body.bn1.{kind}"),
        ["backbone", "bottom_up", stage, block, conv, ref rest @ ..] => match (res(stage), conv, rest) {
            (Some(layer), "shortcut", ["weight"]) => format!("backbone.body.layer{layer}.{block}.downsample.0.weight"),
            (Some(layer), "shortcut", ["norm", kind]) => {
                format!("backbone.body.layer{layer}.{block}.downsample.1.{kind}")
            }
            (Some(layer), conv, ["weight"]) => format!("backbone.body.layer{layer}.{block}.{conv}.weight"),
            (Some(layer), conv, ["norm", kind]) => {
                format!("backbone.body.layer{layer}.{block}.{}.{kind}", conv.replace("conv", "bn"))
            }
            _ => name.to_owned(),
        },
        ["backbone", "top_block", extra, kind] => format!("backbone.fpn.extra_blocks.{extra}.{kind}"),
        ["backbone", lateral, kind] => match pyramid(lateral) {
            Some((blocks, level)) => format!("backbone.fpn.{blocks}.{level}.0.{kind}"),
            None => name.to_owned(),
        },
        ["proposal_generator", "rpn_head", "conv", kind] => format!("rpn.head.conv.0.0.{kind}"),
        ["proposal_generator", "rpn_head", "objectness_logits", kind] => format!("rpn.head.cls_logits.{kind}"),
        ["proposal_generator", "rpn_head", "anchor_deltas", kind] => format!("rpn.head.bbox_pred.{kind}"),
        ["proposal_generator", "fcos_head", ref rest @ ..] => fcos(rest).unwrap_or_else(|| name.to_owned()),
        ["roi_heads", "box_head", "fc1", kind] => format!("roi_heads.box_head.fc6.{kind}"),
        ["roi_heads", "box_head", "fc2", kind] => format!("roi_heads.box_head.fc7.{kind}"),
        _ => name.to_owned(),
    };
    Fate::Taken(taken)
}

/// `res2` is `layer1`.
fn res(stage: &str) -> Option<u32> {
    stage.strip_prefix("res")?.parse::<u32>().ok()?.checked_sub(1).filter(|l| (1..=4).contains(l))
}

/// `fpn_lateral2` is the first of the inner blocks. FCOS begins at 3 and counts from there; see [`shift_pyramid`].
fn pyramid(lateral: &str) -> Option<(&'static str, u32)> {
    let (blocks, level) = match (lateral.strip_prefix("fpn_lateral"), lateral.strip_prefix("fpn_output")) {
        (Some(level), _) => ("inner_blocks", level),
        (_, Some(level)) => ("layer_blocks", level),
        _ => return None,
    };
    Some((blocks, level.parse::<u32>().ok()?.checked_sub(2)?))
}

fn fcos(rest: &[&str]) -> Option<String> {
    Some(match rest {
        ["cls_tower", layer, kind] => format!("head.classification_head.conv.{layer}.{kind}"),
        ["bbox_tower", layer, kind] => format!("head.regression_head.conv.{layer}.{kind}"),
        ["cls_logits", kind] => format!("head.classification_head.cls_logits.{kind}"),
        ["bbox_pred", kind] => format!("head.regression_head.bbox_reg.{kind}"),
        ["bbox_pred_std", kind] => format!("head.regression_head.bbox_pred_std.{kind}"),
        ["ctrness", kind] => format!("head.regression_head.bbox_ctrness.{kind}"),
        ["scales", level, "scale"] => format!("head.regression_head.scales.{level}.scale"),
        _ => return None,
    })
}

/// Pyramids that begin at P3 have their first block at 0: names that were mapped for a beginning at P2, moved.
pub fn shift_pyramid(name: &str, finest: u32) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    if let ["backbone", "fpn", blocks @ ("inner_blocks" | "layer_blocks"), level, "0", kind] = parts[..]
        && let Some(level) = level.parse::<u32>().ok().and_then(|l| l.checked_sub(finest - 2))
    {
        return format!("backbone.fpn.{blocks}.{level}.0.{kind}");
    }
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_others_become_ours() {
        for (origin, theirs, ours) in [
            (Origin::Torchvision, "rpn.head.conv.weight", "rpn.head.conv.0.0.weight"),
            (Origin::Torchvision, "rpn.head.conv.0.0.weight", "rpn.head.conv.0.0.weight"),
            (Origin::Torchvision, "backbone.fpn.inner_blocks.2.bias", "backbone.fpn.inner_blocks.2.0.bias"),
            (Origin::ImageNet, "layer2.0.bn1.running_var", "backbone.body.layer2.0.bn1.running_var"),
            (Origin::Detectron2, "backbone.bottom_up.stem.conv1.norm.weight", "backbone.body.bn1.weight"),
            (
                Origin::Detectron2,
                "backbone.bottom_up.res4.5.conv3.norm.running_mean",
                "backbone.body.layer3.5.bn3.running_mean",
            ),
            (
                Origin::Detectron2,
                "backbone.bottom_up.res2.0.shortcut.weight",
                "backbone.body.layer1.0.downsample.0.weight",
            ),
            (Origin::Detectron2, "backbone.fpn_output5.weight", "backbone.fpn.layer_blocks.3.0.weight"),
            (Origin::Detectron2, "backbone.top_block.p7.bias", "backbone.fpn.extra_blocks.p7.bias"),
            (Origin::Detectron2, "proposal_generator.rpn_head.anchor_deltas.bias", "rpn.head.bbox_pred.bias"),
            (Origin::Detectron2, "modelTeacher.roi_heads.box_head.fc2.weight", "roi_heads.box_head.fc7.weight"),
            (
                Origin::Detectron2,
                "roi_heads.box_predictor.bbox_pred_std.bias",
                "roi_heads.box_predictor.bbox_pred_std.bias",
            ),
            (Origin::Detectron2, "proposal_generator.fcos_head.scales.3.scale", "head.regression_head.scales.3.scale"),
            (
                Origin::Detectron2,
                "proposal_generator.fcos_head.cls_tower.9.bias",
                "head.classification_head.conv.9.bias",
            ),
        ] {
            assert_eq!(fate(origin, theirs, true), Fate::Taken(ours.into()), "{theirs}");
        }
        for (origin, name) in [
            (Origin::Torchvision, "backbone.body.bn1.num_batches_tracked"),
            (Origin::ImageNet, "fc.weight"),
            (Origin::Detectron2, "modelStudent.roi_heads.box_head.fc2.weight"),
        ] {
            assert_eq!(fate(origin, name, true), Fate::Unused, "{name}");
        }
        assert_eq!(shift_pyramid("backbone.fpn.inner_blocks.3.0.bias", 3), "backbone.fpn.inner_blocks.2.0.bias");
        assert_eq!(shift_pyramid("backbone.fpn.inner_blocks.3.0.bias", 2), "backbone.fpn.inner_blocks.3.0.bias");
    }
}
