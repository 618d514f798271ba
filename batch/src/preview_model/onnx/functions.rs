//! The attention layers of the step graph as ONNX functions of standard operators. The viewer recognises them by name.

use crate::preview_model::onnx::writer::{Attribute, FunctionWriter};

/// Self-attention of a token over earlier tokens and itself.
pub const CACHED_ATTENTION: &str = "CachedAttention";
/// Cross-attention of a token over the image's tokens.
pub const MEMORY_ATTENTION: &str = "MemoryAttention";
/// Attribute with the layer of keys and values: a list of one integer.
pub const LAYER: &str = "layer";

/// `query_key_value` `[1, 3 h d]` with the scale in the query, `k_cache` `[l, h, d, s]`, `v_cache` `[l, h, s, d]`, `bias` `[s]` to
/// `mixed` `[1, h d]`, `key` and `value` `[1, h, 1, d]`.
pub fn cached_attention(heads: i64, d_head: i64) -> FunctionWriter {
    let inputs = ["query_key_value", "k_cache", "v_cache", "bias"];
    let mut f = FunctionWriter::new(CACHED_ATTENTION, &inputs, &["mixed", "key", "value"], &[LAYER]);
    f.reshape("query_key_value", &[3, heads, 1, d_head], "parts");
    f.node("Split", &["parts"], &["query", "key", "value"], &[("axis", Attribute::Int(0))]);
    f.reshape("key", &[1, heads, d_head, 1], "column");
    of_layer(&mut f, "k_cache", "kept_keys");
    of_layer(&mut f, "v_cache", "kept_values");
    f.node("Concat", &["kept_keys", "column"], &["keys"], &[("axis", Attribute::Int(3))]);
    f.node("Concat", &["kept_values", "value"], &["values"], &[("axis", Attribute::Int(2))]);
    f.constant("seen", Attribute::Floats(vec![0.0]));
    f.node("Concat", &["bias", "seen"], &["all_bias"], &[("axis", Attribute::Int(0))]);
    f.node("MatMul", &["query", "keys"], &["products"], &[]);
    f.node("Add", &["products", "all_bias"], &["scores"], &[]);
    mixed(&mut f, heads * d_head);
    f
}

/// `query` `[1, h d]` with the scale in it, `mem_k` `[l, h, d, s]`, `mem_v` `[l, h, s, d]` to `mixed` `[1, h d]` and
/// `attention` `[1, s]`, the mean of the heads' weights.
pub fn memory_attention(heads: i64, d_head: i64) -> FunctionWriter {
    let mut f = FunctionWriter::new(MEMORY_ATTENTION, &["query", "mem_k", "mem_v"], &["mixed", "attention"], &[LAYER]);
    f.reshape("query", &[1, heads, 1, d_head], "queries");
    of_layer(&mut f, "mem_k", "keys");
    of_layer(&mut f, "mem_v", "values");
    f.node("MatMul", &["queries", "keys"], &["scores"], &[]);
    mixed(&mut f, heads * d_head);
    let mean = [("axes", Attribute::Ints(vec![0, 1])), ("keepdims", Attribute::Int(0))];
    f.node("ReduceMean", &["weights"], &["attention"], &mean);
    f
}

fn of_layer(f: &mut FunctionWriter, all: &str, output: &str) {
    let index = format!("{output}_layer");
    f.constant(&index, Attribute::Reference(LAYER));
    f.node("Gather", &[all, &index], &[output], &[("axis", Attribute::Int(0))]);
}

/// `scores` `[1, h, 1, s]` and `values` `[1, h, s, d]` to `weights` and `mixed`.
fn mixed(f: &mut FunctionWriter, width: i64) {
    f.node("Softmax", &["scores"], &["weights"], &[("axis", Attribute::Int(-1))]);
    f.node("MatMul", &["weights", "values"], &["by_head"], &[]);
    f.reshape("by_head", &[1, width], "mixed");
}
