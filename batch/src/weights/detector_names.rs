//! Tensor names of published detector weights, mapped to the names of our variables (which are torchvision's).

/// The project whose tensor names a file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// `fasterrcnn_resnet50_fpn`, its second version, or `fcos_resnet50_fpn`.
    Torchvision,
    /// Torchvision's classifiers `resnet{18,34,50,101}`: backbone only.
    ImageNet,
    /// detectron2 or Unbiased Teacher v2.
    Detectron2,
}

impl Origin {
    /// The project's name in a model card.
    pub fn name(self) -> &'static str {
        match self {
            Self::Torchvision => "torchvision",
            Self::ImageNet => "imagenet",
            Self::Detectron2 => "detectron2",
        }
    }
}

/// How a tensor of the file is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TensorUse {
    /// As the value of this variable.
    Variable(String),
    /// Not at all: a counter, a classifier, the other model of a checkpoint.
    Unused,
}

/// Maps a tensor's name. `teacher`: from a checkpoint with teacher and student, take the teacher.
pub fn tensor_use(origin: Origin, name: &str, teacher: bool) -> TensorUse {
    if name.ends_with("num_batches_tracked") {
        return TensorUse::Unused;
    }
    match origin {
        Origin::Torchvision => TensorUse::Variable(torchvision(name)),
        Origin::ImageNet if name.starts_with("fc.") => TensorUse::Unused,
        Origin::ImageNet => TensorUse::Variable(format!("backbone.body.{name}")),
        Origin::Detectron2 => detectron2(name, teacher),
    }
}

/// Files older than torchvision 0.13 lack one level of names.
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

fn detectron2(name: &str, teacher: bool) -> TensorUse {
    let (chosen, other) = if teacher { ("modelTeacher.", "modelStudent.") } else { ("modelStudent.", "modelTeacher.") };
    if name.starts_with(other) || name.contains("anchor_generator") || ["pixel_mean", "pixel_std"].contains(&name) {
        return TensorUse::Unused;
    }
    let name = name.strip_prefix(chosen).unwrap_or(name);
    let parts: Vec<&str> = name.split('.').collect();
    let variable = match parts[..] {
        ["pixel_mean" | "pixel_std"] => return TensorUse::Unused,
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
    TensorUse::Variable(variable)
}

/// `res2` is `layer1`.
fn res(stage: &str) -> Option<u32> {
    stage.strip_prefix("res")?.parse::<u32>().ok()?.checked_sub(1).filter(|l| (1..=4).contains(l))
}

/// `fpn_lateral2` is the first of the inner blocks. For pyramids from P3 on see [`shift_pyramid`].
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

/// Block numbers that count from P2, changed to count from the pyramid's finest level `finest`.
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
    fn published_names_are_mapped_to_variables() {
        for (origin, name, variable) in [
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
            assert_eq!(tensor_use(origin, name, true), TensorUse::Variable(variable.into()), "{name}");
        }
        for (origin, name) in [
            (Origin::Torchvision, "backbone.body.bn1.num_batches_tracked"),
            (Origin::ImageNet, "fc.weight"),
            (Origin::Detectron2, "modelStudent.roi_heads.box_head.fc2.weight"),
        ] {
            assert_eq!(tensor_use(origin, name, true), TensorUse::Unused, "{name}");
        }
        assert_eq!(shift_pyramid("backbone.fpn.inner_blocks.3.0.bias", 3), "backbone.fpn.inner_blocks.2.0.bias");
        assert_eq!(shift_pyramid("backbone.fpn.inner_blocks.3.0.bias", 2), "backbone.fpn.inner_blocks.3.0.bias");
    }
}
